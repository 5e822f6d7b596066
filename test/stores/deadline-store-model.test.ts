import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DeadlineStore } from '../../src/stores/deadline-store.js';
import type { MaybePromise } from '../../src/stores/session-store.js';
import { heldBytes } from '../support/garbage.js';
import {
  AT_ONCE,
  type Behaviour,
  type Call,
  HANGS,
  pass,
  ScriptedStore,
  useFakeTime,
  watch,
} from './scripted-store.js';

const BEHAVIOURS: readonly Behaviour[] = [
  AT_ONCE,
  { after: 0 },
  { after: 20 },
  { after: 20 },
  { after: 70 },
  { after: 3000 },
  { fails: true, done: false },
  { fails: true, done: true, after: 5 },
  { fails: true, done: false, after: 30 },
  { after: 5, done: false, fails: true },
  { after: 1500, fails: true },
  HANGS,
  { after: Number.POSITIVE_INFINITY, done: true },
];
const LIMITS = { deadline: 50, writeDeadline: 200, maxInFlight: 3, maxWrites: 4, failures: 3, period: 100 };
/** By then every call has ended: its deadline, and for writes their turn before that. */
const LONG = 2000;

const STEP = fc.record({
  call: fc.constantFrom('get', 'get', 'set', 'set', 'delete', 'take', 'pass') as fc.Arbitrary<Call | 'pass'>,
  key: fc.nat(3),
  on: fc.constantFrom(0, 1, 10, 30, 60, 150),
  behaviour: fc.constantFrom(...BEHAVIOURS),
});
type Step = typeof STEP extends fc.Arbitrary<infer T> ? T : never;

const keyOf = (n: number) => Buffer.alloc(32, n + 1);
const numberOf = (value: Uint8Array | undefined) => value && Number(Buffer.from(value).toString());

/** A DeadlineStore over a store that does whatever it is told, and all that must be true of them at any time. */
class Run {
  readonly inner = new ScriptedStore();
  readonly store = new DeadlineStore(this.inner, LIMITS);
  readonly promises: ReturnType<typeof watch>[] = [];
  /** For each key: whether it is deleted, so that nothing may be found until it is set again. */
  readonly deleted = new Map<number, boolean>();
  readonly setUnder = new Map<number, number>();
  readonly taken = new Set<number>();
  reads = 0;
  writes = 0;
  #next: Behaviour = AT_ONCE;
  #value = 0;

  constructor() {
    this.inner.behave = () => this.#next;
  }

  async step({ call, key, on, behaviour }: Step): Promise<void> {
    this.#next = behaviour;
    if (call === 'set') this.#set(key);
    else if (call === 'delete') this.#delete(key);
    else if (call !== 'pass') this.#read(call, key);
    this.check();
    if (on > 0) await pass(on);
    this.check();
  }

  #set(key: number): void {
    const value = ++this.#value;
    this.setUnder.set(value, key);
    this.deleted.set(key, false);
    this.writes++;
    this.promises.push(watch(this.store.set(keyOf(key), Buffer.from(`${value}`), 300)));
  }

  #delete(key: number): void {
    this.deleted.set(key, true);
    this.writes++;
    this.promises.push(watch(this.store.delete(keyOf(key))));
  }

  #read(call: 'get' | 'take', key: number): void {
    this.reads++;
    const wasDeleted = this.deleted.get(key) ?? true;
    const answer = this.store[call]?.(keyOf(key)) as MaybePromise<Uint8Array | undefined>;
    const judge = (found: Uint8Array | undefined): void => {
      const value = numberOf(found);
      if (value === undefined) return;
      // Never another key's value, never one that was deleted before the read began, never one twice by take.
      expect(this.setUnder.get(value)).toBe(key);
      if (wasDeleted) expect(this.deleted.get(key)).toBe(false);
      if (call === 'get') return;
      expect(this.taken.has(value)).toBe(false);
      this.taken.add(value);
    };
    const judged = answer instanceof Promise ? answer.then(judge) : judge(answer);
    this.promises.push(watch<unknown>(judged));
  }

  check(): void {
    const { reads, writes, refused, denied } = this.store.statistics;
    for (const { calls, answered, errors, timeouts, inFlight } of [reads, writes]) {
      expect(calls).toBe(answered + errors + timeouts + inFlight);
    }
    expect(reads.inFlight).toBeLessThanOrEqual(LIMITS.maxInFlight + 1);
    expect(writes.inFlight).toBeLessThanOrEqual(LIMITS.maxInFlight + 1);
    expect(writes.waiting).toBeLessThanOrEqual(LIMITS.maxWrites + LIMITS.maxInFlight + 1);
    expect(writes.owed).toBeLessThanOrEqual(LIMITS.maxWrites);
    const waitingReads = this.reads - refused - denied - reads.calls;
    expect(waitingReads).toBeGreaterThanOrEqual(0);
  }

  async end(): Promise<void> {
    await pass(LONG);
    expect(this.promises.map(({ state }) => state)).not.toContain('waiting');
    // What the judge throws is no error of the store.
    for (const { code } of this.promises) expect(String(code)).not.toMatch(/expected/);
    const { reads, writes, refused, denied } = this.store.statistics;
    expect([reads.inFlight, writes.waiting]).toEqual([0, 0]);
    // Deletions that are owed are made again and again.
    expect(writes.inFlight).toBeLessThanOrEqual(writes.owed);
    expect(this.reads).toBe(refused + denied + reads.calls);
    this.check();
  }

  /** A store that is well again is used again, all that is owed is paid, and no timer is left. */
  async recover(): Promise<void> {
    for (const end of this.inner.hung) end();
    this.#next = { after: 1 };
    await pass(61_000);
    for (let i = 0; i < 3; i++) {
      watch(this.store.get(keyOf(200)));
      watch(this.store.set(keyOf(200), Buffer.from('0'), 300));
      await pass(LIMITS.period + 5);
    }
    const { reads, writes } = this.store.statistics;
    expect([reads.state, writes.state]).toEqual(['closed', 'closed']);
    expect([writes.owed, reads.abandoned, writes.abandoned]).toEqual([0, 0, 0]);
    for (const [key, deleted] of this.deleted) {
      const read = watch(this.store.get(keyOf(key)));
      await pass(5);
      if (deleted) expect(read.value).toBeUndefined();
      else expect(read.state).toBe('fulfilled');
    }
    await pass(1000);
    expect(vi.getTimerCount()).toBe(0);
  }
}

describe('a DeadlineStore over a store that does anything (property)', () => {
  beforeEach(useFakeTime);
  afterEach(() => void vi.useRealTimers());

  it('ends every call, loses no count, keeps its bounds, finds nothing deleted, and hands no session out twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(STEP, { maxLength: 60 }), async (steps) => {
        vi.clearAllTimers();
        const run = new Run();
        for (const step of steps) await run.step(step);
        await run.end();
        await run.recover();
      }),
      { numRuns: 500 },
    );
  });
});

interface Asked {
  readonly asked: number;
  readonly key: number;
  /** The value that was set last, done or not. */
  readonly latest: number | undefined;
  /** The last set that was done. */
  readonly least: number;
}

/** What was written, by the number of the step, and what reads found. */
class History {
  readonly latest = new Map<number, number>();
  readonly deletions = new Map<number, number>();
  readonly done = new Map<number, number>();
  readonly found: (Asked & { value: number | undefined })[] = [];

  ask(asked: number, key: number): Asked {
    return { asked, key, latest: this.latest.get(key), least: this.done.get(key) ?? -1 };
  }

  write(n: number, key: number, call: 'set' | 'delete', ends: MaybePromise<void>): void {
    if (call === 'set') this.latest.set(key, n);
    else {
      this.latest.delete(key);
      this.deletions.set(key, n);
    }
    const note = () => void this.done.set(key, Math.max(n, this.done.get(key) ?? -1));
    if (call === 'set' && ends instanceof Promise) void ends.then(note);
    else if (call === 'set') note();
  }

  fault({ asked, key, latest, least, value }: History['found'][number]): string | undefined {
    if (value === undefined) {
      const deleted = (this.deletions.get(key) ?? -1) > least;
      return least >= 0 && !deleted ? 'a value that was set is not found' : undefined;
    }
    if (latest === undefined) return 'a deleted value is found';
    if (value < least) return 'an older value is found than the one that was set';
    return value > asked ? 'a value is found that was not set yet' : undefined;
  }
}

describe('a DeadlineStore over a store that is only slow (property)', () => {
  beforeEach(useFakeTime);
  afterEach(() => void vi.useRealTimers());

  it('is a map: each read sees the writes that are done, or later ones', async () => {
    const slow: Behaviour[] = [AT_ONCE, { after: 0 }, { after: 3 }, { after: 9 }];
    const step = fc.record({
      call: fc.constantFrom('get', 'get', 'set', 'set', 'delete') as fc.Arbitrary<'get' | 'set' | 'delete'>,
      key: fc.nat(2),
      on: fc.constantFrom(0, 0, 1, 4),
      behaviour: fc.constantFrom(...slow),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const inner = new ScriptedStore();
        const store = new DeadlineStore(inner);
        const history = new History();
        for (const [n, { call, key, on, behaviour }] of steps.entries()) {
          inner.behave = () => behaviour;
          if (call === 'get') {
            const asked = history.ask(n, key);
            void Promise.resolve(store.get(keyOf(key))).then((found) =>
              history.found.push({ ...asked, value: numberOf(found) }),
            );
          } else {
            const write = call === 'set' ? store.set(keyOf(key), Buffer.from(`${n}`), 300) : store.delete(keyOf(key));
            history.write(n, key, call, write);
          }
          if (on > 0) await pass(on);
        }
        await pass(1000);
        expect(store.statistics).toMatchObject({
          refused: 0,
          reads: { errors: 0, timeouts: 0 },
          writes: { dropped: 0, owed: 0 },
        });
        expect(history.found.length).toBe(steps.filter(({ call }) => call === 'get').length);
        for (const read of history.found) expect(history.fault(read)).toBeUndefined();
        for (const key of [0, 1, 2]) {
          expect(numberOf(inner.held.get(keyOf(key).toString('hex')))).toBe(history.latest.get(key));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('memory', () => {
  it('stays level under a flood that a store never answers', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'performance'] });
    try {
      const never = {
        get: () => new Promise<never>(() => {}),
        set: () => new Promise<never>(() => {}),
        delete: () => new Promise<never>(() => {}),
      };
      const store = new DeadlineStore(never, { failures: 1_000_000, maxInFlight: 256, maxWrites: 1000 });
      const used: number[] = [];
      const value = Buffer.alloc(200);
      for (let round = 0; round < 10; round++) {
        for (let n = 0; n < 3000; n++) {
          const key = Buffer.alloc(32, `${round} ${n}`);
          for (const answer of [store.get(key), store.set(key, value, 300), store.delete(key)]) {
            if (answer instanceof Promise) answer.catch(() => {});
          }
        }
        await pass(2000);
        const { reads, writes } = store.statistics;
        expect(reads.inFlight + reads.abandoned).toBeLessThanOrEqual(256);
        expect(writes.inFlight + writes.abandoned).toBeLessThanOrEqual(256);
        expect(writes.owed).toBeLessThanOrEqual(1000);
        expect(writes.waiting).toBeLessThanOrEqual(1256);
        used.push(heldBytes());
      }
      const [early, late] = [Math.max(...used.slice(2, 5)), Math.min(...used.slice(-3))];
      expect(late - early).toBeLessThan(2 * 1024 * 1024);
    } finally {
      vi.useRealTimers();
    }
  });

  it('stays level over hundreds of thousands of calls that are answered', async () => {
    const held = new Map<string, Uint8Array>();
    const turn = { get: async () => held.get('x'), set: async () => {}, delete: async () => {} };
    const store = new DeadlineStore(turn);
    const used: number[] = [];
    const value = Buffer.alloc(200);
    for (let round = 0; round < 10; round++) {
      for (let n = 0; n < 120; n++) {
        const keys = Array.from({ length: 100 }, (_, i) => Buffer.alloc(32, `${round} ${n} ${i}`));
        await Promise.all(keys.flatMap((key) => [store.set(key, value, 300), store.get(key), store.delete(key)]));
      }
      used.push(heldBytes());
    }
    expect(store.statistics.writes).toMatchObject({ owed: 0, waiting: 0, inFlight: 0, dropped: 0 });
    expect(Math.min(...used.slice(-3)) - Math.max(...used.slice(1, 4))).toBeLessThan(2 * 1024 * 1024);
  });
});
