/** What the checks of the package share: its manifest, its subpaths, and its tarball unpacked as an installer would. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** One condition of a subpath in `exports`. */
interface Target {
  readonly types: string;
  readonly default: string;
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly engines: { readonly node: string };
  readonly dependencies?: Record<string, string>;
  readonly peerDependencies?: Record<string, string>;
  readonly devDependencies: Record<string, string>;
  readonly exports: Record<string, string | { readonly import: Target; readonly require: Target }>;
}

export const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;

export interface Subpath {
  /** As in `exports`: '.', './stores/lmdb'. */
  readonly path: string;
  /** As an importer writes it: 'tls-resumption/stores/lmdb'. */
  readonly specifier: string;
  readonly import: Target;
  readonly require: Target;
}

/** The subpaths of `exports` that are modules; `./package.json` is not. */
export const subpaths: readonly Subpath[] = Object.entries(manifest.exports).flatMap(([path, target]) =>
  typeof target === 'string' ? [] : [{ path, specifier: `${manifest.name}${path.slice(1)}`, ...target }],
);

/** Packs what is built; returns the tarball's path. */
export function pack(into: string): string {
  const [report] = JSON.parse(
    execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', into], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  ) as { filename: string }[];
  if (report === undefined) throw new Error('npm pack reported nothing');
  return join(into, report.filename);
}

/**
 * A temporary project with the packed package in its node_modules, its dependencies, also the optional ones of its
 * users, and `links` beside it. Removed when the process ends.
 */
export function temporaryProject(links: readonly string[] = []): string {
  const project = temporaryDirectory();
  const installed = join(project, 'node_modules', manifest.name);
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', pack(project), '-C', installed, '--strip-components=1']);
  const dependencies = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
  for (const name of [...dependencies, ...links]) {
    const link = join(project, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), link);
  }
  return project;
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), `${manifest.name}-`));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Prints what is wrong and sets the exit code. */
export function report(what: string, faults: readonly string[]): void {
  for (const fault of faults) console.error(`  ${fault}`);
  if (faults.length > 0) process.exitCode = 1;
  console.log(faults.length === 0 ? `${what}: as they should be` : `${what}: ${faults.length} faults`);
}
