/**
 * `npm run check`: everything that can be said of the package without running it. `npm run check -- types unused` runs
 * those checks alone. CHECK_REPORT names a file for the counts, in the shape of vitest's JSON report.
 */

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pack, root, temporaryDirectory } from './package.js';

interface Check {
  readonly name: string;
  readonly says: string;
  /** Needs dist. */
  readonly built?: boolean;
  readonly command: () => readonly string[];
}

/** A program of a development dependency. */
const program = (path: string, ...args: string[]): string[] => [join(root, 'node_modules', path), ...args];
const script = (name: string): string[] => ['--import', 'tsx', join(root, 'scripts', `${name}.ts`)];
const tarball = (): string => pack(temporaryDirectory());

const CHECKS: readonly Check[] = [
  {
    name: 'lint',
    says: 'formatted and without lint',
    command: () => program('@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'),
  },
  { name: 'types', says: 'types of everything in the tree', command: () => program('typescript/bin/tsc') },
  {
    name: 'unused',
    says: 'no unused file, export or dependency',
    command: () => program('knip/bin/knip.js', '--treat-config-hints-as-errors'),
  },
  { name: 'house', says: 'the rules of the house', command: () => script('check-house') },
  { name: 'lock', says: 'the lock file is whole', command: () => [...script('complete-lock'), '--check'] },
  { name: 'build', says: 'the package builds', command: () => program('tsup/dist/cli-default.js', '--silent') },
  {
    name: 'publint',
    says: 'the manifest and the files agree',
    built: true,
    command: () => program('publint/src/cli.js', 'run', tarball(), '--strict'),
  },
  {
    name: 'attw',
    says: 'every resolver finds the types that fit',
    built: true,
    command: () => program('@arethetypeswrong/cli/dist/index.js', tarball(), '--no-emoji'),
  },
  {
    name: 'built-types',
    says: 'programs compile against the built types',
    built: true,
    command: () => script('typecheck-dist'),
  },
  {
    name: 'subpaths',
    says: 'each subpath loads, and pulls in no more than it may',
    built: true,
    command: () => script('check-subpaths'),
  },
  {
    name: 'sizes',
    says: 'who uses a part carries no more than it',
    built: true,
    command: () => script('check-sizes'),
  },
];

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !CHECKS.some((check) => check.name === name));
if (unknown.length > 0) {
  console.error(`no such check: ${unknown.join(', ')}; there are ${CHECKS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

let chosen = CHECKS.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
if (chosen.some(({ built }) => built))
  chosen = CHECKS.filter((check) => check.name === 'build' || chosen.includes(check));

const failed: string[] = [];
for (const { name, says, built, command } of chosen) {
  if (built && failed.includes('build')) {
    failed.push(name);
    continue;
  }
  console.log(`\n── ${name}: ${says}`);
  const started = performance.now();
  const { status } = spawnSync(process.execPath, command(), { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) failed.push(name);
  console.log(`${status === 0 ? 'good' : 'BAD'} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

const file = process.env['CHECK_REPORT'];
if (file !== undefined) {
  const counts = { numPassedTests: chosen.length - failed.length, numFailedTests: failed.length };
  writeFileSync(file, JSON.stringify(counts));
}
console.log(failed.length === 0 ? `\nall ${chosen.length} checks good` : `\nnot good: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
