import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { SessionArena } from '../../src/cache/session-arena.js';
import { SessionCache, type SessionCacheOptions } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { SessionTable } from '../../src/cache/session-table.js';
import { id, session, stoppedClock } from './counting-store.js';

function cacheWithClock(options: SessionCacheOptions = {}) {
  const clock = stoppedClock();
  return { clock, cache: new SessionCache({ clock, ...options }) };
}

describe('the options of a SessionCache', () => {
  const bad: [object | null, typeof TypeError | typeof RangeError, string][] = [
    [null, TypeError, '"options" expected an object, got null'],
    [{ maxSessions: 0 }, RangeError, '"maxSessions" expected 1 to 16777216, got number 0'],
    [{ maxSessions: 1.5 }, RangeError, '"maxSessions" expected an integer, got number 1.5'],
    [{ maxSessions: '9' }, TypeError, '"maxSessions" expected a number, got a string of 1 characters'],
    [
      { maxSessions: Number.POSITIVE_INFINITY },
      RangeError,
      '"maxSessions" expected 1 to 16777216, got number Infinity',
    ],
    [{ maxBytes: 0 }, RangeError, '"maxBytes" expected 1 to 1099511627776 bytes, got number 0'],
    [{ maxBytes: {} }, TypeError, '"maxBytes" expected a number of bytes, got object Object'],
    [{ timeout: 0 }, RangeError, '"timeout" expected 1 to 604800 seconds, got number 0'],
    [{ timeout: 604_801 }, RangeError, '"timeout" expected 1 to 604800 seconds, got number 604801'],
    [{ timeout: Number.NaN }, RangeError, '"timeout" expected 1 to 604800 seconds, got number NaN'],
    [{ timeout: '300' }, TypeError, '"timeout" expected a number of seconds, got a string of 3 characters'],
    [{ clock: 5 }, TypeError, '"clock" expected a function, got number 5'],
    [{ external: 5 }, TypeError, '"external" expected an object, got number 5'],
    [{ external: {} }, TypeError, '"external.get" expected a function, got undefined'],
    [{ external: { get() {} } }, TypeError, '"external.set" expected a function, got undefined'],
    [{ external: { get() {}, set() {} } }, TypeError, '"external.delete" expected a function, got undefined'],
    [
      { external: { get() {}, set() {}, delete() {}, take: 1 } },
      TypeError,
      '"external.take" expected a function, got number 1',
    ],
  ];
  it.each(bad)('%o is refused', (options, type, message) => {
    const attempt = () => new SessionCache(options as SessionCacheOptions);
    expect(attempt).toThrow(type);
    expect(attempt).toThrow(message);
  });

  it('may all be left out', () => {
    const cache = new SessionCache();
    expect([cache.mode, cache.timeout, cache.size, cache.bytes]).toEqual([SessionCacheMode.Server, 300, 0, 0]);
    expect(cache.store(id(1), session(1))).toBeUndefined();
    expect(cache.lookup(id(1))).toEqual(session(1));
  });
});

describe('the arguments of its methods', () => {
  const cache = new SessionCache();
  const tooLong = Buffer.alloc(1025);
  const calls: [string, () => unknown, typeof TypeError | typeof RangeError, string][] = [
    ['add', () => cache.add('x' as never, session(1)), TypeError, '"id" expected a Uint8Array, got a string'],
    [
      'add',
      () => cache.add(tooLong, session(1)),
      RangeError,
      '"id" expected 0 to 1024 bytes, got Buffer of 1025 bytes',
    ],
    ['add', () => cache.add(id(1), 'x' as never), TypeError, '"session" expected a Uint8Array, got a string'],
    ['remove', () => cache.remove(undefined as never), TypeError, '"id" expected a Uint8Array, got undefined'],
    ['get', () => cache.get([1] as never), TypeError, '"id" expected a Uint8Array, got object Array'],
    ['get', () => cache.get(tooLong), RangeError, '"id" expected 0 to 1024 bytes'],
    ['store', () => cache.store(1 as never, session(1)), TypeError, '"id" expected a Uint8Array, got number 1'],
    ['store', () => cache.store(id(1), null as never), TypeError, '"session" expected a Uint8Array, got null'],
    [
      'store',
      () => cache.store(id(1), session(1), 'both' as never),
      RangeError,
      `"side" expected 'server' or 'client'`,
    ],
    ['store', () => cache.store(id(1), session(1), 1 as never), TypeError, `"side" expected 'server' or 'client'`],
    ['store', () => cache.store(id(1), session(1), 'server', 5 as never), TypeError, '"lifetime" expected an object'],
    [
      'store',
      () => cache.store(id(1), session(1), 'server', { fullHandshakeTime: -1 }),
      RangeError,
      '"fullHandshakeTime" expected 0 to 8640000000000000 ms, got number -1',
    ],
    [
      'store',
      () => cache.store(id(1), session(1), 'server', { expiresAt: Number.NaN }),
      RangeError,
      '"expiresAt" expected 0 to Infinity ms, got number NaN',
    ],
    ['lookup', () => cache.lookup('x' as never), TypeError, '"id" expected a Uint8Array'],
    ['lookup', () => cache.lookup(id(1), 'x' as never), RangeError, `"side" expected 'server' or 'client'`],
    ['take', () => cache.take('x' as never), TypeError, '"id" expected a Uint8Array'],
    ['count', () => cache.count('miss' as never), RangeError, '"event" expected one of accept, acceptGood, connect,'],
    ['count', () => cache.count('toString' as never), RangeError, '"event" expected one of accept'],
    ['count', () => cache.count(1 as never), TypeError, '"event" expected a string, got number 1'],
    ['flush', () => cache.flush('now' as never), TypeError, '"now" expected a number of ms, got a string'],
    ['flush', () => cache.flush(Number.NaN), RangeError, '"now" expected -Infinity to Infinity ms, got number NaN'],
    ['flush', () => cache.flush(0, -1), RangeError, '"limit" expected 0 to Infinity sessions, got number -1'],
  ];
  it.each(calls)('%s refuses wrong ones', (_method, call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
    expect(cache.size).toBe(0);
  });

  it('takes IDs of 1 to 1024 bytes in any Uint8Array', () => {
    for (const bytes of [Uint8Array.of(1), new Uint8Array(1024), new Uint8Array(new ArrayBuffer(40), 3, 20)]) {
      expect(cache.add(bytes, session(1))).toBe(true);
      expect(cache.get(Buffer.from(bytes))).toEqual(session(1));
    }
  });

  it('keeps no session without an ID, no empty one, and none that is longer than maxBytes', () => {
    const small = new SessionCache({ maxBytes: 100 });
    small.store(Buffer.alloc(0), session(1, 8));
    small.store(id(1), Buffer.alloc(0));
    small.store(id(1), session(1, 101));
    expect(small.add(Buffer.alloc(0), session(1, 8))).toBe(false);
    expect(small.add(id(1), Buffer.alloc(0))).toBe(false);
    expect(small.add(id(1), session(1, 101))).toBe(false);
    expect(small.size).toBe(0);
    expect([small.get(Buffer.alloc(0)), small.lookup(Buffer.alloc(0)), small.take(Buffer.alloc(0))]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(small.remove(Buffer.alloc(0))).toBe(false);
    expect(small.statistics.misses).toBe(0);
    expect(small.add(id(1), session(1, 100))).toBe(true);
  });
});

describe('a SessionCache', () => {
  it('copies in and out', () => {
    const { cache } = cacheWithClock();
    const key = id(1);
    const bytes = session(1);
    cache.store(key, bytes);
    key.fill(9);
    bytes.fill(9);
    for (const read of [() => cache.get(id(1)), () => cache.lookup(id(1))] as (() => Buffer)[]) {
      expect(read()).toEqual(session(1));
      read().fill(9);
      expect(read()).toEqual(session(1));
    }
  });

  it('add returns false for what is there already, as SSL_CTX_add_session(3) does', () => {
    const { cache, clock } = cacheWithClock();
    expect(cache.add(id(1), session(1))).toBe(true);
    expect(cache.add(id(1), session(1))).toBe(false);
    expect(cache.add(id(1), session(2))).toBe(true);
    expect(cache.get(id(1))).toEqual(session(2));
    expect([cache.size, cache.bytes, cache.statistics.cacheFull]).toEqual([1, 160, 0]);
    clock.now += 300_001;
    expect(cache.add(id(1), session(2))).toBe(true);
  });

  it('does not let the same session live longer by being stored again, only shorter', () => {
    const { cache, clock } = cacheWithClock();
    cache.store(id(1), session(1));
    const made = clock.now;
    clock.now += 1000;
    cache.store(id(1), session(1));
    expect(cache.lookupEntry(id(1))).toMatchObject({ fullHandshakeTime: made, expiresAt: made + 300_000 });
    cache.store(id(1), session(1), 'server', { fullHandshakeTime: made - 5, expiresAt: made + 9000 });
    expect(cache.lookupEntry(id(1))).toMatchObject({ fullHandshakeTime: made - 5, expiresAt: made + 9000 });
  });

  it('lets a session live its timeout, and no hit makes it longer', () => {
    const { cache, clock } = cacheWithClock({ timeout: 10 });
    cache.store(id(1), session(1));
    for (let i = 0; i < 10; i++) {
      clock.now += 1000;
      expect(cache.lookup(id(1))).toEqual(session(1));
    }
    clock.now += 1;
    expect(cache.size).toBe(1);
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(cache.size).toBe(0);
    expect(cache.statistics).toMatchObject({ timeouts: 1, misses: 0 });
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(cache.statistics).toMatchObject({ timeouts: 1, misses: 1 });
  });

  it('get removes what has expired, and counts nothing', () => {
    const { cache, clock } = cacheWithClock();
    cache.add(id(1), session(1));
    clock.now += 300_001;
    expect(cache.get(id(1))).toBeUndefined();
    expect(cache.get(id(2))).toBeUndefined();
    expect(cache.size).toBe(0);
    expect(cache.statistics).toMatchObject({ timeouts: 0, misses: 0, callbackHits: 0, hits: 0 });
  });

  it('keeps the times it is given: of the full handshake, and an earlier expiry', () => {
    const { cache, clock } = cacheWithClock();
    const now = clock.now;
    const entryAfter = (lifetime: object) => {
      cache.clear();
      cache.store(id(1), session(1), 'server', lifetime);
      return cache.lookupEntry(id(1));
    };
    expect(entryAfter({})).toEqual({ session: session(1), fullHandshakeTime: now, expiresAt: now + 300_000 });
    expect(entryAfter({ fullHandshakeTime: 5 })).toMatchObject({ fullHandshakeTime: 5, expiresAt: now + 300_000 });
    expect(entryAfter({ fullHandshakeTime: now + 9 })).toMatchObject({ fullHandshakeTime: now });
    expect(entryAfter({ expiresAt: now + 10.5 })).toMatchObject({ expiresAt: now + 10 });
    expect(entryAfter({ expiresAt: Number.POSITIVE_INFINITY })).toMatchObject({ expiresAt: now + 300_000 });
    expect(entryAfter({ expiresAt: now })).toBeUndefined();
    expect(entryAfter({ expiresAt: now - 1 })).toBeUndefined();
  });

  it('evicts the oldest when it holds maxSessions; a hit does not renew, a new session under the same ID does', () => {
    const { cache } = cacheWithClock({ maxSessions: 3 });
    for (const n of [1, 2, 3]) cache.store(id(n), session(n, 100 + n));
    cache.lookup(id(1));
    cache.store(id(2), session(20));
    cache.store(id(4), session(4));
    expect([1, 2, 3, 4].map((n) => cache.get(id(n)) !== undefined)).toEqual([false, true, true, true]);
    cache.store(id(5), session(5));
    expect([2, 3, 4, 5].map((n) => cache.get(id(n)) !== undefined)).toEqual([true, false, true, true]);
    expect(cache.statistics).toMatchObject({ number: 3, cacheFull: 2, evictedBytes: 101 + 103 });
  });

  it('evicts as many as it must to stay within maxBytes', () => {
    const { cache } = cacheWithClock({ maxBytes: 1000 });
    for (const n of [1, 2, 3, 4]) cache.store(id(n), session(n, 250));
    expect([cache.size, cache.bytes, cache.statistics.cacheFull]).toEqual([4, 1000, 0]);
    cache.store(id(5), session(5, 251));
    expect([cache.size, cache.bytes]).toEqual([3, 751]);
    expect(cache.statistics).toMatchObject({ cacheFull: 2, evictedBytes: 500 });
    cache.store(id(6), session(6, 1000));
    expect([cache.size, cache.bytes]).toEqual([1, 1000]);
  });

  it('keeps the order of all sessions in a cache of many shards', () => {
    const { cache } = cacheWithClock({ maxSessions: 50_000 });
    for (let i = 0; i < 60_000; i++) cache.add(Buffer.from(`session ${i}`), session(1, 8));
    for (let i = 0; i < 60_000; i++) {
      if ((cache.get(Buffer.from(`session ${i}`)) !== undefined) !== i >= 10_000) expect(i).toBe('in order');
    }
    expect(cache.statistics).toMatchObject({ number: 50_000, cacheFull: 10_000, evictedBytes: 80_000 });
  });

  it('removes one session', () => {
    const { cache } = cacheWithClock();
    cache.add(id(1), session(1));
    cache.add(id(2), session(2));
    expect(cache.remove(id(1))).toBe(true);
    expect(cache.remove(id(1))).toBe(false);
    expect([cache.get(id(1)), cache.get(id(2))]).toEqual([undefined, session(2)]);
  });

  it('take answers once', () => {
    const { cache, clock } = cacheWithClock();
    cache.store(id(1), session(1));
    expect(cache.takeEntry(id(1))).toEqual({
      session: session(1),
      fullHandshakeTime: clock.now,
      expiresAt: clock.now + 300_000,
    });
    expect(cache.take(id(1))).toBeUndefined();
    cache.store(id(1), session(1));
    clock.now += 300_001;
    expect(cache.take(id(1))).toBeUndefined();
    expect(cache.size).toBe(0);
    expect(cache.statistics).toMatchObject({ misses: 1, timeouts: 1 });
  });

  it('take finds nothing inside under NoInternalLookup, and what was there is gone', () => {
    const { cache } = cacheWithClock({ mode: SessionCacheMode.Server | SessionCacheMode.NoInternalLookup });
    cache.store(id(1), session(1));
    expect(cache.take(id(1))).toBeUndefined();
    expect([cache.size, cache.statistics.misses]).toEqual([0, 0]);
  });

  it('counts what it is told', () => {
    const { cache } = cacheWithClock();
    const events = ['accept', 'acceptGood', 'connect', 'connectGood', 'hit'] as const;
    events.forEach((event, n) => {
      for (let i = 0; i <= n; i++) cache.count(event);
    });
    const { statistics } = cache;
    expect(statistics).toEqual({
      number: 0,
      accept: 1,
      acceptGood: 2,
      connect: 3,
      connectGood: 4,
      hits: 5,
      callbackHits: 0,
      misses: 0,
      timeouts: 0,
      cacheFull: 0,
      externalErrors: 0,
      externalTimeouts: 0,
      evictedBytes: 0,
    });
    cache.count('hit');
    expect(statistics.hits).toBe(5);
    expect(Object.isFrozen(statistics)).toBe(true);
  });

  it('clear empties it, dispose closes it as well', () => {
    const { cache } = cacheWithClock();
    cache.store(id(1), session(1));
    cache.clear();
    expect([cache.size, cache.bytes, cache.get(id(1))]).toEqual([0, 0, undefined]);
    cache.store(id(1), session(1));
    expect(cache.size).toBe(1);
    cache[Symbol.dispose]();
    expect(cache.size).toBe(0);
    cache.store(id(1), session(1));
    expect(cache.add(id(1), session(1))).toBe(false);
    expect([cache.size, cache.get(id(1)), cache.lookup(id(1)), cache.take(id(1)), cache.remove(id(1))]).toEqual([
      0,
      undefined,
      undefined,
      undefined,
      false,
    ]);
    cache[Symbol.dispose]();
  });

  it('shows counts when inspected, and neither IDs nor session bytes', () => {
    const { cache } = cacheWithClock({ maxSessions: 5 });
    cache.store(Buffer.from('an ID that is 32 bytes long, yes'), Buffer.from('a very secret master secret'));
    const shown = inspect(cache, { depth: 10, showHidden: true }) + JSON.stringify(cache);
    expect(shown).toMatch(/^SessionCache \{\s+mode: 2,\s+size: 1,\s+bytes: 27,\s+maxSessions: 5,/);
    expect(shown).toContain('cacheFull: 0');
    for (const secret of ['an ID', 'secret', '61 20', Buffer.from('a very').toString('hex')]) {
      expect(shown).not.toContain(secret);
    }
  });
});

describe('flush', () => {
  it('removes what was over at the time given', () => {
    const { cache, clock } = cacheWithClock();
    cache.add(id(1), session(1));
    clock.now += 1000;
    cache.add(id(2), session(2));
    expect(cache.flush()).toBe(0);
    expect(cache.flush(clock.now + 299_001)).toBe(1);
    expect(cache.get(id(2))).toEqual(session(2));
    expect(cache.flush(clock.now + 300_001, 0)).toBe(0);
    expect(cache.flush(clock.now + 300_001)).toBe(1);
    expect([cache.size, cache.bytes]).toEqual([0, 0]);
    expect(cache.statistics).toMatchObject({ timeouts: 0, cacheFull: 0 });
  });

  it('is right for every order of staleness of up to five sessions, and every limit', () => {
    let cases = 0;
    for (let count = 0; count <= 5; count++) {
      for (let order = 0; order < 3 ** count; order++) {
        const ends = Array.from({ length: count }, (_, i) => 10 * (1 + (Math.floor(order / 3 ** i) % 3)));
        for (const now of [5, 10, 15, 25, 35]) {
          for (let limit = 0; limit <= count + 1; limit++) {
            const cache = new SessionCache({ clock: () => 0 });
            ends.forEach((expiresAt, n) => {
              cache.store(id(n), session(n, 20 + n), 'server', { expiresAt });
            });
            const due = ends.filter((end) => end < now).length;
            expect(cache.flush(now, limit)).toBe(Math.min(due, limit));
            expect(cache.size).toBe(count - Math.min(due, limit));
            expect(cache.flush(now)).toBe(due - Math.min(due, limit));
            ends.forEach((end, n) => {
              expect(cache.get(id(n))).toEqual(end < now ? undefined : session(n, 20 + n));
            });
            cases++;
          }
        }
      }
    }
    expect(cases).toBe(5 * (1 * 2 + 3 * 3 + 9 * 4 + 27 * 5 + 81 * 6 + 243 * 7));
  });
});

describe('session bytes', () => {
  const ends: [string, (table: SessionTable) => void, gone: number[]][] = [
    ['removal', (table) => table.remove(table.find(id(2))), [2]],
    ['replacement', (table) => table.put(id(2), session(9, 300), 0, 100, 0), [2]],
    ['eviction for number', (table) => table.put(id(4), session(4, 300), 0, 100, 0), [1]],
    ['eviction for bytes', (table) => table.put(id(4), session(4, 800), 0, 100, 0), [1, 2]],
    ['expiry', (table) => table.flush(51, 9), [3]],
    ['clearing', (table) => table.clear(), [1, 2, 3]],
  ];
  it.each(ends)('are overwritten on %s, and no others', (_end, act, gone) => {
    const arena = new SessionArena();
    const table = new SessionTable(3, 1000, () => {}, arena);
    for (const n of [1, 2, 3]) table.put(id(n), session(n), 0, n === 3 ? 50 : 100, 0);
    const views = [1, 2, 3].map((n) => arena.view(table.find(id(n))));
    act(table);
    views.forEach((view, i) => {
      expect(Buffer.from(view)).toEqual(gone.includes(i + 1) ? Buffer.alloc(160) : session(i + 1));
    });
  });
});
