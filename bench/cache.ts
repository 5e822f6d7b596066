/** The session cache beside a bare lru-cache and a Map: time of a get, memory, stalls while a million expire. */

import { randomBytes, randomFillSync } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LRUCache } from 'lru-cache';
import { SessionCache } from '../src/cache/session-cache.js';
import { SessionFlusher } from '../src/cache/session-flusher.js';
import { inChild, median, prove, type Row, table, time, waited } from './lib/harness.js';

const FILE = fileURLToPath(import.meta.url);
const MILLION = 1_000_000;
const SESSION_BYTES = 160;
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5);

interface Candidate {
  store(id: Buffer, session: Buffer): void;
  get(id: Buffer): Buffer | undefined;
}

function ours(size: number, clock: () => number = Date.now): Candidate & { cache: SessionCache } {
  const cache = new SessionCache({ maxSessions: size, maxBytes: size * SESSION_BYTES, clock });
  return { cache, store: (id, session) => void cache.store(id, session), get: (id) => cache.get(id) };
}

/** What one would write without the library: string keys, bytes copied in and out. */
function bare(held: Pick<Map<string, Buffer>, 'get'> & { set(key: string, value: Buffer): unknown }): Candidate {
  return {
    store: (id, session) => void held.set(id.toString('latin1'), Buffer.from(session)),
    get(id) {
      const session = held.get(id.toString('latin1'));
      return session && Buffer.from(session);
    },
  };
}

const lru = (size: number) => bare(new LRUCache<string, Buffer>({ max: size }));
const map = () => bare(new Map());

/** The `n`th session, different from all others. */
function sessionOf(n: number, into: Buffer = Buffer.alloc(SESSION_BYTES, 0x5a)): Buffer {
  into.writeUInt32LE(n, 8);
  return into;
}

function fill(candidate: Candidate, size: number): Buffer[] {
  const block = randomBytes(size * 32);
  const ids = Array.from({ length: size }, (_, i) => block.subarray(i * 32, i * 32 + 32));
  const session = sessionOf(0);
  ids.forEach((id, n) => {
    candidate.store(id, sessionOf(n, session));
  });
  const step = Math.max(1, Math.floor(size / 5000));
  for (let n = 0; n < size; n += step) {
    prove(candidate.get(ids[n] as Buffer)?.equals(sessionOf(n, session)) === true, `session ${n} of ${size} is right`);
  }
  prove(candidate.get(randomBytes(32)) === undefined, 'an unknown ID is not found');
  const copy = candidate.get(ids[0] as Buffer);
  copy?.fill(0);
  prove(candidate.get(ids[0] as Buffer)?.equals(sessionOf(0, session)) === true, 'what comes out is a copy');
  return ids;
}

/** Gets in an order that no cache line foresees. */
function getter(candidate: Candidate, size: number): (i: number) => unknown {
  const ids = fill(candidate, size);
  return (i) => candidate.get(ids[(i * 7919) % size] as Buffer);
}

function gets(): Row[] {
  const size = 20_480;
  const taken = time({ ours: getter(ours(size), size), lru: getter(lru(size), size) });
  const ratio = taken.ours / taken.lru;
  return [
    {
      what: 'get among 20 480, to a bare lru-cache',
      figure: `${ratio.toFixed(2)} × (${taken.ours.toFixed(0)} ns to ${taken.lru.toFixed(0)} ns)`,
      target: '1.5 ×',
      met: ratio <= 1.5,
    },
  ];
}

function growth(): Row[] {
  const few = time({ ours: getter(ours(1000), 1000), map: getter(map(), 1000) });
  const many = time({ ours: getter(ours(MILLION), MILLION), map: getter(map(), MILLION) });
  const [our, its] = [many.ours / few.ours, many.map / few.map];
  return [
    {
      what: 'get from a thousand to a million: growth, to the growth of a Map',
      figure: `${our.toFixed(2)} × to ${its.toFixed(2)} × (${many.ours.toFixed(0)} ns to ${many.map.toFixed(0)} ns)`,
      target: "the Map's, within a tenth",
      met: our <= its * 1.1,
    },
  ];
}

/** In a child: bytes of RSS a session. */
function rssOf(which: string): number {
  const rss = (): number => {
    for (let i = 0; i < 4; i++) globalThis.gc?.();
    return process.memoryUsage.rss();
  };
  const candidate = which === 'ours' ? ours(MILLION) : lru(MILLION);
  const [id, session] = [Buffer.alloc(32), sessionOf(0)];
  const before = rss();
  for (let n = 0; n < MILLION; n++) candidate.store(randomFillSync(id), sessionOf(n, session));
  const after = rss();
  prove(candidate.get(id)?.equals(session) === true, 'the last session is right');
  return (after - before) / MILLION;
}

function memory(): Row[] {
  const [our, its] = ['ours', 'lru'].map((which) => {
    return median(Array.from({ length: 3 }, () => inChild<number>(FILE, 'rss', which)));
  }) as [number, number];
  return [
    {
      what: 'RSS of a session of 160 bytes at a million, ID and index included',
      figure: `${our.toFixed(0)} bytes (a bare lru-cache: ${its.toFixed(0)}, ${(our / its).toFixed(2)} ×)`,
      target: '400 bytes',
      met: our <= 400,
    },
  ];
}

interface Stall {
  /** The longest turn of the event loop, ms, without the time in which other processes had the processor. */
  readonly longest: number;
  /** The same by the clock on the wall. */
  readonly longestByWall: number;
  /** The time until all had gone, ms, likewise. */
  readonly total: number;
}

/** In a child: a million sessions expire at once. */
async function stallOf(which: string): Promise<Stall> {
  let now = 1_000_000;
  // Only the one that is measured may fill the heap.
  const size = (name: string) => (which === name ? MILLION : 1);
  const cache = ours(size('ours'), () => now);
  const plain = new LRUCache<string, Buffer>({
    max: size('lru'),
    ttl: 1000,
    perf: { now: () => now },
    ttlResolution: 0,
  });
  const { store } = which === 'ours' ? cache : bare(plain);
  const [id, session] = [Buffer.alloc(32), sessionOf(0)];
  for (let n = 0; n < MILLION; n++) store(randomFillSync(id), sessionOf(n, session));
  globalThis.gc?.();
  now += 400_000;
  for (let i = 0; i < 20; i++) await turn();

  let [last, lastWaited] = [performance.now(), waited()];
  let [longest, longestByWall] = [0, 0];
  let running = true;
  const watch = (): void => {
    const [now_, waited_] = [performance.now(), waited()];
    longestByWall = Math.max(longestByWall, now_ - last);
    longest = Math.max(longest, now_ - last - (waited_ - lastWaited));
    [last, lastWaited] = [now_, waited_];
    if (running) setImmediate(watch);
  };
  setImmediate(watch);
  const [start, startWaited] = [performance.now(), waited()];
  if (which === 'ours') prove((await new SessionFlusher(cache.cache).run()) === MILLION, 'all are flushed');
  else prove(plain.purgeStale(), 'all are purged');
  const total = performance.now() - start - (waited() - startWaited);
  await turn();
  await turn();
  running = false;
  prove((which === 'ours' ? cache.cache.size : plain.size) === 0, 'none is left');
  return { longest, longestByWall, total };
}

function stalls(): Row[] {
  const rounds = Array.from({ length: ROUNDS }, () => {
    return { ours: inChild<Stall>(FILE, 'stall', 'ours'), lru: inChild<Stall>(FILE, 'stall', 'lru') };
  });
  const of = (which: 'ours' | 'lru', what: keyof Stall) => rounds.map((round) => round[which][what]);
  const longest = median(of('ours', 'longest'));
  const ratio = median(of('ours', 'total')) / median(of('lru', 'total'));
  const rounded = (what: keyof Stall) =>
    of('ours', what)
      .map((ms) => ms.toFixed(1))
      .join(', ');
  return [
    {
      what: 'longest stall while a million expire (SessionFlusher), median of rounds',
      figure: `${longest.toFixed(1)} ms (${rounded('longest')}; by the wall ${rounded('longestByWall')}; purgeStale: ${median(of('lru', 'longest')).toFixed(0)})`,
      target: '5 ms',
      met: longest <= 5,
    },
    {
      what: 'work to flush a million, to purgeStale',
      figure: `${ratio.toFixed(2)} × (${median(of('ours', 'total')).toFixed(0)} ms to ${median(of('lru', 'total')).toFixed(0)} ms)`,
      target: '2 ×',
      met: ratio <= 2,
    },
  ];
}

const [part, which = ''] = process.argv.slice(2);
if (part === 'rss') console.log(JSON.stringify(rssOf(which)));
else if (part === 'stall') console.log(JSON.stringify(await stallOf(which)));
else {
  prove(typeof globalThis.gc === 'function', 'run with --expose-gc');
  console.log(table(`Session cache, Node ${process.version}`, [...gets(), ...growth(), ...memory(), ...stalls()]));
}
