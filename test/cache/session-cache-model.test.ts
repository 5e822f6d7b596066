import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SessionCache, type SessionSide } from '../../src/cache/session-cache.js';
import { heldBytes } from '../support/garbage.js';
import { CountingStore, session, stoppedClock } from './counting-store.js';
import { NaiveSessionCache } from './naive-session-cache.js';

const MODES = [0x000, 0x001, 0x002, 0x003].flatMap((side) =>
  [0x000, 0x080, 0x100, 0x200, 0x300, 0x380].map((modifiers) => side | modifiers),
);
const idOf = (n: number) => (n % 2 === 0 ? Buffer.alloc(32, n) : Buffer.from(`short ${n}`));

type Step = { n: number; size: number; lives: number; side: SessionSide; broken: boolean; on: number; mode: number };

const STEP = fc.record({
  op: fc.constantFrom(
    'store',
    'store',
    'store',
    'add',
    'lookup',
    'lookup',
    'take',
    'remove',
    'get',
    'flush',
    'setMode',
  ),
  n: fc.integer({ min: 0, max: 9 }),
  size: fc.integer({ min: 1, max: 700 }),
  lives: fc.constantFrom(1, 2000, 5000, 1e9),
  side: fc.constantFrom('server', 'client') as fc.Arbitrary<SessionSide>,
  broken: fc.boolean(),
  on: fc.constantFrom(0, 0, 1, 500, 3000),
  mode: fc.constantFrom(...MODES),
});

/** A SessionCache and the naive one, which get the same calls; every answer and every count must be the same. */
class Both {
  readonly clock = stoppedClock();
  readonly store_: CountingStore | undefined;
  readonly cache: SessionCache;
  readonly naive: NaiveSessionCache;
  readonly #broken: (answer: unknown) => unknown;
  readonly #whole: (answer: unknown) => unknown;

  constructor(external: 'none' | 'sync' | 'async', mode: number, seldomBroken: boolean) {
    this.store_ = external === 'none' ? undefined : new CountingStore();
    this.#whole = external === 'async' ? (answer) => Promise.resolve(answer) : (answer) => answer;
    this.#broken = (answer) => {
      if (external === 'async') return Promise.reject(new Error('down'));
      if (answer instanceof Uint8Array && seldomBroken) return answer.subarray(1);
      throw new Error('down');
    };
    const bounds = { maxSessions: 4, maxBytes: 1500, timeout: 5 };
    // Without a DeadlineStore, which has a model of its own: here every fault of the store is seen.
    const outside = { external: this.store_, externalDeadline: false as const };
    this.cache = new SessionCache({ ...bounds, ...outside, mode, clock: this.clock });
    this.naive = new NaiveSessionCache(4, 1500, 5000, external === 'none' ? undefined : new Map());
    this.naive.mode = mode;
  }

  async step(op: string, step: Step): Promise<void> {
    this.clock.now += step.on;
    if (this.store_ !== undefined) {
      // A write that fails must not be half done: the naive cache knows no such thing.
      const held = new Map(this.store_.held);
      this.store_.wrap = step.broken ? this.#broken : this.#whole;
      await this[op as 'store'](step);
      await undefined;
      if (step.broken) {
        this.store_.held.clear();
        for (const [key, value] of held) this.store_.held.set(key, value);
      }
    } else await this[op as 'store'](step);
    this.compare();
  }

  async store({ n, size, lives, side, broken }: Step): Promise<void> {
    const expiresAt = this.clock.now + lives;
    await this.cache.store(idOf(n), session(size % 3, size), side, { expiresAt });
    this.naive.store(n, session(size % 3, size), side, expiresAt, this.clock.now, broken);
  }

  add({ n, size }: Step): void {
    const held = { session: session(n, size), made: this.clock.now, expiresAt: this.clock.now + 5000 };
    expect(this.cache.add(idOf(n), held.session)).toBe(this.naive.put(n, held, this.clock.now));
  }

  async lookup({ n, broken }: Step): Promise<void> {
    const held = this.naive.lookup(n, this.clock.now, broken);
    const entry = await this.cache.lookupEntry(idOf(n));
    expect(entry).toEqual(held && { session: held.session, fullHandshakeTime: held.made, expiresAt: held.expiresAt });
  }

  async take({ n, broken }: Step): Promise<void> {
    const held = this.naive.take(n, this.clock.now, broken);
    const entry = await this.cache.takeEntry(idOf(n));
    expect(entry).toEqual(held && { session: held.session, fullHandshakeTime: held.made, expiresAt: held.expiresAt });
  }

  async remove({ n, broken }: Step): Promise<void> {
    expect(this.cache.remove(idOf(n))).toBe(this.naive.remove(n, broken));
    await new Promise((resolve) => setImmediate(resolve));
  }

  get({ n }: Step): void {
    expect(this.cache.get(idOf(n))).toEqual(this.naive.get(n, this.clock.now));
  }

  flush(): void {
    expect(this.cache.flush()).toBe(this.naive.flush(this.clock.now));
  }

  setMode({ mode }: Step): void {
    expect(this.cache.setMode(mode)).toBe(this.naive.mode);
    this.naive.mode = mode;
  }

  compare(): void {
    const { cache, naive } = this;
    expect([cache.size, cache.bytes]).toEqual([naive.inside.size, naive.bytes]);
    expect(cache.statistics).toMatchObject({ number: naive.inside.size, ...naive.counts });
    expect(cache.size).toBeLessThanOrEqual(4);
    expect(cache.bytes).toBeLessThanOrEqual(1500);
  }
}

describe('a SessionCache is the naive one', () => {
  it.each(['none', 'sync', 'async'] as const)('with external cache: %s', async (external) => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...MODES),
        fc.boolean(),
        fc.array(STEP, { maxLength: 60 }),
        async (mode, lies, steps) => {
          const both = new Both(external, mode, lies);
          for (const { op, ...step } of steps) await both.step(op, step);
        },
      ),
      { numRuns: 400 },
    );
  });

  it('over automatic clearings', async () => {
    const both = new Both('sync', 0x003, false);
    const common = { lives: 2000, broken: false, mode: 3 };
    for (let i = 0; i < 1200; i++) {
      await both.step('store', {
        ...common,
        n: i % 7,
        size: 50 + (i % 9),
        side: i % 3 === 0 ? 'client' : 'server',
        on: i % 700 === 0 ? 3000 : 0,
      });
    }
    expect(both.cache.statistics.cacheFull).toBeGreaterThan(100);
  });
});

describe('memory', () => {
  it('does not grow while 300 000 sessions come and go', () => {
    const clock = stoppedClock();
    const cache = new SessionCache({ maxSessions: 5000, clock });
    const id = Buffer.alloc(32);
    const bytes = Buffer.alloc(1000, 1);
    const used: number[] = [];
    for (let i = 0; i < 300_000; i++) {
      id.writeUInt32LE(i);
      cache.store(id, bytes.subarray(0, 120 + ((i * 7919) % 800)));
      clock.now += 1;
      if (i % 50_000 === 49_999) {
        used.push(heldBytes());
      }
    }
    expect(cache.size).toBe(5000);
    // 5 000 sessions of 520 bytes, their IDs and columns are 3 MB; a leak of one session in fifty would be 2.5 MB more.
    expect((used.at(-1) as number) - (used[0] as number)).toBeLessThan(2 * 1024 * 1024);
  });
});
