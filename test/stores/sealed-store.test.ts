import { createHash, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SealedStore, withSeal } from '../../src/stores/sealed-store.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { sessionStoreConformance } from '../../src/testing.js';
import { Rfc5077Codec } from '../../src/tickets/rfc5077-codec.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import type { TicketSealer } from '../../src/tickets/ticket-sealer.js';
import { CountingStore, hex, id, session, stoppedClock } from '../cache/counting-store.js';
import { later, MemoryStore } from './memory-store.js';

const codec = () => new TicketCodec(TicketKeyRing.generate());

function pair(sealer: TicketSealer = codec()) {
  const inner = new CountingStore();
  return { inner, sealed: new SealedStore(inner, sealer) };
}

function raise(error: unknown): never {
  throw error;
}

describe('a SealedStore does what a store must', () => {
  const clock = stoppedClock();
  const advance = (seconds: number) => {
    clock.now += seconds * 1000;
  };
  const held = new Map();
  const sealer = codec();
  const open = () => new SealedStore(new MemoryStore(clock, held), sealer);
  for (const { name, run } of sessionStoreConformance(open, { advance, peer: open })) it(name, run);
  describe('over a store that answers later', () => {
    const openLater = () => new SealedStore(later(new MemoryStore(clock, held)), sealer);
    for (const { name, run } of sessionStoreConformance(openLater, { advance, peer: openLater })) it(name, run);
  });
});

describe('what the storage holds', () => {
  it('has no byte of the session in it, eight in a row or more', () => {
    const { inner, sealed } = pair();
    const secret = randomBytes(200);
    sealed.set(id(1), secret, 300);
    const value = Buffer.from(inner.held.get(hex(id(1)))?.value ?? []);
    expect(value.length).toBeGreaterThan(200);
    for (let at = 0; at + 8 <= secret.length; at++) expect(value.includes(secret.subarray(at, at + 8))).toBe(false);
    expect(inner.held.get(hex(id(1)))?.timeout).toBe(300);
    expect(sealed.get(id(1))).toEqual(secret);
  });

  it('is never the same for the same session', () => {
    const { inner, sealed } = pair();
    sealed.set(id(1), session(1), 300);
    const first = inner.held.get(hex(id(1)))?.value;
    sealed.set(id(1), session(1), 300);
    expect(inner.held.get(hex(id(1)))?.value).not.toEqual(first);
  });

  it('opens nothing when it is moved to another key, altered at any bit, cut at any byte or extended', () => {
    const { inner, sealed } = pair();
    sealed.set(id(1), session(1, 20), 300);
    const value = Buffer.from(inner.held.get(hex(id(1)))?.value ?? []);
    const put = (key: Buffer, bytes: Uint8Array) => inner.held.set(hex(key), { value: bytes, timeout: 300 });
    let refused = 0;
    const refuses = (key: Buffer) => {
      expect(sealed.get(key)).toBeUndefined();
      expect(sealed.take?.(key)).toBeUndefined();
      refused += 2;
    };
    put(id(2), value);
    for (let length = 0; length < value.length; length++) {
      put(id(1), value.subarray(0, length));
      refuses(id(1));
    }
    for (let bit = 0; bit < value.length * 8; bit++) {
      const flipped = Buffer.from(value);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      put(id(1), flipped);
      refuses(id(1));
    }
    put(id(1), Buffer.concat([value, Buffer.alloc(1)]));
    refuses(id(1));
    refuses(id(2));
    put(id(1), value);
    expect(sealed.get(id(1))).toEqual(session(1, 20));
    expect(sealed.statistics).toEqual({ opened: 1, refused });
  });

  it('is a miss for whatever stands there', () => {
    const { inner, sealed } = pair();
    const lies: unknown[] = ['text', 0, {}, [], Buffer.alloc(0), session(1), Buffer.alloc(100_000), true];
    for (const lie of lies) {
      inner.wrap = () => lie;
      expect(sealed.get(id(1))).toBeUndefined();
      expect(sealed.take?.(id(1))).toBeUndefined();
    }
    expect(sealed.statistics).toEqual({ opened: 0, refused: 2 * lies.length });
    for (const nothing of [null, undefined]) {
      inner.wrap = () => nothing;
      expect(sealed.get(id(1))).toBeUndefined();
    }
    expect(sealed.statistics.refused).toBe(2 * lies.length);
  });

  it('is a miss for random bytes (property)', () => {
    const { inner, sealed } = pair();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        inner.wrap = () => bytes;
        expect(sealed.get(id(1))).toBeUndefined();
      }),
    );
  });

  it('opens under other keys only where they are the same ring', () => {
    const secret = randomBytes(32);
    const inner = new CountingStore();
    const one = new SealedStore(inner, new TicketCodec(TicketKeyRing.fromSecret(secret)));
    const same = new SealedStore(inner, new TicketCodec(TicketKeyRing.fromSecret(secret)));
    const other = new SealedStore(inner, codec());
    one.set(id(1), session(1), 300);
    expect(same.get(id(1))).toEqual(session(1));
    expect(other.get(id(1))).toBeUndefined();
  });

  it('is no ticket: what the same keys seal for a client under that context does not open', () => {
    const sealer = codec();
    const { inner, sealed } = pair(sealer);
    const ticket = sealer.seal(session(1), id(1));
    inner.held.set(hex(id(1)), { value: ticket, timeout: 300 });
    expect(sealed.get(id(1))).toBeUndefined();
    sealed.set(id(1), session(1), 300);
    const value = inner.held.get(hex(id(1)))?.value as Buffer;
    expect(sealer.open(value, id(1))).toBeUndefined();
    // The context is part of the format: other versions of this library must open what is in a storage.
    expect(sealer.open(value, Buffer.concat([Buffer.from('tls-resumption store v1\0'), id(1)]))).toEqual(session(1));
  });
});

describe('how a SealedStore answers', () => {
  it('at once where the store does, and later where it does not', async () => {
    const { inner, sealed } = pair();
    expect(sealed.set(id(1), session(1), 300)).toBeUndefined();
    expect(sealed.get(id(1))).toEqual(session(1));
    expect(sealed.take?.(id(1))).toEqual(session(1));
    inner.wrap = (answer) => Promise.resolve(answer);
    expect(sealed.set(id(1), session(1), 300)).toBeInstanceOf(Promise);
    expect(sealed.get(id(1))).toBeInstanceOf(Promise);
    expect(await sealed.take?.(id(1))).toEqual(session(1));
    expect(inner.called()).toEqual(['set', 'get', 'take', 'set', 'get', 'take']);
  });

  it('passes on what the store throws or rejects with', async () => {
    const { inner, sealed } = pair();
    const error = new Error('down');
    inner.wrap = () => raise(error);
    expect(() => sealed.get(id(1))).toThrow(error);
    expect(() => sealed.set(id(1), session(1), 300)).toThrow(error);
    inner.wrap = () => Promise.reject(error);
    await expect(sealed.get(id(1))).rejects.toBe(error);
    await expect(sealed.delete(id(1))).rejects.toBe(error);
    await expect(sealed.take?.(id(1))).rejects.toBe(error);
    expect(sealed.statistics).toEqual({ opened: 0, refused: 0 });
  });

  it('offers take and close where the store does', async () => {
    const bare: SessionStore = { get: () => undefined, set: () => {}, delete: () => {} };
    expect(new SealedStore(bare, codec()).take).toBeUndefined();
    expect(new SealedStore(bare, codec()).close()).toBeUndefined();
    let closed = 0;
    const closing = { ...bare, close: async () => void closed++ };
    await new SealedStore(closing, codec()).close();
    expect(closed).toBe(1);
  });

  it('works in a SessionCache, where a value moved to another key is a miss', () => {
    const { inner, sealed } = pair();
    const cache = new SessionCache({ mode: 0x302, external: sealed });
    cache.store(id(1), session(1));
    expect(cache.lookup(id(1))).toEqual(session(1));
    inner.held.set(hex(id(2)), inner.held.get(hex(id(1))) as never);
    expect(cache.lookup(id(2))).toBeUndefined();
    expect(sealed.statistics).toEqual({ opened: 1, refused: 1 });
  });

  it('shows counts only', () => {
    const { sealed } = pair();
    sealed.set(id(1), session(1), 300);
    sealed.get(id(1));
    expect(inspect(sealed)).toBe('SealedStore { opened: 1, refused: 0 }');
    expect(Object.isFrozen(sealed.statistics)).toBe(true);
  });
});

/** Sealers that a store of secrets must not be given. */
const BAD_SEALERS: [what: string, sealer: () => unknown, message: RegExp][] = [
  ['Rfc5077Codec, whose format has no context', () => new Rfc5077Codec(TicketKeyRing.generate()), /takes a context/],
  ['one that leaves the context out', () => unbound(codec()), /binds to its context/],
  ['one that does not encrypt', () => plain(), /encrypts/],
  ['one that does not open', () => ({ ...bound(codec()), open: () => undefined }), /does not open/],
  ['one that opens as something else', () => ({ ...bound(codec()), open: () => Buffer.alloc(32) }), /does not open/],
  ['one that opens as a string', () => ({ ...bound(codec()), open: () => 'state' }), /does not open/],
  ['one that seals later', () => ({ ...bound(codec()), seal: async () => Buffer.alloc(9) }), /expected bytes/],
  ['one without open', () => ({ seal: () => Buffer.alloc(0) }), /sealer\.open/],
  ['one without seal', () => ({ open: () => undefined }), /sealer\.seal/],
  ['a ring', () => TicketKeyRing.generate(), /sealer\.seal/],
  ['a key', () => randomBytes(32), /sealer\.seal/],
  ['nothing', () => undefined, /expected a TicketSealer/],
  ['false', () => false, /expected a TicketSealer/],
];

describe('a SealedStore refuses', () => {
  it.each(BAD_SEALERS)('%s', (_what, sealer, message) => {
    expect(() => new SealedStore(new CountingStore(), sealer() as TicketSealer)).toThrow(TypeError);
    expect(() => new SealedStore(new CountingStore(), sealer() as TicketSealer)).toThrow(message);
  });

  it('what is no store', () => {
    for (const store of [undefined, {}, { get: () => {}, set: () => {} }]) {
      expect(() => new SealedStore(store as never, codec())).toThrow(TypeError);
    }
    const store = new CountingStore();
    expect(() => new SealedStore({ ...bound(codec()), get: 1 } as never, codec())).toThrow(/store\.get/);
    expect(() => new SealedStore(Object.assign(store, { take: 1 }) as never, codec())).toThrow(/store\.take/);
  });

  it('a ring that was disposed of, with the error of the ring', () => {
    const ring = TicketKeyRing.generate();
    ring[Symbol.dispose]();
    expect(() => new SealedStore(new CountingStore(), new TicketCodec(ring))).toThrow(
      expect.objectContaining({ code: 'ERR_KEY_RING_DISPOSED' }),
    );
  });

  it('takes an open that throws later for one that refuses', () => {
    const sealer = codec();
    let broken = false;
    const { sealed } = pair({
      seal: (state, context) => sealer.seal(state, context),
      open: (ticket, context) => (broken ? raise(new Error('no')) : sealer.open(ticket, context)),
    });
    sealed.set(id(1), session(1), 300);
    broken = true;
    expect(sealed.get(id(1))).toBeUndefined();
    expect(sealed.statistics).toEqual({ opened: 0, refused: 1 });
  });
});

describe('withSeal', () => {
  it('seals, or leaves a store as it is when told false', () => {
    const store = new CountingStore();
    expect(withSeal(store, false)).toBe(store);
    expect(withSeal(store, codec())).toBeInstanceOf(SealedStore);
  });

  it.each([undefined, null, true, 'key', 0])('is never left out: %s', (seal) => {
    expect(() => withSeal(new CountingStore(), seal as never)).toThrow(TypeError);
    expect(() => withSeal(new CountingStore(), seal as never)).toThrow(/"seal" expected a TicketSealer, or false/);
  });

  it('names what is wrong', () => {
    expect(() => withSeal({} as never, false)).toThrow(/store\.get/);
    expect(() => withSeal(new CountingStore(), new Rfc5077Codec(TicketKeyRing.generate()))).toThrow(/TicketCodec/);
  });
});

function bound(sealer: TicketSealer): TicketSealer {
  return {
    seal: (state, context) => sealer.seal(state, context),
    open: (ticket, context) => sealer.open(ticket, context),
  };
}

function unbound(sealer: TicketSealer): TicketSealer {
  return { seal: (state) => sealer.seal(state), open: (ticket) => sealer.open(ticket) };
}

/** Binds to its context with a digest, and hides nothing. */
function plain(): TicketSealer {
  const digest = (state: Uint8Array, context: Uint8Array = Buffer.alloc(0)) =>
    createHash('sha256').update(context).update(state).digest();
  return {
    seal: (state, context) => Buffer.concat([digest(state, context), state]),
    open: (ticket, context) => {
      const state = Buffer.from(ticket.subarray(32));
      return digest(state, context).equals(ticket.subarray(0, 32)) ? state : undefined;
    },
  };
}
