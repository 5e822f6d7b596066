/**
 * All benchmarks, one after the other, or those that are named: `npm run bench -- handshakes cache`. Each proves its
 * results before it times them. The figures go into docs/benchmarks.json, in place of those of the same parts, and from
 * there into docs/benchmarks.md and docs/charts. With `--quick`, or part of a part by BENCH_ONLY, they go into a temporary
 * folder instead; `--out DIRECTORY` says where, and the groups that BENCH_ONLY leaves out stay there as they were. `--draw`
 * measures nothing, and draws what was measured anew.
 */

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Effort, Part } from './lib/figures.js';
import { progress } from './lib/harness.js';
import { environment } from './report/environment.js';
import { readResults, writeResults } from './report/folder.js';
import { partOf } from './report/markdown.js';
import { merged, type Result, withGroups } from './report/results.js';

/** In the order of the page. What a part needs is loaded when its turn comes. */
const PARTS: Readonly<Record<string, (effort: Effort) => Promise<Part>>> = {
  handshakes: async (effort) => (await import('./handshakes.js')).handshakes(effort),
  cache: async (effort) => (await import('./cache.js')).cache(effort),
  growth: async (effort) => (await import('./growth.js')).growth(effort),
  processes: async (effort) => (await import('./processes.js')).processes(effort),
  stores: async (effort) => (await import('./stores.js')).stores(effort),
  balancer: async (effort) => (await import('./balancer.js')).balancer(effort),
  codec: async (effort) => (await import('./codec.js')).codec(effort),
  awaits: async (effort) => (await import('./awaits.js')).awaits(effort),
  imports: async (effort) => (await import('./imports.js')).imports(effort),
};
const NAMES = Object.keys(PARTS);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    draw: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});
const unknown = positionals.filter((name) => !NAMES.includes(name));
if (unknown.length > 0) {
  console.error(`No part is called ${unknown.join(', ')}. There are ${NAMES.join(', ')}.`);
  process.exit(2);
}

const { quick } = values;
const partial = quick || process.env['BENCH_ONLY'] !== undefined;
const docs = fileURLToPath(new URL('../docs', import.meta.url));
const folder = values.out ?? (partial ? join(tmpdir(), 'tls-resumption-benchmarks') : docs);
const place = environment();
const asked = positionals.length > 0 ? positionals : NAMES;

if (values.draw) writeResults(folder, readResults(folder));
for (const name of values.draw ? [] : asked) {
  const start = performance.now();
  try {
    const part = (await PARTS[name]?.({ quick })) as Part;
    const seconds = Math.round((performance.now() - start) / 1000);
    const date = new Date().toISOString().slice(0, 10);
    const { title, about, figures } = part;
    const result: Result = { title, date, seconds, quick, ...place, about, figures };
    const before = readResults(folder);
    const old = before[name];
    const whole = old !== undefined && partial && old.quick === quick ? withGroups(old, result) : result;
    const results = merged(before, { [name]: whole }, NAMES);
    writeResults(folder, results);
    console.log(partOf(name, results));
    progress(`${name}: ${seconds} s`);
  } catch (error) {
    // The others may yet succeed.
    console.error(`${name} failed:`, error);
    process.exitCode = 1;
  }
}
progress(`written: ${join(folder, 'benchmarks.md')}, with its charts and benchmarks.json`);
