import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CircuitBreaker } from '../../src/stores/circuit-breaker.js';
import { DeadlineStore, type DeadlineStoreOptions } from '../../src/stores/deadline-store.js';
import type { MaybePromise } from '../../src/stores/session-store.js';
import { id, session, stoppedClock } from '../cache/counting-store.js';
import { AT_ONCE, HANGS, LATER, pass, REJECTS, ScriptedStore, THROWS, useFakeTime, watch } from './scripted-store.js';

beforeEach(useFakeTime);
afterEach(() => void vi.useRealTimers());

function pair(options: DeadlineStoreOptions = {}) {
  const inner = new ScriptedStore();
  inner.held.set(id(1).toString('hex'), session(1));
  return { inner, store: new DeadlineStore(inner, options) };
}

const quiet = (answer: MaybePromise<unknown> | undefined) => void Promise.resolve(answer).catch(() => {});

/** Reads until the circuit opens. */
async function open({ inner, store }: ReturnType<typeof pair>, behaviour = REJECTS): Promise<void> {
  inner.behave = () => behaviour;
  for (let i = 0; i < 5; i++) quiet(store.get(id(1)));
  await pass(51);
  inner.called();
  expect(store.statistics.reads.state).toBe('open');
}

describe('the circuit of reads', () => {
  it.each([
    ['throws', THROWS],
    ['rejects', REJECTS],
    ['hangs', HANGS],
  ])(
    'opens when the store %s five times in a row: then it is not asked, and the answer is nothing, at once',
    async (_how, behaviour) => {
      const both = pair();
      await open(both, behaviour);
      const { inner, store } = both;
      expect([store.get(id(1)), store.take?.(id(1))]).toEqual([undefined, undefined]);
      expect(inner.called()).toEqual([]);
      expect(store.statistics).toMatchObject({
        refused: 2,
        reads: { calls: 5, state: 'open' },
        writes: { state: 'closed' },
      });
    },
  );

  it('opens for the first failure when told so, and for none of four otherwise', async () => {
    const touchy = pair({ failures: 1 });
    touchy.inner.behave = () => THROWS;
    quiet(touchy.store.get(id(1)));
    expect(touchy.store.statistics.reads.state).toBe('open');
    const { inner, store } = pair();
    for (let round = 0; round < 10; round++) {
      inner.behave = () => THROWS;
      for (let i = 0; i < 4; i++) quiet(store.get(id(1)));
      inner.behave = () => AT_ONCE;
      expect(store.get(id(1))).toEqual(session(1));
    }
    expect(store.statistics.reads).toMatchObject({ state: 'closed', errors: 40, answered: 10 });
  });

  it('tries one call after a second, and closes when that succeeds', async () => {
    const both = pair();
    await open(both);
    const { inner, store } = both;
    inner.behave = () => LATER;
    await pass(940);
    expect([store.get(id(1)), store.statistics.reads.state]).toEqual([undefined, 'open']);
    await pass(20);
    expect(store.statistics.reads.state).toBe('half-open');
    const probe = watch(store.get(id(1)));
    // Meanwhile there is no second one.
    expect([store.get(id(1)), store.take?.(id(1))]).toEqual([undefined, undefined]);
    expect([store.statistics.reads.state, probe.state]).toEqual(['half-open', 'waiting']);
    await pass(5);
    expect(probe).toMatchObject({ state: 'fulfilled', value: session(1) });
    expect(inner.called()).toEqual(['get 1']);
    const reads = [watch(store.get(id(1))), watch(store.get(id(1)))];
    await pass(5);
    expect(reads.map(({ value }) => value)).toEqual([session(1), session(1)]);
    expect(store.statistics.reads.state).toBe('closed');
  });

  it.each([
    ['fails', REJECTS],
    ['hangs', HANGS],
  ])('opens for another second when that %s', async (_how, behaviour) => {
    const both = pair();
    await open(both);
    const { inner, store } = both;
    inner.behave = () => behaviour;
    for (let second = 0; second < 30; second++) {
      await pass(1000);
      quiet(store.get(id(1)));
      quiet(store.get(id(1)));
      await pass(51);
      expect(inner.called()).toEqual(['get 1']);
      expect(store.statistics.reads.state).toBe('open');
    }
    inner.behave = () => AT_ONCE;
    await pass(1000);
    expect(store.get(id(1))).toEqual(session(1));
    expect(store.statistics.reads.state).toBe('closed');
  });

  it('takes five failures again once it was closed', async () => {
    const both = pair();
    await open(both);
    const { inner, store } = both;
    inner.behave = () => AT_ONCE;
    await pass(1000);
    store.get(id(1));
    inner.behave = () => THROWS;
    for (let i = 0; i < 4; i++) quiet(store.get(id(1)));
    expect(store.statistics.reads.state).toBe('closed');
  });

  it('believes no call that began before it opened', async () => {
    const { inner, store } = pair();
    inner.behave = () => ({ after: 40 });
    const slow = watch(store.get(id(1)));
    inner.behave = () => THROWS;
    for (let i = 0; i < 5; i++) quiet(store.get(id(1)));
    await pass(40);
    expect(slow.value).toEqual(session(1));
    expect(store.statistics.reads.state).toBe('open');
    // Nor one of the same time that fails when a probe has closed it.
    inner.behave = () => AT_ONCE;
    await pass(1000);
    expect(store.get(id(1))).toEqual(session(1));
  });

  it.each([
    ['closed', true],
    ['open', false],
  ])(
    'is %s after an answer that was late, if it lay there while the event loop was busy: %s',
    async (state, layThere) => {
      const { inner, store } = pair({ failures: 1 });
      inner.behave = () => ({ after: Number.POSITIVE_INFINITY });
      const read = watch(store.get(id(1)));
      // A loop that was busy runs its timers first, then reads what has come, then runs what setImmediate was given.
      vi.advanceTimersByTime(50);
      if (layThere) inner.hung[0]?.();
      await pass(1);
      expect(read).toMatchObject({ state: 'rejected', code: 'ERR_STORE_TIMEOUT' });
      expect(store.statistics.reads).toMatchObject({ timeouts: 1, abandoned: layThere ? 0 : 1, state });
    },
  );

  it.each([
    ['closed', true],
    ['open', false],
  ])(
    'is %s when a call that a busy event loop gave up early is answered by its deadline: %s',
    async (state, answered) => {
      const clock = stoppedClock();
      const { inner, store } = pair({ clock, failures: 1 });
      inner.behave = () => ({ after: Number.POSITIVE_INFINITY });
      const read = watch(store.get(id(1)));
      // Timers count from the moment at which the loop last woke: forty milliseconds before the call.
      clock.now += 10;
      await pass(51);
      expect(read).toMatchObject({ state: 'rejected', code: 'ERR_STORE_TIMEOUT' });
      expect(store.statistics.reads).toMatchObject({ timeouts: 1, state: 'closed' });
      await pass(30);
      if (answered) inner.hung[0]?.();
      await pass(11);
      expect(store.statistics.reads.state).toBe(state);
    },
  );

  it('has a period and a clock of its own', () => {
    const clock = stoppedClock();
    const { inner, store } = pair({ clock, period: 10, failures: 1 });
    inner.behave = () => THROWS;
    quiet(store.get(id(1)));
    inner.behave = () => AT_ONCE;
    clock.now += 9;
    expect(store.get(id(1))).toBeUndefined();
    clock.now += 1;
    expect(store.get(id(1))).toEqual(session(1));
  });

  it('does not stay open for longer than a period when its clock is put back', () => {
    const clock = stoppedClock();
    const { inner, store } = pair({ clock, failures: 1 });
    inner.behave = () => THROWS;
    quiet(store.get(id(1)));
    inner.behave = () => AT_ONCE;
    clock.now -= 100_000;
    expect(store.get(id(1))).toBeUndefined();
    clock.now += 1000;
    expect(store.get(id(1))).toEqual(session(1));
  });

  it('is tried at every thirtieth period once sixty tries were left without an end', async () => {
    const both = pair();
    await open(both, HANGS);
    const { inner, store } = both;
    const second = async () => {
      await pass(1000);
      quiet(store.get(id(1)));
      await pass(51);
      return inner.called().length;
    };
    let tries = 0;
    for (let i = 0; i < 60; i++) tries += await second();
    expect(tries).toBe(60);
    for (let i = 0; i < 300; i++) tries += await second();
    expect(tries - 60).toBeGreaterThanOrEqual(9);
    expect(tries - 60).toBeLessThanOrEqual(11);
    // An end is an end, also a late one and an error: then it is tried every second again.
    for (const end of inner.hung) end();
    tries = 0;
    for (let i = 0; i < 10; i++) tries += await second();
    expect(tries).toBeGreaterThanOrEqual(9);
    // And a success clears all, though nothing else has ended.
    for (let i = 0; i < 80; i++) await second();
    inner.behave = () => AT_ONCE;
    await pass(31_000);
    expect(store.get(id(1))).toEqual(session(1));
    inner.behave = () => THROWS;
    for (let i = 0; i < 5; i++) quiet(store.get(id(1)));
    await pass(1000);
    inner.called();
    quiet(store.get(id(1)));
    expect(inner.called()).toEqual(['get 1']);
  });

  it('does not count the ends of tries that were before its last success', async () => {
    const both = pair();
    await open(both, HANGS);
    const { inner, store } = both;
    const tries = async (count: number) => {
      for (let i = 0; i < count; i++) {
        await pass(1000);
        quiet(store.get(id(1)));
        await pass(51);
      }
      return inner.called().length;
    };
    await tries(50);
    inner.behave = () => AT_ONCE;
    await tries(1);
    expect(store.statistics.reads.state).toBe('closed');
    for (const end of inner.hung.splice(0)) end();
    await open(both, HANGS);
    expect(await tries(60)).toBe(60);
    expect(await tries(30)).toBeLessThan(3);
  });
});

describe('the circuit of writes', () => {
  it('is another one: what cannot be written can be read', async () => {
    const { inner, store } = pair();
    inner.behave = (call) => (call === 'set' ? REJECTS : AT_ONCE);
    for (let i = 0; i < 5; i++) quiet(store.set(id(i + 10), session(2), 300));
    await pass(5);
    inner.called();
    const refused = watch(store.set(id(2), session(2), 300));
    await pass(0);
    expect(refused).toMatchObject({ state: 'rejected', code: 'ERR_STORE_UNAVAILABLE' });
    expect(store.get(id(1))).toEqual(session(1));
    expect(store.get(id(2))).toBeUndefined();
    expect(inner.called()).toEqual(['get 1', 'get 2']);
    expect(store.statistics).toMatchObject({
      refused: 0,
      reads: { state: 'closed' },
      writes: { state: 'open', dropped: 1 },
    });
  });

  it('closes with the first write that succeeds', async () => {
    const { inner, store } = pair();
    inner.behave = () => REJECTS;
    for (let i = 0; i < 5; i++) quiet(store.set(id(i + 10), session(2), 300));
    await pass(1005);
    inner.behave = () => AT_ONCE;
    expect(store.set(id(2), session(2), 300)).toBeUndefined();
    expect(store.statistics.writes.state).toBe('closed');
  });
});

describe('calls on their way', () => {
  it('are only so many: more are answered with nothing', async () => {
    const { inner, store } = pair({ maxInFlight: 3, failures: 100 });
    inner.behave = () => ({ after: 10 });
    const reads = Array.from({ length: 5 }, () => watch(store.get(id(1))));
    expect(reads.map(({ state }) => state)).toEqual(['waiting', 'waiting', 'waiting', 'at once', 'at once']);
    await pass(10);
    expect(reads.slice(0, 3).map(({ value }) => value)).toEqual([session(1), session(1), session(1)]);
    expect([inner.most, store.statistics.refused, inner.calls.length]).toEqual([3, 2, 3]);
  });

  it('count until they end, those that were given up too', async () => {
    const { inner, store } = pair({ maxInFlight: 3, failures: 100 });
    inner.behave = () => HANGS;
    for (let i = 0; i < 3; i++) quiet(store.get(id(1)));
    await pass(1000);
    expect(store.statistics.reads).toMatchObject({ inFlight: 0, abandoned: 3 });
    inner.behave = () => AT_ONCE;
    expect(store.get(id(1))).toBeUndefined();
    inner.hung[1]?.();
    await pass(0);
    expect(store.get(id(1))).toEqual(session(1));
    expect(store.statistics.reads).toMatchObject({ abandoned: 2, timeouts: 3, answered: 1 });
  });

  it('count for a minute at most: some calls of a store may never end', async () => {
    const { inner, store } = pair({ maxInFlight: 2, failures: 100 });
    inner.behave = () => HANGS;
    quiet(store.get(id(1)));
    await pass(30_000);
    quiet(store.get(id(1)));
    await pass(30_000);
    inner.behave = () => AT_ONCE;
    expect(store.get(id(1))).toBeUndefined();
    await pass(50);
    expect(store.get(id(1))).toEqual(session(1));
    expect(store.statistics.reads.abandoned).toBe(1);
  });

  it('do not keep the one out that tries again, and count no longer once it has succeeded', async () => {
    const both = pair({ maxInFlight: 5 });
    await open(both, HANGS);
    const { inner, store } = both;
    await pass(1000);
    inner.behave = () => LATER;
    const probe = watch(store.get(id(1)));
    await pass(5);
    expect(probe.value).toEqual(session(1));
    expect(store.statistics.reads).toMatchObject({ abandoned: 0, state: 'closed' });
    for (const end of inner.hung) end();
    await pass(5);
    expect(store.statistics.reads).toMatchObject({ calls: 6, timeouts: 5, answered: 1, inFlight: 0, abandoned: 0 });
  });
});

type NaiveCall = { permit: number; era: number; probe: boolean };

/** A circuit breaker that says in words what it does. */
class NaiveBreaker {
  state: 'closed' | 'open' | 'half-open, free' | 'half-open, busy' = 'closed';
  failures = 0;
  until = 0;
  /** Opening and trying each begin one: calls of an earlier one have no say. */
  era = 0;

  constructor(
    readonly threshold: number,
    readonly clock: () => number,
  ) {}

  look(): void {
    if (this.state === 'open' && this.clock() >= this.until) this.state = 'half-open, free';
  }

  enter(permit: number): NaiveCall | undefined {
    if (this.state !== 'closed' && this.state !== 'half-open, free') return undefined;
    const probe = this.state === 'half-open, free';
    if (probe) {
      this.state = 'half-open, busy';
      this.era++;
    }
    return { permit, era: this.era, probe };
  }

  succeed(call: NaiveCall): boolean {
    if (call.era !== this.era) return false;
    const closes = this.state !== 'closed';
    this.state = 'closed';
    this.failures = 0;
    return closes;
  }

  fail(call: NaiveCall): void {
    if (call.era !== this.era) return;
    this.failures++;
    if (this.state === 'closed' && this.failures < this.threshold) return;
    this.state = 'open';
    this.failures = 0;
    this.until = this.clock() + 100;
    this.era++;
  }
}

describe('a CircuitBreaker is the naive one', () => {
  const STEP = fc.record({
    op: fc.constantFrom('enter' as const, 'enter' as const, 'succeed' as const, 'fail' as const, 'fail' as const),
    which: fc.nat(7),
    on: fc.constantFrom(0, 0, 0, 50, 99, 100),
  });

  class Both {
    readonly clock = stoppedClock();
    readonly calls: NaiveCall[] = [];
    readonly breaker: CircuitBreaker;
    readonly naive: NaiveBreaker;

    constructor(threshold: number) {
      this.breaker = new CircuitBreaker(threshold, 100, this.clock);
      this.naive = new NaiveBreaker(threshold, this.clock);
    }

    enter(): void {
      const permit = this.breaker.enter();
      const entered = this.naive.enter(permit);
      expect([permit !== 0, this.breaker.isProbe(permit)]).toEqual([entered !== undefined, entered?.probe ?? false]);
      if (entered !== undefined) this.calls.push(entered);
    }

    succeed(which: number): void {
      const [call] = this.calls.splice(which % Math.max(1, this.calls.length), 1);
      if (call !== undefined) expect(this.breaker.succeeded(call.permit)).toBe(this.naive.succeed(call));
    }

    fail(which: number): void {
      const [call] = this.calls.splice(which % Math.max(1, this.calls.length), 1);
      if (call === undefined) return;
      this.breaker.failed(call.permit);
      this.naive.fail(call);
    }
  }

  it('after any calls, in any order of their ends (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(STEP, { maxLength: 80 }), (threshold, steps) => {
        const both = new Both(threshold);
        for (const { op, which, on } of steps) {
          both.clock.now += on;
          both.naive.look();
          both[op](which);
          expect(both.naive.state.startsWith(both.breaker.state)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
