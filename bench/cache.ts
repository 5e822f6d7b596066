/** The session cache beside a bare lru-cache and a Map: what its operations take, and the stall while all expire. */

import { fileURLToPath } from 'node:url';
import {
  CANDIDATES,
  type CandidateName,
  fill,
  getter,
  NAMES,
  randomIds,
  SESSION_BYTES,
  sessionOf,
} from './lib/cache-candidates.js';
import { type Effort, type Figure, figure, type Part } from './lib/figures.js';
import type { Stall } from './lib/flush-child.js';
import { inChild, progress, prove, time } from './lib/harness.js';
import { count } from './report/numbers.js';

const SIZE = 20_480;
const OURS = 'SessionCache';
const LRU = 'lru-cache';
const MAP = 'Map';

type Call = (i: number) => unknown;

/** Each makes the call that is timed, on a full cache of its own. */
const OPERATIONS: Readonly<Record<string, (name: CandidateName) => Call>> = {
  get: (name) => getter(name, SIZE),
  'get of an unknown ID'(name) {
    const candidate = CANDIDATES[name](SIZE);
    fill(candidate, SIZE);
    const unknown = randomIds(SIZE);
    return (i) => candidate.get(unknown[i % SIZE] as Buffer);
  },
  'store, the oldest goes'(name) {
    const candidate = CANDIDATES[name](SIZE);
    const [first] = fill(candidate, SIZE);
    // When an ID comes again, it has long gone.
    const ids = randomIds(2 * SIZE);
    const session = sessionOf(0);
    for (let n = 0; n < SIZE; n++) candidate.store(ids[n] as Buffer, session);
    prove(candidate.get(ids[0] as Buffer) !== undefined, 'what is stored in a full cache is there');
    prove(candidate.get(first as Buffer) === undefined, 'and the oldest is not');
    return (i) => candidate.store(ids[(SIZE + i) % (2 * SIZE)] as Buffer, session);
  },
  'store and remove'(name) {
    const candidate = CANDIDATES[name](SIZE);
    fill(candidate, SIZE - 1);
    const ids = randomIds(SIZE);
    const session = sessionOf(0);
    const call: Call = (i) => {
      candidate.store(ids[i % SIZE] as Buffer, session);
      candidate.remove(ids[i % SIZE] as Buffer);
    };
    call(0);
    prove(candidate.get(ids[0] as Buffer) === undefined, 'what was removed is gone');
    return call;
  },
};

function operations(quick: boolean): Figure[] {
  return Object.entries(OPERATIONS).flatMap(([group, make]) => {
    progress(`cache: ${group}`);
    const candidates = Object.fromEntries(NAMES.map((name) => [name, make(name)])) as Record<CandidateName, Call>;
    const times = time(candidates, quick ? { calls: 20_000, rounds: 3 } : { calls: 200_000, rounds: 15 });
    return NAMES.map((name) => {
      const limit = group === 'get' && name === OURS ? { atMost: 1.5 } : {};
      return figure({ group, quantity: 'time of an operation', name, unit: 'ns' }, times[name], [
        { to: LRU, samples: times[LRU], ...limit },
        { to: MAP, samples: times[MAP] },
      ]);
    });
  });
}

const FLUSH_NAMES: Readonly<Record<CandidateName, string>> = {
  SessionCache: 'SessionFlusher',
  'lru-cache': 'lru-cache, purgeStale',
  Map: 'Map, in one loop',
};

function flushes(quick: boolean): Figure[] {
  const file = fileURLToPath(new URL('lib/flush-child.ts', import.meta.url));
  const size = quick ? 100_000 : 1_000_000;
  const stalls = Object.fromEntries(NAMES.map((name) => [name, [] as Stall[]])) as Record<CandidateName, Stall[]>;
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    for (const name of NAMES) {
      progress(`cache: flush, ${FLUSH_NAMES[name]}`);
      stalls[name].push(inChild<Stall>(file, name, String(size)));
    }
  }
  const group = `${count(size)} sessions expire`;
  return (['longest', 'total'] as const).flatMap((which) => {
    const of = (name: CandidateName): number[] => stalls[name].map((stall) => stall[which]);
    return NAMES.map((name) => {
      const ours = name === OURS;
      const quantity = which === 'longest' ? 'longest stall' : 'time until all have gone';
      const limit = ours && which === 'longest' ? { atMost: 5 } : {};
      return figure({ group, quantity, name: FLUSH_NAMES[name], unit: 'ms', ...limit }, of(name), [
        { to: FLUSH_NAMES[LRU], samples: of(LRU), ...(ours && which === 'total' && { atMost: 2 }) },
        { to: FLUSH_NAMES[MAP], samples: of(MAP) },
      ]);
    });
  });
}

const ABOUT = `
Sessions of ${SESSION_BYTES} bytes under IDs of 32, among ${count(SIZE)}, in lru-cache and Map as one would use them without
the library: IDs as string keys, bytes copied in and out, the Map bounded by removing its oldest entry. *SessionCache*
does more at each operation: it judges the expiry, counts, and overwrites what goes.

The stall is the longest turn of the event loop while all sessions expire, without the time in which other processes had
the processor. *SessionFlusher* goes in slices; the others stop the loop until they are done.
`;

export async function cache({ quick }: Effort): Promise<Part> {
  return { title: 'Session cache', about: ABOUT, figures: [...operations(quick), ...flushes(quick)] };
}
