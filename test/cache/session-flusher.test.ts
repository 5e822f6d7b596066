import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionFlusher, type SessionFlusherOptions } from '../../src/cache/session-flusher.js';
import { stoppedClock } from './counting-store.js';

/** A cache with `count` sessions that are over. */
function stale(count: number): SessionCache {
  const clock = stoppedClock();
  const cache = new SessionCache({ maxSessions: 100_000, clock });
  for (let i = 0; i < count; i++) cache.add(Buffer.from(`session ${i}`), Buffer.alloc(8, 1));
  clock.now += 300_001;
  return cache;
}

/** A clock of which a look takes a millisecond. */
function ticking(): () => number {
  let now = 0;
  return () => now++;
}

describe('the options of a SessionFlusher', () => {
  const cache = new SessionCache();
  const bad: [unknown, unknown, typeof TypeError | typeof RangeError, string][] = [
    [undefined, {}, TypeError, '"caches" expected an object, got undefined'],
    [{}, {}, TypeError, '"caches" expected a SessionCache, or several, got object Object'],
    [[cache, null], {}, TypeError, '"caches" expected a SessionCache, or several, got null'],
    [cache, null, TypeError, '"options" expected an object, got null'],
    [cache, { interval: 0 }, RangeError, '"interval" expected 0.001 to 2147483 seconds, got number 0'],
    [cache, { interval: '60' }, TypeError, '"interval" expected a number of seconds, got a string of 2 characters'],
    [cache, { slice: 0 }, RangeError, '"slice" expected 0.01 to 1000 milliseconds, got number 0'],
    [cache, { slice: true }, TypeError, '"slice" expected a number of milliseconds, got boolean true'],
    [cache, { now: 1 }, TypeError, '"now" expected a function, got number 1'],
  ];
  it.each(bad)('%o, %o are refused', (caches, options, type, message) => {
    const attempt = () => new SessionFlusher(caches as SessionCache, options as SessionFlusherOptions);
    expect(attempt).toThrow(type);
    expect(attempt).toThrow(message);
  });
});

describe('run', () => {
  it('removes what is over from all caches, and says how many', async () => {
    const caches = [stale(1000), new SessionCache(), stale(2345)];
    expect(await new SessionFlusher(caches).run()).toBe(3345);
    expect(caches.map((cache) => cache.size)).toEqual([0, 0, 0]);
    expect(await new SessionFlusher(new Set(caches)).run()).toBe(0);
    expect(await new SessionFlusher([]).run()).toBe(0);
  });

  it('does one slice at once and the others in turns of the event loop', async () => {
    const cache = stale(1000);
    const sizes: number[] = [];
    let running = true;
    const run = new SessionFlusher(cache, { slice: 2, now: ticking() }).run().finally(() => {
      running = false;
    });
    expect(cache.size).toBe(1000 - 2 * 128);
    while (running) {
      sizes.push(cache.size);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await run).toBe(1000);
    expect([...new Set(sizes)]).toEqual([744, 488, 232]);
  });

  it('is shared by calls while it goes on', async () => {
    const cache = stale(1000);
    const flush = vi.spyOn(cache, 'flush');
    const flusher = new SessionFlusher(cache, { now: ticking() });
    expect(await Promise.all([flusher.run(), flusher.run(), flusher.run()])).toEqual([1000, 1000, 1000]);
    expect(flush).toHaveBeenCalledTimes(8);
    expect(await flusher.run()).toBe(0);
  });

  it('goes on with the other caches when one fails, then rejects with its error', async () => {
    const last = stale(300);
    const failing = (message: string) => ({
      flush() {
        throw new Error(message);
      },
    });
    await expect(new SessionFlusher([failing('one'), last]).run()).rejects.toThrow(new Error('one'));
    expect(last.size).toBe(0);
    const both = new SessionFlusher([failing('one'), failing('two')]).run();
    await expect(both).rejects.toMatchObject({
      message: '2 caches could not be flushed',
      errors: [new Error('one'), new Error('two')],
    });
  });

  it('stops at its slice when it is told to', async () => {
    const cache = stale(1000);
    const flusher = new SessionFlusher(cache, { now: ticking() });
    const run = flusher.run();
    flusher.stop();
    expect(await run).toBe(256);
    await new Promise((resolve) => setImmediate(resolve));
    expect(cache.size).toBe(744);
    expect(await flusher.run()).toBe(744);
  });

  it('may be stopped by a cache that it flushes', async () => {
    const other = stale(5);
    const stopping = {
      flush() {
        flusher.stop();
        return 0;
      },
    };
    const flusher: SessionFlusher = new SessionFlusher([stopping, other]);
    expect(await flusher.run()).toBe(0);
    expect(other.size).toBe(5);
  });

  it('does not have the whole of a large cache in one turn', async () => {
    const cache = stale(50_000);
    let turns = 0;
    const count = () => {
      turns++;
      if (cache.size > 0) setImmediate(count);
    };
    setImmediate(count);
    expect(await new SessionFlusher(cache, { slice: 0.5 }).run()).toBe(50_000);
    expect(turns).toBeGreaterThan(5);
  });
});

describe('start', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'] });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  it('flushes after every interval until it is stopped', async () => {
    const flush = vi.fn(() => 0);
    const flusher = new SessionFlusher({ flush }, { interval: 10 });
    expect(flusher.start()).toBe(flusher);
    flusher.start();
    await vi.advanceTimersByTimeAsync(9999);
    expect(flush).toHaveBeenCalledTimes(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(flush).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(flush).toHaveBeenCalledTimes(4);
    flusher.stop();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(flush).toHaveBeenCalledTimes(4);
    flusher.start();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(flush).toHaveBeenCalledTimes(5);
    flusher[Symbol.dispose]();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('may be stopped and started while a pass goes on, and keeps one timer', async () => {
    const cache = stale(1000);
    const flusher = new SessionFlusher(cache, { interval: 10, now: ticking() }).start();
    vi.advanceTimersByTime(10_000);
    expect(cache.size).toBe(744);
    flusher.stop();
    flusher.start();
    await vi.advanceTimersByTimeAsync(0);
    expect([cache.size, vi.getTimerCount()]).toEqual([744, 1]);
    await vi.advanceTimersByTimeAsync(10_100);
    expect([cache.size, vi.getTimerCount()]).toEqual([0, 1]);
    flusher.stop();
  });

  it('warns of a cache that fails, and goes on', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const flush = vi.fn(() => {
      throw new Error('no clock');
    });
    const flusher = new SessionFlusher({ flush }, { interval: 1 }).start();
    await vi.advanceTimersByTimeAsync(2000);
    expect(flush).toHaveBeenCalledTimes(2);
    expect(warn).toHaveBeenCalledTimes(2);
    expect(warn).toHaveBeenCalledWith('A session cache could not be flushed: no clock', {
      code: 'TLS_RESUMPTION_FLUSH',
    });
    flusher.stop();
  });
});

describe('the process', () => {
  it('is not kept alive by a flusher', () => {
    const before = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    using _flusher = new SessionFlusher(new SessionCache()).start();
    expect(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length).toBe(before);
  });
});
