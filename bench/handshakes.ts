/** Server CPU of a handshake: the library beside a bare gate and beside Node's own tickets, in one run. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { type KeyType, makeCertificate } from '../examples/support/certificates.js';
import type { HandshakeServerSetup } from './lib/handshake-server.js';

type Version = 'TLSv1.2' | 'TLSv1.3';

interface Reading {
  readonly cpu: number;
  readonly accepted: number;
  readonly resumed: number;
}

const BATCH = 250;
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 15);
const IN_PARALLEL = 4;

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number;

/** One connection; gives the session to come back with: Node's own TLS 1.3 tickets are not renewed when used. */
function connect(port: number, context: tls.SecureContext, session?: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      host: '127.0.0.1',
      port,
      session,
      secureContext: context,
      rejectUnauthorized: false,
    } as tls.ConnectionOptions);
    let next: Buffer | undefined;
    socket.on('session', (bytes) => {
      next = bytes;
    });
    socket.on('error', reject);
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(next ?? session));
    socket.resume();
  });
}

class Client {
  readonly #port: number;
  readonly #context: tls.SecureContext;
  #sessions: (Buffer | undefined)[] = [];

  constructor(port: number, version: Version, identity: { key?: string; cert?: string }) {
    this.#port = port;
    this.#context = tls.createSecureContext({ minVersion: version, maxVersion: version, ...identity });
  }

  async batch(resume: boolean): Promise<void> {
    let left = BATCH;
    const worker = async (slot: number): Promise<void> => {
      while (left-- > 0) {
        this.#sessions[slot] = await connect(this.#port, this.#context, resume ? this.#sessions[slot] : undefined);
      }
    };
    await Promise.all(Array.from({ length: IN_PARALLEL }, (_, slot) => worker(slot)));
  }
}

async function measure(keyType: KeyType, version: Version, mutual: boolean): Promise<string[]> {
  const authority = await makeCertificate({ isAuthority: true, commonName: 'bench CA', keyType });
  const server = await makeCertificate({ names: ['localhost'], issuer: authority, keyType });
  const own = mutual ? await makeCertificate({ commonName: 'client', issuer: authority, keyType }) : undefined;
  const setup: HandshakeServerSetup = { key: server.key, cert: server.cert, ...(mutual && { ca: authority.cert }) };
  const child = fork(fileURLToPath(new URL('lib/handshake-server.ts', import.meta.url)), {
    env: { ...process.env, BENCH_SETUP: JSON.stringify(setup) },
    execArgv: ['--import', 'tsx', '--expose-gc'],
  });
  const [{ ports }] = (await once(child, 'message')) as [{ ports: Record<string, number> }];
  const read = async (moment: 'before' | 'after'): Promise<Reading> => {
    child.send(moment);
    return ((await once(child, 'message')) as [Reading])[0];
  };
  const clients = Object.fromEntries(
    Object.entries(ports).map(([name, port]) => [
      name,
      new Client(port, version, own ? { key: own.key, cert: own.cert } : {}),
    ]),
  );
  const variants: { name: string; client: Client; resume: boolean }[] = [
    { name: 'library', client: clients['library'] as Client, resume: true },
    { name: 'bare gate', client: clients['bare'] as Client, resume: true },
    { name: "Node's ticket", client: clients['node'] as Client, resume: true },
    { name: 'full', client: clients['node'] as Client, resume: false },
  ];
  const cost: Record<string, number[]> = {};
  for (let round = -1; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? variants : [...variants].reverse();
    for (const { name, client, resume } of order) {
      // The first of each slot is a full handshake: made before the reading.
      if (resume) await client.batch(true);
      const before = await read('before');
      await client.batch(resume);
      const after = await read('after');
      const resumed = after.resumed - before.resumed;
      if (after.accepted - before.accepted !== BATCH || resumed !== (resume ? BATCH : 0)) {
        throw new Error(`${name} ${version}: ${resumed} of ${after.accepted - before.accepted} resumed`);
      }
      if (round >= 0) {
        cost[name] ??= [];
        cost[name].push((after.cpu - before.cpu) / BATCH);
      }
    }
  }
  child.disconnect();
  const ratio = (a: string, b: string): string =>
    median((cost[a] as number[]).map((value, i) => value / ((cost[b] as number[])[i] as number))).toFixed(3);
  return [
    `${keyType}${mutual ? ' + client certificate' : ''}`,
    version,
    ratio('library', 'bare gate'),
    ratio('library', "Node's ticket"),
    ratio('bare gate', "Node's ticket"),
    ratio('library', 'full'),
    median(cost['library'] as number[]).toFixed(0),
  ];
}

export async function handshakes(): Promise<void> {
  console.log('\n## Server CPU of a resumed handshake\n');
  console.log(
    "| key | version | library / bare gate | library / Node's ticket | bare gate / Node's ticket | library / full | µs |",
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const keyType of ['ecdsa', 'rsa'] as const) {
    for (const mutual of [false, true]) {
      for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
        console.log(`| ${(await measure(keyType, version, mutual)).join(' | ')} |`);
      }
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await handshakes();
