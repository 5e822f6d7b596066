import { describe, expect, it } from 'vitest';
import { Flights, type Loan } from '../../src/cache/flights.js';
import { SessionCache } from '../../src/cache/session-cache.js';
import type { SessionStore } from '../../src/stores/session-store.js';

const id = Buffer.alloc(32, 1);
const session = Buffer.from('a session');

describe('a session on loan', () => {
  const lend = (): { cache: SessionCache; loan: Loan } => {
    const cache = new SessionCache();
    cache.store(id, session);
    return { cache, loan: cache.borrow(id) as Loan };
  };

  it('is gone until it is given back unused, with the times that it had', () => {
    let now = 1_000_000;
    const cache = new SessionCache({ clock: () => now });
    cache.store(id, session);
    const before = cache.lookupEntry(id);
    const loan = cache.borrow(id) as Loan;
    expect(cache.get(id)).toBeUndefined();
    expect(cache.borrow(id)).toBeUndefined();
    now += 5_000;
    cache.giveBack(id, loan, false);
    expect(cache.lookupEntry(id)).toEqual(before);
  });

  it('does not come back once it was used', () => {
    const { cache, loan } = lend();
    cache.giveBack(id, loan, true);
    expect(cache.get(id)).toBeUndefined();
  });

  it.each<[string, (cache: SessionCache) => void]>([
    ['it was removed', (cache) => void cache.remove(id)],
    ['the cache was cleared', (cache) => cache.clear()],
    ['the cache was disposed of', (cache) => cache[Symbol.dispose]()],
  ])('does not come back when %s meanwhile', (_what, act) => {
    const { cache, loan } = lend();
    act(cache);
    cache.giveBack(id, loan, false);
    expect(cache.get(id)).toBeUndefined();
  });

  it('comes back when only another asked for it meanwhile', () => {
    const { cache, loan } = lend();
    expect(cache.take(id)).toBeUndefined();
    cache.giveBack(id, loan, false);
    expect(cache.get(id)).toEqual(session);
  });

  it('is taken from a store that answers later, and given back there', async () => {
    const held = new Map<string, Uint8Array>();
    const external: SessionStore = {
      get: (key) => held.get(String(key)),
      set: (key, value) => void held.set(String(key), Buffer.from(value)),
      delete: (key) => void held.delete(String(key)),
      take: async (key) => {
        const value = held.get(String(key));
        held.delete(String(key));
        return value;
      },
    };
    const cache = new SessionCache({ external });
    cache.store(id, session);
    const loan = (await cache.borrow(id)) as Loan;
    expect(held.size).toBe(0);
    await cache.giveBack(id, loan, false);
    expect(held.size).toBe(1);
    expect(await cache.take(id)).toEqual(session);
  });
});

describe('lookups of a store that never answers', () => {
  it('are not remembered for more than 16 384 keys: the oldest are revoked', () => {
    const flights = new Flights();
    const begun = Array.from({ length: 16_386 }, (_, i) => flights.begin(Buffer.from(String(i))));
    expect(begun.map(({ revoked }) => revoked).lastIndexOf(true)).toBe(1);
    for (const flight of begun) flights.end(flight);
    expect(flights.begin(Buffer.from('2'))).not.toBe(begun[2]);
  });
});
