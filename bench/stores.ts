/**
 * What a store costs beside the cache in memory: server CPU of a resumed handshake whose session lies in it, as a ratio
 * in one run. A store is added in `lib/stores-server.js`, and here with its target.
 */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from '../examples/support/certificates.js';
import { BUSY, setApart, setTogether } from './lib/children.js';
import { cost, type Effort, type Figure, type Part } from './lib/figures.js';
import { mean, progress, prove, SELDOM, takeTurns } from './lib/harness.js';

type Version = 'TLSv1.2' | 'TLSv1.3';

interface Reading {
  readonly cpu: number;
  readonly accepted: number;
  readonly resumed: number;
}

interface Variant {
  readonly store: string;
  /** Whether the store alone finds the sessions, only finds those of the first visits, or is behind the cache in memory. */
  readonly mode: 'alone' | 'hits' | 'behind';
  /** The most that a hit may cost: the whole of what a store has to do with a resumption, but for `alone` in TLS 1.3. */
  readonly target?: number;
}

const MEMORY: Variant = { store: 'memory', mode: 'behind' };
const VARIANTS: readonly Variant[] = [
  { store: 'lmdb', mode: 'alone', target: 1.05 },
  { store: 'lmdb, sealed', mode: 'alone' },
  { store: 'lmdb', mode: 'behind' },
  { store: 'redis by ioredis', mode: 'alone', target: 1.15 },
  { store: 'redis by ioredis, sealed', mode: 'alone' },
  { store: 'redis by ioredis', mode: 'behind' },
  { store: 'redis by node-redis', mode: 'alone', target: 1.15 },
  { store: 'memcached by keyv', mode: 'alone' },
];
/** In TLS 1.3 each resumption brings a new session, which is written: there what a hit costs is seen without that. */
const variantsOf = (version: Version): readonly Variant[] =>
  VARIANTS.flatMap((variant) => {
    if (version === 'TLSv1.2' || variant.target === undefined) return [variant];
    const { store, mode } = variant;
    return [
      { ...variant, mode: 'hits' },
      { store, mode },
    ];
  });
/** Those that answer at once must do so here too. */
const AT_ONCE = /^(memory|lmdb)|behind$/;
/** Which rows: `BENCH_ONLY='TLSv1.2, lmdb alone'`. */
const ONLY = new RegExp(process.env['BENCH_ONLY'] ?? '');

const BATCH = 64;
/** As of a server whose processor time is short: what waits for a store meanwhile is asked for together. */
const IN_PARALLEL = 32;
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 36);
/** Rounds before the first that counts, in each process: V8 goes on compiling for thousands of connections. */
const WARM_UP = Number(process.env['BENCH_WARM_UP'] ?? 10);
/** Processes of each variant, one after the other: how a process lies in memory is a part of its speed. */
const GENERATIONS = Number(process.env['BENCH_GENERATIONS'] ?? 3);

/** Whether it has a limit, or is what others are held against. */
const isLimited = ({ store, target }: Variant): boolean => target !== undefined || store === MEMORY.store;

const PLACES = { alone: 'alone', hits: 'hits', behind: 'behind the cache in memory' };
const nameOf = (version: Version, { store, mode }: Variant): string => `${version}, ${store} ${PLACES[mode]}`;

/** As many clients as a batch has connections: none comes back before the write of its session is done. */
class Visitors {
  readonly #options: tls.ConnectionOptions;
  readonly #sessions: (Buffer | undefined)[] = [];
  /** Whether each comes back with the session of its first visit. */
  readonly #keep: boolean;

  constructor(port: number, version: Version, keep: boolean) {
    this.#keep = keep;
    const secureContext = tls.createSecureContext({ minVersion: version, maxVersion: version });
    this.#options = { host: '127.0.0.1', port, secureContext, rejectUnauthorized: false };
  }

  async batch(): Promise<void> {
    let left = BATCH;
    const come = async (): Promise<void> => {
      while (--left >= 0) await this.#visit(left);
    };
    await Promise.all(Array.from({ length: IN_PARALLEL }, come));
  }

  #visit(client: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const session = this.#sessions[client];
      const socket = tls.connect({ ...this.#options, ...(session && { session }) });
      socket.on('session', (bytes) => {
        if (session === undefined || !this.#keep) this.#sessions[client] = bytes;
      });
      socket.on('error', reject);
      socket.on('end', () => socket.end());
      socket.on('close', () => resolve());
      socket.resume();
    });
  }
}

/** Redis and memcached, for as long as the benchmark runs. */
class Engines {
  readonly folder = mkdtempSync(join(tmpdir(), 'tls-resumption-bench-'));
  readonly #children: ChildProcess[] = [];

  redis(): Promise<number> {
    return this.#start('redis-server', '--save', '', '--bind', '127.0.0.1', '--port');
  }

  memcached(): Promise<number> {
    return this.#start('memcached', '-u', 'nobody', '-l', '127.0.0.1', '-U', '0', '-p');
  }

  end(): void {
    for (const child of this.#children) child.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** On a free port of loopback, and waits until it takes connections. */
  async #start(command: string, ...args: string[]): Promise<number> {
    const probe: Server = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as { port: number };
    await new Promise((resolve) => probe.close(resolve));
    const child = spawn(command, [...args, String(port)], { cwd: this.folder, stdio: 'ignore' });
    this.#children.push(child);
    await once(child, 'spawn');
    for (;;) {
      const socket = connect(port, '127.0.0.1');
      const connected = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      });
      socket.destroy();
      if (connected) return port;
      if (child.exitCode !== null) throw new Error(`${command} has ended`);
    }
  }
}

/** A server process, which serves one variant, and its clients. */
async function serve(setup: object, version: Version, variant: Variant) {
  const child = fork(fileURLToPath(new URL('lib/stores-server.js', import.meta.url)), {
    env: { ...process.env, BENCH_SETUP: JSON.stringify({ ...setup, ...variant, first: BATCH }) },
    execArgv: BUSY,
  });
  const [{ port, atOnce }] = (await once(child, 'message')) as [{ port: number; atOnce: boolean }];
  setApart(child);
  const name = `${variant.store} ${variant.mode}`;
  prove(atOnce === AT_ONCE.test(name), `lookups with ${name} take a turn of the event loop`);
  const read = async (): Promise<Reading> => {
    child.send('read');
    return ((await once(child, 'message')) as [Reading])[0];
  };
  const visitors = new Visitors(port, version, variant.mode === 'hits');
  // The first time each has no session.
  await visitors.batch();
  return {
    /**
     * Microseconds of server CPU a connection, of one batch. No collection is forced before it: that takes away code
     * that was optimized, which each batch would then pay for anew.
     */
    async cost(): Promise<number> {
      const before = await read();
      await visitors.batch();
      const after = await read();
      const accepted = after.accepted - before.accepted;
      const resumed = after.resumed - before.resumed;
      prove(accepted === BATCH && resumed === BATCH, `${name}: ${resumed} of ${accepted} resumed`);
      return (after.cpu - before.cpu) / accepted;
    },
    async end(): Promise<void> {
      child.disconnect();
      await once(child, 'exit');
    },
  };
}

/** How a figure is named in the group of its version. */
const shortName = ({ store, mode }: Variant): string => {
  if (store === MEMORY.store) return MEMORY.store;
  if (mode === 'hits') return `${store}: hits`;
  return mode === 'alone' ? store : `${store}, behind memory`;
};

interface Plan {
  readonly generations: number;
  readonly rounds: number;
  readonly warmUp: number;
  readonly turns: number;
}

/** A process of each variant, and what their batches cost. */
async function generation(
  variants: readonly Variant[],
  start: (variant: Variant, number: number) => ReturnType<typeof serve>,
  { rounds, warmUp, turns }: Plan,
  costs: readonly number[][],
): Promise<void> {
  const servers: { isLimited: boolean; server: Awaited<ReturnType<typeof serve>>; costs: number[] }[] = [];
  for (const [i, variant] of variants.entries()) {
    servers.push({ isLimited: isLimited(variant), server: await start(variant, i), costs: costs[i] as number[] });
  }
  for (let turn = 0; turn < warmUp * turns; turn++) for (const { server } of servers) await server.cost();
  for (let round = 0; round < rounds; round++) {
    const taken = await takeTurns(servers, turns, ({ server }) => server.cost());
    for (const [{ costs }, given] of taken) costs.push(mean(given));
  }
  for (const { server } of servers) await server.end();
}

async function measure(version: Version, engines: Engines, setup: object, plan: Plan): Promise<Figure[]> {
  const variants = [MEMORY, ...variantsOf(version).filter((variant) => ONLY.test(nameOf(version, variant)))];
  if (variants.length === 1) return [];
  const costs: number[][] = variants.map(() => []);
  for (let number = 0; number < plan.generations; number++) {
    const start = (variant: Variant, i: number) =>
      serve({ ...setup, path: join(engines.folder, `${version}-${number}-${i}`) }, version, variant);
    await generation(variants, start, plan, costs);
  }
  const [memory = []] = costs;
  return variants.map((variant, i) => {
    const what = { group: version.replace('v', ' '), quantity: 'server CPU', name: shortName(variant), unit: 'µs' };
    const limit = variant.target === undefined ? {} : { atMost: variant.target };
    return cost(what, costs[i] as number[], [{ to: MEMORY.store, samples: memory, ...limit }]);
  });
}

const ABOUT = `
A server whose sessions lie in an external store, which alone finds them, or which is written *behind* the cache in
memory; held against the cache in memory alone. Redis and memcached run on the same machine; their own processor time is
not counted, and the servers have a processor for themselves. Each variant is a process of its own, and every connection
of it must resume; ${IN_PARALLEL} come at a time, and the variants take turns, in another order each time.

In TLS 1.2 a resumption is one lookup. In TLS 1.3 it makes a new session, which is written to the store: the rows *hits*
leave that out, and every client comes back with the session of its first visit.
`;

export async function stores({ quick }: Effort): Promise<Part> {
  const engines = new Engines();
  try {
    const { key, cert } = await makeCertificate({ names: ['localhost'] });
    const setup = { key, cert, redis: await engines.redis(), memcached: await engines.memcached() };
    const plan = quick
      ? { generations: 1, rounds: 2, warmUp: 0, turns: 1 }
      : { generations: GENERATIONS, rounds: ROUNDS, warmUp: WARM_UP, turns: 2 * SELDOM };
    const figures: Figure[] = [];
    for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
      progress(`stores: ${version}`);
      figures.push(...(await measure(version, engines, setup, plan)));
    }
    return { title: 'Where the sessions lie', about: ABOUT, figures };
  } finally {
    setTogether();
    engines.end();
  }
}
