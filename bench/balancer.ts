/**
 * What affinity costs a layer-4 balancer: the example with it and the same without, before the same servers, in one run.
 * Connections are TLS 1.2, each from another address, 16 at a time: first visits, which are the same work for the servers
 * whatever the balancer, and returning ones. Bytes are those of 4 connections. The balancers take turns by small batches,
 * so that whatever else the machine does slows both of them down; ratios are those of a round, figures medians of rounds.
 */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';
import { type Effort, type Figure, figure, type Part } from './lib/figures.js';
import { progress, prove } from './lib/harness.js';

/** Of a balancer in a round, in the order A B B A. */
const BATCHES = 4;
const PARALLEL = 16;
const STREAMS = 4;

const AFFINITY = 'affinity';
const PLAIN = 'plain';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Plan {
  readonly rounds: number;
  /** Rounds before the first that counts. */
  readonly warmUp: number;
  /** Of a batch. */
  readonly connections: number;
  readonly mebibytes: number;
}

const QUICK: Plan = { rounds: 3, warmUp: 1, connections: 32, mebibytes: 8 };
const WHOLE: Plan = { rounds: 15, warmUp: 8, connections: 100, mebibytes: 32 };

interface Balancer {
  readonly name: string;
  readonly port: number;
  readonly child: ChildProcess;
}

/** As a package has them: what runs TypeScript as it is adds calls to every closure. */
async function compile(entry: Readonly<Record<string, string>>): Promise<string> {
  const outDir = join(root, 'node_modules/.cache/balancers');
  await build({ entry, outDir, format: 'esm', noExternal: ['tls-resumption'], config: false, silent: true });
  return outDir;
}

async function start(name: string, folder: string, backends: string): Promise<Balancer> {
  const child = spawn(process.execPath, [join(folder, `${name}.js`)], {
    env: { ...process.env, BACKENDS: backends },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
  return { name, port: Number(/:(\d+)/.exec(line)?.[1]), child };
}

/** Milliseconds of processor time that a process has had; NaN where the system does not tell. */
function cpuOf({ child }: Balancer): number {
  const tasks = `/proc/${child.pid}/task`;
  try {
    const times = readdirSync(tasks).map(
      (task) => readFileSync(join(tasks, task, 'schedstat'), 'latin1').split(' ')[0],
    );
    return times.reduce((sum, nanoseconds) => sum + Number(nanoseconds), 0) / 1e6;
  } catch {
    return Number.NaN;
  }
}

const context = tls.createSecureContext({ maxVersion: 'TLSv1.2' });
let visits = 0;

interface Visit {
  readonly backend: string;
  readonly resumed: boolean;
  readonly session: Buffer | undefined;
  readonly bytes: number;
}

/** One connection, from an address that is not that of the one before. */
function visit(port: number, session: Buffer | undefined, mebibytes = 0): Promise<Visit> {
  return new Promise((resolve, reject) => {
    const number = ++visits;
    const localAddress = `127.1.${(number >> 7) & 0x7f}.${1 + (number & 0x7f)}`;
    const transport = net.connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
    const options = { socket: transport, secureContext: context, rejectUnauthorized: false, session };
    const socket = tls.connect(options as tls.ConnectionOptions);
    let made = session;
    let bytes = 0;
    let greeting = '';
    socket.on('session', (next) => {
      made = next;
    });
    socket.on('data', (chunk: Buffer) => {
      if (bytes === 0) greeting = chunk.toString('latin1', 0, 3);
      bytes += chunk.length;
    });
    socket.on('error', reject);
    socket.on('close', () => {
      resolve({ backend: greeting.charAt(0), resumed: greeting.charAt(2) === '1', session: made, bytes });
    });
    socket.write(`${mebibytes}\n`);
  });
}

/** What some connections or mebibytes took: seconds, and milliseconds of the balancer's processor time. */
interface Batch {
  readonly amount: number;
  readonly seconds: number;
  readonly cpu: number;
}

async function timed(balancer: Balancer, amount: number, work: () => Promise<void>): Promise<Batch> {
  const [began, cpu] = [performance.now(), cpuOf(balancer)];
  await work();
  return { amount, seconds: (performance.now() - began) / 1000, cpu: cpuOf(balancer) - cpu };
}

/** Visits of all clients in turn, each with the session that it has from its first one. */
function connections(balancer: Balancer, clients: readonly (Visit | undefined)[], amount: number): Promise<Batch> {
  let left = amount;
  const worker = async (first: Visit | undefined): Promise<void> => {
    while (left-- > 0) {
      const { backend, resumed } = await visit(balancer.port, first?.session);
      prove(resumed === (backend === first?.backend), 'a session resumes where it was made, and not elsewhere');
      prove(resumed || first === undefined || balancer.name === PLAIN, 'with affinity every return resumes');
    }
  };
  return timed(balancer, amount, async () => {
    await Promise.all(clients.map(worker));
  });
}

function bulk(balancer: Balancer, mebibytes: number): Promise<Batch> {
  const each = mebibytes / STREAMS;
  return timed(balancer, mebibytes, async () => {
    const seen = await Promise.all(Array.from({ length: STREAMS }, () => visit(balancer.port, undefined, each)));
    for (const { bytes } of seen) prove(bytes === each * 1024 * 1024 + 4, 'all bytes arrive');
  });
}

interface Contender {
  readonly balancer: Balancer;
  readonly clients: readonly Visit[];
}

const NOBODY = Array.from({ length: PARALLEL }, () => undefined);
const KINDS = {
  'first visits': ({ balancer }: Contender, plan: Plan) => connections(balancer, NOBODY, plan.connections),
  returning: ({ balancer, clients }: Contender, plan: Plan) => connections(balancer, clients, plan.connections),
  bulk: ({ balancer }: Contender, plan: Plan) => bulk(balancer, plan.mebibytes),
};
type Kind = keyof typeof KINDS;

interface Round {
  /** Connections or mebibytes. */
  readonly perSecond: number;
  /** Milliseconds of the balancer's for each of them. */
  readonly cpu: number;
}

/** A round of each balancer, batch by batch in turn. */
async function round(kind: Kind, contenders: readonly Contender[], plan: Plan): Promise<Round[]> {
  const batches = contenders.map((): Batch[] => []);
  for (let batch = 0; batch < BATCHES; batch++) {
    const order = [...contenders.keys()];
    if (batch % 2 === 1) order.reverse();
    for (const i of order) batches[i]?.push(await KINDS[kind](contenders[i] as Contender, plan));
  }
  return batches.map((all) => {
    const sum = (of: keyof Batch): number => all.reduce((total, one) => total + one[of], 0);
    return { perSecond: sum('amount') / sum('seconds'), cpu: sum('cpu') / sum('amount') };
  });
}

function figuresOf(kind: Kind, [affinity, plain]: readonly [readonly Round[], readonly Round[]]): Figure[] {
  const what = kind === 'bulk' ? 'MiB' : 'connections';
  const pair = (quantity: string, unit: string, of: (round: Round) => number, limit: { atLeast?: number }) => {
    const samples = plain.map(of);
    return [
      figure({ group: kind, quantity, name: AFFINITY, unit }, affinity.map(of), [{ to: PLAIN, samples, ...limit }]),
      figure({ group: kind, quantity, name: PLAIN, unit }, samples),
    ];
  };
  return [
    ...pair('rate', `${what}/s`, ({ perSecond }) => perSecond, { atLeast: 0.9 }),
    ...pair('CPU of the balancer', 'ms', ({ cpu }) => cpu, {}),
  ];
}

const ABOUT = `\
A layer-4 balancer with \`SessionAffinity\` (\`examples/l4-balancer.ts\`) and the same without, which goes by the client's
address (\`bench/lib/plain-balancer.ts\`): processes of their own, before the same two TLS 1.2 servers, which share nothing.
Every connection comes from another address, ${PARALLEL} at a time. First visits are full handshakes at both. Of returning
clients all resume with affinity, which saves the servers work; by address about half of them. *bulk* is bytes from server
to client over ${STREAMS} connections. The rate is that of everything together on this machine, clients and servers
included; the CPU is the balancer's alone, for each connection or MiB.`;

export async function balancer({ quick }: Effort): Promise<Part> {
  const plan = quick ? QUICK : WHOLE;
  const folder = await compile({ [AFFINITY]: 'examples/l4-balancer.ts', [PLAIN]: 'bench/lib/plain-balancer.ts' });
  const servers = fork(fileURLToPath(new URL('lib/balanced-servers.ts', import.meta.url)));
  const [ports] = (await once(servers, 'message')) as [number[]];
  const backends = ports.map((port) => `127.0.0.1:${port}`).join();
  const both = [await start(AFFINITY, folder, backends), await start(PLAIN, folder, backends)];
  const figures: Figure[] = [];
  try {
    // Their tickets can be shown again and again.
    const contenders = await Promise.all(
      both.map(async (one) => ({
        balancer: one,
        clients: await Promise.all(NOBODY.map(() => visit(one.port, undefined))),
      })),
    );
    for (const kind of Object.keys(KINDS) as Kind[]) {
      progress(`balancer: ${kind}`);
      const results: [Round[], Round[]] = [[], []];
      for (let number = -plan.warmUp; number < plan.rounds; number++) {
        const measured = await round(kind, contenders, plan);
        if (number >= 0) for (const [i, one] of measured.entries()) results[i]?.push(one);
      }
      figures.push(...figuresOf(kind, results));
    }
  } finally {
    servers.disconnect();
    for (const { child } of both) child.kill();
  }
  return { title: 'Layer-4 balancer, with and without affinity', about: ABOUT, figures };
}
