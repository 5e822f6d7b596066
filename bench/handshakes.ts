/** What a handshake costs the server and how long it takes: full, resumed by Node alone, by the library and by nginx. */

import { type KeyType, makeCertificate } from '../examples/support/certificates.js';
import { setTogether } from './lib/children.js';
import { cost, type Effort, type Figure, figure, type Part } from './lib/figures.js';
import { type BenchServer, type NodeKind, type Site, startNode } from './lib/handshake-servers.js';
import { mean, median, progress, prove, SELDOM, takeTurns } from './lib/harness.js';
import { type NginxKind, nginxVersion, startNginx } from './lib/nginx.js';
import { type Version, Visitors } from './lib/visitors.js';

const FULL = 'Node: full';
const NODE_TICKET = 'Node: ticket';
const BARE = 'bare gate';

interface Variant {
  readonly name: string;
  readonly resume: boolean;
  readonly start: (site: Site) => Promise<BenchServer>;
  /** Its code is compiled while it runs: rounds must pass before the first that counts. */
  readonly warmsUp: boolean;
  /** What its server CPU must not exceed, as a ratio to another variant. */
  readonly target?: { readonly to: string; readonly atMost: number };
}

interface Scene {
  readonly keyType: KeyType;
  readonly version: Version;
  /** With client certificates. */
  readonly mutual: boolean;
}

const KEYS = { ecdsa: 'ECDSA P-256', rsa: 'RSA 2048' };
const groupOf = ({ keyType, version, mutual }: Scene): string =>
  `${KEYS[keyType]}, ${version.replace('v', ' ')}${mutual ? ', client certificates' : ''}`;

function node(name: string, kind: NodeKind, more: Pick<Variant, 'target'> = {}): Variant {
  return { name, resume: name !== FULL, start: (site) => startNode(kind, site), warmsUp: true, ...more };
}

function nginx(name: string, kind: NginxKind, resume: boolean): Variant {
  return { name: `nginx: ${name}`, resume, start: (site) => startNginx(kind, site), warmsUp: false };
}

function variantsOf({ version, mutual }: Scene): Variant[] {
  const stateful = version === 'TLSv1.2' ? 'session ID' : 'stateful ticket';
  return [
    node(FULL, 'node'),
    node(NODE_TICKET, 'node'),
    node(BARE, 'bare'),
    node(`ours: ${stateful}`, 'library', { target: { to: BARE, atMost: 1.05 } }),
    node('ours: ticket', 'tickets'),
    ...(mutual ? [] : [node('ours: ring alone', 'keys', { target: { to: NODE_TICKET, atMost: 1.05 } })]),
    ...(nginxVersion() === undefined
      ? []
      : [nginx('full', 'tickets', false), nginx(stateful, 'cache', true), nginx('ticket', 'tickets', true)]),
  ];
}

const IN_PARALLEL = 4;

interface Plan {
  /** Processes of each variant, one after the other: how a process lies in memory is a part of its speed. */
  readonly generations: number;
  readonly rounds: number;
  /** Rounds before the first that counts, in each process: V8 goes on compiling for thousands of connections. */
  readonly warmUp: number;
  /** How often the variants take turns in a round: the machine is slower for a while, and then for all of them. */
  readonly turns: number;
  /** Connections of a turn whose CPU is taken, and of those that come one after the other, whose time is. */
  readonly batch: number;
  readonly inTurn: number;
}

function planOf(quick: boolean): Plan {
  const env = (name: string, value: number): number => Number(process.env[`BENCH_${name}`] ?? value);
  return {
    generations: env('GENERATIONS', quick ? 1 : 2),
    rounds: env('ROUNDS', quick ? 3 : 6),
    warmUp: env('WARM_UP', quick ? 1 : 3),
    turns: quick ? SELDOM : 6 * SELDOM,
    batch: quick ? 20 : 60,
    inTurn: quick ? 4 : 6,
  };
}

/** By quantity and by variant, a sample a round. */
type Samples = Record<'cpu' | 'time', Map<string, number[]>>;

interface Running {
  readonly variant: Variant;
  readonly server: BenchServer;
  readonly visitors: Visitors;
  /** Whether it has a target, or is what another is held against. */
  readonly isLimited: boolean;
}

/**
 * One turn of one variant, in which every connection did what it should. No collection is forced before it: that takes
 * away the hidden classes that no object has at the moment, and the code that was optimized for them, which each batch
 * would then pay for anew.
 */
async function turn({ variant, server, visitors }: Running, batch: number, inTurn: number) {
  const { name, resume } = variant;
  const before = await server.cpu();
  const { resumed } = await visitors.come(batch, { resume });
  const cpu = ((await server.cpu()) - before) / batch;
  const alone = await visitors.come(inTurn, { resume, inTurn: true });
  const [all, expected] = [resumed + alone.resumed, resume ? batch + inTurn : 0];
  prove(all === expected, `${name}: ${all} of ${batch + inTurn} resumed`);
  return { cpu, times: alone.handshakes };
}

/** So many turns, and a sample of each variant. */
async function round(running: readonly Running[], { turns, batch, inTurn }: Plan, samples: Samples): Promise<void> {
  const taken = await takeTurns(running, turns, (each) => turn(each, batch, inTurn));
  for (const [{ variant }, given] of taken) {
    const { name } = variant;
    const cpu = mean(given.map((each) => each.cpu));
    const time = median(given.flatMap(({ times }) => times)) * 1000;
    samples.cpu.set(name, [...(samples.cpu.get(name) ?? []), cpu]);
    samples.time.set(name, [...(samples.time.get(name) ?? []), time]);
  }
}

/** Connections that count for nothing. nginx is compiled already. */
async function warmUp(running: readonly Running[], { warmUp, turns, batch }: Plan): Promise<void> {
  for (let number = 0; number < warmUp * turns; number++) {
    for (const each of running) if (each.variant.warmsUp) await turn(each, batch, 0);
  }
}

/** A server and visitors for each variant; the visitors of those that resume have been there once. */
async function start(scene: Scene, running: Running[]): Promise<void> {
  const { keyType, version, mutual } = scene;
  const authority = await makeCertificate({ isAuthority: true, commonName: 'bench CA', keyType });
  const identity = await makeCertificate({ names: ['localhost'], issuer: authority, keyType });
  const own = mutual ? await makeCertificate({ commonName: 'client', issuer: authority, keyType }) : undefined;
  const site = { key: identity.key, cert: identity.cert, ...(mutual && { ca: authority.cert }) };
  const certificate = own && { key: own.key, cert: own.cert };
  const variants = variantsOf(scene);
  const limited = new Set(variants.flatMap(({ name, target }) => (target === undefined ? [] : [name, target.to])));
  for (const variant of variants) {
    const server = await variant.start(site);
    const { port, request } = server;
    const count = { count: IN_PARALLEL, parallel: IN_PARALLEL };
    const visitors = new Visitors({ port, version, request, ...count, ...certificate });
    running.push({ variant, server, visitors, isLimited: limited.has(variant.name) });
    await visitors.come(IN_PARALLEL, { resume: variant.resume });
  }
}

async function generation(scene: Scene, plan: Plan, samples: Samples): Promise<void> {
  const running: Running[] = [];
  try {
    await start(scene, running);
    await warmUp(running, plan);
    for (let number = 0; number < plan.rounds; number++) await round(running, plan, samples);
  } finally {
    for (const { server } of running) await server.end();
  }
}

async function measure(scene: Scene, plan: Plan): Promise<Figure[]> {
  const samples: Samples = { cpu: new Map(), time: new Map() };
  for (let i = 0; i < plan.generations; i++) await generation(scene, plan, samples);
  return (['cpu', 'time'] as const).flatMap((quantity) => {
    const of = (name: string): number[] => samples[quantity].get(name) as number[];
    return variantsOf(scene).map(({ name, target }) => {
      const others = new Set([FULL, NODE_TICKET, ...(quantity === 'cpu' && target ? [target.to] : [])]);
      const ratios = [...others].map((to) => ({
        to,
        samples: of(to),
        ...(quantity === 'cpu' && to === target?.to && { atMost: target.atMost }),
      }));
      const what = { group: groupOf(scene), name, unit: 'µs' };
      return quantity === 'cpu'
        ? cost({ ...what, quantity: 'server CPU' }, of(name), ratios)
        : figure({ ...what, quantity: 'handshake time' }, of(name), ratios);
    });
  });
}

function scenes(): Scene[] {
  const all = (['ecdsa', 'rsa'] as const).flatMap((keyType) =>
    [false, true].flatMap((mutual) =>
      (['TLSv1.3', 'TLSv1.2'] as const).map((version) => ({ keyType, version, mutual })),
    ),
  );
  /** `BENCH_ONLY='ecdsa TLSv1.2$'` */
  const only = new RegExp(process.env['BENCH_ONLY'] ?? '');
  return all.filter(({ keyType, version, mutual }) => only.test(`${keyType} ${version}${mutual ? ' mutual' : ''}`));
}

const ABOUT = `
Each variant is a server process of its own, of which several generations are made, and the servers have a processor for
themselves. The variants take turns of a few connections, in another order each time, and a turn counts only if every
connection of it did what it should. **Server CPU** is the processor time of that process for one connection, of
${IN_PARALLEL} at a time. **Handshake time** is what a client sees of one at a time, from its connect
until the handshake is done.

- *Node*: a \`tls\` server without the library, whose clients come with no session (*full*) or with Node's own ticket.
- *bare gate*: the least that resumes statefully: it reads the ClientHello and answers from a \`Map\`, without bounds,
  expiry, guard or checks.
- *ours*: the library by session ID, by stateful ticket, and by ticket, which binds each to the context that it was made
  in; the *ring alone* (\`attachTicketKeys\`) replaces Node's keys and nothing else.
- *nginx*: one worker with its shared cache, or with its tickets. Its connections are asked for by an HTTP/0.9 request,
  which is a part of its CPU.
`;

export async function handshakes({ quick }: Effort): Promise<Part> {
  const plan = planOf(quick);
  const figures: Figure[] = [];
  const all = scenes();
  for (const [i, scene] of all.entries()) {
    progress(`handshakes: ${groupOf(scene)} (${i + 1} of ${all.length})`);
    figures.push(...(await measure(scene, plan).finally(setTogether)));
  }
  return { title: 'Handshakes', about: ABOUT, figures };
}
