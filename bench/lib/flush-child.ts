/** A process of the cache benchmark, in which all sessions expire at once: `WHICH SIZE`. */

import { randomFillSync } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionFlusher } from '../../src/cache/session-flusher.js';
import { type CandidateName, SESSION_BYTES, sessionOf } from './cache-candidates.js';
import { prove, waited } from './harness.js';

let now = 1_000_000;
const LIFETIME = 300_000;

interface Expiring {
  store(id: Buffer, session: Buffer): void;
  flush(): Promise<void> | void;
  size(): number;
}

const EXPIRING: Readonly<Record<CandidateName, (size: number) => Expiring>> = {
  SessionCache(size) {
    const cache = new SessionCache({ maxSessions: size, maxBytes: size * SESSION_BYTES, clock: () => now });
    return {
      store: (id, session) => void cache.store(id, session),
      flush: async () => prove((await new SessionFlusher(cache).run()) === size, 'all are flushed'),
      size: () => cache.size,
    };
  },
  'lru-cache'(size) {
    const cache = new LRUCache<string, Buffer>({
      max: size,
      ttl: LIFETIME,
      perf: { now: () => now },
      ttlResolution: 0,
    });
    return {
      store: (id, session) => void cache.set(id.toString('latin1'), Buffer.from(session)),
      flush: () => prove(cache.purgeStale(), 'all are purged'),
      size: () => cache.size,
    };
  },
  Map() {
    const cache = new Map<string, { session: Buffer; expires: number }>();
    return {
      store: (id, session) =>
        void cache.set(id.toString('latin1'), { session: Buffer.from(session), expires: now + LIFETIME }),
      flush() {
        for (const [key, { expires }] of cache) if (expires <= now) cache.delete(key);
      },
      size: () => cache.size,
    };
  },
};

export interface Stall {
  /** The longest turn of the event loop, ms, without the time in which other processes had the processor. */
  readonly longest: number;
  /** The time until all had gone, ms, likewise. */
  readonly total: number;
}

async function flush(which: CandidateName, size: number): Promise<Stall> {
  const cache = EXPIRING[which](size);
  const [id, session] = [Buffer.alloc(32), sessionOf(0)];
  for (let n = 0; n < size; n++) cache.store(randomFillSync(id), sessionOf(n, session));
  prove(cache.size() === size, 'all are stored');
  globalThis.gc?.();
  now += LIFETIME + 1000;
  for (let i = 0; i < 20; i++) await turn();

  let [last, lastWaited] = [performance.now(), waited()];
  let longest = 0;
  let running = true;
  const watch = (): void => {
    const [present, presentWaited] = [performance.now(), waited()];
    longest = Math.max(longest, present - last - (presentWaited - lastWaited));
    [last, lastWaited] = [present, presentWaited];
    if (running) setImmediate(watch);
  };
  setImmediate(watch);
  const [start, startWaited] = [performance.now(), waited()];
  await cache.flush();
  const total = performance.now() - start - (waited() - startWaited);
  await turn();
  await turn();
  running = false;
  prove(cache.size() === 0, 'none is left');
  return { longest, total };
}

prove(typeof globalThis.gc === 'function', 'run with --expose-gc');
const [which, size] = process.argv.slice(2) as [CandidateName, string];
console.log(JSON.stringify(await flush(which, Number(size))));
