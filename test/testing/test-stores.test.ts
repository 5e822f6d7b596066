import * as tls from 'node:tls';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ServerResumption, SessionCache, SessionCacheMode } from '../../src/index.js';
import {
  CountingStore,
  FaultyStore,
  fakeClock,
  MemoryStore,
  makeCertificate,
  type StoreFault,
  sessionStoreConformance,
  visit,
} from '../../src/testing.js';

const KEY = Buffer.alloc(32, 1);
const OTHER = Buffer.alloc(32, 2);
const SESSION = Buffer.alloc(160, 'session');

describe('fakeClock', () => {
  it('stands still, and moves as it is told', () => {
    const clock = fakeClock(1000);
    expect(clock()).toBe(1000);
    clock.advance(1.5);
    expect(clock()).toBe(2500);
    clock.now = 10;
    expect(clock()).toBe(10);
    expect(Math.abs(fakeClock()() - Date.now())).toBeLessThan(60_000);
  });

  it('lets the sessions of a cache expire', () => {
    const clock = fakeClock();
    const cache = new SessionCache({ clock, timeout: 300 });
    cache.add(KEY, SESSION);
    clock.advance(299);
    expect(cache.get(KEY)).toEqual(SESSION);
    clock.advance(2);
    expect(cache.get(KEY)).toBeUndefined();
  });

  it('refuses times that are none', () => {
    expect(() => fakeClock(Number.NaN)).toThrow(RangeError);
    expect(() => fakeClock('1' as never)).toThrow(TypeError);
    expect(() => fakeClock().advance(-1)).toThrow(RangeError);
  });
});

describe('stores for tests', () => {
  const clock = fakeClock();
  const options = { advance: (seconds: number) => clock.advance(seconds) };
  for (const { name, run } of sessionStoreConformance(() => new MemoryStore({ clock }), options)) {
    it(`MemoryStore: ${name}`, run);
  }
  for (const { name, run } of sessionStoreConformance(() => new CountingStore(new MemoryStore({ clock })), options)) {
    it(`CountingStore: ${name}`, run);
  }
  const healthy = () => new FaultyStore(undefined, { store: new MemoryStore({ clock }) });
  for (const { name, run } of sessionStoreConformance(healthy, options)) it(`FaultyStore without fault: ${name}`, run);

  it('MemoryStore tells its size, and takes a clock only', () => {
    const store = new MemoryStore();
    store.set(KEY, SESSION, 10);
    expect(store.size).toBe(1);
    expect(() => new MemoryStore({ clock: 1 as never })).toThrow(TypeError);
  });
});

describe('CountingStore', () => {
  it('counts calls and hits, also of a store that answers by promise', async () => {
    const store = new CountingStore();
    store.set(KEY, SESSION, 10);
    store.get(KEY);
    store.get(OTHER);
    store.take?.(KEY);
    store.delete(KEY);
    expect(store.calls).toEqual(['set', 'get', 'get', 'take', 'delete']);
    expect([store.count('get'), store.hits]).toEqual([2, 2]);
    store.reset();
    expect([store.calls, store.hits]).toEqual([[], 0]);

    const slow = new CountingStore({ get: async () => SESSION, set: async () => {}, delete: async () => {} });
    expect(slow.take).toBeUndefined();
    await slow.get(KEY);
    expect(slow.hits).toBe(1);
    expect(() => new CountingStore({} as never)).toThrow(TypeError);
  });
});

describe('FaultyStore', () => {
  afterEach(() => void vi.useRealTimers());

  const filled = (fault: StoreFault): FaultyStore => {
    const store = new FaultyStore();
    store.set(KEY, SESSION, 100);
    store.set(OTHER, Buffer.alloc(100, 'other'), 100);
    store.fault = fault;
    return store;
  };

  it('throws, and has no effect', () => {
    const store = filled('throws');
    expect(() => store.get(KEY)).toThrow('told to fail: get');
    expect(() => store.delete(KEY)).toThrow('told to fail: delete');
    store.fault = undefined;
    expect(store.get(KEY)).toEqual(SESSION);
  });

  it('rejects, and has no effect', async () => {
    const store = filled('rejects');
    await expect(store.take(KEY)).rejects.toThrow('told to fail: take');
    await expect(store.set(KEY, Buffer.alloc(1), 1)).rejects.toThrow('told to fail: set');
    store.fault = undefined;
    expect(store.get(KEY)).toEqual(SESSION);
  });

  it('hangs until it is released, or closed', async () => {
    const store = filled('hangs');
    const calls = [store.get(KEY), store.set(KEY, Buffer.alloc(1), 1)] as Promise<unknown>[];
    expect(store.hanging).toBe(2);
    store.release();
    expect((await Promise.allSettled(calls)).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const last = store.delete(KEY) as Promise<void>;
    store.close();
    await expect(last).rejects.toThrow();
    expect(store.hanging).toBe(0);
  });

  it('is slow', async () => {
    vi.useFakeTimers();
    const store = new FaultyStore('slow', { delay: 30 });
    void store.set(KEY, SESSION, 100);
    const answer = vi.fn();
    void (store.get(KEY) as Promise<unknown>).then(answer);
    await vi.advanceTimersByTimeAsync(29);
    expect(answer).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(answer).toHaveBeenCalledWith(SESSION);
  });

  it('lies, cuts, swaps and forgets', () => {
    expect(filled('lies').get(Buffer.alloc(32))).toHaveLength(160);
    expect(filled('lies').get(KEY)).not.toEqual(SESSION);
    expect(filled('cuts').get(KEY)).toEqual(SESSION.subarray(0, 80));
    expect(filled('swaps').get(KEY)).toEqual(Buffer.alloc(100, 'other'));
    const store = filled('forgets');
    store.set(Buffer.alloc(32, 3), SESSION, 100);
    expect(store.get(KEY)).toBeUndefined();
    store.fault = undefined;
    expect(store.get(Buffer.alloc(32, 3))).toBeUndefined();
    expect(store.get(KEY)).toEqual(SESSION);
  });

  it('takes from a store that cannot take', async () => {
    const held = new MemoryStore();
    const store = new FaultyStore(undefined, {
      store: { get: (key) => held.get(key), set: () => {}, delete: async (key) => held.delete(key) },
    });
    held.set(KEY, SESSION, 10);
    expect(await store.take(KEY)).toEqual(SESSION);
    expect(held.size).toBe(0);
  });

  it('refuses faults that it does not know', () => {
    expect(() => new FaultyStore('breaks' as never)).toThrow(RangeError);
    expect(() => new FaultyStore('slow', { delay: -1 })).toThrow(RangeError);
    expect(() => new FaultyStore('slow', { store: {} as never })).toThrow(TypeError);
  });

  const { key, cert } = makeCertificate();
  const faults: StoreFault[] = ['throws', 'rejects', 'hangs', 'slow', 'lies', 'cuts', 'swaps', 'forgets'];
  it.each(faults)('that %s costs a server its resumption, never a connection', async (fault) => {
    const store = new FaultyStore(undefined);
    const { Server, NoInternal } = SessionCacheMode;
    const cache = new SessionCache({ mode: Server | NoInternal, external: store });
    const resumption = new ServerResumption({ cache });
    const server = tls.createServer(resumption.secure({ key, cert }), (socket) => void socket.resume());
    resumption.attach(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const first = await visit(server);
      await visit(server);
      await resumption.idle();
      store.fault = fault;
      expect(await visit(server, { session: first.session })).toMatchObject({ resumed: false });
      store.fault = undefined;
    } finally {
      store.release();
      await new Promise((done) => server.close(done));
    }
  });
});
