import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DeadlineStore, type DeadlineStoreOptions } from '../../src/stores/deadline-store.js';
import type { MaybePromise } from '../../src/stores/session-store.js';
import { id, session } from '../cache/counting-store.js';
import { AT_ONCE, HANGS, LATER, pass, REJECTS, ScriptedStore, THROWS, useFakeTime, watch } from './scripted-store.js';

beforeEach(useFakeTime);
afterEach(() => void vi.useRealTimers());

function pair(options: DeadlineStoreOptions = {}) {
  const inner = new ScriptedStore();
  inner.behave = () => LATER;
  return { inner, store: new DeadlineStore(inner, options) };
}

const held = (inner: ScriptedStore, n: number) => inner.held.get(id(n).toString('hex'));
const put = (inner: ScriptedStore, n: number) => void inner.held.set(id(n).toString('hex'), session(n));
const quiet = (answer: MaybePromise<unknown> | undefined) => void Promise.resolve(answer).catch(() => {});

/** A deletion that has failed, and is owed. */
async function owed(options: DeadlineStoreOptions = {}) {
  const both = pair({ failures: 1000, ...options });
  put(both.inner, 1);
  both.inner.behave = () => REJECTS;
  const failed = watch(both.store.delete(id(1)));
  await pass(5);
  expect(failed).toMatchObject({ state: 'rejected', code: 'delete has failed' });
  expect(both.store.statistics.writes.owed).toBe(1);
  both.inner.called();
  return both;
}

describe('writes of one key', () => {
  it('are made one after the other, and of those that wait the last alone', async () => {
    const { inner, store } = pair();
    const writes = [1, 2, 3, 4].map((n) => watch(store.set(id(1), session(n), 300)));
    expect(inner.calls).toEqual(['set 1']);
    await pass(5);
    expect(writes.map(({ state }) => state)).toEqual(['fulfilled', 'waiting', 'waiting', 'waiting']);
    expect(held(inner, 1)).toEqual(session(4));
    await pass(5);
    expect(writes.every(({ state }) => state === 'fulfilled')).toBe(true);
    expect(inner.calls).toEqual(['set 1', 'set 1']);
    expect(store.statistics.writes).toMatchObject({ coalesced: 2, calls: 2, waiting: 0, inFlight: 0 });
  });

  it('of other keys wait for none', () => {
    const { inner, store } = pair();
    for (const n of [1, 2, 3]) quiet(store.set(id(n), session(n), 300));
    quiet(store.delete(id(4)));
    expect(inner.calls).toEqual(['set 1', 'set 2', 'set 3', 'delete 4']);
  });

  it.each([
    ['a deletion after a set', ['set', 'set', 'delete'], undefined],
    ['a set after a deletion', ['set', 'delete', 'set'], session(7)],
    ['a deletion after a set after a deletion', ['delete', 'set', 'delete'], undefined],
  ])('%s wins', async (_what, calls, left) => {
    const { inner, store } = pair();
    put(inner, 1);
    const writes = calls.map((call) => watch(call === 'set' ? store.set(id(1), session(7), 300) : store.delete(id(1))));
    await pass(10);
    expect(held(inner, 1)).toEqual(left);
    expect(writes.every(({ state }) => state === 'fulfilled')).toBe(true);
    expect(inner.calls.length).toBe(2);
  });

  it('end alike when the one that was made for them fails', async () => {
    const { inner, store } = pair();
    const writes = [watch(store.set(id(1), session(1), 300))];
    inner.behave = () => REJECTS;
    for (const n of [2, 3]) writes.push(watch(store.set(id(1), session(n), 300)));
    await pass(10);
    expect(writes.map(({ state }) => state)).toEqual(['fulfilled', 'rejected', 'rejected']);
  });

  it('hold copies: the caller may write to what it gave', async () => {
    const { inner, store } = pair();
    const [key, value] = [id(1), session(1)];
    void store.set(key, session(2), 300);
    void store.set(key, value, 300);
    value.fill(0);
    key.fill(9);
    await pass(10);
    expect(held(inner, 1)).toEqual(session(1));
  });
});

describe('a read of a key whose write is not done', () => {
  it('asks the store, which may have it or not', async () => {
    const { inner, store } = pair({ maxInFlight: 1 });
    void store.set(id(1), session(1), 300);
    void store.set(id(1), session(2), 300);
    void store.set(id(2), session(2), 300);
    const reads = [watch(store.get(id(1)))];
    await pass(5);
    reads.push(watch(store.get(id(2))));
    await pass(20);
    expect(reads.map(({ value }) => value)).toEqual([session(1), undefined]);
    expect(inner.called()).toEqual(['set 1', 'get 1', 'set 1', 'get 2', 'set 2']);
    expect(store.statistics).toMatchObject({ denied: 0, refused: 0, reads: { calls: 2 } });
  });

  it('finds nothing where that is a deletion, though the store would', async () => {
    const { inner, store } = pair();
    put(inner, 1);
    inner.behave = () => ({ after: 5, done: false });
    quiet(store.delete(id(1)));
    expect([store.get(id(1)), store.take?.(id(1))]).toEqual([undefined, undefined]);
    expect(inner.called()).toEqual(['delete 1']);
    quiet(store.set(id(1), session(2), 300));
    quiet(store.delete(id(1)));
    expect(store.get(id(1))).toBeUndefined();
    await pass(10);
    expect(store.statistics).toMatchObject({ denied: 3, refused: 0 });
  });

  it('that began before a deletion finds nothing either', async () => {
    const { inner, store } = pair();
    put(inner, 1);
    inner.behave = (call) => ({ after: call === 'get' ? 5 : 20 });
    const read = watch(store.get(id(1)));
    void store.delete(id(1));
    await pass(5);
    expect(read).toMatchObject({ state: 'fulfilled', value: undefined });
  });

  it('knows its key, though the caller has written to that since', async () => {
    const { inner, store } = pair();
    put(inner, 1);
    const [read, taken] = [id(1), id(2)];
    inner.behave = (call) => ({ after: call === 'get' ? 5 : 20 });
    const found = watch(store.get(read));
    read.fill(9);
    quiet(store.delete(id(1)));
    quiet(store.set(id(2), session(2), 300));
    const waiting = watch(store.take?.(taken));
    taken.fill(9);
    await pass(40);
    expect([found.value, waiting.value]).toEqual([undefined, session(2)]);
  });

  it('leaves what is set anew as soon as it is written to whoever did that', async () => {
    const { inner, store } = pair();
    const first = Promise.resolve(store.set(id(1), session(1), 300));
    void first.then(() => store.set(id(1), session(2), 300));
    const taken = watch(store.take?.(id(1)));
    await pass(20);
    expect([taken.state, taken.value]).toEqual(['fulfilled', undefined]);
    expect(inner.called()).toEqual(['set 1', 'set 1']);
    expect(store.statistics.refused).toBe(1);
  });

  it('takes it once it is written, and the store alone decides who gets it', async () => {
    const { inner, store } = pair();
    void store.set(id(1), session(1), 300);
    const takes = Array.from({ length: 10 }, () => watch(store.take?.(id(1))));
    expect(inner.called()).toEqual(['set 1']);
    await pass(10);
    expect(takes.every(({ state }) => state === 'fulfilled')).toBe(true);
    expect(takes.map(({ value }) => value).filter(Boolean)).toEqual([session(1)]);
    expect(inner.called()).toEqual(Array.from({ length: 10 }, () => 'take 1'));
    expect(held(inner, 1)).toBeUndefined();
  });

  it('waits for it no longer than the deadline, and takes nothing after that', async () => {
    const { inner, store } = pair();
    inner.behave = () => ({ after: 60 });
    void store.set(id(1), session(1), 300);
    const taken = watch(store.take?.(id(1)));
    await pass(50);
    expect(taken).toMatchObject({ state: 'rejected', code: 'ERR_STORE_TIMEOUT' });
    await pass(100);
    expect(inner.called()).toEqual(['set 1']);
    expect(held(inner, 1)).toEqual(session(1));
    expect(store.statistics.refused).toBe(1);
  });

  it('waits for both, write and take, no longer than the deadline', async () => {
    const { inner, store } = pair();
    inner.behave = (call) => ({ after: call === 'set' ? 30 : 40 });
    void store.set(id(1), session(1), 300);
    const taken = watch(store.take?.(id(1)));
    await pass(49);
    expect(taken.state).toBe('waiting');
    await pass(2);
    expect(taken).toMatchObject({ state: 'rejected', code: 'ERR_STORE_TIMEOUT' });
  });

  it('takes nothing that was deleted or set anew while it waited', async () => {
    const { inner, store } = pair();
    void store.set(id(1), session(1), 300);
    const taken = watch(store.take?.(id(1)));
    void store.delete(id(1));
    await pass(15);
    expect(taken.state).toBe('fulfilled');
    void store.set(id(1), session(1), 300);
    const second = watch(store.take?.(id(1)));
    await pass(4);
    inner.behave = () => REJECTS;
    quiet(store.delete(id(1)));
    await pass(10);
    expect([taken.value, second.value]).toEqual([undefined, undefined]);
    expect(inner.called()).toEqual(['set 1', 'delete 1', 'take 1', 'set 1', 'delete 1']);
  });
});

describe('a set that fails', () => {
  it.each([
    ['throws', THROWS, 'set has failed'],
    ['rejects', REJECTS, 'set has failed'],
    ['hangs', HANGS, 'ERR_STORE_TIMEOUT'],
  ])('is forgotten: the store %s', async (_how, behaviour, code) => {
    const { inner, store } = pair();
    inner.behave = () => behaviour;
    const write = watch(store.set(id(1), session(1), 300));
    await pass(1000);
    expect(write).toMatchObject({ state: 'rejected', code });
    inner.behave = () => AT_ONCE;
    expect(store.get(id(1))).toBeUndefined();
    expect(inner.called()).toEqual(['set 1', 'get 1']);
    await pass(100_000);
    expect(inner.called()).toEqual([]);
    expect(store.statistics.writes).toMatchObject({ owed: 0, waiting: 0, retried: 0 });
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('a deletion that fails', () => {
  it.each([
    ['throws', THROWS],
    ['rejects', REJECTS],
    ['hangs', HANGS],
  ])(
    'is made again every second until it succeeds, and nothing is found meanwhile: the store %s',
    async (_how, behaviour) => {
      const { inner, store } = pair({ failures: 1000, writeDeadline: 100 });
      put(inner, 1);
      inner.behave = (call) => (call === 'delete' ? behaviour : AT_ONCE);
      const write = watch(store.delete(id(1)));
      await pass(100);
      expect(write.state).toBe('rejected');
      for (let second = 0; second < 5; second++) {
        expect([store.get(id(1)), store.take?.(id(1))]).toEqual([undefined, undefined]);
        await pass(1000);
      }
      expect(inner.called()).toEqual(Array.from({ length: 6 }, () => 'delete 1'));
      expect(held(inner, 1)).toEqual(session(1));
      inner.behave = () => AT_ONCE;
      await pass(1000);
      expect(held(inner, 1)).toBeUndefined();
      expect(store.statistics.writes).toMatchObject({ owed: 0, retried: 6 });
      put(inner, 1);
      expect(store.get(id(1))).toEqual(session(1));
      expect(vi.getTimerCount()).toBe(0);
    },
  );

  it('is owed when the store is not asked, too', async () => {
    const { inner, store } = pair({ failures: 1 });
    put(inner, 1);
    inner.behave = (call) => (call === 'get' ? AT_ONCE : THROWS);
    quiet(store.set(id(2), session(2), 300));
    inner.called();
    await expect(store.delete(id(1))).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(inner.called()).toEqual([]);
    expect(store.get(id(1))).toBeUndefined();
    inner.behave = () => AT_ONCE;
    await pass(2000);
    expect(inner.called()).toEqual(['delete 1']);
    expect(held(inner, 1)).toBeUndefined();
  });

  it('is paid by a later set that succeeds, at once or later', async () => {
    for (const behaviour of [AT_ONCE, LATER]) {
      const { inner, store } = await owed();
      inner.behave = () => behaviour;
      void store.set(id(1), session(2), 300);
      await pass(5);
      expect(store.statistics.writes.owed).toBe(0);
      await pass(5000);
      expect(inner.called()).toEqual(['set 1']);
      expect(held(inner, 1)).toEqual(session(2));
    }
  });

  it('is owed on when a later set fails', async () => {
    const { inner, store } = await owed();
    const write = watch(store.set(id(1), session(2), 300));
    await pass(5);
    expect(write.state).toBe('rejected');
    inner.behave = () => AT_ONCE;
    expect(store.get(id(1))).toBeUndefined();
    await pass(1000);
    expect(inner.called()).toEqual(['set 1', 'delete 1']);
    expect(held(inner, 1)).toBeUndefined();
  });

  it('is owed too when a set took its place before it was made, and that fails', async () => {
    const { inner, store } = pair({ failures: 1000 });
    void store.set(id(1), session(1), 300);
    const deleted = watch(store.delete(id(1)));
    const set = watch(store.set(id(1), session(2), 300));
    inner.behave = () => REJECTS;
    await pass(10);
    // The first set, which was asked for before it, pays nothing.
    expect([deleted.state, set.state]).toEqual(['rejected', 'rejected']);
    expect(held(inner, 1)).toEqual(session(1));
    expect(store.statistics.writes.owed).toBe(1);
    inner.behave = () => AT_ONCE;
    expect(store.get(id(1))).toBeUndefined();
    await pass(1000);
    expect(held(inner, 1)).toBeUndefined();
  });

  it('is not owed when the set that took its place succeeds', async () => {
    const { inner, store } = pair();
    void store.set(id(1), session(1), 300);
    quiet(store.delete(id(1)));
    quiet(store.set(id(1), session(2), 300));
    await pass(10);
    expect(store.statistics.writes.owed).toBe(0);
    expect(held(inner, 1)).toEqual(session(2));
    await pass(1000);
    expect(inner.calls.length).toBe(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is made again with sixteen others at a time, each in its turn', async () => {
    const { inner, store } = pair({ failures: 100_000 });
    inner.behave = () => REJECTS;
    for (let n = 0; n < 40; n++) quiet(store.delete(id(n)));
    await pass(5);
    inner.called();
    const made: string[][] = [];
    for (let second = 0; second < 5; second++) {
      await pass(1000);
      made.push(inner.called());
    }
    expect(made.map(({ length }) => length)).toEqual([16, 16, 16, 16, 16]);
    expect(new Set(made.slice(0, 3).flat()).size).toBe(40);
    inner.behave = () => AT_ONCE;
    await pass(3000);
    expect(store.statistics.writes).toMatchObject({ owed: 0, dropped: 0 });
  });

  it('is remembered for so many keys only, and says so', async () => {
    const { inner, store } = pair({ failures: 1000, maxWrites: 3 });
    for (let n = 1; n <= 5; n++) put(inner, n);
    inner.behave = (call) => (call === 'delete' ? THROWS : AT_ONCE);
    const deletions = [1, 2, 3, 4, 5].map((n) => watch(store.delete(id(n))));
    await pass(0);
    expect(deletions.every(({ state }) => state === 'rejected')).toBe(true);
    expect(store.statistics.writes).toMatchObject({ owed: 3, dropped: 2 });
    expect([1, 2, 3, 4, 5].map((n) => store.get(id(n)))).toEqual([
      undefined,
      undefined,
      undefined,
      session(4),
      session(5),
    ]);
    // One more of a key that is owed already is no more.
    quiet(store.delete(id(1)));
    await pass(0);
    expect(store.statistics.writes).toMatchObject({ owed: 3, dropped: 2 });
  });

  it('is owed for seven days: no session lives longer', async () => {
    let now = 0;
    const { inner, store } = await owed({ clock: () => now });
    now += 604_800_000;
    await pass(1000);
    expect(inner.called()).toEqual(['delete 1']);
    await pass(10);
    expect(store.statistics.writes.owed).toBe(1);
    now += 1;
    await pass(1000);
    expect(store.statistics.writes.owed).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('writes that wait for their turn', () => {
  it('get it, oldest first, and are bounded', async () => {
    const { inner, store } = pair({ maxInFlight: 2, maxWrites: 3 });
    const writes = Array.from({ length: 7 }, (_, n) => watch(store.set(id(n + 1), session(n + 1), 300)));
    await pass(0);
    expect(writes.map(({ state }) => state)).toEqual([...Array(5).fill('waiting'), 'rejected', 'rejected']);
    expect(writes[6]?.code).toBe('ERR_STORE_UNAVAILABLE');
    expect(store.statistics.writes).toMatchObject({ inFlight: 2, waiting: 3, dropped: 2 });
    await pass(5);
    await pass(5);
    await pass(5);
    expect(inner.calls).toEqual(['set 1', 'set 2', 'set 3', 'set 4', 'set 5']);
    expect(writes.slice(0, 5).every(({ state }) => state === 'fulfilled')).toBe(true);
    expect(inner.most).toBe(2);
    expect(store.statistics.writes).toMatchObject({ calls: 5, answered: 5, inFlight: 0, waiting: 0 });
  });

  it('are replaced by later ones of their key', async () => {
    const { inner, store } = pair({ maxInFlight: 1 });
    void store.set(id(1), session(1), 300);
    const writes = [watch(store.set(id(2), session(2), 300)), watch(store.set(id(2), session(3), 300))];
    await pass(10);
    expect(writes.every(({ state }) => state === 'fulfilled')).toBe(true);
    expect(inner.calls).toEqual(['set 1', 'set 2']);
    expect(held(inner, 2)).toEqual(session(3));
  });

  it('are given up after a second', async () => {
    const { inner, store } = pair({ maxInFlight: 1, failures: 1000, period: 100, writeDeadline: 1000 });
    inner.behave = () => HANGS;
    quiet(store.set(id(1), session(1), 300));
    await pass(500);
    put(inner, 3);
    const waiting = [watch(store.set(id(2), session(2), 300)), watch(store.delete(id(3)))];
    await pass(1000);
    expect(waiting.map(({ code }) => code)).toEqual(['ERR_STORE_TIMEOUT', 'ERR_STORE_TIMEOUT']);
    expect(store.statistics.writes).toMatchObject({ waiting: 0, dropped: 1, owed: 1, calls: 1 });
    inner.behave = () => AT_ONCE;
    expect([store.get(id(2)), store.get(id(3))]).toEqual([undefined, undefined]);
    // A minute later the call that never ends does not count any longer.
    await pass(61_000);
    expect(held(inner, 3)).toBeUndefined();
    expect(store.statistics.writes.owed).toBe(0);
  });

  it('wait no longer when others took their place', async () => {
    const { inner, store } = pair({ maxInFlight: 1, failures: 1000, period: 100 });
    inner.behave = () => HANGS;
    quiet(store.set(id(1), session(1), 300));
    const writes: ReturnType<typeof watch>[] = [];
    for (let n = 0; n < 4; n++) {
      writes.push(watch(store.set(id(2), session(n), 300)));
      await pass(400);
    }
    expect(writes.map(({ code }) => code)).toEqual([...Array(3).fill('ERR_STORE_TIMEOUT'), undefined]);
  });

  it('get their turn when a call that was given up has ended after all', async () => {
    const { inner, store } = pair({ maxInFlight: 1, failures: 1000, period: 100, writeDeadline: 300 });
    inner.behave = () => HANGS;
    quiet(store.set(id(1), session(1), 300));
    await pass(250);
    const waiting = watch(store.set(id(2), session(2), 300));
    inner.behave = () => LATER;
    await pass(60);
    expect(store.statistics.writes).toMatchObject({ abandoned: 1, waiting: 1 });
    inner.hung[0]?.();
    await pass(150);
    expect(waiting.state).toBe('fulfilled');
    expect(held(inner, 2)).toEqual(session(2));
  });

  it('are given up when the circuit opens: sets are dropped, deletions are owed', async () => {
    const { inner, store } = pair({ maxInFlight: 1, failures: 1 });
    inner.behave = () => REJECTS;
    const writes = [1, 2, 3].map((n) => watch(store.set(id(n), session(n), 300)));
    writes.push(watch(store.delete(id(4))));
    await pass(5);
    expect(writes.map(({ code }) => code)).toEqual([
      'set has failed',
      'ERR_STORE_UNAVAILABLE',
      'ERR_STORE_UNAVAILABLE',
      'ERR_STORE_UNAVAILABLE',
    ]);
    expect(store.statistics.writes).toMatchObject({ waiting: 0, dropped: 2, owed: 1, calls: 1, state: 'open' });
  });

  it('go on when a store answers at once after all, however many they are', async () => {
    const { inner, store } = pair({ maxInFlight: 1, maxWrites: 100_000 });
    void store.set(Buffer.alloc(32, 'first'), session(1), 300);
    const last = Array.from({ length: 50_000 }, (_, n) => store.set(Buffer.alloc(32, `key ${n}`), session(1), 300)).at(
      -1,
    );
    inner.behave = () => AT_ONCE;
    await pass(5);
    await last;
    expect(inner.held.size).toBe(50_001);
    expect(store.statistics.writes).toMatchObject({ waiting: 0, inFlight: 0, calls: 50_001 });
  });
});
