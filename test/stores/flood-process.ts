/** Stores sessions that nobody asks for, as fast as they are taken, and says what that took. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SessionCache } from '../../src/cache/session-cache.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { openStore, type Place } from './fleet-stores.js';

export interface Flood {
  /** Nothing: in memory alone. */
  readonly place?: Place;
  readonly sessions: number;
}

/** After a part of the sessions. */
export interface Level {
  readonly stored: number;
  /** Bytes that live objects of JavaScript and their buffers take. */
  readonly live: number;
  /** Bytes of the process that no file stands behind; 0 where the system does not tell. */
  readonly resident: number;
}

export interface FloodReport {
  readonly levels: readonly Level[];
  /** Sessions and bytes in the cache in memory. */
  readonly held: { readonly sessions: number; readonly bytes: number };
  /** Stored outside without an error. */
  readonly failed: number;
  readonly seconds: number;
}

const SESSION_BYTES = 160;
/** Sessions that are under way at once. */
const BATCH = 1000;
const LEVELS = 10;

const { place, sessions } = JSON.parse(process.env['FLOOD'] as string) as Flood;
const seal = new TicketCodec(TicketKeyRing.generate());
const external = place && (await openStore(place, seal));
const externalDeadline = { writeDeadline: 60_000 };
const cache = new SessionCache({ external, externalDeadline });

async function level(stored: number): Promise<Level> {
  // What a finalizer lets go is collected the next time.
  for (let times = 0; times < 3; times++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return { stored, live: heapUsed + external, resident: residentBytes() };
}

function residentBytes(): number {
  try {
    return 1024 * Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

const began = performance.now();
const levels: Level[] = [];
for (let stored = 0; stored < sessions; ) {
  const writes: unknown[] = [];
  for (let n = 0; n < BATCH && stored < sessions; n++, stored++) {
    writes.push(cache.store(randomBytes(32), randomBytes(SESSION_BYTES)));
  }
  await Promise.all(writes);
  // What is there at once leaves the others no turn otherwise.
  await new Promise((resolve) => setImmediate(resolve));
  if (stored >= ((levels.length + 1) * sessions) / LEVELS) levels.push(await level(stored));
}
const { size, bytes, statistics } = cache;
const report: FloodReport = {
  levels,
  held: { sessions: size, bytes },
  failed: statistics.externalErrors + statistics.externalTimeouts,
  seconds: (performance.now() - began) / 1000,
};
process.send?.(report, () => process.exit());
