/** What attaching costs work that has nothing to do with TLS, on every Node that is at hand. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { makeCertificate } from '../examples/support/certificates.js';
import { median } from './lib/harness.js';

/** Processes a Node: where code and data happen to lie differs from one to the next. */
const RUNS = 7;
const run = promisify(execFile);

export async function awaits(): Promise<void> {
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  const nodes = [process.execPath, ...(process.env['PEER_NODES']?.split(',') ?? [])];
  const script = fileURLToPath(new URL('lib/awaits.js', import.meta.url));
  console.log('\n## 1 000 awaits of unrelated work, after attach / before\n');
  console.log('| Node | ratio | ns an await |');
  console.log('| --- | --- | --- |');
  for (const node of new Set(nodes)) {
    const version = (await run(node, ['--version'])).stdout.trim();
    const env = { ...process.env, BENCH_SETUP: JSON.stringify({ key, cert }) };
    const runs: { ratio: number; perAwait: number }[] = [];
    for (let i = 0; i < RUNS; i++) runs.push(JSON.parse((await run(node, [script], { env })).stdout));
    const ratio = median(runs.map((each) => each.ratio));
    const range = `${Math.min(...runs.map((each) => each.ratio)).toFixed(3)} to ${Math.max(...runs.map((each) => each.ratio)).toFixed(3)}`;
    console.log(
      `| ${version} | ${ratio.toFixed(3)} (${range}) | ${median(runs.map((each) => each.perAwait)).toFixed(0)} |`,
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await awaits();
