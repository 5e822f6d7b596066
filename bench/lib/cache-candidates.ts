/** The session cache, and what one would write without the library, behind one interface. */

import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { SessionCache } from '../../src/cache/session-cache.js';
import { prove } from './harness.js';

export const SESSION_BYTES = 160;

export interface Candidate {
  store(id: Buffer, session: Buffer): void;
  get(id: Buffer): Buffer | undefined;
  remove(id: Buffer): void;
}

interface Held {
  get(key: string): Buffer | undefined;
  set(key: string, value: Buffer): unknown;
  delete(key: string): unknown;
}

/** String keys, bytes copied in and out. */
function bare(held: Held): Candidate {
  return {
    store: (id, session) => void held.set(id.toString('latin1'), Buffer.from(session)),
    get(id) {
      const session = held.get(id.toString('latin1'));
      return session && Buffer.from(session);
    },
    remove: (id) => void held.delete(id.toString('latin1')),
  };
}

/** A Map whose oldest entry goes when it is full: the least that is bounded. */
class BoundedMap extends Map<string, Buffer> {
  readonly #max: number;

  constructor(max: number) {
    super();
    this.#max = max;
  }

  override set(key: string, value: Buffer): this {
    if (this.size === this.#max && !this.has(key)) this.delete(this.keys().next().value as string);
    return super.set(key, value);
  }
}

export type CandidateName = 'SessionCache' | 'lru-cache' | 'Map';

/** Each makes a cache that holds at most `size` sessions. */
export const CANDIDATES: Readonly<Record<CandidateName, (size: number) => Candidate>> = {
  SessionCache(size) {
    const cache = new SessionCache({ maxSessions: size, maxBytes: size * SESSION_BYTES });
    return {
      store: (id, session) => void cache.store(id, session),
      get: (id) => cache.get(id),
      remove: (id) => void cache.remove(id),
    };
  },
  'lru-cache': (size) => bare(new LRUCache<string, Buffer>({ max: size })),
  Map: (size) => bare(new BoundedMap(size)),
};

export const NAMES = Object.keys(CANDIDATES) as CandidateName[];

/** The `n`th session, different from all others. */
export function sessionOf(n: number, into: Buffer = Buffer.alloc(SESSION_BYTES, 0x5a)): Buffer {
  into.writeUInt32LE(n, 8);
  return into;
}

/** IDs of one block of memory. */
export function randomIds(count: number): Buffer[] {
  const block = randomBytes(count * 32);
  return Array.from({ length: count }, (_, i) => block.subarray(i * 32, i * 32 + 32));
}

/** Fills a cache, and proves that it holds what it was given; its IDs. */
export function fill(candidate: Candidate, size: number): Buffer[] {
  const ids = randomIds(size);
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
export function getter(name: CandidateName, size: number): (i: number) => unknown {
  const candidate = CANDIDATES[name](size);
  const ids = fill(candidate, size);
  return (i) => candidate.get(ids[(i * 7919) % size] as Buffer);
}
