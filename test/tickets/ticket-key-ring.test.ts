import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { hkdfExpand, PeriodKeys } from '../../src/tickets/key-derivation.js';
import { TicketKey } from '../../src/tickets/ticket-key.js';
import { sealingKeyOf, TicketKeyRing, type TicketKeyRotation } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { runModule } from './child.js';
import { isOverwritten, names, numberedKey } from './keys.js';

const SECRET = Buffer.from('00112233445566778899aabbccddeeff'.repeat(2), 'hex');

/** Collects what a ring tells. */
function listen(ring: TicketKeyRing): { rotations: TicketKeyRotation[]; reasons: () => string[] } {
  const rotations: TicketKeyRotation[] = [];
  ring.on('rotate', (rotation) => rotations.push(rotation));
  return { rotations, reasons: () => rotations.splice(0).map(({ reason }) => reason) };
}

const disposed = expect.objectContaining({ name: 'ResumptionError', code: 'ERR_KEY_RING_DISPOSED' });

describe('the options', () => {
  const bad: [string, () => unknown, typeof TypeError | typeof RangeError, string][] = [
    ['generate', () => TicketKeyRing.generate(null as never), TypeError, '"options" expected an object, got null'],
    [
      'lifetime',
      () => TicketKeyRing.generate({ lifetime: 604_801 }),
      RangeError,
      '"lifetime" expected 1 to 604800 seconds, got number 604801',
    ],
    ['lifetime', () => TicketKeyRing.generate({ lifetime: 0 }), RangeError, '"lifetime" expected 1 to 604800 seconds'],
    [
      'maxSeals',
      () => TicketKeyRing.generate({ maxSeals: 2 ** 32 + 1 }),
      RangeError,
      '"maxSeals" expected 1 to 4294967296',
    ],
    ['maxSeals', () => TicketKeyRing.generate({ maxSeals: 1.5 }), RangeError, '"maxSeals" expected an integer'],
    ['clock', () => TicketKeyRing.generate({ clock: 1 as never }), TypeError, '"clock" expected a function'],
    [
      'interval',
      () => TicketKeyRing.generate({ interval: '1 h' as never }),
      TypeError,
      '"interval" expected a number of seconds, got a string of 3 characters',
    ],
    [
      'interval',
      () => TicketKeyRing.generate({ interval: 0 }),
      RangeError,
      '"interval" expected 0.01 to 604800 seconds',
    ],
    [
      'interval for the lifetime',
      () => TicketKeyRing.generate({ interval: 5, lifetime: 7200 }),
      RangeError,
      '"interval" expected at least 7.052 seconds, so that 1024 keys are enough, got number 5',
    ],
    [
      'keyLength',
      () => TicketKeyRing.generate({ keyLength: 64 as never }),
      RangeError,
      '"keyLength" expected 48 or 80',
    ],
    [
      'keyLength',
      () => TicketKeyRing.generate({ keyLength: '48' as never }),
      TypeError,
      '"keyLength" expected 48 or 80',
    ],
    [
      'generateKey',
      () => TicketKeyRing.generate({ generateKey: SECRET as never }),
      TypeError,
      '"generateKey" expected a function, got Buffer of 32 bytes',
    ],
    [
      'a secret as text',
      () => TicketKeyRing.fromSecret(SECRET.toString('hex') as never),
      TypeError,
      `"secret" expected a Uint8Array, such as Buffer.from(text, 'base64'), got a string of 64 characters`,
    ],
    [
      'a short secret',
      () => TicketKeyRing.fromSecret(SECRET.subarray(1)),
      RangeError,
      '"secret" expected 32 to 65536 bytes, got Buffer of 31 bytes',
    ],
    [
      'a secret of zeros',
      () => TicketKeyRing.fromSecret(Buffer.alloc(32)),
      RangeError,
      '"secret" expected random bytes, not one repeated',
    ],
    ['one byte', () => TicketKeyRing.fromSecret(Buffer.alloc(99, 'x')), RangeError, '"secret" expected random bytes'],
    ['skew', () => TicketKeyRing.fromSecret(SECRET, { skew: -1 }), RangeError, '"skew" expected 0 to 86400 seconds'],
    [
      'a period of half a millisecond',
      () => TicketKeyRing.fromSecret(SECRET, { interval: 10.0005 }),
      RangeError,
      '"interval" expected whole milliseconds, got number 10.0005',
    ],
    [
      'interval for lifetime and skew',
      () => TicketKeyRing.fromSecret(SECRET, { interval: 1, lifetime: 1, skew: 600 }),
      RangeError,
      '"interval" expected at least 1.177 seconds',
    ],
    ['keys', () => TicketKeyRing.fromKeys(SECRET as never), TypeError, '"keys" expected an array of keys'],
    ['no keys', () => TicketKeyRing.fromKeys([]), RangeError, '"keys" expected 1 to 1024 keys, got number 0'],
    [
      'a key of zeros',
      () => TicketKeyRing.fromKeys([numberedKey(1), Buffer.alloc(48)]),
      RangeError,
      '"hmacKey" expected bytes that are not all zero',
    ],
    ['a short key', () => TicketKeyRing.fromKeys([randomBytes(47)]), RangeError, '"key" expected 48 or 80 bytes'],
    [
      'keys of two lengths',
      () => TicketKeyRing.fromKeys([randomBytes(48), randomBytes(80)]),
      RangeError,
      '"key" expected a key of 48 bytes, got Buffer of 80 bytes',
    ],
    [
      'one name twice',
      () => TicketKeyRing.fromKeys([numberedKey(1), Buffer.concat([numberedKey(1).name, randomBytes(32)])]),
      RangeError,
      '"key" expected a name that no other key has',
    ],
    [
      'one secret under two names',
      () => TicketKeyRing.fromKeys([numberedKey(1), { ...parts(numberedKey(2)), aesKey: numberedKey(1).aesKey }]),
      RangeError,
      '"key" expected secrets that no other key has',
    ],
    [
      'one HMAC key under two names',
      () => TicketKeyRing.fromKeys([numberedKey(1), { ...parts(numberedKey(2)), hmacKey: numberedKey(1).hmacKey }]),
      RangeError,
      '"key" expected secrets that no other key has',
    ],
  ];
  it.each(bad)('are checked: %s', (_title, attempt, type, message) => {
    expect(attempt).toThrow(type);
    expect(attempt).toThrow(message);
  });

  it('have defaults', () => {
    using ring = TicketKeyRing.generate();
    expect([ring.lifetime, ring.keyLength, ring.current.length]).toEqual([7200, 48, 48]);
    using long = TicketKeyRing.generate({ keyLength: 80 });
    expect([long.keyLength, long.current.length, long.rotate().length]).toEqual([80, 80, 80]);
  });
});

function parts({ name, hmacKey, aesKey }: TicketKey) {
  return { name, hmacKey, aesKey };
}

describe('a ring', () => {
  it('has a key before the first seal, a random one', () => {
    using one = TicketKeyRing.generate();
    using other = TicketKeyRing.generate();
    expect(sealingKeyOf(one)).toBe(one.current);
    expect(one.keys).toEqual([one.current]);
    expect(one.current.aesKey.equals(other.current.aesKey)).toBe(false);
    expect(one.current.name.equals(other.current.name)).toBe(false);
  });

  it('finds what opens by its name, however that is held', () => {
    const keys = [1, 2, 3].map((n) => numberedKey(n));
    using ring = TicketKeyRing.fromKeys(keys);
    for (const { name, aesKey } of keys) {
      expect(ring.find(name)?.aesKey).toEqual(aesKey);
      expect(ring.find(new Uint8Array(name))?.aesKey).toEqual(aesKey);
      expect(ring.find(Buffer.concat([randomBytes(5), name]).subarray(5))?.aesKey).toEqual(aesKey);
      const other = Buffer.from(name);
      other[15] = (other[15] as number) ^ 1;
      expect(ring.find(other)).toBeUndefined();
      for (const length of [0, 1, 15]) expect(ring.find(name.subarray(0, length))).toBeUndefined();
      expect(ring.find(Buffer.concat([name, Buffer.alloc(1)]))).toBeUndefined();
    }
    expect(() => ring.find('ticket key' as never)).toThrow(TypeError);
    expect(names([ring.current, ...ring.previous])).toEqual(names(keys));
    expect(ring.next).toBeUndefined();
  });

  it('keeps copies of the keys that it is given, in whatever way', () => {
    const [key, given, bytes] = [
      numberedKey(1),
      parts(numberedKey(2)),
      Buffer.concat(Object.values(parts(numberedKey(3)))),
    ];
    const ring = TicketKeyRing.fromKeys([key, given, bytes]);
    const held = ring.keys;
    ring.rotate(numberedKey(4), { overlap: false });
    expect(held.map(isOverwritten)).toEqual([true, true, true]);
    expect(key.destroyed).toBe(false);
    expect(given).toEqual(parts(numberedKey(2)));
    expect(bytes).toEqual(Buffer.concat(Object.values(parts(numberedKey(3)))));
    using other = TicketKeyRing.fromKeys([key]);
    key.destroy();
    expect(other.current.aesKey).toEqual(numberedKey(1).aesKey);
    ring[Symbol.dispose]();
  });

  it('shows names, and no secrets', () => {
    using ring = TicketKeyRing.fromKeys([numberedKey(1), numberedKey(2)], { clock: stoppedClock() });
    const name = (n: number) => numberedKey(n).name.toString('hex');
    expect(JSON.parse(JSON.stringify(ring))).toEqual({
      current: name(1),
      next: [],
      previous: [name(2)],
      lifetime: 7200,
    });
    ring.on('rotate', () => {});
    const shown = inspect(ring, { depth: 20, showHidden: true }) + inspect({ deep: { ring } }, { depth: 20 });
    expect(shown).toContain(name(1));
    for (const key of ring.keys) {
      for (const secret of [key.hmacKey, key.aesKey]) {
        for (const encoding of ['hex', 'base64', 'latin1'] as const) {
          expect(shown).not.toContain(secret.toString(encoding).slice(0, 12));
        }
        expect(shown).not.toContain(inspect(secret).slice(8, 30));
      }
    }
  });
});

describe('rotation by time', () => {
  const INTERVAL = 10_000;
  const LIFETIME = 15_000;

  it('opens what sealed until its lifetime ends, that moment included', () => {
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.generate({ interval: 10, lifetime: 15, clock });
    const { rotations, reasons } = listen(ring);
    const first = ring.current;
    clock.now = INTERVAL - 1;
    expect([sealingKeyOf(ring) === first, rotations.length]).toEqual([true, 0]);
    clock.now = INTERVAL;
    const second = sealingKeyOf(ring);
    expect(second).not.toBe(first);
    expect(rotations).toEqual([{ current: second, previous: first, reason: 'time' }]);
    expect(ring.previous).toEqual([first]);
    clock.now = INTERVAL + LIFETIME;
    expect(ring.find(first.name)).toBe(first);
    expect(first.destroyed).toBe(false);
    clock.now += 0.001;
    expect(ring.find(first.name)).toBeUndefined();
    expect(isOverwritten(first)).toBe(true);
    expect(reasons()).toEqual(['time', 'time']);
  });

  // Every pair of moments: asked at the one, and then not before the other.
  it('answers after any pause as if it had been looked at all the time', () => {
    const pair = (start: number, end: number): void => {
      const clock = stoppedClock(0);
      using ring = TicketKeyRing.generate({ interval: 10, lifetime: 15, clock });
      const madeIn = new Map<TicketKey, number>([[ring.current, 0]]);
      for (const moment of [start, end]) {
        clock.now = moment;
        const key = moment === start ? sealingKeyOf(ring) : ring.current;
        const period = Math.floor(moment / INTERVAL);
        if (!madeIn.has(key)) madeIn.set(key, period);
        expect(madeIn.get(key)).toBe(period);
        const opens = [...madeIn]
          .filter(([, made]) => moment <= (made + 1) * INTERVAL + LIFETIME)
          .map(([held]) => held);
        expect([...madeIn.keys()].filter(({ name }) => ring.find(name) !== undefined)).toEqual(opens);
        expect([...madeIn.keys()].filter((held) => !isOverwritten(held))).toEqual(opens);
        expect([...ring.keys].reverse()).toEqual(opens);
      }
    };
    for (let start = 0; start <= 45_000; start += 500) {
      for (let end = start; end <= 90_000; end += 500) pair(start, end);
    }
  });

  it('takes a clock that is put back as one that stood still, and one that is put forth as time that passed', () => {
    const clock = stoppedClock(1e12);
    using ring = TicketKeyRing.generate({ interval: 10, lifetime: 15, clock });
    const first = ring.current;
    clock.now += 9000;
    expect(ring.current).toBe(first);
    clock.now -= 1e11;
    expect(ring.current).toBe(first);
    clock.now += 999;
    expect(ring.current).toBe(first);
    clock.now += 1;
    const second = ring.current;
    expect(second).not.toBe(first);
    clock.now -= 5e11;
    expect(ring.find(first.name)).toBe(first);
    clock.now += 15_001;
    expect(ring.find(first.name)).toBeUndefined();
    clock.now += 1e12;
    expect(ring.current).not.toBe(second);
    expect(ring.keys).toHaveLength(1);
  });

  it('is not wanted with interval: false', () => {
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.generate({ interval: false, clock });
    const key = ring.current;
    clock.now = 1e12;
    expect(ring.current).toBe(key);
  });
});

describe('rotation by hand', () => {
  it('begins an interval of its own', () => {
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.generate({ interval: 10, lifetime: 15, clock });
    const { reasons } = listen(ring);
    const first = ring.current;
    clock.now = 7000;
    const second = ring.rotate();
    expect(ring.keys).toEqual([second, first]);
    clock.now = 16_999;
    expect(ring.current).toBe(second);
    clock.now = 17_000;
    const third = ring.current;
    expect(ring.keys).toEqual([third, second, first]);
    clock.now = 22_001;
    expect(ring.keys).toEqual([third, second]);
    expect(reasons()).toEqual(['hand', 'time']);
  });

  it('takes a key, and none that it has', () => {
    using ring = TicketKeyRing.fromKeys([numberedKey(1), numberedKey(2)]);
    expect(ring.rotate(numberedKey(3)).aesKey).toEqual(numberedKey(3).aesKey);
    const before = names(ring.keys);
    for (const n of [1, 2, 3]) {
      expect(() => ring.rotate(numberedKey(n))).toThrow(RangeError);
      expect(() => ring.rotate(numberedKey(n), { overlap: false })).toThrow(RangeError);
    }
    expect(() => ring.rotate(randomBytes(80))).toThrow('"key" expected a key of 48 bytes');
    expect(() => ring.rotate(Buffer.alloc(48))).toThrow(RangeError);
    expect(() => ring.rotate('key' as never)).toThrow(TypeError);
    expect(() => ring.rotate(undefined, { overlap: 1 as never })).toThrow('"overlap" expected a boolean, got number 1');
    expect(names(ring.keys)).toEqual(before);
    expect(before).toEqual(names([3, 1, 2].map((n) => numberedKey(n))));
  });

  it('gives an end to keys that were given for opening', () => {
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.fromKeys([numberedKey(1), numberedKey(2)], { lifetime: 15, clock });
    clock.now = 1e9;
    expect(ring.keys).toHaveLength(2);
    ring.rotate();
    clock.now += 15_000;
    expect(ring.keys).toHaveLength(3);
    clock.now += 1;
    expect(ring.keys).toEqual([ring.current]);
  });

  it('without overlap overwrites all older keys at once', () => {
    using ring = TicketKeyRing.generate({ clock: stoppedClock() });
    ring.rotate();
    const older = ring.keys;
    const { rotations } = listen(ring);
    const fresh = ring.rotate(undefined, { overlap: false });
    expect(ring.keys).toEqual([fresh]);
    expect(older).toHaveLength(2);
    expect(older.map(isOverwritten)).toEqual([true, true]);
    expect(older.map(({ name }) => ring.find(name))).toEqual([undefined, undefined]);
    expect(rotations).toEqual([{ current: fresh, previous: older[0], reason: 'hand' }]);
  });

  it('is not for keys that others share', () => {
    using ring = TicketKeyRing.fromSecret(SECRET);
    const before = ring.keys;
    for (const key of [undefined, numberedKey(1)]) {
      expect(() => ring.rotate(key)).toThrow(
        expect.objectContaining({
          code: 'ERR_KEYS_SHARED',
          message: 'Other hosts would not know a key that is rotated in on this one: change the secret on all of them',
        }),
      );
    }
    expect(ring.keys).toEqual(before);
  });

  it('keeps 1024 keys at most', () => {
    using ring = TicketKeyRing.generate({ clock: stoppedClock() });
    const all = [ring.current, ...Array.from({ length: 1100 }, () => ring.rotate())];
    expect(ring.keys).toEqual(all.slice(-1024).reverse());
    expect(all.filter(isOverwritten)).toEqual(all.slice(0, -1024));
  });
});

describe('the count of seals', () => {
  it('rotates before there are too many', () => {
    using ring = TicketKeyRing.generate({ maxSeals: 3, clock: stoppedClock() });
    const { reasons } = listen(ring);
    const sealed = Array.from({ length: 8 }, () => sealingKeyOf(ring));
    const [a, b, c] = [sealed[0], sealed[3], sealed[6]];
    expect(new Set([a, b, c]).size).toBe(3);
    expect(sealed).toEqual([a, a, a, b, b, b, c, c]);
    expect(reasons()).toEqual(['seals', 'seals']);
    for (const key of sealed) expect(ring.find(key.name)).toBe(key);
  });

  it('counts seals, not looks', () => {
    using ring = TicketKeyRing.generate({ maxSeals: 1, clock: stoppedClock() });
    const key = ring.current;
    for (let i = 0; i < 5; i++) expect([ring.current, ring.find(key.name)]).toEqual([key, key]);
    expect(sealingKeyOf(ring)).toBe(key);
    expect(ring.current).toBe(key);
    expect(sealingKeyOf(ring)).not.toBe(key);
  });

  it('begins an interval of its own', () => {
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.generate({ maxSeals: 1, interval: 10, clock });
    const { reasons } = listen(ring);
    sealingKeyOf(ring);
    clock.now = 9000;
    sealingKeyOf(ring);
    clock.now = 18_999;
    void ring.current;
    expect(reasons()).toEqual(['seals']);
    clock.now = 19_000;
    void ring.current;
    expect(reasons()).toEqual(['time']);
  });

  it.each([
    ['keys that were given', () => TicketKeyRing.fromKeys([numberedKey(1)], { maxSeals: 2 }), 'rotate() it'],
    [
      'a secret',
      () => TicketKeyRing.fromSecret(SECRET, { maxSeals: 2, clock: stoppedClock() }),
      'shorten "interval" on all hosts',
    ],
  ])('is a fault, once a key, for %s', (_title, make, remedy) => {
    using ring = make();
    const faults: unknown[] = [];
    ring.on('fault', (error) => faults.push(error));
    const key = ring.current;
    for (let i = 0; i < 2; i++) sealingKeyOf(ring);
    expect(faults).toEqual([]);
    for (let i = 0; i < 10; i++) expect(sealingKeyOf(ring)).toBe(key);
    expect(faults).toEqual([
      expect.objectContaining({
        code: 'ERR_KEY_OVERUSED',
        message: `A key reached "maxSeals" and goes on sealing: ${remedy}`,
      }),
    ]);
  });

  it('is a fault for the next key too', () => {
    using ring = TicketKeyRing.fromKeys([numberedKey(1)], { maxSeals: 1, clock: stoppedClock() });
    const fault = vi.fn();
    ring.on('fault', fault);
    for (let i = 0; i < 3; i++) sealingKeyOf(ring);
    ring.rotate(numberedKey(2));
    sealingKeyOf(ring);
    expect(fault).toHaveBeenCalledTimes(1);
    sealingKeyOf(ring);
    expect(fault).toHaveBeenCalledTimes(2);
  });
});

describe('disposal', () => {
  const rings: [string, () => TicketKeyRing][] = [
    ['generate', () => TicketKeyRing.generate()],
    ['fromKeys', () => TicketKeyRing.fromKeys([numberedKey(1), numberedKey(2)])],
    ['fromSecret', () => TicketKeyRing.fromSecret(SECRET)],
  ];
  it.each(rings)('overwrites the keys, and leaves nothing to seal with: %s', (_title, make) => {
    const ring = make();
    const held = ring.keys;
    ring[Symbol.dispose]();
    ring[Symbol.dispose]();
    expect(held.length).toBeGreaterThan(0);
    expect(held.every(isOverwritten)).toBe(true);
    expect(() => ring.current).toThrow(disposed);
    expect(() => ring.rotate()).toThrow(disposed);
    expect(() => ring.rotate(numberedKey(9))).toThrow(disposed);
    expect(() => sealingKeyOf(ring)).toThrow(disposed);
    for (const { name } of held) expect(ring.find(name)).toBeUndefined();
    expect([ring.keys, ring.previous, ring.next]).toEqual([[], [], undefined]);
    expect(inspect(ring)).toContain('current: undefined');
    expect(ring.keyLength).toBe(48);
  });

  it('ends `using`', () => {
    let key: TicketKey;
    {
      using ring = TicketKeyRing.generate();
      key = ring.current;
    }
    expect(isOverwritten(key)).toBe(true);
  });
});

describe('what a ring made on its way', () => {
  /** The bytes that keys were made of, and the keys. */
  function watch(): () => { bytes: Uint8Array[]; keys: TicketKey[] } {
    const from = vi.spyOn(TicketKey, 'from');
    return () => ({
      bytes: from.mock.calls.map(([input]) => input).filter((input) => input instanceof Uint8Array),
      keys: from.mock.results.filter(({ type }) => type === 'return').map(({ value }) => value),
    });
  }
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('is overwritten: the bytes of random and derived keys', () => {
    const made = watch();
    using random = TicketKeyRing.generate();
    random.rotate();
    using derived = TicketKeyRing.fromSecret(SECRET);
    const { bytes } = made();
    expect(bytes).toHaveLength(2 + derived.keys.length);
    expect(bytes.every((some) => some.every((byte) => byte === 0))).toBe(true);
    expect(random.current.aesKey.some((byte) => byte !== 0)).toBe(true);
  });

  it('is overwritten: keys that were refused, and those before them', () => {
    const made = watch();
    const good = [randomBytes(48), randomBytes(48)];
    expect(() => TicketKeyRing.fromKeys([...good, good[0] as Buffer])).toThrow(RangeError);
    expect(() => TicketKeyRing.fromKeys([...good, randomBytes(80)])).toThrow(RangeError);
    expect(made().keys).toHaveLength(8);
    using ring = TicketKeyRing.fromKeys(good);
    expect(() => ring.rotate(good[1])).toThrow(RangeError);
    const { keys } = made();
    expect(keys.filter(({ destroyed }) => !destroyed)).toEqual(ring.keys);
  });

  it('is overwritten: a key whose ring was disposed of by its source', () => {
    const made = watch();
    let ring: TicketKeyRing | undefined;
    const generateKey = () => {
      ring?.[Symbol.dispose]();
      return randomBytes(48);
    };
    ring = TicketKeyRing.generate({ generateKey });
    expect(() => ring?.rotate()).toThrow(disposed);
    expect(made().keys.length).toBeGreaterThan(1);
    expect(made().keys.every(isOverwritten)).toBe(true);
  });

  it('is overwritten: what is kept of a secret', () => {
    const keys = new PeriodKeys(SECRET, 3_600_000, 48);
    const before = keys.derive(5);
    expect(keys.derive(5)).toEqual(before);
    const destroy = vi.spyOn(PeriodKeys.prototype, 'destroy');
    keys.destroy();
    expect(keys.derive(5)).not.toEqual(before);
    expect(keys.derive(5)).toEqual(hkdfOfZeros());
    TicketKeyRing.fromSecret(SECRET)[Symbol.dispose]();
    expect(destroy).toHaveBeenCalledTimes(2);
  });

  /** The same key, from a pseudorandom key of zeros. */
  function hkdfOfZeros(): Buffer {
    const info = Buffer.alloc(28 + 1 + 8 + 1 + 8);
    info.write('tls-resumption ticket key v1');
    info.writeBigUInt64BE(3_600_000n, 29);
    info[37] = 48;
    info[45] = 5;
    return hkdfExpand(Buffer.alloc(32), info, 48);
  }
});

describe('the timer', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 0 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('rotates and overwrites while nobody asks', () => {
    using ring = TicketKeyRing.generate({ interval: 10, lifetime: 15 });
    const { rotations } = listen(ring);
    const first = ring.current;
    vi.advanceTimersByTime(9999);
    expect(rotations).toHaveLength(0);
    vi.advanceTimersByTime(1);
    expect(rotations).toHaveLength(1);
    vi.advanceTimersByTime(15_000);
    expect(isOverwritten(first)).toBe(false);
    vi.advanceTimersByTime(1);
    expect(isOverwritten(first)).toBe(true);
    expect(rotations).toHaveLength(2);
    vi.advanceTimersByTime(1_000_000);
    expect(rotations).toHaveLength(102);
    expect(vi.getTimerCount()).toBe(1);
    expect(rotations.filter(({ previous }) => isOverwritten(previous))).toHaveLength(101);
  });

  it('is one, and none after disposal or without anything to come', () => {
    const ring = TicketKeyRing.generate();
    for (let i = 0; i < 9; i++) ring.rotate();
    expect(vi.getTimerCount()).toBe(1);
    ring[Symbol.dispose]();
    expect(vi.getTimerCount()).toBe(0);
    using still = TicketKeyRing.generate({ interval: false, lifetime: 1 });
    using given = TicketKeyRing.fromKeys([numberedKey(1)]);
    expect(vi.getTimerCount()).toBe(0);
    still.rotate();
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1001);
    expect([vi.getTimerCount(), given.keys.length, still.keys.length]).toEqual([0, 1, 1]);
  });

  it('waits for longer than a timer can', () => {
    const real = vi.spyOn(globalThis, 'setTimeout');
    using far = TicketKeyRing.fromSecret(SECRET, { clock: () => -1e13 });
    expect(far.current.length).toBe(48);
    expect(real.mock.calls.map(([, wait]) => wait)).toEqual([2 ** 31 - 1]);
    vi.advanceTimersByTime(3 * 2 ** 31);
    expect([real.mock.calls.length, vi.getTimerCount()]).toEqual([4, 1]);
    real.mockRestore();
  });
});

describe('listeners', () => {
  it('that throw spoil neither the call nor the ring nor each other', async () => {
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.generate({ interval: 10, lifetime: 15, maxSeals: 2, clock });
    const caught: unknown[] = [];
    const catching = (error: unknown) => caught.push(error);
    const others = process.rawListeners('uncaughtException');
    process.removeAllListeners('uncaughtException').on('uncaughtException', catching);
    try {
      const heard: string[] = [];
      ring.on('rotate', ({ reason }) => {
        throw new Error(reason);
      });
      ring.on('rotate', ({ reason }) => heard.push(reason));
      const first = ring.current;
      const second = ring.rotate();
      clock.now = 10_000;
      const third = sealingKeyOf(ring);
      sealingKeyOf(ring);
      const fourth = sealingKeyOf(ring);
      expect(ring.keys).toEqual([fourth, third, second, first]);
      expect(heard).toEqual(['hand', 'time', 'seals']);
      await new Promise((resolve) => setImmediate(resolve));
      expect(caught).toEqual(heard.map((reason) => new Error(reason)));
    } finally {
      process.removeListener('uncaughtException', catching);
      for (const other of others) process.on('uncaughtException', other as () => void);
    }
  });

  it('may rotate and dispose of the ring that they hear', () => {
    const clock = stoppedClock(0);
    const ring = TicketKeyRing.generate({ interval: 10, lifetime: 15, clock });
    const heard: string[] = [];
    ring.on('rotate', ({ reason }) => {
      heard.push(reason);
      if (reason === 'time') ring.rotate();
    });
    const [first] = [sealingKeyOf(ring)];
    clock.now = 10_000;
    const key = sealingKeyOf(ring);
    expect(heard).toEqual(['time', 'hand']);
    expect([key.destroyed, ring.current === key, ring.keys.length]).toEqual([false, true, 3]);
    ring.once('rotate', () => ring[Symbol.dispose]());
    clock.now = 20_000;
    expect(() => sealingKeyOf(ring)).toThrow(disposed);
    expect([first?.destroyed, ring.keys]).toEqual([true, []]);
  });

  it('are called in order, and once when that is asked', () => {
    using ring = TicketKeyRing.generate();
    const heard: number[] = [];
    ring.once('rotate', () => heard.push(1));
    const second = () => heard.push(2);
    ring.on('rotate', second);
    ring.rotate();
    ring.rotate();
    ring.off('rotate', second);
    ring.rotate();
    expect(heard).toEqual([1, 2, 2]);
  });
});

describe('the process', () => {
  it('is not kept alive by a ring', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { TicketKeyRing } from './src/tickets/ticket-key-ring.ts';
      const rings = [
        TicketKeyRing.generate({ interval: 60, generateKey: () => new Promise(() => {}) }),
        TicketKeyRing.fromSecret(Buffer.from('${SECRET.toString('hex')}', 'hex')),
      ];
      console.log(rings.length);
    `);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '2\n', stderr: '' });
  });
});
