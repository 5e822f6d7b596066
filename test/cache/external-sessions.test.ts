import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SessionCache, type SessionCacheOptions } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { openEnvelope, sealEnvelope } from '../../src/stores/session-envelope.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { CountingStore, hex, id, session, stoppedClock } from './counting-store.js';

const NoInternal = SessionCacheMode.Server | SessionCacheMode.NoInternal;

function pair(options: SessionCacheOptions & { take?: boolean } = {}) {
  const external = new CountingStore(options);
  const clock = stoppedClock();
  const cache = new SessionCache({ external, clock, ...options });
  return { external, clock, cache };
}

const later = (answer: unknown) => Promise.resolve(answer);
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('what goes outside', () => {
  it('is an envelope under the ID itself, with the seconds that are left', () => {
    const { external, clock, cache } = pair({ timeout: 300 });
    cache.store(id(1), session(1), 'server', { fullHandshakeTime: 7, expiresAt: clock.now + 10_001 });
    const held = external.held.get(hex(id(1)));
    expect(held?.timeout).toBe(11);
    expect(openEnvelope(held?.value, id(1), clock.now)).toEqual({
      session: session(1),
      fullHandshakeTime: 7,
      expiresAt: clock.now + 10_001,
    });
    cache.store(id(2), session(2));
    expect(external.held.get(hex(id(2)))?.timeout).toBe(300);
  });

  it.each([1, 31, 33, 1024])('goes under SHA-256 of an ID of %i bytes', (length) => {
    const { external, cache } = pair({ mode: NoInternal });
    const name = Buffer.alloc(length, 5);
    cache.store(name, session(1));
    expect([...external.held.keys()]).toEqual([createHash('sha256').update(name).digest('hex')]);
    expect(cache.lookup(name)).toEqual(session(1));
    expect(cache.take(name)).toEqual(session(1));
    expect(external.held.size).toBe(0);
  });

  it('is not what is not kept: no ID, no bytes, over maxBytes, over already', () => {
    const { external, clock, cache } = pair({ maxBytes: 100 });
    cache.store(Buffer.alloc(0), session(1, 9));
    cache.store(id(1), Buffer.alloc(0));
    cache.store(id(1), session(1, 101));
    cache.store(id(1), session(1, 9), 'server', { expiresAt: clock.now });
    expect(external.called()).toEqual([]);
  });

  it('copies: the caller may use its buffers again at once', async () => {
    const { external, cache } = pair({ mode: NoInternal });
    const name = id(1);
    const bytes = session(1);
    cache.store(name, bytes);
    bytes.fill(0);
    external.wrap = later;
    const found = cache.lookup(name);
    name.fill(9);
    expect(await found).toEqual(session(1));
    const cache2 = new SessionCache({ external, clock: () => 1_000_000 });
    const short = Buffer.from('short');
    cache2.store(short, session(2));
    cache2.clear();
    const second = cache2.lookup(short);
    short.fill(0);
    expect(await second).toEqual(session(2));
    expect(cache2.get(Buffer.from('short'))).toEqual(session(2));
  });
});

describe('a session found outside', () => {
  it('is answered at once by a store that answers at once, and copied inside with its own times', () => {
    const { external, clock, cache } = pair({ timeout: 10 });
    external.set(id(1), sealEnvelope(id(1), session(1), 5, clock.now + 600_000), 600);
    const entry = { session: session(1), fullHandshakeTime: 5, expiresAt: clock.now + 600_000 };
    expect(cache.lookupEntry(id(1))).toEqual(entry);
    external.called();
    clock.now += 600_000;
    expect(cache.lookupEntry(id(1))).toEqual(entry);
    expect(external.called()).toEqual([]);
    expect(cache.statistics).toMatchObject({ callbackHits: 1, misses: 1, timeouts: 0 });
  });

  it('that is over is removed everywhere: callbackHits and timeouts, as ssl_get_prev_session counts', () => {
    const { external, clock, cache } = pair();
    external.set(id(1), sealEnvelope(id(1), session(1), 5, clock.now - 1), 600);
    external.called();
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(external.called()).toEqual(['get', 'delete']);
    expect([cache.size, external.held.size]).toEqual([0, 0]);
    expect(cache.statistics).toMatchObject({ callbackHits: 1, timeouts: 1, misses: 1, externalErrors: 0 });
  });

  it('that is over inside is not asked for outside, and removed there: SSL_CTX_remove_session(3)', () => {
    const { external, clock, cache } = pair();
    cache.store(id(1), session(1));
    clock.now += 300_001;
    external.called();
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(external.called()).toEqual(['delete']);
    expect(cache.statistics).toMatchObject({ callbackHits: 0, timeouts: 1, misses: 0 });
  });

  it('longer than maxBytes is answered, and not copied', () => {
    const { external, clock, cache } = pair({ maxBytes: 100 });
    external.set(id(1), sealEnvelope(id(1), session(1), 5, clock.now), 600);
    expect(cache.lookup(id(1))).toEqual(session(1));
    expect(cache.size).toBe(0);
  });

  it('comes as a promise only from a store that answers with one', async () => {
    const { external, cache } = pair({ mode: NoInternal });
    cache.store(id(1), session(1));
    expect(cache.lookup(id(1))).toEqual(session(1));
    external.wrap = later;
    const found = cache.lookup(id(1));
    expect(found).toBeInstanceOf(Promise);
    expect(await found).toEqual(session(1));
    expect(await cache.lookup(id(2))).toBeUndefined();
    expect(cache.store(id(3), session(3))).toBeInstanceOf(Promise);
    expect(await cache.store(id(3), session(3))).toBeUndefined();
    expect(cache.statistics).toMatchObject({ callbackHits: 2, externalErrors: 0 });
  });

  it('null is nothing, as undefined is', () => {
    const { external, cache } = pair();
    external.wrap = () => null;
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(cache.statistics.externalErrors).toBe(0);
  });
});

describe('what happens to a session while a lookup is on its way outside', () => {
  function underWay() {
    const { external, cache, ...rest } = pair();
    external.set(id(1), sealEnvelope(id(1), session(1), 5, 1_200_000), 600);
    let arrive: () => void = () => {};
    external.wrap = (answer, call) =>
      call === 'get'
        ? new Promise((resolve) => {
            arrive = () => resolve(answer);
          })
        : answer;
    const found = Promise.resolve(cache.lookup(id(1)));
    return { external, cache, found, arrive: () => arrive(), ...rest };
  }

  const events: [string, (cache: SessionCache) => void, found: boolean, inside: Buffer | undefined][] = [
    ['nothing', () => {}, true, session(1)],
    ['removed: not found, and not inside', (cache) => cache.remove(id(1)), false, undefined],
    ['another one removed', (cache) => cache.remove(id(2)), true, session(1)],
    ['taken: not found, and not inside', (cache) => cache.take(id(1)), false, undefined],
    ['cleared: not found, and not inside', (cache) => cache.clear(), false, undefined],
    ['disposed: not found, and not inside', (cache) => cache[Symbol.dispose](), false, undefined],
    ['stored anew: found, and the new one stays inside', (cache) => cache.store(id(1), session(7)), true, session(7)],
    ['added anew: found, and the new one stays inside', (cache) => cache.add(id(1), session(7)), true, session(7)],
    [
      'the mode changed to NoInternalStore: found, and not inside',
      (cache) => cache.setMode(NoInternal),
      true,
      undefined,
    ],
  ];
  it.each(events)('%s', async (_event, act, found, inside) => {
    const flight = underWay();
    act(flight.cache);
    flight.arrive();
    expect(await flight.found).toEqual(found ? session(1) : undefined);
    expect(flight.cache.get(id(1))).toEqual(inside);
  });

  it('a lookup that begins after the removal is none of its business', async () => {
    const flight = underWay();
    flight.cache.remove(id(1));
    flight.external.wrap = later;
    flight.external.set(id(1), sealEnvelope(id(1), session(2), 5, 1_200_000), 600);
    const second = flight.cache.lookup(id(1));
    flight.arrive();
    expect(await flight.found).toBeUndefined();
    expect(await second).toEqual(session(2));
    expect(flight.cache.get(id(1))).toEqual(session(2));
  });
});

describe('take with an external cache', () => {
  it('asks that one alone, once, and drops the internal copy', () => {
    const { external, cache } = pair();
    cache.store(id(1), session(1));
    external.called();
    expect(cache.take(id(1))).toEqual(session(1));
    expect(external.called()).toEqual(['take']);
    expect([cache.size, external.held.size]).toEqual([0, 0]);
    expect(cache.take(id(1))).toBeUndefined();
    expect(cache.statistics).toMatchObject({ callbackHits: 1, misses: 0 });
  });

  it('gets nothing that is inside only', () => {
    const { cache } = pair();
    cache.add(id(1), session(1));
    expect(cache.take(id(1))).toBeUndefined();
    expect(cache.size).toBe(0);
  });

  it('answers one of two caches that share a store', async () => {
    const { external, cache, clock } = pair();
    const other = new SessionCache({ external, clock });
    cache.store(id(1), session(1));
    await other.lookup(id(1));
    external.wrap = later;
    const answers = await Promise.all([cache.take(id(1)), other.take(id(1)), cache.take(id(1))]);
    expect(answers.filter((answer) => answer !== undefined)).toEqual([session(1)]);
  });

  it('does not answer with a session that is over', () => {
    const { external, cache, clock } = pair();
    external.set(id(1), sealEnvelope(id(1), session(1), 5, clock.now - 1), 600);
    expect(cache.take(id(1))).toBeUndefined();
    expect(cache.statistics).toMatchObject({ callbackHits: 1, timeouts: 1 });
  });

  it('does not answer when it was disposed meanwhile', async () => {
    const { external, cache } = pair();
    cache.store(id(1), session(1));
    external.wrap = later;
    const taken = cache.take(id(1));
    cache[Symbol.dispose]();
    expect(await taken).toBeUndefined();
  });

  describe('that has no take', () => {
    it.each([
      ['at once', (answer: unknown) => answer],
      ['later', later],
    ])('gets, then deletes: %s', async (_when, wrap) => {
      const { external, cache } = pair({ take: false });
      cache.store(id(1), session(1));
      external.called();
      external.wrap = wrap;
      expect(await cache.take(id(1))).toEqual(session(1));
      expect(external.called()).toEqual(['get', 'delete']);
      expect(await cache.take(id(1))).toBeUndefined();
      expect(external.called()).toEqual(['get']);
    });

    it.each([
      [
        'throws',
        () => {
          throw new Error('no');
        },
      ],
      ['rejects', () => Promise.reject(new Error('no'))],
    ])('does not answer with a session whose deletion %s', async (_how, fail) => {
      const { external, cache } = pair({ take: false });
      cache.store(id(1), session(1));
      external.wrap = (answer, call) => (call === 'delete' ? fail() : answer);
      expect(await cache.take(id(1))).toBeUndefined();
      expect(cache.statistics).toMatchObject({ externalErrors: 1, callbackHits: 0 });
    });
  });
});

describe('remove with an external cache', () => {
  it('deletes outside as well, whether or not it is inside, and does not wait', async () => {
    const { external, cache } = pair();
    cache.store(id(1), session(1));
    external.called();
    external.wrap = () => new Promise(() => {});
    expect(cache.remove(id(1))).toBe(true);
    expect(cache.remove(id(2))).toBe(false);
    expect(external.called()).toEqual(['delete', 'delete']);
    expect(external.held.size).toBe(0);
  });
});

/** Each is one call that must cost a full handshake and be counted once. */
const FAULTS: [string, (answer: unknown, key: Buffer) => unknown, 'externalErrors' | 'externalTimeouts'][] = [
  ['throws', () => raise(new Error('down')), 'externalErrors'],
  ['throws undefined', () => raise(undefined), 'externalErrors'],
  ['throws what cannot be looked at', () => raise(untouchable()), 'externalErrors'],
  ['rejects', () => Promise.reject(new Error('down')), 'externalErrors'],
  ['rejects with a string', () => Promise.reject('down'), 'externalErrors'],
  ['throws ERR_STORE_TIMEOUT', () => raise(timeout()), 'externalTimeouts'],
  ['rejects with ERR_STORE_TIMEOUT', () => Promise.reject(timeout()), 'externalTimeouts'],
  // biome-ignore lint/suspicious/noThenProperty: a store may answer with anything
  ['answers with a thenable that throws', () => ({ then: () => raise(new Error('no')) }), 'externalErrors'],
];
const LIES: [string, (answer: unknown, key: Buffer) => unknown][] = [
  ['a string', () => 'session'],
  ['a number', () => 0],
  ['an object', () => ({})],
  ['a promise of a string', () => later('session')],
  ['no bytes', () => Buffer.alloc(0)],
  ['a bare session', () => session(1)],
  ['an envelope cut short', (answer) => (answer as Buffer).subarray(0, 49)],
  ['another version', (answer) => flipped(answer as Buffer, 0)],
  ["someone else's envelope", () => sealEnvelope(id(9), session(9), 5, 1_200_000)],
  ['an envelope that never ends', (_, key) => sealEnvelope(key, session(9), 5, 2 ** 62)],
  ['an envelope that ends before it began', (_, key) => sealEnvelope(key, session(9), 1_200_001, 1_200_000)],
  ['a promise of someone else’s envelope', () => later(sealEnvelope(id(9), session(9), 5, 1_200_000))],
];

describe('an external cache that fails', () => {
  it.each(FAULTS)('get, take and set: %s', async (_fault, fail, counter) => {
    const { external, cache } = pair({ mode: NoInternal });
    external.wrap = (answer) => fail(answer, id(1));
    let counted = 0;
    const calls = [
      () => cache.lookup(id(1)),
      () => cache.take(id(1)),
      () => cache.store(id(1), session(1)),
      () => void cache.remove(id(1)),
    ];
    for (const call of calls) {
      expect(await call()).toBeUndefined();
      await turn();
      counted++;
      expect(cache.statistics).toMatchObject({
        externalErrors: 0,
        externalTimeouts: 0,
        [counter]: counted,
        callbackHits: 0,
        misses: 0,
        timeouts: 0,
      });
    }
  });

  it('is still good for the internal cache', async () => {
    const { external, cache } = pair();
    external.wrap = () => Promise.reject(new Error('down'));
    await cache.store(id(1), session(1));
    expect(cache.lookup(id(1))).toEqual(session(1));
    expect(cache.statistics).toMatchObject({ externalErrors: 1, misses: 0 });
  });

  it('has no part in an error that a caller made', () => {
    const { external, cache } = pair();
    expect(() => cache.lookup('x' as never)).toThrow(TypeError);
    expect(external.called()).toEqual([]);
  });
});

describe('an external cache that lies', () => {
  it.each(LIES)('with %s', async (_lie, lie) => {
    const { external, cache } = pair();
    cache.store(id(1), session(1));
    cache.clear();
    external.wrap = (answer, call) => (call === 'get' || call === 'take' ? lie(answer, id(1)) : answer);
    expect(await cache.lookup(id(1))).toBeUndefined();
    expect(cache.statistics).toMatchObject({ externalErrors: 1, callbackHits: 0 });
    expect(await cache.take(id(1))).toBeUndefined();
    expect(cache.statistics).toMatchObject({ externalErrors: 2, callbackHits: 0, timeouts: 0 });
    expect(cache.size).toBe(0);
  });
});

it('a minimal store is enough', () => {
  const held = new Map<string, Uint8Array>();
  const external: SessionStore = {
    get: (key) => held.get(hex(key)),
    set: (key, value) => void held.set(hex(key), value),
    delete: (key) => void held.delete(hex(key)),
  };
  const cache = new SessionCache({ mode: NoInternal, external });
  cache.store(id(1), session(1));
  expect(cache.lookup(id(1))).toEqual(session(1));
  expect(cache.take(id(1))).toEqual(session(1));
  expect(cache.lookup(id(1))).toBeUndefined();
});

function raise(error: unknown): never {
  throw error;
}

function timeout(): Error {
  return Object.assign(new Error('too late'), { code: 'ERR_STORE_TIMEOUT' });
}

function untouchable(): object {
  return new Proxy({}, { get: () => raise(new Error('do not touch')) });
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
}
