import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openEnvelope, sealEnvelope } from '../../src/stores/session-envelope.js';
import { id, session } from './counting-store.js';

const NOW = 1_800_000_000_000;
const DAY = 86_400_000;

describe('the envelope of an external cache', () => {
  it('is version 1 | key 32 | full handshake 8 | expiry 8 | session', () => {
    const envelope = sealEnvelope(id(7), Buffer.from('session'), 0x0102_0304_0506, 0x0002_0304_0506_0708);
    expect(envelope.toString('hex')).toBe(
      `01${'07'.repeat(32)}00000102030405060002030405060708${Buffer.from('session').toString('hex')}`,
    );
  });

  it('gives back what went in, and a copy', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.uint8Array({ minLength: 1, maxLength: 400 }),
        fc.integer({ min: 0, max: NOW }),
        fc.integer({ min: 0, max: 7 * DAY }),
        (key, bytes, made, lives) => {
          const envelope = sealEnvelope(key, bytes, made, NOW + lives);
          const entry = openEnvelope(envelope, key, NOW);
          envelope.fill(0);
          expect(entry).toEqual({ session: Buffer.from(bytes), fullHandshakeTime: made, expiresAt: NOW + lives });
        },
      ),
    );
  });

  it('opens one whose time is over: the caller tells', () => {
    expect(openEnvelope(sealEnvelope(id(1), session(1), 5, 10), id(1), NOW)?.expiresAt).toBe(10);
  });

  it('does not open one of which a byte of version, key or header length is wrong', () => {
    const envelope = sealEnvelope(id(1), session(1), NOW, NOW + 1000);
    for (let at = 0; at < 33; at++) {
      const flipped = Buffer.from(envelope);
      flipped[at] = (flipped[at] as number) ^ 1;
      expect(openEnvelope(flipped, id(1), NOW)).toBeUndefined();
    }
    for (let length = 0; length <= 49; length++) {
      expect(openEnvelope(envelope.subarray(0, length), id(1), NOW)).toBeUndefined();
    }
    expect(openEnvelope(envelope.subarray(0, 50), id(1), NOW)?.session).toHaveLength(1);
  });

  it.each([
    ['expires before its full handshake', NOW, NOW - 1],
    ['expires more than eight days from now', NOW, NOW + 8 * DAY + 1],
    ['expires after the end of all dates', 0, 2 ** 63],
  ])('does not open one that %s', (_what, made, expiresAt) => {
    expect(openEnvelope(sealEnvelope(id(1), session(1), made, expiresAt), id(1), NOW)).toBeUndefined();
  });

  it.each([undefined, null, 1, 'envelope', {}, [], new ArrayBuffer(100), new DataView(new ArrayBuffer(100))])(
    'does not open %o',
    (value) => {
      expect(openEnvelope(value, id(1), NOW)).toBeUndefined();
    },
  );

  it('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (bytes, versioned) => {
        if (versioned && bytes.length > 33) bytes.set([1, ...id(1)]);
        const entry = openEnvelope(bytes, id(1), NOW);
        if (entry !== undefined) expect(entry.expiresAt).toBeLessThanOrEqual(NOW + 8 * DAY);
      }),
      { numRuns: 2000 },
    );
  });
});
