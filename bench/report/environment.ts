/** Where figures come from: the machine, and the versions of what ran on it. */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';

export interface Environment {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly memory: string; readonly system: string };
  /** By name: Node, OpenSSL, the library, packages and programs. */
  readonly versions: Readonly<Record<string, string>>;
}

const PACKAGES = ['lru-cache', 'jose', '@hapi/iron', 'lmdb', 'ioredis', 'redis', 'keyv', '@keyv/memcache'];
const PROGRAMS = { nginx: '-v', 'redis-server': '--version', memcached: '--version' };

const manifest = (path: string): { version: string } => {
  return JSON.parse(readFileSync(new URL(path, new URL('../../', import.meta.url)), 'utf8'));
};

function programs(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, flag] of Object.entries(PROGRAMS)) {
    const { stdout, stderr } = spawnSync(name, [flag], { encoding: 'utf8' });
    const version = /\d+\.\d+(\.\d+)?/.exec(`${stdout}${stderr}`)?.[0];
    if (version !== undefined) found[name] = version;
  }
  return found;
}

export function environment(): Environment {
  const all = cpus();
  return {
    machine: {
      cpu: all[0]?.model.trim() ?? 'unknown',
      cores: all.length,
      memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
      system: `${process.platform} ${process.arch}`,
    },
    versions: {
      Node: process.versions.node,
      OpenSSL: process.versions.openssl,
      'tls-resumption': manifest('package.json').version,
      ...Object.fromEntries(PACKAGES.map((name) => [name, manifest(`node_modules/${name}/package.json`).version])),
      ...programs(),
    },
  };
}
