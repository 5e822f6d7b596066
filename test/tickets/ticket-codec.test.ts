import { type ChildProcess, execFile, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { build } from 'tsup';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { DerivedKeys, MAX_OPENING_KEYS, SEALS_PER_SALT } from '../../src/tickets/codec-derived-keys.js';
import { Rfc5077Codec } from '../../src/tickets/rfc5077-codec.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKey } from '../../src/tickets/ticket-key.js';
import { formatTicketKeys } from '../../src/tickets/ticket-key-formats.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import type { Delivery, Order } from './codec-process.js';
import { referenceOpen, referenceSeal } from './reference-ticket-codec.js';

const OVERHEAD = 77;
const STATE = Buffer.from(Array.from({ length: 160 }, (_, i) => i));
const CONTEXT = Buffer.alloc(32, 0xc0);

const ringOf = (...keys: TicketKey[]) => TicketKeyRing.fromKeys(keys);
const randomKey = (length: 48 | 80 = 48) => TicketKey.from(randomBytes(length));

function setup(length: 48 | 80 = 48) {
  const ring = ringOf(randomKey(length));
  const codec = new TicketCodec(ring);
  return { ring, key: ring.current, codec, derived: DerivedKeys.of(ring.current) };
}

const saltOf = (ticket: Buffer) => ticket.toString('hex', 17, 49);

describe('the format', () => {
  const key = TicketKey.from(Buffer.from(Array.from({ length: 48 }, (_, i) => i + 1)));

  it('is version, key name, salt, nonce, ciphertext, tag', () => {
    const ticket = new TicketCodec(ringOf(key)).seal(STATE, CONTEXT);
    expect(ticket).toHaveLength(STATE.length + OVERHEAD);
    expect(ticket[0]).toBe(1);
    expect(ticket.subarray(1, 17)).toEqual(key.name);
    expect(referenceSeal(key, ticket.subarray(17, 49), ticket.subarray(49, 61), STATE, CONTEXT)).toEqual(ticket);
  });

  it('does not change: this ticket opens for ever', () => {
    const ticket = Buffer.from(
      '01 0102030405060708090a0b0c0d0e0f10 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a 7e7e7e7e7e7e7e7e7e7e7e7e b36974a4b99783f8f6 f38ae1c644206371eef34ee24468de77'.replaceAll(
        ' ',
        '',
      ),
      'hex',
    );
    expect(referenceOpen([key], ticket, CONTEXT)?.toString()).toBe('a session');
    expect(new TicketCodec(ringOf(key)).open(ticket, CONTEXT)?.toString()).toBe('a session');
  });

  it.each([48, 80] as const)('agrees with the reference on 2000 tickets, both ways; keys of %i bytes', (length) => {
    const { codec, key } = setup(length);
    const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
    fc.assert(
      fc.property(
        bytes(0, 400),
        fc.option(bytes(0, 80), { nil: undefined }),
        bytes(32, 32),
        bytes(12, 12),
        (state, context, salt, nonce) => {
          const ours = codec.seal(state, context);
          expect(referenceOpen([key], ours, context)).toEqual(Buffer.from(state));
          expect(codec.open(ours, context)).toEqual(Buffer.from(state));
          const theirs = referenceSeal(key, salt, nonce, state, context);
          expect(codec.open(theirs, context)).toEqual(Buffer.from(state));
          expect(codec.open(new Uint8Array(theirs), context)).toEqual(Buffer.from(state));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('leaves what it was given as it was, and gives copies', () => {
    const { codec } = setup();
    const [state, context] = [Buffer.from(STATE), Buffer.from(CONTEXT)];
    const ticket = codec.seal(state, context);
    const copy = Buffer.from(ticket);
    const opened = codec.open(ticket, context) as Buffer;
    expect([state, context, ticket]).toEqual([STATE, CONTEXT, copy]);
    opened.fill(0);
    expect(codec.open(ticket, context)).toEqual(STATE);
  });

  it('seals nothing, and as much as it may', () => {
    const { ring } = setup();
    const codec = new TicketCodec(ring, { maxBytes: 1000 });
    for (const length of [0, 1, 999, 1000]) {
      const state = randomBytes(length);
      expect(codec.open(codec.seal(state))).toEqual(state);
    }
  });

  it('takes no context for an empty one', () => {
    const { codec } = setup();
    expect(codec.open(codec.seal(STATE), Buffer.alloc(0))).toEqual(STATE);
    expect(codec.open(codec.seal(STATE, new Uint8Array()))).toEqual(STATE);
  });
});

describe('what does not open', () => {
  const { codec, ring } = setup();
  const ticket = codec.seal(STATE, CONTEXT);
  const opens = (bytes: Uint8Array, context: Uint8Array | undefined = CONTEXT) =>
    codec.open(bytes, context) !== undefined;

  it('is a ticket cut off at any byte, from either side', () => {
    expect(opens(ticket)).toBe(true);
    for (let at = 0; at < ticket.length; at++) {
      if (opens(ticket.subarray(0, at)) || opens(ticket.subarray(at + 1))) expect.fail(`opened, cut at ${at}`);
    }
  });

  it('is a ticket with any bit flipped', () => {
    for (let bit = 0; bit < ticket.length * 8; bit++) {
      const flipped = Buffer.from(ticket);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      if (opens(flipped)) expect.fail(`opened with bit ${bit} flipped`);
    }
  });

  it('is a ticket with anything after or before it', () => {
    for (const extra of [Buffer.alloc(1), Buffer.alloc(16), ticket, CONTEXT]) {
      expect(opens(Buffer.concat([ticket, extra]))).toBe(false);
      expect(opens(Buffer.concat([extra, ticket]))).toBe(false);
    }
  });

  it('is a ticket of any other version', () => {
    const other = Buffer.from(ticket);
    for (let version = 0; version < 256; version++) {
      other[0] = version;
      expect(opens(other)).toBe(version === 1);
      const genuine = referenceSeal(ring.current, Buffer.alloc(32), Buffer.alloc(12), STATE, CONTEXT, version);
      expect(opens(genuine)).toBe(version === 1);
    }
  });

  it('is a ticket under another context: with a bit flipped, cut off, longer, or none', () => {
    for (let bit = 0; bit < CONTEXT.length * 8; bit++) {
      const context = Buffer.from(CONTEXT);
      context[bit >> 3]! ^= 1 << (bit & 7);
      expect(opens(ticket, context)).toBe(false);
    }
    for (let length = 0; length < CONTEXT.length; length++) {
      expect(opens(ticket, CONTEXT.subarray(0, length))).toBe(false);
    }
    expect(opens(ticket, Buffer.concat([CONTEXT, Buffer.alloc(1)]))).toBe(false);
    expect(codec.open(ticket)).toBeUndefined();
  });

  it('is one whose ciphertext was moved into the context, or the other way', () => {
    const moved = Buffer.concat([CONTEXT, ticket.subarray(61, 77)]);
    expect(opens(Buffer.concat([ticket.subarray(0, 61), ticket.subarray(77)]), moved)).toBe(false);
    const back = Buffer.concat([ticket.subarray(0, 61), CONTEXT.subarray(-16), ticket.subarray(61)]);
    expect(opens(back, CONTEXT.subarray(0, -16))).toBe(false);
  });

  it('is one of another key, of another name or of the same', () => {
    expect(new TicketCodec(ringOf(randomKey())).open(ticket, CONTEXT)).toBeUndefined();
    const { name } = ring.current;
    const [hmacKey, aesKey] = [randomBytes(16), randomBytes(16)];
    expect(new TicketCodec(ringOf(new TicketKey({ name, hmacKey, aesKey }))).open(ticket, CONTEXT)).toBeUndefined();
    const half = new TicketKey({ name, hmacKey: ring.current.hmacKey, aesKey });
    expect(new TicketCodec(ringOf(half)).open(ticket, CONTEXT)).toBeUndefined();
  });

  it('is one that is longer than this codec opens', () => {
    const [small, large] = [100, 101].map((length) => codec.seal(Buffer.alloc(length)));
    const strict = new TicketCodec(ring, { maxBytes: 100 });
    expect(strict.open(small as Buffer)).toHaveLength(100);
    expect(strict.open(large as Buffer)).toBeUndefined();
    expect(codec.open(new Uint8Array(16_384 + OVERHEAD + 1))).toBeUndefined();
  });

  it('is a ticket of RFC 5077 under the same key', () => {
    const other = new Rfc5077Codec(ring).seal(STATE);
    expect(codec.open(other)).toBeUndefined();
    expect(new Rfc5077Codec(ring).open(codec.seal(STATE))).toBeUndefined();
  });

  it.each([
    ['nothing', undefined],
    ['null', null],
    ['text', 'ticket'],
    ['a number', 237],
    ['an object that has a length', { length: 237, 0: 1 }],
    ['an array', [...ticket]],
    ['an ArrayBuffer', new Uint8Array(ticket).buffer],
    ['a DataView', new DataView(new ArrayBuffer(237))],
    ['wider numbers', new Uint16Array(237)],
    ['bytes whose memory went elsewhere', detached(new Uint8Array(ticket))],
  ])('is %s', (_what, value) => {
    expect(codec.open(value as never, CONTEXT)).toBeUndefined();
  });

  it('may be in shared memory', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(ticket.length));
    shared.set(ticket);
    expect(codec.open(shared, CONTEXT)).toEqual(STATE);
  });

  it('is whatever else, and nothing throws', () => {
    const prefixes = [0, 1, 17, 49, 61].map((length) => ticket.subarray(0, length));
    fc.assert(
      fc.property(fc.constantFrom(...prefixes), fc.uint8Array({ maxLength: 300 }), (prefix, rest) => {
        const bytes = Buffer.concat([prefix, rest]);
        if (!bytes.equals(ticket)) expect(opens(bytes)).toBe(false);
      }),
      { numRuns: 5000 },
    );
  });

  function detached(bytes: Uint8Array<ArrayBuffer>): Uint8Array {
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    return bytes;
  }
});

describe('keys of the ring', () => {
  function timed() {
    let now = 1_800_000_000_000;
    const ring = TicketKeyRing.fromKeys([randomKey()], { lifetime: 100, clock: () => now });
    return {
      ring,
      codec: new TicketCodec(ring),
      pass: (seconds: number) => {
        now += seconds * 1000;
      },
    };
  }

  it('seal when they are current, and open until their lifetime ends', () => {
    const { ring, codec, pass } = timed();
    const before = codec.seal(STATE);
    ring.rotate();
    const after = codec.seal(STATE);
    expect(after.subarray(1, 17)).toEqual(ring.current.name);
    expect(after.subarray(1, 17)).not.toEqual(before.subarray(1, 17));
    expect(after.subarray(17, 49)).not.toEqual(before.subarray(17, 49));
    pass(100);
    expect([codec.open(before), codec.open(after)]).toEqual([STATE, STATE]);
    pass(1);
    expect([codec.open(before), codec.open(after)]).toEqual([undefined, STATE]);
  });

  it('take with them what was derived from them', () => {
    const { ring, codec, pass } = timed();
    const ticket = codec.seal(STATE);
    expect(codec.open(ticket)).toEqual(STATE);
    const derived = DerivedKeys.of(ring.current);
    expect([derived.get(ticket)?.type, derived.size]).toEqual(['secret', 1]);
    ring.rotate();
    pass(101);
    expect(codec.open(ticket)).toBeUndefined();
    expect([derived.get(ticket), derived.size]).toEqual([undefined, 0]);
    expect(() => derived.nextSeal()).toThrow('The ticket key was destroyed');
  });

  it('do not open when they were left out at a rotation', () => {
    const { ring, codec } = timed();
    const ticket = codec.seal(STATE);
    ring.rotate(undefined, { overlap: false });
    expect(codec.open(ticket)).toBeUndefined();
  });

  it('neither seal nor open when they are destroyed: zeros are a key that everybody has', () => {
    const { ring, key, codec, derived } = setup();
    const ticket = codec.seal(STATE);
    expect(codec.open(ticket)).toEqual(STATE);
    const { name } = key;
    key.destroy();
    expect(codec.open(ticket)).toBeUndefined();
    const zero = { name, hmacKey: Buffer.alloc(16), aesKey: Buffer.alloc(16) };
    expect(codec.open(referenceSeal(zero, Buffer.alloc(32), Buffer.alloc(12), STATE))).toBeUndefined();
    expect(() => codec.seal(STATE)).toThrow('The ticket key was destroyed');
    expect(() => derived.derive(Buffer.alloc(32))).toThrow('The ticket key was destroyed');
    expect(() => new Rfc5077Codec(ring).seal(STATE)).toThrow('The ticket key was destroyed');
  });

  it('are gone with their ring', () => {
    const { ring, codec } = setup();
    const ticket = codec.seal(STATE);
    ring[Symbol.dispose]();
    expect(codec.open(ticket)).toBeUndefined();
    expect(() => codec.seal(STATE)).toThrow(expect.objectContaining({ code: 'ERR_KEY_RING_DISPOSED' }));
  });

  it('are counted as they seal', () => {
    const ring = TicketKeyRing.generate({ maxSeals: 3 });
    const codec = new TicketCodec(ring);
    const names = Array.from({ length: 6 }, () => codec.seal(STATE).toString('hex', 1, 17));
    expect(new Set(names).size).toBeGreaterThan(1);
  });
});

describe('salts and nonces', () => {
  it('never repeat together, and the salt stays', () => {
    const { codec } = setup();
    const tickets = Array.from({ length: 5000 }, () => codec.seal(STATE));
    expect(new Set(tickets.map(saltOf)).size).toBe(1);
    expect(new Set(tickets.map((ticket) => ticket.toString('hex', 49, 61))).size).toBe(5000);
    expect(tickets.map((ticket) => ticket.readUInt32BE(49))).toEqual(tickets.map((_, i) => i));
    expect(new Set(tickets.map((ticket) => ticket.toString('hex', 53, 61))).size).toBe(5000);
  });

  it('are drawn at the first seal, and again after 2^20 seals', () => {
    const { derived, codec } = setup();
    const first = derived.nextSeal();
    const { aesKey, nonce } = first;
    for (let seals = 1; seals < SEALS_PER_SALT; seals++) derived.nextSeal();
    expect(nonce.readUInt32BE(0)).toBe(2 ** 20 - 1);
    const second = derived.nextSeal();
    expect(saltOf(second.header)).not.toBe(saltOf(first.header));
    expect(second.nonce.readUInt32BE(0)).toBe(0);
    expect(second.aesKey.equals(aesKey)).toBe(false);
    expect(codec.open(codec.seal(STATE))).toEqual(STATE);
  });

  it('are shared by the codecs of a ring, and differ for each key and ring', () => {
    const shared = randomKey();
    const [ring, other] = [ringOf(shared), ringOf(shared)];
    const [one, two, elsewhere] = [ring, ring, other].map((each) => new TicketCodec(each).seal(STATE)) as [
      Buffer,
      Buffer,
      Buffer,
    ];
    expect(saltOf(two)).toBe(saltOf(one));
    expect(two.readUInt32BE(49)).toBe(1);
    expect(saltOf(elsewhere)).not.toBe(saltOf(one));
    expect(new TicketCodec(ring).open(elsewhere)).toEqual(STATE);
  });
});

describe('derived keys that are remembered for opening', () => {
  const sealedWith = (key: TicketKey, n: number) => {
    const salt = Buffer.alloc(32);
    salt.writeUInt32BE(n);
    return referenceSeal(key, salt, Buffer.alloc(12), STATE);
  };

  it('are at most 1024 for each ring key; the oldest is forgotten, and its tickets still open', () => {
    const { codec, derived, key } = setup();
    const tickets = Array.from({ length: MAX_OPENING_KEYS + 1 }, (_, n) => sealedWith(key, n));
    for (const ticket of tickets.slice(0, -1)) codec.open(ticket);
    const remembered = () => tickets.map((ticket) => derived.get(ticket) !== undefined);
    const all = tickets.map(() => true);
    expect(remembered()).toEqual(all.with(-1, false));
    expect(codec.open(tickets.at(-1) as Buffer)).toEqual(STATE);
    expect(remembered()).toEqual(all.with(0, false));
    for (const ticket of tickets) expect(codec.open(ticket)).toEqual(STATE);
    expect(derived.size).toBe(MAX_OPENING_KEYS);
  });

  it('stay when the ticket is overwritten, and are for its salt only', () => {
    const { codec, derived, key } = setup();
    const salts = [Buffer.alloc(32, 7), Buffer.concat([Buffer.alloc(31, 7), Buffer.alloc(1)])];
    const [ticket, alike] = salts.map((salt) => referenceSeal(key, salt, Buffer.alloc(12), STATE)) as [Buffer, Buffer];
    const copy = Buffer.from(ticket);
    expect(codec.open(ticket)).toEqual(STATE);
    ticket.fill(0);
    expect(derived.get(copy)).toBeDefined();
    expect(derived.get(alike)).toBeUndefined();
    expect(codec.open(alike)).toEqual(STATE);
    expect(codec.open(copy)).toEqual(STATE);
  });

  it('are none for what was not genuine', () => {
    const { codec, derived, key } = setup();
    const ticket = codec.seal(STATE, CONTEXT);
    codec.open(ticket, CONTEXT);
    for (let n = 0; n < 2000; n++) {
      const garbage = sealedWith(key, n);
      garbage[garbage.length - 1]! ^= 1;
      expect(codec.open(garbage)).toBeUndefined();
    }
    expect(codec.open(sealedWith(key, 1), CONTEXT)).toBeUndefined();
    expect(derived.size).toBe(1);
    expect(derived.get(ticket)).toBeDefined();
  });
});

describe('arguments', () => {
  const { codec, ring } = setup();

  it.each([undefined, null, {}, 'ring', randomKey()])('a ring %o is a TypeError', (value) => {
    expect(() => new TicketCodec(value as never)).toThrow(/^"ring" expected a TicketKeyRing, got /);
  });

  it.each([null, 1, 'options'])('options %o are a TypeError', (value) => {
    expect(() => new TicketCodec(ring, value as never)).toThrow(TypeError);
  });

  it.each([0, -1, 1.5, 2 ** 24 + 1, Number.NaN])('maxBytes of %o is a RangeError', (maxBytes) => {
    expect(() => new TicketCodec(ring, { maxBytes })).toThrow(RangeError);
  });

  it('a state that is too long is a RangeError', () => {
    expect(() => codec.seal(Buffer.alloc(16_385))).toThrow(
      new RangeError('"state" expected 0 to 16384 bytes, got Buffer of 16385 bytes'),
    );
    expect(codec.seal(Buffer.alloc(16_384))).toHaveLength(16_384 + OVERHEAD);
  });

  it.each([undefined, null, 'state', [[]], new ArrayBuffer(8)])('a state %o is a TypeError', (state) => {
    expect(() => codec.seal(state as never)).toThrow(/^"state" expected a Uint8Array, got /);
  });

  it.each([null, 'context', 0, [[]], new ArrayBuffer(8)])('a context %o is a TypeError', (context) => {
    expect(() => codec.seal(STATE, context as never)).toThrow(/^"context" expected a Uint8Array, got /);
    expect(() => codec.open(codec.seal(STATE), context as never)).toThrow(/^"context" expected a Uint8Array, got /);
  });

  it('what is refused does not count as a seal', () => {
    const { codec: fresh } = setup();
    expect(() => fresh.seal(Buffer.alloc(16_385))).toThrow(RangeError);
    expect(fresh.seal(STATE).readUInt32BE(49)).toBe(0);
  });
});

describe('several processes', () => {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill();
  });

  function start(env: NodeJS.ProcessEnv) {
    const file = fileURLToPath(new URL('./codec-process.ts', import.meta.url));
    const child = fork(file, { execArgv: ['--import', 'tsx'], env: { ...process.env, ...env } });
    children.push(child);
    return async (order: Order): Promise<Delivery> => {
      child.send(order);
      const [answer] = await Promise.race([
        once(child, 'message'),
        once(child, 'exit').then(([code]) => Promise.reject(new Error(`ended with ${code}`))),
      ]);
      return answer as Delivery;
    };
  }

  it.each([
    ['one secret', () => ({ SHARED_SECRET: randomBytes(32).toString('base64') })],
    [
      'one key file',
      () => ({
        SHARED_KEYS: formatTicketKeys(
          [1, 2, 3].map(() => randomKey()),
          'haproxy',
        ).toString(),
      }),
    ],
  ])('with %s open what the others sealed', async (_what, env) => {
    const shared = env();
    const processes = [1, 2, 3, 4].map(() => start(shared));
    const states = Array.from({ length: 50 }, () => randomBytes(160).toString('base64'));
    for (const codec of ['library', 'rfc5077'] as const) {
      const sealed = await Promise.all(processes.map((ask) => ask({ codec, states })));
      const all = sealed.flat() as string[];
      expect(new Set(all).size).toBe(200);
      if (codec === 'library') {
        // Each has a salt of its own.
        expect(new Set(all.map((ticket) => saltOf(Buffer.from(ticket, 'base64')))).size).toBe(4);
      }
      for (const ask of processes) {
        expect(await ask({ codec, tickets: all })).toEqual([...states, ...states, ...states, ...states]);
      }
    }
    const stranger = start({ SHARED_SECRET: randomBytes(32).toString('base64') });
    const [ticket] = (await (processes[0] as typeof stranger)({ codec: 'library', states })) as string[];
    expect(await stranger({ codec: 'library', tickets: [ticket as string] })).toEqual([null]);
  });
});

describe('a startup snapshot', () => {
  interface Sealed {
    readonly salt: string;
    readonly iv: string;
    readonly opened: readonly string[];
  }
  const folders: string[] = [];
  afterAll(async () => {
    for (const folder of folders) await rm(folder, { recursive: true });
  });

  it('gives the processes that start from it no salt, nonce or random number to share', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tls-resumption-codec-'));
    folders.push(folder);
    const source = (name: string) =>
      JSON.stringify(fileURLToPath(new URL(`../../src/tickets/${name}.ts`, import.meta.url)));
    await writeFile(
      join(folder, 'main.ts'),
      `import { startupSnapshot } from 'node:v8';
      import { Rfc5077Codec } from ${source('rfc5077-codec')};
      import { TicketCodec } from ${source('ticket-codec')};
      import { TicketKeyRing } from ${source('ticket-key-ring')};
      const ring = TicketKeyRing.fromKeys([Uint8Array.from({ length: 48 }, (_, i) => i + 1)]);
      const codecs = [new TicketCodec(ring), new Rfc5077Codec(ring)];
      const seal = () => {
        const tickets = codecs.map((codec) => codec.seal(Buffer.from('a session')));
        const opened = tickets.map((ticket, i) => codecs[i].open(ticket).toString());
        return { salt: tickets[0].toString('hex', 17, 49), iv: tickets[1].toString('hex', 16, 32), opened };
      };
      const before = [seal(), seal()];
      startupSnapshot.setDeserializeMainFunction(() => console.log(JSON.stringify([...before, seal(), seal()])));`,
    );
    await build({
      config: false,
      silent: true,
      entry: [join(folder, 'main.ts')],
      outDir: folder,
      format: 'cjs',
      outExtension: () => ({ js: '.cjs' }),
      target: 'node20',
      tsconfig: fileURLToPath(new URL('../../tsconfig.json', import.meta.url)),
    });
    const run = async (...args: string[]) =>
      (await promisify(execFile)(process.execPath, args, { cwd: folder })).stdout;
    await run('--snapshot-blob', 'snapshot', '--build-snapshot', 'main.cjs');
    const started = [await run('--snapshot-blob', 'snapshot'), await run('--snapshot-blob', 'snapshot')];
    const [one, two] = started.map((text) => JSON.parse(text) as Sealed[]) as [Sealed[], Sealed[]];
    const all = [...one, ...two.slice(2)];
    expect(one.slice(0, 2)).toEqual(two.slice(0, 2));
    for (const { opened } of all) expect(opened).toEqual(['a session', 'a session']);
    expect(new Set(all.map(({ iv }) => iv)).size).toBe(6);
    // While the snapshot was built, each seal had a salt; afterwards, each process has one.
    expect(new Set(all.map(({ salt }) => salt)).size).toBe(4);
    expect([one[2]?.salt, two[2]?.salt]).toEqual([one[3]?.salt, two[3]?.salt]);
  });
});
