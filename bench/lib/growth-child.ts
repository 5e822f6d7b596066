/** A process of the growth benchmark: `get SIZE CALLS ROUNDS` times gets, `rss WHICH SIZE TOTAL` weighs sessions. */

import { randomFillSync } from 'node:crypto';
import { CANDIDATES, type CandidateName, getter, NAMES, SESSION_BYTES, sessionOf } from './cache-candidates.js';
import { prove, time } from './harness.js';

function get(size: number, calls: number, rounds: number): Record<CandidateName, number[]> {
  const candidates = Object.fromEntries(NAMES.map((name) => [name, getter(name, size)]));
  return time(candidates as Record<CandidateName, (i: number) => unknown>, { calls, rounds });
}

function rss(): number {
  for (let i = 0; i < 4; i++) globalThis.gc?.();
  return process.memoryUsage.rss();
}

/**
 * Bytes of RSS that a session takes. Few sessions would drown in what a process takes anyway: so there are as many
 * caches of `size` sessions as make the total.
 */
function weigh(which: CandidateName, size: number, total: number): number {
  const [id, session] = [Buffer.alloc(32), sessionOf(0, Buffer.alloc(SESSION_BYTES, 0x5a))];
  const before = rss();
  const caches = Array.from({ length: total / size }, () => CANDIDATES[which](size));
  for (const cache of caches) {
    for (let n = 0; n < size; n++) cache.store(randomFillSync(id), sessionOf(n, session));
  }
  const after = rss();
  for (const cache of caches)
    prove(cache.get(id) === undefined || cache === caches.at(-1), 'each has its own sessions');
  prove(caches.at(-1)?.get(id)?.equals(session) === true, 'the last session is right');
  return (after - before) / total;
}

const [part, ...args] = process.argv.slice(2);
prove(typeof globalThis.gc === 'function', 'run with --expose-gc');
if (part === 'get') {
  const [size, calls, rounds] = args.map(Number) as [number, number, number];
  console.log(JSON.stringify(get(size, calls, rounds)));
} else {
  const [which, size, total] = args as [CandidateName, string, string];
  console.log(JSON.stringify(weigh(which, Number(size), Number(total))));
}
