import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  type ClientHello,
  parseClientHello,
  parseServerHello,
  SessionAffinity,
  type SessionAffinityOptions,
  type SessionStore,
} from '../../src/index.js';
import {
  buildHello,
  extension,
  record,
  returningHello12,
  returningHello13,
  uint,
  vector,
} from '../support/hello-builder.js';
import flights from '../wire/fixtures/server-flights.json' with { type: 'json' };

interface Backend {
  readonly name: string;
  readonly weight?: number;
}
const A: Backend = { name: 'a' };
const B: Backend = { name: 'b' };
const C: Backend = { name: 'c' };

const CHANGE_CIPHER_SPEC = Buffer.from('140303000101', 'hex');
const hello = (bytes: Buffer): ClientHello => parseClientHello(bytes) as ClientHello;
const bytes = (fill: number | string, length = 32) => Buffer.alloc(length, fill);

/** A TLS 1.2 flight: a full handshake, or a resumed one when it has the client's session ID. */
function flight({ sessionId = bytes(0, 0), ticket }: { sessionId?: Buffer; ticket?: Buffer; hint?: number }, hint = 0) {
  const body = Buffer.concat([uint(2, 0x0303), bytes(5), vector(1, sessionId), uint(2, 0xc02b), uint(1, 0)]);
  const parts = [record(Buffer.concat([uint(1, 2), vector(3, body)]))];
  if (ticket) parts.push(record(Buffer.concat([uint(1, 4), vector(3, uint(4, hint), vector(2, ticket))])));
  return Buffer.concat([...parts, CHANGE_CIPHER_SPEC]);
}

function flight13(selectedIdentity?: number): Buffer {
  const extensions = [extension(43, uint(2, 0x0304))];
  if (selectedIdentity !== undefined) extensions.push(extension(41, uint(2, selectedIdentity)));
  const body = Buffer.concat([uint(2, 0x0303), bytes(5), vector(1, bytes(30)), uint(2, 0x1301), uint(1, 0)]);
  return record(Buffer.concat([uint(1, 2), vector(3, body, vector(2, ...extensions))]));
}

function setUp(options: Partial<SessionAffinityOptions<Backend>> = {}) {
  let now = 1000;
  const affinity = new SessionAffinity<Backend>({ backends: [A, B, C], clock: () => now, ...options });
  return {
    affinity,
    pass: (seconds: number) => {
      now += seconds * 1000;
    },
    /** Where a client goes that shows this. */
    goes: (shown: ClientHello | undefined, key?: string) => {
      const choice = affinity.choose(shown, key);
      if (choice instanceof Promise) throw new Error('the store was asked');
      return choice && { name: choice.backend.name, by: choice.by };
    },
    learn: (shown: ClientHello, backend: Backend, said: Buffer) => affinity.observe(shown, backend).push(said),
  };
}

/** A key that the choice of which is this back end. */
function keyOf(name: string, affinity: SessionAffinity<Backend>): string {
  for (let i = 0; ; i++) {
    const choice = affinity.choose(undefined, `${i}`);
    if (!(choice instanceof Promise) && choice?.backend.name === name) return `${i}`;
  }
}

const FIRST = hello(buildHello({ sessionTicket: bytes(0, 0) }));
const byId = (id: Buffer) => hello(returningHello12(id));
const byTicket = (ticket: Buffer) => hello(returningHello12(bytes(0xee), { sessionTicket: ticket }));
const byIdentity = (identity: Buffer) => hello(returningHello13(identity));

describe('what is learned', () => {
  it('a session ID, once the handshake is complete', () => {
    const { affinity, goes, learn } = setUp();
    const said = flight({ sessionId: bytes(7) });
    const observer = affinity.observe(FIRST, B);
    expect(observer.push(said.subarray(0, said.length - 6))).toBe(true);
    expect(affinity.statistics.entries).toBe(0);
    expect(observer.push(said.subarray(said.length - 6))).toBe(false);
    expect(observer.push(said)).toBe(false);
    expect(affinity.statistics).toMatchObject({ entries: 1, learned: 1 });
    expect(goes(byId(bytes(7)), keyOf('a', affinity))).toEqual({ name: 'b', by: 'memory' });
    learn(byId(bytes(7)), C, said);
    expect(goes(byId(bytes(7)))).toEqual({ name: 'c', by: 'memory' });
    expect(goes(byId(bytes(8)), keyOf('a', affinity))).toEqual({ name: 'a', by: 'key' });
  });

  it('a ticket, and not the session ID beside it', () => {
    const { affinity, goes, learn } = setUp();
    const ticket = bytes(9, 200);
    learn(FIRST, B, flight({ sessionId: bytes(7), ticket }, 300));
    expect(affinity.statistics.entries).toBe(1);
    expect(goes(byTicket(ticket), keyOf('a', affinity))).toEqual({ name: 'b', by: 'memory' });
    expect(goes(byId(bytes(7)), keyOf('a', affinity))).toEqual({ name: 'a', by: 'key' });
  });

  it('the session ID when the server sends an empty ticket', () => {
    const { goes, learn } = setUp();
    learn(FIRST, B, flight({ sessionId: bytes(7), ticket: bytes(0, 0) }));
    expect(goes(byId(bytes(7)))).toEqual({ name: 'b', by: 'memory' });
  });

  it('of a resumed session the ticket that was shown and the one that renews it, not the made-up ID', () => {
    const { affinity, goes, learn } = setUp();
    const [old, renewed] = [bytes(9, 200), bytes(10, 200)];
    learn(byTicket(old), B, flight({ sessionId: bytes(0xee), ticket: renewed }));
    expect(affinity.statistics.entries).toBe(2);
    for (const ticket of [old, renewed]) expect(goes(byTicket(ticket))).toEqual({ name: 'b', by: 'memory' });
    learn(byTicket(bytes(11, 200)), C, flight({ sessionId: bytes(0xee) }));
    expect(affinity.statistics.entries).toBe(3);
  });

  it('nothing of a ticket that the server did not take', () => {
    const { affinity, learn } = setUp();
    learn(byTicket(bytes(9, 200)), B, flight({}));
    expect(affinity.statistics).toMatchObject({ entries: 0, learned: 0 });
  });

  it('of TLS 1.3 the identity that a server accepted, and no other', () => {
    const { affinity, goes, learn } = setUp();
    learn(byIdentity(bytes(1)), B, flight13());
    learn(byIdentity(bytes(1)), B, flight13(1));
    learn(FIRST, B, flight13(0));
    expect(affinity.statistics.entries).toBe(0);
    learn(byIdentity(bytes(1)), B, flight13(0));
    expect(affinity.statistics.entries).toBe(1);
    expect(goes(byIdentity(bytes(1)))).toEqual({ name: 'b', by: 'memory' });
  });

  it.each(flights)(
    'what openssl s_server tells: $server',
    ({ server, hello: said, hex, protocol, resumed, ...session }) => {
      const { affinity, goes, learn } = setUp();
      const client = hello(Buffer.from(said, 'hex'));
      expect(learn(client, B, Buffer.from(hex, 'hex'))).toBe(false);
      if (protocol === 'TLSv1.3') {
        expect(affinity.statistics.entries).toBe(resumed ? 1 : 0);
        if (resumed) expect(goes(client)).toEqual({ name: 'b', by: 'memory' });
        return;
      }
      expect(affinity.statistics.entries).toBe(1);
      const next = session.ticket
        ? byTicket(Buffer.from(session.ticket, 'hex'))
        : byId(Buffer.from(session.sessionId, 'hex'));
      expect(goes(next), server).toEqual({ name: 'b', by: 'memory' });
      expect(parseServerHello(Buffer.from(hex, 'hex'))).toBeDefined();
    },
  );
});

describe('the choice by a key', () => {
  it('is the same for the same key, and spread as the weights say', () => {
    const { goes } = setUp({ backends: [A, { name: 'b', weight: 3 }, { name: 'none', weight: 0 }] });
    const counts: Record<string, number> = { a: 0, b: 0 };
    for (let i = 0; i < 4000; i++) {
      const name = goes(undefined, `10.0.0.${i}`)?.name as string;
      expect(goes(FIRST, `10.0.0.${i}`)?.name).toBe(name);
      counts[name]!++;
    }
    expect(Object.keys(counts)).toEqual(['a', 'b']);
    expect(counts['b']! / counts['a']!).toBeGreaterThan(2.6);
    expect(counts['b']! / counts['a']!).toBeLessThan(3.4);
  });

  it('is random without one', () => {
    const { goes } = setUp();
    const names = new Set(Array.from({ length: 200 }, () => goes(undefined)?.name));
    expect([...names].sort()).toEqual(['a', 'b', 'c']);
  });

  it('moves only the keys of the back end that leaves, and brings them back', () => {
    const { affinity, goes } = setUp();
    const keys = Array.from({ length: 500 }, (_, i) => `${i}`);
    const before = keys.map((key) => goes(undefined, key)?.name);
    const check = (): void => {
      keys.forEach((key, i) => {
        const name = goes(undefined, key)?.name;
        if (before[i] === 'b') expect(name).not.toBe('b');
        else expect(name).toBe(before[i]);
      });
    };
    affinity.markDown('b');
    check();
    affinity.markUp('b');
    expect(keys.map((key) => goes(undefined, key)?.name)).toEqual(before);
    affinity.setBackends([C, A]);
    check();
    affinity.setBackends([C, B, A]);
    expect(keys.map((key) => goes(undefined, key)?.name)).toEqual(before);
  });

  it('leaves out those that refused, and ends', async () => {
    const { affinity } = setUp();
    const except = new Set<string>();
    for (let i = 0; i < 3; i++) except.add((await affinity.choose(undefined, 'k', except))!.backend.name);
    expect([...except].sort()).toEqual(['a', 'b', 'c']);
    expect(await affinity.choose(undefined, 'k', except)).toBeUndefined();
  });
});

describe('back ends that leave and come back', () => {
  it('sessions of one that is down go by the key, are learned anew, and the others return to it', () => {
    const { affinity, goes, learn } = setUp();
    const key = keyOf('a', affinity);
    learn(FIRST, B, flight({ sessionId: bytes(7) }));
    learn(FIRST, B, flight({ sessionId: bytes(8) }));
    affinity.markDown('b');
    expect(goes(byId(bytes(7)), key)).toEqual({ name: 'a', by: 'key' });
    // The server at hand does not know the session: a full handshake, with a session of its own.
    learn(byId(bytes(7)), A, flight({ sessionId: bytes(70) }));
    affinity.markUp('b');
    expect(goes(byId(bytes(70)))).toEqual({ name: 'a', by: 'memory' });
    expect(goes(byId(bytes(8)), key)).toEqual({ name: 'b', by: 'memory' });
  });

  it('a name that left is not chosen, and is not forgotten', () => {
    const { affinity, goes, learn } = setUp();
    learn(FIRST, B, flight({ sessionId: bytes(7) }));
    affinity.markDown('b');
    affinity.setBackends([A]);
    expect(goes(byId(bytes(7)))).toEqual({ name: 'a', by: 'key' });
    affinity.setBackends([A, B]);
    expect(goes(byId(bytes(7)))).toEqual({ name: 'b', by: 'memory' });
  });

  it('one of weight 0 gets nobody but its own clients', () => {
    const { affinity, goes, learn } = setUp();
    learn(FIRST, B, flight({ sessionId: bytes(7) }));
    affinity.setBackends([A, { name: 'b', weight: 0 }]);
    expect(goes(byId(bytes(7)))).toEqual({ name: 'b', by: 'memory' });
    for (let i = 0; i < 50; i++) expect(goes(undefined)?.name).toBe('a');
  });

  it('with all of them down there is no choice', () => {
    const { affinity, goes } = setUp({ backends: [A] });
    affinity.markDown('a');
    expect(goes(FIRST)).toBeUndefined();
  });
});

describe('bounds', () => {
  it('the least recently used goes first, and a flood of sessions stays within them', () => {
    const { affinity, goes, learn } = setUp({ maxEntries: 3 });
    for (const id of [1, 2, 3]) learn(FIRST, B, flight({ sessionId: bytes(id) }));
    expect(goes(byId(bytes(1)))?.by).toBe('memory');
    learn(FIRST, B, flight({ sessionId: bytes(4) }));
    expect(goes(byId(bytes(2)))?.by).toBe('key');
    expect(goes(byId(bytes(1)))?.by).toBe('memory');
    for (let i = 0; i < 10_000; i++) learn(FIRST, B, flight({ sessionId: vector(2, Buffer.from(`${i}`)) }));
    expect(affinity.statistics).toMatchObject({ entries: 3, evicted: 10_001 });
  });

  it('IDs that are only asked for leave nothing behind', () => {
    const { affinity, goes } = setUp();
    for (let i = 0; i < 10_000; i++) goes(byId(vector(2, Buffer.from(`${i}`))));
    expect(affinity.statistics).toMatchObject({ entries: 0, key: 10_000 });
  });

  it('a session is forgotten after its timeout, or sooner when its ticket says so', () => {
    const { goes, learn, pass, affinity } = setUp({ timeout: 600 });
    learn(FIRST, B, flight({ sessionId: bytes(7) }));
    learn(FIRST, B, flight({ ticket: bytes(8, 200) }, 300));
    learn(FIRST, B, flight({ ticket: bytes(9, 200) }, 100_000));
    pass(299);
    expect(goes(byTicket(bytes(8, 200)))?.by).toBe('memory');
    pass(1);
    expect(goes(byTicket(bytes(8, 200)))?.by).toBe('key');
    pass(299);
    expect(goes(byId(bytes(7)))?.by).toBe('memory');
    // Resumed: as good as new.
    learn(byId(bytes(7)), B, flight({ sessionId: bytes(7) }));
    pass(1);
    expect(goes(byTicket(bytes(9, 200)))?.by).toBe('key');
    expect(goes(byId(bytes(7)))?.by).toBe('memory');
    pass(600);
    expect(goes(byId(bytes(7)))?.by).toBe('key');
    expect(affinity.statistics.entries).toBe(0);
  });

  it('what is over goes as new sessions come, without being asked for', () => {
    const { affinity, learn, pass } = setUp({ timeout: 10 });
    for (let i = 0; i < 100; i++) learn(FIRST, B, flight({ sessionId: vector(2, Buffer.from(`${i}`)) }));
    pass(11);
    for (let i = 0; i < 50; i++) learn(FIRST, B, flight({ sessionId: vector(2, Buffer.from(`new ${i}`)) }));
    expect(affinity.statistics).toMatchObject({ entries: 50, evicted: 0 });
    affinity.clear();
    expect(affinity.statistics.entries).toBe(0);
  });

  it('whatever a server says, observing it does not throw', () => {
    const { affinity } = setUp();
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), (chunks) => {
        const observer = affinity.observe(FIRST, A);
        for (const chunk of chunks) observer.push(chunk);
        observer.push(flight({ sessionId: bytes(7) }));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a store that balancers share', () => {
  function memoryStore() {
    const map = new Map<string, Uint8Array>();
    const name = (key: Uint8Array) => Buffer.from(key).toString('hex');
    const store = {
      get: vi.fn((key: Uint8Array) => map.get(name(key))),
      set: vi.fn((key: Uint8Array, value: Uint8Array, _timeout: number) => void map.set(name(key), value)),
      delete: vi.fn((key: Uint8Array) => void map.delete(name(key))),
    } satisfies SessionStore;
    return { map, store };
  }

  it('one remembers what the other learned, and asks once', () => {
    const { map, store } = memoryStore();
    const [one, two] = [setUp({ store }), setUp({ store })];
    one.learn(FIRST, B, flight({ ticket: bytes(9, 200) }, 300));
    expect(store.set).toHaveBeenCalledTimes(1);
    expect(store.set.mock.calls[0]).toMatchObject([{ length: 32 }, Buffer.from('\x01b'), 300]);
    const key = keyOf('a', two.affinity);
    expect(two.goes(byTicket(bytes(9, 200)), key)).toEqual({ name: 'b', by: 'store' });
    expect(two.goes(byTicket(bytes(9, 200)), key)).toEqual({ name: 'b', by: 'memory' });
    expect(store.get).toHaveBeenCalledTimes(1);
    expect([...map.keys()].join()).not.toContain('0909');
  });

  it('is written when there is news: not at each resumption, but before it forgets', () => {
    const { store } = memoryStore();
    const { learn, pass } = setUp({ store, timeout: 100 });
    const resumed = () => learn(byId(bytes(7)), B, flight({ sessionId: bytes(7) }));
    resumed();
    pass(40);
    resumed();
    expect(store.set).toHaveBeenCalledTimes(1);
    pass(20);
    resumed();
    expect(store.set).toHaveBeenCalledTimes(2);
    learn(byId(bytes(7)), C, flight({ sessionId: bytes(7) }));
    expect(store.set).toHaveBeenCalledTimes(3);
  });

  it('names of other balancers are apart', () => {
    const { store } = memoryStore();
    const [mail, web] = [setUp({ store, name: 'mail' }), setUp({ store, name: 'web' })];
    mail.learn(FIRST, B, flight({ sessionId: bytes(7) }));
    expect(web.goes(byId(bytes(7)))?.by).toBe('key');
  });

  it.each([
    ['a back end that there is not', Buffer.from('\x01z')],
    ['another version', Buffer.from('\x02b')],
    ['nothing', Buffer.alloc(0)],
    ['too much', Buffer.alloc(1000, 1)],
    ['a string', 'b'],
    ['a number', 7],
  ])('that answers with %s is not believed', (_, answer) => {
    const { store } = memoryStore();
    store.get.mockReturnValue(answer as never);
    const { affinity, goes } = setUp({ store });
    expect(goes(byId(bytes(7)))?.by).toBe('key');
    expect(affinity.statistics).toMatchObject({ storeErrors: 1, entries: 0 });
  });

  it('that throws, rejects or hangs costs its deadline, and never the choice', async () => {
    vi.useFakeTimers();
    try {
      const failures: (() => Promise<undefined>)[] = [
        () => {
          throw new Error('down');
        },
        () => Promise.reject(new Error('down')),
        () => new Promise(() => {}),
      ];
      for (const fail of failures) {
        const store = { get: fail, set: fail, delete: fail } as SessionStore;
        const { affinity, learn } = setUp({ store });
        learn(FIRST, B, flight({ sessionId: bytes(7) }));
        expect(await affinity.choose(byId(bytes(7)))).toEqual({ backend: B, by: 'memory' });
        const choice = affinity.choose(byId(bytes(8)), keyOf('a', affinity));
        await vi.advanceTimersByTimeAsync(50);
        expect(await choice).toEqual({ backend: A, by: 'key' });
        await vi.advanceTimersByTimeAsync(1000);
        expect(affinity.statistics.storeErrors).toBe(2);
      }
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('arguments', () => {
  it.each([
    [{ backends: 'a' }, TypeError],
    [{ backends: [] }, RangeError],
    [{ backends: [A, { name: 'a' }] }, RangeError],
    [{ backends: [{ name: '' }] }, RangeError],
    [{ backends: [{ name: 'x'.repeat(256) }] }, RangeError],
    [{ backends: [{ name: 'a', weight: -1 }] }, RangeError],
    [{ backends: [{ name: 'a', weight: Number.NaN }] }, RangeError],
    [{ backends: [null] }, TypeError],
    [{ backends: [A], maxEntries: 0 }, RangeError],
    [{ backends: [A], timeout: 0.5 }, RangeError],
    [{ backends: [A], timeout: 604_801 }, RangeError],
    [{ backends: [A], name: 7 }, TypeError],
    [{ backends: [A], store: {} }, TypeError],
    [{ backends: [A], clock: 7 }, TypeError],
    [undefined, TypeError],
  ])('%j is refused', (options, error) => {
    expect(() => new SessionAffinity(options as never)).toThrow(error);
  });

  it('a name that there is not cannot be marked', () => {
    const { affinity } = setUp();
    expect(() => affinity.markDown('z')).toThrow(RangeError);
    expect(() => affinity.markUp('z')).toThrow(RangeError);
    expect(() => affinity.markDown(7 as never)).toThrow(TypeError);
    expect(() => affinity.setBackends([])).toThrow(RangeError);
    expect(affinity.backends).toEqual([A, B, C]);
  });

  it('shows counters, and no session', () => {
    const { affinity, learn } = setUp();
    learn(FIRST, B, flight({ sessionId: Buffer.alloc(32, 'x') }));
    expect(inspect(affinity)).toMatch(/^SessionAffinity \{\s+entries: 1/);
    expect(inspect(affinity, { depth: 9 })).not.toContain('xxx');
  });
});
