/** How a cache grows: the time of a get and the memory of a session, from a thousand sessions to a million. */

import { fileURLToPath } from 'node:url';
import { type CandidateName, NAMES, SESSION_BYTES } from './lib/cache-candidates.js';
import { type Effort, type Figure, figure, type Part } from './lib/figures.js';
import { inChild, median, progress } from './lib/harness.js';
import { count } from './report/numbers.js';

const CHILD = fileURLToPath(new URL('lib/growth-child.ts', import.meta.url));
const OURS = 'SessionCache';
const MAP = 'Map';

const GROUP = 'sessions held';

/** Caches of equal size take turns in one process; another process for each size. */
function gets(sizes: readonly number[], quick: boolean): Figure[] {
  const [calls, rounds] = quick ? [20_000, 3] : [200_000, 15];
  const times = sizes.map((size) => {
    progress(`growth: get among ${count(size)}`);
    return inChild<Record<CandidateName, number[]>>(CHILD, 'get', String(size), String(calls), String(rounds));
  });
  const figures = sizes.flatMap((at, i) => {
    const of = times[i] as Record<CandidateName, number[]>;
    return NAMES.map((name) => {
      return figure({ group: GROUP, quantity: 'get', name, at, unit: 'ns' }, of[name], [{ to: MAP, samples: of[MAP] }]);
    });
  });
  const growthOf = (name: CandidateName): number[] => {
    return [median(times.at(-1)?.[name] as number[]) / median(times[0]?.[name] as number[])];
  };
  const growth = NAMES.map((name) => {
    const what = {
      group: `from ${count(sizes[0] as number)} to ${count(sizes.at(-1) as number)} sessions`,
      quantity: 'growth of a get',
      name,
      unit: '×',
    };
    return figure(what, growthOf(name), [{ to: MAP, samples: growthOf(MAP), ...(name === OURS && { atMost: 1.1 }) }]);
  });
  return [...figures, ...growth];
}

function memory(sizes: readonly number[], quick: boolean): Figure[] {
  const total = sizes.at(-1) as number;
  return sizes.flatMap((at) => {
    const processes = quick || at !== total ? 1 : 3;
    progress(`growth: memory in caches of ${count(at)}`);
    const weights = Object.fromEntries(
      NAMES.map((name) => {
        return [
          name,
          Array.from({ length: processes }, () => inChild<number>(CHILD, 'rss', name, `${at}`, `${total}`)),
        ];
      }),
    ) as Record<CandidateName, number[]>;
    return NAMES.map((name) => {
      const limit = name === OURS && at === 1_000_000 ? { atMost: 400 } : {};
      const what = { group: GROUP, quantity: 'memory of a session', name, at, unit: 'bytes', ...limit };
      return figure(what, weights[name], [{ to: MAP, samples: weights[MAP] }]);
    });
  });
}

const ABOUT = `
The session cache beside lru-cache and a Map that are used as one would without the library: IDs as string keys, bytes
copied in and out, the Map bounded by removing its oldest entry. Gets are in random order. The memory is the growth of
the process (RSS) with ${SESSION_BYTES}-byte sessions, for each of them, ID and index included; small caches are made
so many times that all sizes hold as many sessions together.
`;

export async function growth({ quick }: Effort): Promise<Part> {
  const sizes = quick ? [1000, 10_000, 100_000] : [1000, 10_000, 100_000, 1_000_000];
  return {
    title: 'From a thousand sessions to a million',
    about: ABOUT,
    figures: [...gets(sizes, quick), ...memory(sizes, quick)],
  };
}
