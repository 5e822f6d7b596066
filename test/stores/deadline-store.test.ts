import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ResumptionError } from '../../src/errors.js';
import { DeadlineStore, type DeadlineStoreOptions } from '../../src/stores/deadline-store.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { sessionStoreConformance } from '../../src/testing.js';
import { id, session, stoppedClock } from '../cache/counting-store.js';
import { later, MemoryStore } from './memory-store.js';
import { AT_ONCE, HANGS, LATER, pass, REJECTS, ScriptedStore, THROWS, useFakeTime, watch } from './scripted-store.js';

function pair(options: DeadlineStoreOptions = {}) {
  const inner = new ScriptedStore();
  return { inner, store: new DeadlineStore(inner, options) };
}

const quiet = (answer: unknown) => void Promise.resolve(answer).catch(() => {});

/** Fills a store behind the back of what stands before it. */
function put(inner: ScriptedStore, n: number): void {
  inner.held.set(id(n).toString('hex'), session(n));
}

describe('a DeadlineStore does what a store must', () => {
  const clock = stoppedClock();
  const advance = (seconds: number) => {
    clock.now += seconds * 1000;
  };
  const held = new Map();
  const open = () => new DeadlineStore(new MemoryStore(clock, held), { clock });
  const openLater = () => new DeadlineStore(later(new MemoryStore(clock, held)), { clock });
  for (const { name, run } of sessionStoreConformance(open, { advance, peer: open })) it(name, run);
  describe('over a store that answers later', () => {
    for (const { name, run } of sessionStoreConformance(openLater, { advance, peer: openLater })) it(name, run);
  });
  describe('with room for one call at a time', () => {
    // Of many reads at once only one is asked for then: what the cases of those expect is not for this one.
    const narrow = () => new DeadlineStore(later(new MemoryStore(clock, held)), { clock, maxInFlight: 1 });
    const cases = sessionStoreConformance(narrow, { advance, peer: narrow });
    for (const { name, run } of cases) if (!/at once do not mix|100 takes at once over/.test(name)) it(name, run);
  });
});

describe('a store that answers at once', () => {
  it('is answered at once, in the same turn, for every method', () => {
    const { inner, store } = pair();
    expect(store.set(id(1), session(1), 300)).toBeUndefined();
    expect(store.get(id(1))).toEqual(session(1));
    expect(store.take?.(id(1))).toEqual(session(1));
    expect(store.delete(id(1))).toBeUndefined();
    expect(store.close()).toBeUndefined();
    expect(inner.calls).toEqual(['set 1', 'get 1', 'take 1', 'delete 1']);
    expect(store.statistics).toMatchObject({
      reads: { calls: 2, answered: 2, inFlight: 0, state: 'closed' },
      writes: { calls: 2, answered: 2, inFlight: 0, waiting: 0, owed: 0, state: 'closed' },
    });
  });

  it('that throws fails with a rejected promise, and never throws', async () => {
    const { inner, store } = pair();
    inner.behave = () => THROWS;
    for (const call of [() => store.get(id(1)), () => store.set(id(1), session(1), 1), () => store.delete(id(1))]) {
      const answer = call();
      await expect(answer).rejects.toThrow(/has failed/);
    }
    await expect(store.take?.(id(2))).rejects.toThrow('take has failed');
    expect(store.statistics.reads).toMatchObject({ errors: 2, calls: 2 });
    expect(store.statistics.writes).toMatchObject({ errors: 2, calls: 2 });
  });

  it('is given the same key and value that the caller gave', () => {
    const seen: unknown[] = [];
    const inner: SessionStore = {
      get: (key) => void seen.push(key),
      set: (key, value, timeout) => void seen.push(key, value, timeout),
      delete: (key) => void seen.push(key),
    };
    const store = new DeadlineStore(inner);
    const [key, value] = [id(1), session(1)];
    store.get(key);
    store.set(key, value, 7);
    store.delete(key);
    expect(seen).toEqual([key, key, value, 7, key]);
    expect(seen[2]).toBe(value);
  });

  it('offers take where the store does', () => {
    const bare: SessionStore = { get: () => undefined, set: () => {}, delete: () => {} };
    expect(new DeadlineStore(bare).take).toBeUndefined();
    expect(new DeadlineStore(bare).close()).toBeUndefined();
  });
});

describe('the deadline', () => {
  beforeEach(useFakeTime);
  afterEach(() => void vi.useRealTimers());

  it.each(['get', 'take'] as const)('of %s: 50 ms, and what comes later is dropped', async (call) => {
    const { inner, store } = pair();
    put(inner, 1);
    inner.behave = () => ({ after: 51 });
    const read = watch(store[call]?.(id(1)));
    await pass(49);
    expect(read.state).toBe('waiting');
    await pass(1);
    expect(read).toMatchObject({ state: 'rejected', code: 'ERR_STORE_TIMEOUT' });
    expect(store.statistics.reads).toMatchObject({ calls: 1, timeouts: 1, inFlight: 0, abandoned: 1 });
    await pass(1);
    expect(store.statistics.reads).toMatchObject({ calls: 1, answered: 0, timeouts: 1, abandoned: 0 });
    // Once taken it is gone, though nobody got it.
    inner.behave = () => AT_ONCE;
    expect(store.get(id(1))).toEqual(call === 'take' ? undefined : session(1));
  });

  it('does not touch what comes in time', async () => {
    const { inner, store } = pair({ deadline: 10 });
    put(inner, 1);
    inner.behave = () => ({ after: 9 });
    const reads = [watch(store.get(id(1))), watch(store.take?.(id(1))), watch(store.get(id(2)))];
    await pass(10);
    expect(reads.map(({ value }) => value)).toEqual([session(1), session(1), undefined]);
    expect(store.statistics.reads).toMatchObject({ calls: 3, answered: 3, timeouts: 0 });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('of set and delete is a second', async () => {
    const { inner, store } = pair();
    inner.behave = () => HANGS;
    const writes = [watch(store.set(id(1), session(1), 300)), watch(store.delete(id(2)))];
    await pass(999);
    expect(writes.map(({ state }) => state)).toEqual(['waiting', 'waiting']);
    await pass(1);
    expect(writes.map(({ code }) => code)).toEqual(['ERR_STORE_TIMEOUT', 'ERR_STORE_TIMEOUT']);
  });

  it('is an error that holds neither key nor session', async () => {
    const { inner, store } = pair();
    inner.behave = () => HANGS;
    const answer = Promise.resolve(store.get(id(0x61))).catch((error: unknown) => error);
    await pass(50);
    const error = await answer;
    expect(error).toBeInstanceOf(ResumptionError);
    expect(inspect(error)).not.toContain('aaaa');
    expect((error as Error).message).toBe('the store did not answer within 50 ms');
  });

  it('takes a thenable that keeps no rules', async () => {
    const thenable = (then: () => void) => Object.defineProperty({}, 'then', { value: then }) as never;
    const inner: SessionStore = {
      get: () => thenable(() => {}),
      set: () => Promise.resolve(),
      delete: () => thenable(() => raise(new Error('no'))),
    };
    const store = new DeadlineStore(inner);
    const read = watch(store.get(id(1)));
    const write = watch(store.delete(id(1)));
    await pass(50);
    expect(read.code).toBe('ERR_STORE_TIMEOUT');
    expect(write.code).toBe('no');
    expect(store.statistics.writes).toMatchObject({ calls: 1, errors: 1, inFlight: 0 });
  });

  it('passes on errors, those without a code and those that are none', async () => {
    for (const error of [new Error('down'), 'down', undefined, null]) {
      const inner: SessionStore = { get: () => Promise.reject(error), set: () => {}, delete: () => {} };
      await expect(new DeadlineStore(inner).get(id(1))).rejects.toBe(error);
    }
  });
});

describe('timers', () => {
  it('keep no process alive', async () => {
    const started: NodeJS.Timeout[] = [];
    const original = globalThis.setTimeout;
    vi.stubGlobal('setTimeout', (...args: Parameters<typeof setTimeout>) => {
      const timer = original(...args);
      started.push(timer);
      return timer;
    });
    try {
      const { inner, store } = pair();
      inner.behave = () => HANGS;
      void store.get(id(1));
      void store.set(id(1), session(1), 300);
      void store.take?.(id(1));
      void store.delete(id(2));
      inner.behave = () => THROWS;
      await Promise.resolve(store.delete(id(3))).catch(() => {});
      void store.close();
    } finally {
      vi.unstubAllGlobals();
    }
    expect(started.length).toBeGreaterThanOrEqual(6);
    expect(started.filter((timer) => timer.hasRef())).toEqual([]);
    for (const timer of started) clearTimeout(timer);
  });
});

describe('close', () => {
  beforeEach(useFakeTime);
  afterEach(() => void vi.useRealTimers());

  it('waits for the writes that are on their way, then closes the store, once', async () => {
    const { inner, store } = pair();
    inner.behave = () => ({ after: 100 });
    void store.set(id(1), session(1), 300);
    void store.set(id(1), session(2), 300);
    const closings = [watch(store.close()), watch(store.close())];
    await pass(199);
    expect([inner.closings, closings[0]?.state]).toEqual([0, 'waiting']);
    await pass(1);
    expect([inner.closings, closings[0]?.state, closings[1]?.state]).toEqual([1, 'fulfilled', 'fulfilled']);
    expect(inner.held.get(id(1).toString('hex'))).toEqual(session(2));
    expect(vi.getTimerCount()).toBe(0);
  });

  it('waits no longer than a second for them, and as long for the store', async () => {
    const { inner, store } = pair();
    inner.behave = () => HANGS;
    const write = watch(store.set(id(1), session(1), 300));
    const behind = watch(store.set(id(1), session(2), 300));
    inner.closing = () => new Promise(() => {});
    const closing = watch(store.close());
    await pass(1000);
    expect([inner.closings, write.state, behind.state]).toEqual([1, 'rejected', 'waiting']);
    await pass(1000);
    expect(behind.state).toBe('rejected');
    expect(closing).toMatchObject({ state: 'rejected', code: 'ERR_STORE_TIMEOUT' });
  });

  it('passes on what the store throws or rejects with, each time', async () => {
    const { inner, store } = pair();
    inner.closing = () => {
      throw new Error('no');
    };
    await expect(store.close()).rejects.toThrow('no');
    await expect(store.close()).rejects.toThrow('no');
    const other = pair();
    other.inner.closing = () => Promise.reject(new Error('later'));
    await expect(other.store.close()).rejects.toThrow('later');
    expect([inner.closings, other.inner.closings]).toEqual([1, 1]);
  });

  it('ends reads with nothing and writes with ERR_STORE_UNAVAILABLE, and asks the store no more', async () => {
    const { inner, store } = pair();
    put(inner, 1);
    store.close();
    expect([store.get(id(1)), store.take?.(id(1))]).toEqual([undefined, undefined]);
    await expect(store.set(id(1), session(1), 300)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    await expect(store.delete(id(1))).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(inner.calls).toEqual([]);
    expect(store.statistics.refused).toBe(2);
  });

  it('forgets deletions that are owed, and leaves no timer', async () => {
    const { inner, store } = pair();
    inner.behave = () => REJECTS;
    const failed = watch(store.delete(id(1)));
    await pass(5);
    expect(failed.state).toBe('rejected');
    expect(store.statistics.writes.owed).toBe(1);
    store.close();
    expect(store.statistics.writes.owed).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('owes no deletion that fails after it', async () => {
    const { inner, store } = pair();
    inner.behave = () => HANGS;
    const deleted = watch(store.delete(id(1)));
    await pass(10);
    quiet(store.set(id(2), session(2), 300));
    const closing = watch(store.close());
    await pass(5000);
    expect([deleted.state, closing.state]).toEqual(['rejected', 'fulfilled']);
    expect(inner.calls).toEqual(['delete 1', 'set 2']);
    expect([store.statistics.writes.owed, vi.getTimerCount()]).toEqual([0, 0]);
  });

  it('owes none that ends later than it waits for', async () => {
    const { inner, store } = pair();
    inner.behave = () => HANGS;
    quiet(store.set(id(1), session(1), 300));
    await pass(500);
    quiet(store.delete(id(1)));
    quiet(store.close());
    await pass(10_000);
    expect([store.statistics.writes.owed, vi.getTimerCount()]).toEqual([0, 0]);
    expect(inner.calls).toEqual(['set 1', 'delete 1']);
  });

  it('gives up a take that waits for a write', async () => {
    const { inner, store } = pair();
    inner.behave = () => LATER;
    void store.set(id(1), session(1), 300);
    const taken = watch(store.take?.(id(1)));
    const closing = watch(store.close());
    await pass(5);
    expect([taken.state, taken.value, closing.state]).toEqual(['fulfilled', undefined, 'fulfilled']);
    expect(inner.calls).toEqual(['set 1']);
  });
});

describe('what a DeadlineStore is given', () => {
  it.each([
    [{ deadline: 0 }, RangeError],
    [{ deadline: 60_001 }, RangeError],
    [{ deadline: '50' }, TypeError],
    [{ writeDeadline: 0 }, RangeError],
    [{ maxInFlight: 0 }, RangeError],
    [{ maxInFlight: 1.5 }, RangeError],
    [{ maxWrites: 0 }, RangeError],
    [{ failures: 0 }, RangeError],
    [{ period: 9 }, RangeError],
    [{ clock: 1 }, TypeError],
    [null, TypeError],
  ])('%o is wrong', (options, error) => {
    expect(() => new DeadlineStore(new ScriptedStore(), options as never)).toThrow(error);
  });

  it.each([undefined, {}, { get: () => {} }])('no store: %o', (store) => {
    expect(() => new DeadlineStore(store as never)).toThrow(TypeError);
  });

  it('may be undefined', () => {
    const { inner } = pair({ deadline: undefined, clock: undefined, failures: undefined });
    expect(inner.calls).toEqual([]);
  });

  it('does not show: neither keys nor sessions', () => {
    const { inner, store } = pair();
    inner.behave = () => HANGS;
    void store.set(id(0x61), session(1), 300);
    void store.set(id(0x61), session(1), 300);
    const shown = inspect(store, { depth: 9 });
    expect(shown).toMatch(/^DeadlineStore \{\s+reads: \{\s+state: 'closed',\s+calls: 0/);
    expect(shown).not.toMatch(/aaaa|session 1|61, 61|61 61/);
    const { statistics } = store;
    expect([statistics, statistics.reads, statistics.writes].every(Object.isFrozen)).toBe(true);
  });
});

function raise(error: unknown): never {
  throw error;
}
