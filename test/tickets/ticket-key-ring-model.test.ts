import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TicketKey } from '../../src/tickets/ticket-key.js';
import { sealingKeyOf, TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { heldBytes } from '../support/garbage.js';
import { isOverwritten, numberedKey } from './keys.js';

const INTERVAL = 10_000;

interface NaiveKey {
  readonly n: number;
  /** When it stopped sealing. */
  retired: number;
  dropped: boolean;
  seals: number;
}

/** What a ring with rotation by time, by hand and by seals is, one rotation after the other, with no key forgotten. */
class NaiveRing {
  now = 0;
  readonly keys: NaiveKey[] = [];
  #rotateAt = INTERVAL;

  constructor(
    readonly lifetime: number,
    readonly maxSeals: number,
  ) {
    this.#rotate(0);
  }

  get current(): NaiveKey {
    return this.keys.at(-1) as NaiveKey;
  }

  /** Rotations that were missed make one key: none of those between sealed anything. */
  advance(by: number): void {
    this.now += by;
    if (this.now < this.#rotateAt) return;
    this.#rotate(this.#rotateAt);
    while (this.#rotateAt <= this.now) this.#rotateAt += INTERVAL;
  }

  seal(): void {
    if (this.current.seals === this.maxSeals) this.rotate();
    this.current.seals++;
  }

  rotate(overlap = true): void {
    this.#rotate(this.now);
    this.#rotateAt = this.now + INTERVAL;
    if (!overlap) for (const key of this.keys.slice(0, -1)) key.dropped = true;
  }

  opens({ retired, dropped }: NaiveKey): boolean {
    return !dropped && this.now <= retired + this.lifetime;
  }

  #rotate(at: number): void {
    const { current } = this;
    if (current !== undefined) current.retired = at;
    this.keys.push({ n: this.keys.length, retired: Number.POSITIVE_INFINITY, dropped: false, seals: 0 });
  }
}

const STEP = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant('seal' as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('advance' as const),
      by: fc.oneof(fc.nat(30_000), fc.constantFrom(1, 9999, 10_000, 10_001, 25_000), fc.constant(200_000)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('back' as const), by: fc.nat(1e9) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('rotate' as const, 'drop' as const) }) },
);

type Step = typeof STEP extends fc.Arbitrary<infer T> ? T : never;

/** A ring and the naive one, which get the same calls. */
class Both {
  readonly ring: TicketKeyRing;
  readonly #clock = stoppedClock(0);
  readonly #naive: NaiveRing;
  /** The keys of the ring, in the order of their making. */
  readonly #seen: TicketKey[];
  /** When each last sealed. */
  readonly #sealed = new Map<TicketKey, number>();

  constructor(
    readonly lifetime: number,
    maxSeals: number,
  ) {
    this.ring = TicketKeyRing.generate({ interval: INTERVAL / 1000, lifetime, maxSeals, clock: this.#clock });
    this.#naive = new NaiveRing(lifetime * 1000, maxSeals);
    this.#seen = [this.ring.current];
  }

  take(step: Step): void {
    switch (step.op) {
      case 'advance':
        this.#clock.now += step.by;
        this.#naive.advance(step.by);
        break;
      case 'back':
        this.#clock.now -= step.by;
        break;
      case 'seal':
        this.#naive.seal();
        this.#sealed.set(sealingKeyOf(this.ring), this.#naive.now);
        break;
      default:
        this.#naive.rotate(step.op === 'rotate');
        this.ring.rotate(undefined, { overlap: step.op === 'rotate' });
        if (step.op === 'drop') this.#sealed.clear();
    }
  }

  compare(): void {
    const { ring } = this;
    const { current } = ring;
    if (!this.#seen.includes(current)) this.#seen.push(current);
    expect(this.#seen).toHaveLength(this.#naive.keys.length);
    expect(current).toBe(this.#seen.at(-1));
    for (const [i, key] of this.#seen.entries()) {
      const opens = this.#naive.opens(this.#naive.keys[i] as NaiveKey);
      expect([ring.find(key.name) === key, isOverwritten(key)]).toEqual([opens, !opens]);
    }
    expect(ring.keys).toEqual(this.#seen.filter(({ destroyed }) => !destroyed).reverse());
  }

  /** Said once more without the naive ring: what sealed opens for its lifetime, and at most an interval longer. */
  keepsPromises(): void {
    const { now } = this.#naive;
    const lifetime = this.lifetime * 1000;
    for (const [key, at] of this.#sealed) {
      if (now <= at + lifetime) expect(this.ring.find(key.name)).toBe(key);
      if (now > at + INTERVAL + lifetime) expect(this.ring.find(key.name)).toBeUndefined();
    }
  }
}

describe('a TicketKeyRing', () => {
  it('is the naive one, and keeps its promises, whatever is done in whatever order', () => {
    const lifetimes = fc.integer({ min: 1, max: 40 });
    const steps = fc.array(STEP, { maxLength: 40 });
    const property = fc.property(lifetimes, fc.constantFrom(1, 2, 5, 1000), steps, (lifetime, maxSeals, steps) => {
      const both = new Both(lifetime, maxSeals);
      using _ = both.ring;
      for (const step of steps) {
        both.take(step);
        both.compare();
        both.keepsPromises();
      }
    });
    fc.assert(property, { numRuns: 1000 });
  });

  it('does not grow while it rotates 200 000 times', () => {
    const clock = stoppedClock(0);
    using ring = TicketKeyRing.generate({ interval: 1, lifetime: 10, maxSeals: 100, clock });
    const used: number[] = [];
    for (let i = 0; i < 200_000; i++) {
      clock.now += 1000;
      sealingKeyOf(ring);
      if (i % 3 === 0) ring.rotate();
      if (i % 40_000 === 39_999) {
        used.push(heldBytes());
        expect(ring.keys.length).toBeLessThan(20);
      }
    }
    // A key is half a kilobyte: a leak of one in forty rotations would be 2 MB.
    expect((used.at(-1) as number) - (used[0] as number)).toBeLessThan(2 * 1024 * 1024);
  });

  it('finds each of the keys that it was given, in whatever order', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(Array.from({ length: 40 }, (_, n) => n)), (order) => {
        fc.pre(order.length > 0);
        using ring = TicketKeyRing.fromKeys(order.map((n) => numberedKey(n)));
        for (const [i, n] of order.entries()) {
          const { name, aesKey } = numberedKey(n);
          expect(ring.find(name)?.aesKey).toEqual(aesKey);
          expect(ring.keys[i]?.name).toEqual(name);
        }
      }),
      { numRuns: 100 },
    );
  });
});
