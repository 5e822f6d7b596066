/** The main job: clients of a second process connect and come back, and what that cost is measured. */

import type { Version } from './arguments.js';
import type { Visit, Visits } from './client.js';
import { ClientProcess } from './client-process.js';
import type { Progress } from './progress.js';
import type { PlaygroundServer } from './server.js';

export interface Cost {
  /** Handshakes of this kind. */
  readonly count: number;
  /** Milliseconds, median, as the client saw it. */
  readonly time: number | undefined;
  /** Microseconds of this process's CPU for a connection. */
  readonly cpu: number | undefined;
  /** TCP payload in both directions, median. */
  readonly bytes: number | undefined;
}

export interface Measurement {
  readonly version: Version;
  /** How clients came back, as the server saw it. */
  readonly way: string;
  readonly full: Cost;
  readonly resumed: Cost;
  /** Connections that showed a session. */
  readonly cameBack: number;
}

export interface MeasureOptions {
  readonly server: PlaygroundServer;
  readonly port: number;
  readonly host: string;
  readonly versions: readonly Version[];
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Full and resumed handshakes take turns in batches, so that whatever else the machine does hits both alike. */
const ROUNDS = 12;
const BATCH = 40;
const WARM_UP = 40;
/** Milliseconds after which no further round begins. */
const PATIENCE = 10_000;

interface Batch {
  readonly visits: readonly Visit[];
  /** Microseconds. */
  readonly cpu: number;
}

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function costOf(batches: readonly Batch[], among: readonly Visit[], resumed: boolean): Cost {
  const visits = among.filter((visit) => visit.resumed === resumed);
  const connections = batches.reduce((sum, batch) => sum + batch.visits.length, 0);
  const cpu = batches.reduce((sum, batch) => sum + batch.cpu, 0);
  return {
    count: visits.length,
    time: median(visits.map(({ milliseconds }) => milliseconds)),
    cpu: visits.length > 0 ? cpu / connections : undefined,
    bytes: median(visits.map(({ bytes }) => bytes)),
  };
}

/** Ends when its sessions are stored: nobody comes back before. */
async function runBatch(server: PlaygroundServer, client: ClientProcess, visits: Visits): Promise<Batch> {
  const before = process.cpuUsage();
  const done = await client.visit(visits);
  await server.idle();
  const { user, system } = process.cpuUsage(before);
  return { visits: done, cpu: user + system };
}

async function measureVersion(
  client: ClientProcess,
  version: Version,
  deadline: number,
  { server, port, host, progress, signal }: MeasureOptions,
): Promise<Measurement> {
  const common = { port, host, version, certificate: server.certificate };
  const full: Batch[] = [];
  const back: Batch[] = [];
  const ways = new Set<string>();
  await runBatch(server, client, { ...common, count: WARM_UP, comeBack: false });
  await runBatch(server, client, { ...common, count: WARM_UP, comeBack: true });
  for (let round = 0; round < ROUNDS && !signal.aborted; round++) {
    if (round > 0 && Date.now() > deadline) break;
    progress.show(`${version}: full handshakes`, (2 * round) / (2 * ROUNDS));
    full.push(await runBatch(server, client, { ...common, count: BATCH, comeBack: false }));
    progress.show(`${version}: coming back`, (2 * round + 1) / (2 * ROUNDS));
    back.push(await runBatch(server, client, { ...common, count: BATCH, comeBack: true }));
    for (const { way } of server.handshakes.last) if (way !== null) ways.add(way);
  }
  const returns = back.flatMap(({ visits }) => visits);
  const all = [...full, ...back].flatMap(({ visits }) => visits);
  return {
    version,
    way: [...ways].join(', ') || 'none',
    full: costOf(full, all, false),
    resumed: costOf(back, all, true),
    cameBack: returns.length,
  };
}

/** @returns `undefined` when the signal was aborted meanwhile */
export function measure(options: MeasureOptions): Promise<readonly Measurement[] | undefined> {
  const why = 'Not while clients are being measured: the table will be done in some seconds.';
  return options.server.actions.without(why, () => measureAll(options));
}

async function measureAll(options: MeasureOptions): Promise<readonly Measurement[] | undefined> {
  const { versions, signal, progress } = options;
  const client = new ClientProcess();
  const stop = (): void => client.stop();
  signal.addEventListener('abort', stop);
  const measurements: Measurement[] = [];
  const begin = Date.now();
  try {
    for (const [index, version] of versions.entries()) {
      const deadline = begin + (PATIENCE * (index + 1)) / versions.length;
      measurements.push(await measureVersion(client, version, deadline, options));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', stop);
    progress.clear();
    client.stop();
  }
  return signal.aborted ? undefined : measurements;
}
