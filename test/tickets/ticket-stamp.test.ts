import { createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TicketKey } from '../../src/tickets/ticket-key.js';
import { isStampedFor, openStamp, sealStamp } from '../../src/tickets/ticket-stamp.js';

const newKey = (): TicketKey => TicketKey.from(randomBytes(48));
const key = newKey();
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

/** The format again, slowly: what another implementation would need to know. */
function blockUnder({ hmacKey }: TicketKey, vector: Uint8Array): Buffer {
  const stampKey = createHmac('sha256', hmacKey).update('tls-resumption ticket stamp v1').digest().subarray(0, 16);
  const cipher = createDecipheriv('aes-128-ecb', stampKey, null).setAutoPadding(false);
  return Buffer.concat([cipher.update(vector), cipher.final()]);
}

describe('a stamp', () => {
  it('says what it was sealed with', () => {
    const anyTime = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(bytes(32), bytes(32), anyTime, fc.integer({ min: 0, max: 999 }), (context, other, seconds, rest) => {
        const vector = sealStamp(key, context, seconds * 1000 + rest);
        const stamp = openStamp(key, vector);
        expect(vector).toHaveLength(16);
        expect(stamp?.fullHandshakeTime).toBe(seconds * 1000);
        expect(stamp && isStampedFor(stamp, context)).toBe(true);
        expect(stamp && isStampedFor(stamp, other)).toBe(
          Buffer.compare(context.subarray(0, 6), other.subarray(0, 6)) === 0,
        );
      }),
    );
  });

  it('is magic 2 | tag 6 | seconds 4 | random 4 under a key derived from the HMAC key', () => {
    const context = randomBytes(32);
    const block = blockUnder(key, sealStamp(key, context, 1_700_000_000_000));
    expect(block.subarray(0, 2).toString('latin1')).toBe('tr');
    expect(block.subarray(2, 8)).toEqual(context.subarray(0, 6));
    expect(block.readUInt32BE(8)).toBe(1_700_000_000);
  });

  it('never repeats, though it says the same', () => {
    const context = randomBytes(32);
    const vectors = Array.from({ length: 5000 }, () => sealStamp(key, context, 0).toString('latin1'));
    expect(new Set(vectors).size).toBeGreaterThan(4990);
    expect(new Set(vectors.map((vector) => vector.slice(0, 2))).size).toBeGreaterThan(4000);
  });

  it('is not there in what others choose: other keys, random bytes, another length', () => {
    const vector = sealStamp(key, randomBytes(32), 0);
    expect(openStamp(key, vector.subarray(1))).toBeUndefined();
    expect(openStamp(key, Buffer.alloc(0))).toBeUndefined();
    let taken = 0;
    for (let i = 0; i < 2000; i++) {
      if (openStamp(newKey(), vector) !== undefined) taken++;
      if (openStamp(key, randomBytes(16)) !== undefined) taken++;
    }
    expect(taken).toBeLessThan(5);
  });

  it('does not open when a bit of it is flipped, or says something else', () => {
    const context = randomBytes(32);
    const vector = sealStamp(key, context, 1000);
    for (let bit = 0; bit < 128; bit++) {
      const flipped = Buffer.from(vector);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      const stamp = openStamp(key, flipped);
      expect(stamp !== undefined && isStampedFor(stamp, context)).toBe(false);
    }
  });

  it('of 32-byte keys works alike', () => {
    const long = TicketKey.from(randomBytes(80));
    const context = randomBytes(32);
    expect(openStamp(long, sealStamp(long, context, 5000))?.fullHandshakeTime).toBe(5000);
  });
});
