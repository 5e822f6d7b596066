/** What attaching costs work that has nothing to do with TLS, on every Node that is at hand. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { makeCertificate } from '../examples/support/certificates.js';
import { type Effort, type Figure, figure, type Part } from './lib/figures.js';
import { progress } from './lib/harness.js';
import { nodesAtHand } from './lib/nodes.js';

/** Processes a Node: where code and data happen to lie differs from one to the next. */
const RUNS = 7;
const run = promisify(execFile);

const ABOUT = `
A process awaits 1 000 results of work that has nothing to do with TLS: before the library is attached to a server of
it, and after, when clients have come back. On every Node of \`PEER_NODES\` besides the one that runs.
`;

export async function awaits({ quick }: Effort): Promise<Part> {
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  const script = fileURLToPath(new URL('lib/awaits.js', import.meta.url));
  const env = { ...process.env, BENCH_SETUP: JSON.stringify({ key, cert }) };
  const figures: Figure[] = [];
  for (const [group, node] of await nodesAtHand()) {
    progress(`awaits: ${group}`);
    const runs: { before: number; after: number }[] = [];
    for (let i = 0; i < (quick ? 1 : RUNS); i++) runs.push(JSON.parse((await run(node, [script], { env })).stdout));
    const before = runs.map((each) => each.before);
    const after = runs.map((each) => each.after);
    const what = { group, quantity: 'time of an await', unit: 'ns' };
    figures.push(
      figure({ ...what, name: 'before' }, before),
      figure({ ...what, name: 'after' }, after, [{ to: 'before', samples: before, atMost: 1.05 }]),
    );
  }
  return { title: 'Unrelated work', about: ABOUT, figures };
}
