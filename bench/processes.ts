/** Resumed handshakes of a cluster from one worker to four, which share their sessions in an LMDB store. */

import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from '../examples/support/certificates.js';
import { ask, BUSY, leave, reply } from './lib/children.js';
import { cost, type Effort, type Figure, figure, type Part } from './lib/figures.js';
import { progress, prove, shuffled } from './lib/harness.js';
import type { Version, VisitorOptions } from './lib/visitors.js';

const WORKERS = [1, 2, 3, 4];
const PARALLEL = 8;
const CLIENTS = availableParallelism();
const GROUP = 'worker processes';

interface Plan {
  /** Visits of each client process in a round. Each visitor comes once: the session of its last visit has been written. */
  readonly visits: number;
  readonly rounds: number;
  readonly warmUp: number;
}

interface Cluster {
  readonly workers: number;
  readonly primary: ChildProcess;
  readonly clients: readonly ChildProcess[];
}

interface Reading {
  readonly cpu: number;
  /** Connections that each worker has accepted. */
  readonly accepted: readonly number[];
}

async function start(workers: number, folder: string, version: Version, visits: number): Promise<Cluster> {
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  const path = join(folder, `${version}-${workers}`);
  const primary = fork(fileURLToPath(new URL('lib/cluster-server.js', import.meta.url)), {
    env: { ...process.env, BENCH_SETUP: JSON.stringify({ key, cert, path, workers }) },
    execArgv: BUSY,
  });
  const { port } = await reply<{ port: number }>(primary);
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const child = fork(fileURLToPath(new URL('lib/visitor-process.ts', import.meta.url)), {
        execArgv: ['--import', 'tsx'],
      });
      const options: VisitorOptions = { port, version, count: visits, parallel: PARALLEL };
      await ask(child, options);
      // The first visits have nothing to come back with.
      await ask(child, { visits });
      return child;
    }),
  );
  return { workers, primary, clients };
}

/** Handshakes a second, and microseconds of the cluster's processor time for each. */
async function round({ workers, primary, clients }: Cluster, visits: number): Promise<{ rate: number; cpu: number }> {
  const before = await ask<Reading>(primary, 'read');
  const start = performance.now();
  const resumed = await Promise.all(clients.map((client) => ask<number>(client, { visits })));
  const seconds = (performance.now() - start) / 1000;
  const after = await ask<Reading>(primary, 'read');
  const all = visits * clients.length;
  prove(resumed.reduce((sum, each) => sum + each, 0) === all, `${workers} workers: ${resumed} of ${all} resumed`);
  const accepted = after.accepted.map((count, i) => count - (before.accepted[i] as number));
  prove(accepted.length === workers && accepted.every((count) => count > 0), `every worker accepts: ${accepted}`);
  return { rate: all / seconds, cpu: (after.cpu - before.cpu) / all };
}

async function end({ primary, clients }: Cluster): Promise<void> {
  await Promise.all([...clients, primary].map(leave));
}

async function measure(version: Version, { visits, rounds, warmUp }: Plan): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'tls-resumption-bench-'));
  const clusters: Cluster[] = [];
  const samples = new Map(WORKERS.map((workers) => [workers, { rate: [] as number[], cpu: [] as number[] }]));
  try {
    for (const workers of WORKERS) clusters.push(await start(workers, folder, version, visits));
    for (const cluster of clusters) {
      for (let i = 0; i < warmUp * cluster.workers; i++) await round(cluster, visits);
    }
    for (let number = 0; number < rounds; number++) {
      for (const cluster of shuffled(clusters)) {
        const { rate, cpu } = await round(cluster, visits);
        samples.get(cluster.workers)?.rate.push(rate);
        samples.get(cluster.workers)?.cpu.push(cpu);
      }
    }
  } finally {
    for (const cluster of clusters) await end(cluster);
    rmSync(folder, { recursive: true, force: true });
  }
  const name = version.replace('v', ' ');
  return WORKERS.flatMap((workers) => {
    const of = (count: number) => samples.get(count) as { rate: number[]; cpu: number[] };
    const one = (which: 'rate' | 'cpu') => (workers === 1 ? [] : [{ to: 'one worker', samples: of(1)[which] }]);
    const what = { group: GROUP, name, at: workers };
    return [
      figure({ ...what, quantity: 'resumed handshakes', unit: 'a second' }, of(workers).rate, one('rate')),
      cost({ ...what, quantity: 'server CPU', unit: 'µs' }, of(workers).cpu, one('cpu')),
    ];
  });
}

const ABOUT = `
A cluster whose workers keep no session in memory: whichever a client comes to finds its session in the LMDB store that
all share, and every connection must resume. ${CLIENTS} client processes with ${PARALLEL} connections at a time run
on the same ${CLIENTS} processors as the cluster: beyond what those have left for it, more workers cannot serve more.
**Server CPU**, that of the workers and the primary for one connection, does not depend on how many processors there are.
`;

export async function processes({ quick }: Effort): Promise<Part> {
  const plan = quick ? { visits: 24, rounds: 3, warmUp: 1 } : { visits: 200, rounds: 11, warmUp: 8 };
  const figures: Figure[] = [];
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
    progress(`processes: ${version}`);
    figures.push(...(await measure(version, plan)));
  }
  return { title: 'From one process to four', about: ABOUT, figures };
}
