/**
 * What a store costs beside the cache in memory: server CPU of a resumed handshake whose session lies in it, as a ratio
 * in one run. A store is added in `lib/stores-server.js`, and here with its target.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from '../examples/support/certificates.js';
import { median, prove, type Row, table } from './lib/harness.js';

type Version = 'TLSv1.2' | 'TLSv1.3';

interface Reading {
  readonly cpu: number;
  readonly accepted: number;
  readonly resumed: number;
}

/** The store, whether it alone finds the sessions or is behind the cache in memory, and the most that it may cost. */
const VARIANTS: readonly (readonly [store: string, mode: 'alone' | 'behind', target?: number])[] = [
  ['memory', 'behind'],
  ['lmdb', 'alone', 1.05],
  ['lmdb', 'behind'],
];

const BATCH = 250;
const IN_PARALLEL = 8;
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 31);
const WARM_UP = Number(process.env['BENCH_WARM_UP'] ?? 20);

/** As many clients as a batch has connections: none comes back before the write of its session is done. */
class Visitors {
  readonly #options: tls.ConnectionOptions;
  readonly #sessions: (Buffer | undefined)[] = [];

  constructor(port: number, version: Version) {
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
        this.#sessions[client] = bytes;
      });
      socket.on('error', reject);
      socket.on('end', () => socket.end());
      socket.on('close', () => resolve());
      socket.resume();
    });
  }
}

async function measure(version: Version): Promise<Row[]> {
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  const child = fork(fileURLToPath(new URL('lib/stores-server.js', import.meta.url)), {
    env: { ...process.env, BENCH_SETUP: JSON.stringify({ key, cert, variants: VARIANTS }) },
    execArgv: ['--expose-gc'],
  });
  const [{ ports }] = (await once(child, 'message')) as [{ ports: Record<string, number> }];
  const read = async (moment: 'before' | 'after'): Promise<Reading> => {
    child.send(moment);
    return ((await once(child, 'message')) as [Reading])[0];
  };
  const visitors = VARIANTS.map(([store, mode]) => new Visitors(ports[`${store} ${mode}`] as number, version));
  // The first time each has no session.
  for (const each of visitors) await each.batch();
  const costs: number[][] = VARIANTS.map(() => []);
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const order = [...visitors.keys()];
    for (const i of round % 2 === 0 ? order : order.reverse()) {
      const before = await read('before');
      await visitors[i]?.batch();
      const after = await read('after');
      const accepted = after.accepted - before.accepted;
      const resumed = after.resumed - before.resumed;
      prove(accepted === BATCH && resumed === BATCH, `${VARIANTS[i]}: ${resumed} of ${accepted} resumed`);
      if (round >= 0) costs[i]?.push((after.cpu - before.cpu) / accepted);
    }
  }
  child.disconnect();
  const [memory = []] = costs;
  return VARIANTS.slice(1).map(([store, mode, target], i) => {
    const of = costs[i + 1] as number[];
    const ratio = median(of.map((cost, round) => cost / (memory[round] as number)));
    const figure = `${ratio.toFixed(3)} (${median(of).toFixed(0)} µs beside ${median(memory).toFixed(0)})`;
    const what = `${version}, ${store} ${mode === 'alone' ? 'alone' : 'behind the cache in memory'}`;
    return target === undefined ? { what, figure } : { what, figure, target: `${target}`, met: ratio <= target };
  });
}

export async function stores(): Promise<void> {
  const rows = [...(await measure('TLSv1.3')), ...(await measure('TLSv1.2'))];
  console.log(`\n${table('Server CPU of a resumed handshake, as a ratio to sessions in memory', rows)}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await stores();
