import { describe, expect, it } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { CountingStore, id, session } from './counting-store.js';

const { Off, Client, Server, Both, NoAutoClear, NoInternalLookup, NoInternalStore, NoInternal } = SessionCacheMode;

describe('SessionCacheMode', () => {
  it('has the values of openssl/ssl.h', () => {
    expect(SessionCacheMode).toEqual({
      Off: 0x000,
      Client: 0x001,
      Server: 0x002,
      Both: 0x003,
      NoAutoClear: 0x080,
      NoInternalLookup: 0x100,
      NoInternalStore: 0x200,
      NoInternal: 0x300,
    });
  });

  it.each([
    [4, RangeError, '"mode" expected only SessionCacheMode flags, got number 4'],
    [-1, RangeError, '"mode" expected only SessionCacheMode flags, got number -1'],
    [2 ** 32, RangeError, '"mode" expected only SessionCacheMode flags, got number 4294967296'],
    [1.5, TypeError, '"mode" expected an integer of SessionCacheMode flags, got number 1.5'],
    [Number.NaN, TypeError, '"mode" expected an integer of SessionCacheMode flags, got number NaN'],
    ['2', TypeError, '"mode" expected an integer of SessionCacheMode flags, got a string of 1 characters'],
    [null, TypeError, '"mode" expected an integer of SessionCacheMode flags, got null'],
  ])('refuses %s', (mode, type, message) => {
    const cache = new SessionCache();
    for (const attempt of [() => new SessionCache({ mode: mode as number }), () => cache.setMode(mode as number)]) {
      expect(attempt).toThrow(type);
      expect(attempt).toThrow(message);
    }
    expect(cache.mode).toBe(Server);
  });

  it('is Server unless said otherwise, and setMode returns the mode before: SSL_CTX_set_session_cache_mode(3)', () => {
    const cache = new SessionCache();
    expect(cache.mode).toBe(Server);
    expect(cache.setMode(Both | NoAutoClear)).toBe(Server);
    expect(cache.setMode(Off)).toBe(Both | NoAutoClear);
    expect(cache.mode).toBe(Off);
  });
});

/**
 * ssl_update_cache (ssl_lib.c): `(mode & side) != 0` guards both stores; SSL_SESS_CACHE_NO_INTERNAL_STORE the internal
 * one only; new_session_cb is called in either case.
 */
const STORES: [rule: string, mode: number, side: 'server' | 'client', inside: boolean, outside: boolean][] = [
  ['SSL_SESS_CACHE_OFF: nothing of a server', Off, 'server', false, false],
  ['SSL_SESS_CACHE_OFF: nothing of a client', Off, 'client', false, false],
  ['SSL_SESS_CACHE_CLIENT: clients', Client, 'client', true, true],
  ['SSL_SESS_CACHE_CLIENT: no servers', Client, 'server', false, false],
  ['SSL_SESS_CACHE_SERVER: servers', Server, 'server', true, true],
  ['SSL_SESS_CACHE_SERVER: no clients', Server, 'client', false, false],
  ['SSL_SESS_CACHE_BOTH: servers', Both, 'server', true, true],
  ['SSL_SESS_CACHE_BOTH: clients', Both, 'client', true, true],
  ['SSL_SESS_CACHE_NO_AUTO_CLEAR has no part in storing', Server | NoAutoClear, 'server', true, true],
  ['SSL_SESS_CACHE_NO_INTERNAL_LOOKUP has no part in storing', Server | NoInternalLookup, 'server', true, true],
  ['SSL_SESS_CACHE_NO_INTERNAL_STORE: outside only', Server | NoInternalStore, 'server', false, true],
  ['SSL_SESS_CACHE_NO_INTERNAL_STORE: clients too', Client | NoInternalStore, 'client', false, true],
  ['SSL_SESS_CACHE_NO_INTERNAL: outside only', Server | NoInternal, 'server', false, true],
  ['modifiers without a side keep nothing', NoInternalLookup, 'server', false, false],
  ['modifiers without a side keep nothing outside', NoInternalStore, 'server', false, false],
];

describe('where a session is kept after a handshake', () => {
  it.each(STORES)('%s', (_rule, mode, side, inside, outside) => {
    const external = new CountingStore();
    const cache = new SessionCache({ mode, external });
    cache.store(id(1), session(1), side);
    expect(cache.size).toBe(inside ? 1 : 0);
    expect(cache.get(id(1))).toEqual(inside ? session(1) : undefined);
    expect(external.called()).toEqual(outside ? ['set'] : []);
  });

  it.each([Off, Client, Server, Both, NoInternalStore, Server | NoInternal])(
    'SSL_CTX_add_session(3) adds by hand under mode %i, and inside only',
    (mode) => {
      const external = new CountingStore();
      const cache = new SessionCache({ mode, external });
      expect(cache.add(id(1), session(1))).toBe(true);
      expect(cache.get(id(1))).toEqual(session(1));
      expect(external.called()).toEqual([]);
    },
  );
});

/**
 * lookup_sess_in_cache (ssl_sess.c): the flag of the side is not asked; SSL_SESS_CACHE_NO_INTERNAL_LOOKUP skips the
 * internal cache, and with it `sess_miss`; get_session_cb is asked when nothing was found; what it answers is added
 * unless SSL_SESS_CACHE_NO_INTERNAL_STORE.
 */
const LOOKUPS: [rule: string, mode: number, inside: boolean, calls: string[], misses: number, copied: boolean][] = [
  ['an internal hit asks nobody', Server, true, [], 0, true],
  ['an internal miss asks outside, and copies inside', Server, false, ['get'], 1, true],
  ['the side has no part in it: an internal hit under Off', Off, true, [], 0, true],
  ['the side has no part in it: an external hit under Off', Off, false, ['get'], 1, true],
  ['the side has no part in it: Client', Client, false, ['get'], 1, true],
  ['NO_INTERNAL_LOOKUP asks outside, whatever is inside', Server | NoInternalLookup, true, ['get'], 0, true],
  ['NO_INTERNAL_LOOKUP still copies inside', Server | NoInternalLookup, false, ['get'], 0, true],
  ['NO_INTERNAL_STORE looks inside first', Server | NoInternalStore, true, [], 0, true],
  ['NO_INTERNAL_STORE copies nothing inside', Server | NoInternalStore, false, ['get'], 1, false],
  ['NO_INTERNAL asks outside', Server | NoInternal, true, ['get'], 0, true],
  ['NO_INTERNAL leaves the inside alone', Server | NoInternal, false, ['get'], 0, false],
  ['NO_AUTO_CLEAR has no part in it', Server | NoAutoClear, false, ['get'], 1, true],
];

describe('where a session is looked for', () => {
  it.each(LOOKUPS)('%s', (_rule, mode, inside, calls, misses, copied) => {
    const external = new CountingStore();
    new SessionCache({ external }).store(id(1), session(1));
    external.called();
    const cache = new SessionCache({ mode, external });
    if (inside) cache.add(id(1), session(1));
    expect(cache.lookup(id(1))).toEqual(session(1));
    expect(external.called()).toEqual(calls);
    expect(cache.statistics).toMatchObject({ misses, callbackHits: calls.length, timeouts: 0 });
    expect(cache.get(id(1)) !== undefined).toBe(copied);
  });

  it('NO_INTERNAL_LOOKUP alone finds nothing, and has no effect on clients', () => {
    const cache = new SessionCache({ mode: Both | NoInternalLookup });
    cache.store(id(1), session(1), 'client');
    expect(cache.lookup(id(1))).toBeUndefined();
    expect(cache.lookup(id(1), 'client')).toEqual(session(1));
    expect(cache.take(id(1), 'client')).toEqual(session(1));
    expect(cache.size).toBe(0);
  });

  it('counts the lookups of servers only: SSL_CTX_sess_misses(3), SSL_CTX_sess_cb_hits(3), SSL_CTX_sess_timeouts(3)', () => {
    const external = new CountingStore();
    let now = 0;
    const cache = new SessionCache({ mode: Both, external, clock: () => now });
    cache.lookup(id(2), 'client');
    cache.take(id(2), 'client');
    new SessionCache({ external, clock: () => now }).store(id(1), session(1));
    expect(cache.lookup(id(1), 'client')).toEqual(session(1));
    now = 300_001;
    expect(cache.lookup(id(1), 'client')).toBeUndefined();
    expect(cache.statistics).toMatchObject({ misses: 0, callbackHits: 0, timeouts: 0 });
  });
});

describe('automatic clearing (ssl_update_cache), at every 255th session of a side', () => {
  function filled(mode: number) {
    let now = 0;
    const cache = new SessionCache({ mode, clock: () => now });
    cache.add(id(255), session(1));
    now = 400_000;
    return cache;
  }
  const storeMany = (cache: SessionCache, count: number, side: 'server' | 'client') => {
    for (let i = 0; i < count; i++) cache.store(Buffer.from([i & 255, i >> 8, side.charCodeAt(0)]), session(2), side);
  };

  it.each(['server', 'client'] as const)('clears at the 255th, not before, of the %s side', (side) => {
    const cache = filled(Both);
    storeMany(cache, 254, side);
    expect(cache.size).toBe(255);
    storeMany(cache, 1, side);
    expect(cache.get(id(255))).toBeUndefined();
    expect(cache.size).toBe(254);
  });

  it('clears again at the 510th', () => {
    let now = 0;
    const cache = new SessionCache({ clock: () => now });
    storeMany(cache, 509, 'server');
    cache.add(id(255), session(1));
    now = 300_001;
    expect(cache.size).toBe(510);
    cache.store(Buffer.from('the 510th'), session(2));
    expect(cache.size).toBe(1);
  });

  it('counts the sides apart', () => {
    const cache = filled(Both);
    storeMany(cache, 254, 'server');
    storeMany(cache, 254, 'client');
    expect(cache.size).toBe(1 + 254 + 254);
    storeMany(cache, 1, 'client');
    expect(cache.size).toBe(254 + 254);
  });

  it('does not count sessions of a side that is off', () => {
    const cache = filled(Server);
    storeMany(cache, 1000, 'client');
    storeMany(cache, 254, 'server');
    expect(cache.size).toBe(255);
  });

  it('SSL_SESS_CACHE_NO_AUTO_CLEAR leaves it to flush', () => {
    const cache = filled(Server | NoAutoClear);
    storeMany(cache, 510, 'server');
    expect(cache.size).toBe(511);
    expect(cache.flush()).toBe(1);
  });

  it('clears a cache of the default size whole, and a larger one over several sessions', () => {
    let now = 0;
    const cache = new SessionCache({ maxSessions: 30_000, clock: () => now });
    for (let i = 0; i < 30_000 - 255; i++) cache.add(Buffer.from(`session ${i}`), session(1, 8));
    now = 300_001;
    storeMany(cache, 254, 'server');
    expect(cache.size).toBe(29_999);
    storeMany(cache, 1, 'server');
    expect(cache.size).toBe(29_999 - 20_480);
    storeMany(cache, 1, 'server');
    expect(cache.size).toBe(254);
  });
});
