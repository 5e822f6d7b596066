import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SessionCache, type SessionCacheOptions } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { DeadlineStore } from '../../src/stores/deadline-store.js';
import { id, session } from '../cache/counting-store.js';
import { AT_ONCE, HANGS, LATER, pass, REJECTS, ScriptedStore, THROWS, useFakeTime, watch } from './scripted-store.js';

const mode = SessionCacheMode.Server | SessionCacheMode.NoInternal;

function pair(options: SessionCacheOptions = {}) {
  const inner = new ScriptedStore();
  return { inner, cache: new SessionCache({ mode, external: inner, ...options }) };
}

describe('the external cache of a SessionCache', () => {
  beforeEach(useFakeTime);
  afterEach(() => void vi.useRealTimers());

  it('that hangs is waited for 50 ms, and counted', async () => {
    const { inner, cache } = pair();
    cache.store(id(1), session(1));
    inner.behave = () => HANGS;
    const reads = [watch(cache.lookup(id(1))), watch(cache.take(id(1)))];
    await pass(49);
    expect(reads.map(({ state }) => state)).toEqual(['waiting', 'waiting']);
    await pass(1);
    expect(reads).toEqual([
      { state: 'fulfilled', value: undefined },
      { state: 'fulfilled', value: undefined },
    ]);
    expect(cache.statistics).toMatchObject({ externalTimeouts: 2, externalErrors: 0, callbackHits: 0 });
  });

  it('that hangs ends a write after a second, and counts it', async () => {
    const { inner, cache } = pair();
    inner.behave = () => HANGS;
    const write = watch(cache.store(id(1), session(1)));
    await pass(1000);
    expect(write.state).toBe('fulfilled');
    expect(cache.statistics).toMatchObject({ externalTimeouts: 1, externalErrors: 0 });
  });

  it('that answers at once is answered at once', () => {
    const { inner, cache } = pair();
    expect(cache.store(id(1), session(1))).toBeUndefined();
    expect(cache.lookup(id(1))).toEqual(session(1));
    expect(cache.take(id(1))).toEqual(session(1));
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(inner.calls).toEqual(['set 1', 'get 1', 'take 1', 'get 1']);
  });

  it('that has failed five times is left alone for a second: then a lookup is a miss at once', async () => {
    const { inner, cache } = pair();
    inner.behave = () => REJECTS;
    for (let n = 0; n < 5; n++) void cache.lookup(id(n));
    await pass(5);
    inner.called();
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(inner.called()).toEqual([]);
    expect(cache.statistics).toMatchObject({ externalErrors: 5, externalTimeouts: 0 });
    inner.behave = () => AT_ONCE;
    await cache.store(id(1), session(1));
    await pass(1000);
    expect(cache.lookup(id(1))).toEqual(session(1));
  });

  it('does not find what is being removed, nor what could not be', async () => {
    const { inner, cache } = pair();
    cache.store(id(1), session(1));
    inner.behave = (call) => (call === 'delete' ? REJECTS : AT_ONCE);
    cache.remove(id(1));
    expect(cache.lookup(id(1))).toBeUndefined();
    await pass(500);
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(cache.statistics).toMatchObject({ externalErrors: 1 });
    inner.behave = () => AT_ONCE;
    await pass(1000);
    expect(inner.held.size).toBe(0);
  });

  it('that has no take answers one of many takes of a process', async () => {
    const { inner, cache } = pair();
    cache.store(id(1), session(1));
    delete inner.take;
    const other = new SessionCache({ mode, external: inner });
    inner.behave = () => LATER;
    const takes = Array.from({ length: 20 }, () => watch(other.take(id(1))));
    await pass(20);
    expect(takes.filter(({ value }) => value !== undefined).length).toBe(1);
    expect(cache.statistics.externalErrors).toBe(0);
  });

  it('has the limits that it is given', async () => {
    const { inner, cache } = pair({ externalDeadline: { deadline: 10, failures: 1 } });
    inner.behave = () => HANGS;
    const read = watch(cache.lookup(id(1)));
    await pass(11);
    expect(read.state).toBe('fulfilled');
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(inner.calls).toEqual(['get 1']);
    expect(() => pair({ externalDeadline: { deadline: 0 } })).toThrow(RangeError);
    expect(() => pair({ externalDeadline: 50 as never })).toThrow(TypeError);
  });

  it('that is a DeadlineStore is not put into another one', async () => {
    const inner = new ScriptedStore();
    const external = new DeadlineStore(inner, { deadline: 500 });
    const cache = new SessionCache({ mode, external, externalDeadline: { deadline: 10 } });
    cache.store(id(1), session(1));
    inner.behave = () => ({ after: 400 });
    const read = watch(cache.lookup(id(1)));
    await pass(400);
    expect(read.value).toEqual(session(1));
    expect(external.statistics).toMatchObject({ reads: { answered: 1 }, writes: { answered: 1 } });
  });

  it('is called as it is when told so', async () => {
    const { inner, cache } = pair({ externalDeadline: false });
    inner.behave = () => THROWS;
    for (let n = 0; n < 50; n++) expect(cache.lookup(id(n))).toBeUndefined();
    expect(inner.called().length).toBe(50);
    inner.behave = () => ({ after: 5000 });
    const read = watch(cache.lookup(id(1)));
    await pass(4999);
    expect(read.state).toBe('waiting');
    await pass(1);
    expect(read.state).toBe('fulfilled');
  });
});

it('ends its lookups before a timer of the same time that was started after them', async () => {
  const { inner, cache } = pair();
  inner.behave = () => HANGS;
  let late = 0;
  const lookups = Array.from({ length: 20 }, (_, n) => {
    const found = Promise.resolve(cache.lookup(id(n)));
    // As the handshake waits: whichever comes first is counted, and the other must not be.
    const timer = setTimeout(() => late++, 50);
    return found.then(() => clearTimeout(timer));
  });
  await Promise.all(lookups);
  expect(late).toBe(0);
  expect(cache.statistics.externalTimeouts).toBe(20);
});
