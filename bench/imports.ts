/** What loading the package adds to the start of a program, on every Node that is at hand, and what it weighs. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { bundledSize } from '../scripts/bundled-size.js';
import { type Effort, type Figure, figure, type Part } from './lib/figures.js';
import { progress, takeTurns } from './lib/harness.js';
import { nodesAtHand } from './lib/nodes.js';

/** Each is a fresh process, and they scatter: a quarter of them takes a fifth longer. */
const TURNS = 41;
const run = promisify(execFile);

const ABOUT = `
A fresh process loads a module and does nothing else: as an ES module, or by \`require\`. *Beside node:https* is a program
that has loaded \`node:tls\` and \`node:https\` before, as whoever serves TLS has: what it waits for then is the library.
On every Node of \`PEER_NODES\` besides the one that runs.

A program that is bundled carries what it uses: **size** is what remains of the package and of lru-cache, minified by
esbuild, where a program uses that name and no other.
`;

interface Variant {
  readonly name: string;
  readonly form: 'import' | 'require';
  /** The last is timed. */
  readonly specifiers: readonly string[];
}

const BASE = 'node:tls';
const SERVED = ['node:tls', 'node:https'];
/** The first is what the others are held against. */
const VARIANTS: readonly Variant[] = [
  { name: BASE, form: 'import', specifiers: [BASE] },
  { name: 'lru-cache', form: 'import', specifiers: ['lru-cache'] },
  { name: 'tls-resumption', form: 'import', specifiers: ['tls-resumption'] },
  { name: 'tls-resumption, by require', form: 'require', specifiers: ['tls-resumption'] },
  { name: 'tls-resumption, beside node:https', form: 'import', specifiers: [...SERVED, 'tls-resumption'] },
  { name: 'tls-resumption, by require, beside node:https', form: 'require', specifiers: [...SERVED, 'tls-resumption'] },
];

const PARTS = [
  'SessionCache',
  'SessionIdContextGuard',
  'TicketKeyRing',
  'TicketCodec',
  'ClientResumption',
  'SessionAffinity',
  'ServerResumption',
];

async function sizes(): Promise<Figure[]> {
  const directory = fileURLToPath(new URL('.', import.meta.url));
  const whole = [await bundledSize('*', directory)];
  const what = { group: 'bundled, lru-cache included', quantity: 'size', unit: 'kB' };
  const parts = PARTS.map(async (name) =>
    figure({ ...what, name }, [await bundledSize(name, directory)], [{ to: 'everything', samples: whole }]),
  );
  return [...(await Promise.all(parts)), figure({ ...what, name: 'everything' }, whole)];
}

export async function imports({ quick }: Effort): Promise<Part> {
  const script = fileURLToPath(new URL('lib/import.js', import.meta.url));
  const figures: Figure[] = [];
  const all = VARIANTS.map((variant) => ({ ...variant, isLimited: true }));
  for (const [group, node] of await nodesAtHand()) {
    progress(`imports: ${group}`);
    const taken = await takeTurns(all, quick ? 2 : TURNS, async ({ form, specifiers }) =>
      Number((await run(node, [script, form, ...specifiers])).stdout),
    );
    const [samples = []] = taken.values();
    for (const [{ name }, own] of taken) {
      figures.push(figure({ group, quantity: 'time to load', name, unit: 'ms' }, own, [{ to: BASE, samples }]));
    }
  }
  return { title: 'Loading the package', about: ABOUT, figures: [...figures, ...(await sizes())] };
}
