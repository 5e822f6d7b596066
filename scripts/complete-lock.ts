/**
 * `npm run lock`: adds to package-lock.json the optional dependencies of other platforms that it lacks. npm leaves out those that a
 * registry does not have, as one that mirrors a single platform, and `npm ci` then refuses the lock file everywhere.
 * An entry says where the package may be installed, so that others do not ask for it. With `--check` it only reports.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { report, root } from './package.js';

interface Entry {
  readonly version?: string;
  readonly resolved?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const PLATFORM =
  /-(?<os>aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)-(?<cpu>[a-z0-9]+)(?:-(?<abi>[a-z]+))?$/;

const file = join(root, 'package-lock.json');
const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, Entry> };

/** The folders in which Node looks for a dependency of the package in `folder`, the nearest first. */
function candidates(folder: string, dependency: string): string[] {
  const parts = folder === '' ? [] : folder.split(/\/?node_modules\//).slice(1);
  return parts
    .concat('')
    .map((_, depth) =>
      [...parts.slice(0, parts.length - depth), dependency].map((part) => `node_modules/${part}`).join('/'),
    );
}

const missing: Record<string, object> = {};
for (const [folder, { optionalDependencies = {}, dev }] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    if (candidates(folder, name).some((each) => each in lock.packages)) continue;
    const platform = PLATFORM.exec(name)?.groups;
    if (platform === undefined || !/^\d/.test(version)) {
      throw new Error(`${name}@${version} of ${folder} is not in the lock file, and its name tells no platform`);
    }
    const { os, cpu, abi } = platform as { os: string; cpu: string; abi?: string };
    const libc = os !== 'linux' ? undefined : abi?.startsWith('musl') ? ['musl'] : ['glibc'];
    missing[candidates('', name)[0] as string] = {
      version,
      cpu: [cpu],
      ...(dev && { dev }),
      ...(libc && { libc }),
      optional: true,
      os: [os],
    };
  }
}

if (process.argv.includes('--check')) {
  const faults = Object.keys(missing).map((folder) => `${folder} is missing: run "npm run lock"`);
  for (const [folder, { resolved }] of Object.entries(lock.packages)) {
    if (resolved !== undefined) faults.push(`${folder} names the registry that it came from`);
  }
  report('lock file', faults);
} else {
  const entries = Object.entries({ ...lock.packages, ...missing });
  entries.sort(([a], [b]) => a.localeCompare(b, 'en'));
  writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(entries) }, undefined, 2)}\n`);
  console.log(`added ${Object.keys(missing).length} entries`);
}
