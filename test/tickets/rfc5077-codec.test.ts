import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openTicketWith, Rfc5077Codec, sealTicketWith } from '../../src/tickets/rfc5077-codec.js';
import { TicketKey } from '../../src/tickets/ticket-key.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { referenceOpen, referenceSeal } from './reference-rfc5077.js';

const STATE = Buffer.from(Array.from({ length: 160 }, (_, i) => i));

const ringOf = (...keys: TicketKey[]) => TicketKeyRing.fromKeys(keys);
const randomKey = (length: 48 | 80 = 48) => TicketKey.from(randomBytes(length));

function setup(length: 48 | 80 = 48) {
  const ring = ringOf(randomKey(length));
  return { ring, key: ring.current, codec: new Rfc5077Codec(ring) };
}

describe('the format', () => {
  it.each([48, 80] as const)('is key name, IV, ciphertext, HMAC; keys of %i bytes', (length) => {
    const { codec, key } = setup(length);
    for (const size of [0, 1, 15, 16, 17, 160]) {
      const state = randomBytes(size);
      const ticket = codec.seal(state);
      expect(ticket).toHaveLength(16 + 16 + (size - (size % 16) + 16) + 32);
      expect(ticket.subarray(0, 16)).toEqual(key.name);
      expect(referenceSeal(key, ticket.subarray(16, 32), state)).toEqual(ticket);
    }
  });

  it.each([48, 80] as const)('agrees with the reference on 2000 tickets, both ways; keys of %i bytes', (length) => {
    const { codec, key } = setup(length);
    const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
    fc.assert(
      fc.property(bytes(0, 400), bytes(16, 16), (state, iv) => {
        const ours = codec.seal(state);
        expect(referenceOpen([key], ours)).toEqual(Buffer.from(state));
        expect(codec.open(ours)).toEqual(Buffer.from(state));
        const theirs = referenceSeal(key, iv, state);
        expect(codec.open(theirs)).toEqual(Buffer.from(state));
        expect(codec.open(new Uint8Array(theirs))).toEqual(Buffer.from(state));
      }),
      { numRuns: 2000 },
    );
  });

  it('has a random IV: equal states give different tickets', () => {
    const { codec } = setup();
    const ivs = Array.from({ length: 5000 }, () => codec.seal(STATE).toString('hex', 16, 32));
    expect(new Set(ivs).size).toBe(5000);
    for (let at = 0; at < 32; at++) expect(new Set(ivs.map((iv) => iv[at])).size).toBe(16);
  });

  it('leaves what it was given as it was, and gives copies', () => {
    const { codec } = setup();
    const state = Buffer.from(STATE);
    const ticket = codec.seal(state);
    const copy = Buffer.from(ticket);
    codec.open(ticket)?.fill(0);
    expect([state, ticket]).toEqual([STATE, copy]);
    expect(codec.open(ticket)).toEqual(STATE);
  });
});

describe('what does not open', () => {
  const { codec, key, ring } = setup();
  const ticket = codec.seal(STATE);
  const opens = (bytes: Uint8Array) => codec.open(bytes) !== undefined;

  it('is a ticket cut off at any byte, from either side', () => {
    expect(opens(ticket)).toBe(true);
    for (let at = 0; at < ticket.length; at++) {
      if (opens(ticket.subarray(0, at)) || opens(ticket.subarray(at + 1))) expect.fail(`opened, cut at ${at}`);
      expect(openTicketWith(key, ticket.subarray(0, at))).toBeUndefined();
    }
  });

  it('is a ticket with any bit flipped', () => {
    for (let bit = 0; bit < ticket.length * 8; bit++) {
      const flipped = Buffer.from(ticket);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      if (opens(flipped)) expect.fail(`opened with bit ${bit} flipped`);
    }
  });

  it('is a ticket with anything after, before or in it', () => {
    for (const extra of [Buffer.alloc(1), Buffer.alloc(16), ticket]) {
      expect(opens(Buffer.concat([ticket, extra]))).toBe(false);
      expect(opens(Buffer.concat([extra, ticket]))).toBe(false);
      expect(opens(Buffer.concat([ticket.subarray(0, 48), extra, ticket.subarray(48)]))).toBe(false);
    }
  });

  it('is one of another key, of another name or of the same', () => {
    const { name, hmacKey, aesKey } = key;
    expect(new Rfc5077Codec(ringOf(randomKey())).open(ticket)).toBeUndefined();
    const other = new TicketKey({ name, hmacKey: randomBytes(16), aesKey });
    expect(new Rfc5077Codec(ringOf(other)).open(ticket)).toBeUndefined();
    const renamed = new TicketKey({ name: randomBytes(16), hmacKey, aesKey });
    expect(new Rfc5077Codec(ringOf(renamed)).open(ticket)).toBeUndefined();
    expect(openTicketWith(renamed, ticket)).toBeUndefined();
  });

  it('is one whose HMAC is right and whose padding is wrong', () => {
    const unpadded = (state: Buffer) => {
      // Of a state of whole blocks, the ticket without its last block, under a new HMAC.
      const whole = referenceSeal(key, Buffer.alloc(16, 7), state);
      return remade(whole.subarray(0, -48));
    };
    for (const last of [0, 17, 0x80, 0xff]) {
      const forged = unpadded(Buffer.alloc(32, last));
      expect(codec.open(forged)).toBeUndefined();
      expect(referenceOpen([key], forged)).toBeUndefined();
    }
    expect(codec.open(unpadded(Buffer.alloc(32, 16)))).toEqual(Buffer.alloc(16, 16));
  });

  it('is one whose HMAC is right and whose ciphertext is no block, or none', () => {
    expect(codec.open(remade(ticket.subarray(0, 32)))).toBeUndefined();
    for (let length = 33; length < 64; length++) {
      const forged = remade(ticket.subarray(0, length));
      expect(codec.open(forged)).toEqual(referenceOpen([key], forged));
      if (length !== 48) expect(codec.open(forged)).toBeUndefined();
    }
  });

  it('is one that is longer than this codec opens', () => {
    const strict = new Rfc5077Codec(ring, { maxBytes: 100 });
    expect(strict.open(codec.seal(Buffer.alloc(100)))).toHaveLength(100);
    for (const length of [101, 111, 112, 113, 1000]) {
      expect(strict.open(codec.seal(Buffer.alloc(length)))).toBeUndefined();
    }
    expect(codec.open(new Uint8Array(20_000))).toBeUndefined();
  });

  it.each([undefined, null, 'ticket', 240, { length: 240 }, new Uint8Array(ticket).buffer, new Uint16Array(240)])(
    'is %o',
    (value) => {
      expect(codec.open(value as never)).toBeUndefined();
    },
  );

  it('is whatever else, and nothing throws', () => {
    const prefixes = [0, 16, 32, 192].map((length) => ticket.subarray(0, length));
    fc.assert(
      fc.property(fc.constantFrom(...prefixes), fc.uint8Array({ maxLength: 300 }), (prefix, rest) => {
        const bytes = Buffer.concat([prefix, rest]);
        if (!bytes.equals(ticket)) expect(opens(bytes)).toBe(false);
      }),
      { numRuns: 5000 },
    );
  });

  /** With the HMAC that only a holder of the key can make. */
  function remade(authenticated: Buffer): Buffer {
    return Buffer.concat([authenticated, createHmac('sha256', key.hmacKey).update(authenticated).digest()]);
  }
});

describe('keys', () => {
  it('seal when they are current, and open until their lifetime ends', () => {
    let now = 1_800_000_000_000;
    const ring = TicketKeyRing.fromKeys([randomKey()], { lifetime: 100, clock: () => now });
    const codec = new Rfc5077Codec(ring);
    const before = codec.seal(STATE);
    ring.rotate();
    const after = codec.seal(STATE);
    expect(after.subarray(0, 16)).toEqual(ring.current.name);
    now += 100_000;
    expect([codec.open(before), codec.open(after)]).toEqual([STATE, STATE]);
    now += 1;
    expect([codec.open(before), codec.open(after)]).toEqual([undefined, STATE]);
  });

  it.each([48, 80] as const)('of %i bytes neither seal nor open once they are destroyed', (length) => {
    const key = randomKey(length);
    const ticket = sealTicketWith(key, STATE);
    expect(openTicketWith(key, ticket)).toEqual(STATE);
    key.destroy();
    expect(openTicketWith(key, ticket)).toBeUndefined();
    const zeros = { name: key.name, hmacKey: key.hmacKey, aesKey: key.aesKey };
    expect(openTicketWith(key, referenceSeal(zeros, Buffer.alloc(16), STATE))).toBeUndefined();
    expect(() => sealTicketWith(key, STATE)).toThrow(expect.objectContaining({ code: 'ERR_KEY_RING_DISPOSED' }));
  });

  it('are gone with their ring', () => {
    const { ring, codec } = setup();
    const ticket = codec.seal(STATE);
    ring[Symbol.dispose]();
    expect(codec.open(ticket)).toBeUndefined();
    expect(() => codec.seal(STATE)).toThrow(expect.objectContaining({ code: 'ERR_KEY_RING_DISPOSED' }));
  });
});

describe('arguments', () => {
  const { codec, ring } = setup();

  it.each([Buffer.alloc(32), new Uint8Array(), null, 'context'])('a context %o is a TypeError', (context) => {
    const message = /^"context" expected undefined, as RFC 5077 tickets have no place for one, got /;
    expect(() => codec.seal(STATE, context as never)).toThrow(message);
    expect(() => codec.open(codec.seal(STATE), context as never)).toThrow(message);
    expect(() => codec.seal(STATE, context as never)).toThrow(TypeError);
  });

  it.each([undefined, null, 'state', new ArrayBuffer(8)])('a state %o is a TypeError', (state) => {
    expect(() => codec.seal(state as never)).toThrow(/^"state" expected a Uint8Array, got /);
  });

  it('a state that is too long is a RangeError', () => {
    expect(() => codec.seal(Buffer.alloc(16_385))).toThrow(
      new RangeError('"state" expected 0 to 16384 bytes, got Buffer of 16385 bytes'),
    );
    expect(codec.open(codec.seal(Buffer.alloc(16_384)))).toHaveLength(16_384);
  });

  it('a ring or options of the wrong type are a TypeError, and maxBytes out of range a RangeError', () => {
    expect(() => new Rfc5077Codec({} as never)).toThrow(TypeError);
    expect(() => new Rfc5077Codec(ring, null as never)).toThrow(TypeError);
    expect(() => new Rfc5077Codec(ring, { maxBytes: 0 })).toThrow(RangeError);
  });
});
