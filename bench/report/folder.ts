/** The folder that holds the results: `benchmarks.json`, `benchmarks.md` and `charts`. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { page } from './markdown.js';
import { pictures } from './pictures.js';
import type { Results } from './results.js';

const JSON_FILE = 'benchmarks.json';

export function readResults(folder: string): Results {
  const file = join(folder, JSON_FILE);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : {};
}

export function writeResults(folder: string, results: Results): void {
  const charts = join(folder, 'charts');
  mkdirSync(charts, { recursive: true });
  const { illustrations, files } = pictures(results);
  for (const name of readdirSync(charts)) if (!files.has(`charts/${name}`)) rmSync(join(charts, name));
  for (const [name, svg] of files) writeFileSync(join(folder, name), svg);
  writeFileSync(join(folder, 'benchmarks.md'), page(results, illustrations));
  const file = join(folder, JSON_FILE);
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  // In the format that `npm run check` wants.
  const biome = fileURLToPath(new URL('../../node_modules/@biomejs/biome/bin/biome', import.meta.url));
  spawnSync(process.execPath, [biome, 'format', '--write', file], { stdio: 'ignore' });
}
