import { hkdfSync } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { hkdfExpand, hkdfExtract } from '../../src/tickets/key-derivation.js';
import type { TicketKey } from '../../src/tickets/ticket-key.js';
import { type SecretKeysOptions, sealingKeyOf, TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { isOverwritten, names } from './keys.js';

const SECRET = Buffer.from('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'hex');
const INTERVAL = 10_000;
const LIFETIME = 25_000;
const SKEW = 3000;
const OPTIONS = { interval: 10, lifetime: 25, skew: 3 };

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** The key of a period as the documentation says. */
function reference(period: number, interval = INTERVAL, keyLength = 48, secret = SECRET): Buffer {
  const info = Buffer.concat([
    Buffer.from('tls-resumption ticket key v1'),
    Buffer.of(0),
    uint64(interval),
    Buffer.of(keyLength),
    uint64(period),
  ]);
  return Buffer.from(hkdfSync('sha256', secret, 'tls-resumption ticket keys', info, keyLength));
}

function bytesOf({ name, hmacKey, aesKey }: TicketKey): string {
  return Buffer.concat([name, hmacKey, aesKey]).toString('hex');
}

function ringAt(now: number, options: SecretKeysOptions = {}) {
  const clock = stoppedClock(now);
  return { clock, ring: TicketKeyRing.fromSecret(SECRET, { ...OPTIONS, clock, ...options }) };
}

afterEach(() => {
  vi.useRealTimers();
});

// RFC 5869, appendix A.
describe('HKDF-SHA256 does what RFC 5869 says', () => {
  const hex = (text: string) => Buffer.from(text, 'hex');
  const range = (from: number, to: number) => Buffer.from(Array.from({ length: to - from + 1 }, (_, i) => from + i));
  it.each([
    [
      'A.1',
      Buffer.alloc(22, 0x0b),
      range(0x00, 0x0c),
      range(0xf0, 0xf9),
      '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
      '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    ],
    [
      'A.2',
      range(0x00, 0x4f),
      range(0x60, 0xaf),
      range(0xb0, 0xff),
      '06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244',
      'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09' +
        'da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
    ],
    [
      'A.3',
      Buffer.alloc(22, 0x0b),
      Buffer.alloc(0),
      Buffer.alloc(0),
      '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
      '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    ],
  ])('%s', (_title, secret, salt, info, pseudorandomKey, output) => {
    const extracted = hkdfExtract(salt, secret);
    expect(extracted).toEqual(hex(pseudorandomKey));
    expect(hkdfExpand(extracted, info, output.length / 2)).toEqual(hex(output));
  });
});

describe('the key of a period', () => {
  it.each([
    [48, 3600],
    [80, 3600],
    [48, 0.5],
    [80, 604_800],
  ] as const)('is what the documentation says: %i bytes, %d seconds', (keyLength, interval) => {
    const lifetime = Math.min(interval * 3, 604_800);
    const now = 1_763_712_345_678;
    using ring = TicketKeyRing.fromSecret(SECRET, {
      keyLength,
      interval,
      lifetime: Math.max(1, lifetime),
      skew: 0,
      clock: () => now,
    });
    const period = Math.floor(now / (interval * 1000));
    const expected = ring.keys.map((_, i) => reference(period - i, interval * 1000, keyLength).toString('hex'));
    expect(ring.keys.map(bytesOf)).toEqual(expected);
    expect(expected.length).toBeGreaterThan(1);
  });

  it('is fixed for all versions of the library', () => {
    using ring = TicketKeyRing.fromSecret(SECRET, { clock: () => 1_763_712_345_678 });
    // What Python's hmac module makes of the description.
    const bytes = '75b3dc7d8784186c93379d9a824281f3c5ef41d056e48cc5c05d1d5f47fb9eb60abc299982d455df79df0c99e6f4fbb9';
    expect(bytesOf(ring.current)).toBe(bytes);
  });

  it('differs with the secret, the interval and the length', () => {
    const at = { clock: () => 3_600_000 * 5, lifetime: 1, skew: 0 };
    const changed = Buffer.from(SECRET);
    changed[31] = 0;
    const rings = [
      TicketKeyRing.fromSecret(SECRET, at),
      TicketKeyRing.fromSecret(changed, at),
      TicketKeyRing.fromSecret(SECRET, { ...at, interval: 3600.001 }),
      TicketKeyRing.fromSecret(SECRET, { ...at, keyLength: 80 }),
    ];
    expect(new Set(names(rings.map((ring) => ring.current))).size).toBe(4);
    for (const ring of rings) ring[Symbol.dispose]();
  });

  it('does not need the bytes of the secret after the start', () => {
    const secret = Buffer.from(SECRET);
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.fromSecret(secret, { ...OPTIONS, clock });
    secret.fill(0);
    clock.now = 5 * INTERVAL;
    expect(bytesOf(ring.current)).toBe(reference(5).toString('hex'));
  });
});

describe('a ring from a secret', () => {
  /** Which periods' keys open at a time, as the documentation says: the sealing one first, then later, then earlier. */
  function opening(now: number): number[] {
    const current = Math.floor(now / INTERVAL);
    const opens = (p: number) => now >= p * INTERVAL - SKEW && now <= (p + 1) * INTERVAL + LIFETIME + SKEW;
    const ahead = [current + 1, current + 2].filter(opens);
    const previous = Array.from({ length: current }, (_, i) => current - 1 - i).filter(opens);
    return [current, ...ahead, ...previous];
  }
  const MOMENTS: number[] = [];
  for (let edge = 0; edge <= 100_000; edge += 1000)
    MOMENTS.push(...[edge - 1, edge, edge + 1].filter((now) => now >= 0));
  const NAMES = Array.from({ length: 20 }, (_, p) => reference(p).subarray(0, 16).toString('hex'));

  it('opens each key from skew before its period to lifetime and skew after it, both moments included', () => {
    const { ring, clock } = ringAt(0);
    using _ = ring;
    for (const now of MOMENTS) {
      clock.now = now;
      expect(names(ring.keys)).toEqual(opening(now).map((p) => NAMES[p]));
      expect(names([sealingKeyOf(ring)])).toEqual([NAMES[Math.floor(now / INTERVAL)]]);
    }
  });

  it('is in the same state wherever its clock comes from, and however far it jumps', () => {
    const { ring, clock } = ringAt(0);
    using _ = ring;
    const held = new Set<TicketKey>();
    for (let i = 0; i < 3000; i++) {
      // A walk over all pairs of steps, forth and back.
      const now = MOMENTS[(i * i * 7919) % MOMENTS.length] as number;
      clock.now = now;
      expect(names(ring.keys)).toEqual(opening(now).map((p) => NAMES[p]));
      for (const key of ring.keys) held.add(key);
    }
    const { keys } = ring;
    for (const key of held) expect(isOverwritten(key)).toBe(!keys.includes(key));
    clock.now = 1e14;
    expect(bytesOf(ring.current)).toBe(reference(1e14 / INTERVAL).toString('hex'));
    clock.now = -5;
    expect(names(ring.keys)).toEqual([NAMES[0]]);
  });

  it('starts in the middle with the earlier keys that open still', () => {
    for (const now of MOMENTS) {
      const { ring } = ringAt(now);
      expect(names(ring.keys)).toEqual(opening(now).map((p) => NAMES[p]));
      ring[Symbol.dispose]();
    }
  });

  it('announces the next key, and says when it seals', () => {
    const { ring, clock } = ringAt(INTERVAL);
    using _ = ring;
    const told: string[] = [];
    ring.on('rotate', ({ current, previous, reason }) => told.push(...names([previous, current]), reason));
    expect(ring.next).toBeUndefined();
    clock.now = 2 * INTERVAL - SKEW;
    const { next } = ring;
    expect(names([next as TicketKey])).toEqual([NAMES[2]]);
    expect(told).toEqual([]);
    clock.now = 2 * INTERVAL;
    expect(ring.current).toBe(next);
    expect(told).toEqual([NAMES[1], NAMES[2], 'time']);
  });

  it('announces as many keys as fit into the skew', () => {
    const { ring } = ringAt(50_000, { skew: 25 });
    using _ = ring;
    expect(names(ring.keys.slice(0, 3))).toEqual([5, 6, 7].map((p) => NAMES[p]));
    expect(names([ring.next as TicketKey])).toEqual([NAMES[6]]);
  });

  it('turns over by a timer while nobody asks', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 0 });
    using ring = TicketKeyRing.fromSecret(SECRET, OPTIONS);
    const [first] = ring.keys;
    const told: (string | undefined)[] = [];
    ring.on('rotate', ({ current }) => told.push(...names([current])));
    vi.advanceTimersByTime(INTERVAL + LIFETIME + SKEW);
    expect(told).toEqual(NAMES.slice(1, 4));
    expect(first?.destroyed).toBe(false);
    vi.advanceTimersByTime(1);
    expect(isOverwritten(first as TicketKey)).toBe(true);
    vi.advanceTimersByTime(1_000_000);
    expect(told).toHaveLength(103);
  });

  it('holds no more than 1024 keys at the shortest interval that is allowed', () => {
    using ring = TicketKeyRing.fromSecret(SECRET, { interval: 1, lifetime: 1001, skew: 10, clock: () => 1e12 + 500 });
    expect(ring.keys).toHaveLength(1 + 10 + 1011);
  });
});
