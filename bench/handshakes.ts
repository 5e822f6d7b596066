/** Server CPU of a handshake: the library beside a bare gate and beside Node's own tickets, in one run. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { type KeyType, makeCertificate } from '../examples/support/certificates.js';

type Version = 'TLSv1.2' | 'TLSv1.3';

interface Reading {
  readonly cpu: number;
  readonly accepted: number;
  readonly resumed: number;
}

const BATCH = 250;
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 15);
/** Rounds before the first that counts: V8 goes on compiling for thousands of connections. */
const WARM_UP = Number(process.env['BENCH_WARM_UP'] ?? 20);
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

/** The server process, with what it says of itself. */
async function serve(keyType: KeyType, mutual: boolean) {
  const authority = await makeCertificate({ isAuthority: true, commonName: 'bench CA', keyType });
  const server = await makeCertificate({ names: ['localhost'], issuer: authority, keyType });
  const own = mutual ? await makeCertificate({ commonName: 'client', issuer: authority, keyType }) : undefined;
  const setup = { key: server.key, cert: server.cert, ...(mutual && { ca: authority.cert }) };
  const child = fork(fileURLToPath(new URL('lib/handshake-server.js', import.meta.url)), {
    env: { ...process.env, BENCH_SETUP: JSON.stringify(setup) },
    execArgv: ['--expose-gc'],
  });
  const [{ ports }] = (await once(child, 'message')) as [{ ports: Record<string, number> }];
  const read = async (moment: 'before' | 'after'): Promise<Reading> => {
    child.send(moment);
    return ((await once(child, 'message')) as [Reading])[0];
  };
  const client = (name: string, version: Version): Client =>
    new Client(ports[name] as number, version, own ? { key: own.key, cert: own.cert } : {});
  return { client, read, end: () => child.disconnect() };
}

interface Variant {
  readonly name: string;
  readonly client: Client;
  readonly resume: boolean;
}

/** Microseconds of server CPU a connection, over one batch of which every connection did what it should. */
async function costOf({ name, client, resume }: Variant, read: (moment: 'before' | 'after') => Promise<Reading>) {
  // The first of each slot is a full handshake: made before the reading.
  if (resume) await client.batch(true);
  const before = await read('before');
  await client.batch(resume);
  const after = await read('after');
  const accepted = after.accepted - before.accepted;
  const resumed = after.resumed - before.resumed;
  if (accepted !== BATCH || resumed !== (resume ? BATCH : 0))
    throw new Error(`${name}: ${resumed} of ${accepted} resumed`);
  return (after.cpu - before.cpu) / BATCH;
}

async function measure(keyType: KeyType, version: Version, mutual: boolean): Promise<string[]> {
  const server = await serve(keyType, mutual);
  const plain = server.client('node', version);
  const variants: Variant[] = [
    { name: 'library', client: server.client('library', version), resume: true },
    { name: 'bare gate', client: server.client('bare', version), resume: true },
    { name: 'ticket', client: server.client('tickets', version), resume: true },
    { name: "Node's ticket", client: plain, resume: true },
    { name: 'full', client: plain, resume: false },
  ];
  const cost = new Map<string, number[]>(variants.map(({ name }) => [name, []]));
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const variant of round % 2 === 0 ? variants : [...variants].reverse()) {
      const microseconds = await costOf(variant, server.read);
      if (round >= 0) cost.get(variant.name)?.push(microseconds);
    }
  }
  server.end();
  const of = (name: string): number[] => cost.get(name) as number[];
  const ratio = (a: string, b: string): string =>
    median(of(a).map((value, i) => value / (of(b)[i] as number))).toFixed(3);
  return [
    `${keyType}${mutual ? ' + client certificate' : ''}`,
    version,
    ratio('library', 'bare gate'),
    ratio('library', "Node's ticket"),
    ratio('bare gate', "Node's ticket"),
    ratio('ticket', "Node's ticket"),
    ratio('library', 'full'),
    median(of('library')).toFixed(0),
  ];
}

export async function handshakes(): Promise<void> {
  console.log('\n## Server CPU of a resumed handshake\n');
  console.log(
    "| key | version | library / bare gate | library / Node's ticket | bare gate / Node's ticket | ticket through the ring / Node's ticket | library / full | µs |",
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const keyType of ['ecdsa', 'rsa'] as const) {
    for (const mutual of [false, true]) {
      for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
        console.log(`| ${(await measure(keyType, version, mutual)).join(' | ')} |`);
      }
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await handshakes();
