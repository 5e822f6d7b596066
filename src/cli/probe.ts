/** `probe HOST[:PORT]`: how clients come back to a server. */

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { explain, isUnreachable } from './connect-errors.js';
import { CommandError, type ExitCode, type Io, json, Progress } from './io.js';
import { keyNameOf, LaneProbe } from './probe-lane.js';
import { type ProbeOptions, readProbeOptions } from './probe-options.js';
import {
  findingsOf,
  type Lane,
  type LaneReport,
  laneName,
  type ProbeReport,
  type Watched,
  waysOf,
} from './probe-report.js';
import { describeReport } from './probe-text.js';

const LANES: readonly Lane[] = [
  { version: 'TLSv1.2', tickets: false },
  { version: 'TLSv1.2', tickets: true },
  { version: 'TLSv1.3', tickets: true },
];

export async function runProbe(args: readonly string[], io: Io): Promise<ExitCode> {
  const options = await readProbeOptions(args, io);
  const progress = new Progress(io);
  try {
    const report = await probe(options, io, progress);
    progress.clear();
    io.out(options.json ? json(report) : describeReport(report, io));
    return report.findings.some(({ severity }) => severity === 'warning') ? 1 : 0;
  } finally {
    progress.clear();
  }
}

async function probe(options: ProbeOptions, io: Io, progress: Progress): Promise<ProbeReport> {
  const { host, port, servername, otherName, otherNameGiven, watch } = options;
  const where = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  progress.show(`looking up ${host}`);
  const addresses = await addressesOf(options, where);
  const { address, lanes } = await probeFirst(addresses, options, where, progress);
  return {
    host,
    port,
    servername,
    otherName,
    address,
    otherAddresses: addresses.filter((other) => other !== address),
    ways: waysOf(lanes),
    lanes,
    watched: watch > 0 ? await watchKeys(address, lanes, options, io, progress) : undefined,
    findings: findingsOf(lanes, otherName, otherNameGiven),
  };
}

async function addressesOf({ host, addresses }: ProbeOptions, where: string): Promise<string[]> {
  if (addresses.length > 0) return [...new Set(addresses)];
  if (isIP(host) !== 0) return [host];
  try {
    const found = await lookup(host, { all: true });
    return [...new Set(found.map(({ address }) => address))];
  } catch (error) {
    throw new CommandError(`cannot connect to ${where}: ${explain(error)}`);
  }
}

/** The first address that can be reached: sessions are made there. */
async function probeFirst(addresses: readonly string[], options: ProbeOptions, where: string, progress: Progress) {
  let failure: unknown;
  for (const address of addresses) {
    try {
      return { address, lanes: await probeLanes(address, addresses, options, where, progress) };
    } catch (error) {
      if (!isUnreachable(error)) throw asCommandError(error, where);
      failure ??= error;
    }
  }
  throw asCommandError(failure, where);
}

function asCommandError(error: unknown, where: string): CommandError {
  return error instanceof CommandError ? error : new CommandError(`cannot connect to ${where}: ${explain(error)}`);
}

async function probeLanes(
  address: string,
  addresses: readonly string[],
  options: ProbeOptions,
  where: string,
  progress: Progress,
): Promise<LaneReport[]> {
  let others = addresses.filter((other) => other !== address);
  const reports: LaneReport[] = [];
  for (const lane of LANES) {
    const name = `${lane.version.replace('TLSv', 'TLS ')}${lane.tickets ? '' : ' without tickets'}`;
    const show = (step: string) => progress.show(`${where}, ${name}: ${step}`);
    const report = await new LaneProbe(lane, address, options).run(others, show);
    // What cannot be reached is waited for once.
    others = others.filter((other) => report.addresses[other] !== 'unreachable');
    reports.push(report);
  }
  const faults = new Set(reports.map(({ fault }) => fault));
  if (!faults.has(undefined)) throw new CommandError(`no TLS connection to ${where}: ${[...faults].join('; ')}`);
  // A client that takes tickets and got none is the same as one that takes none.
  return reports.filter(({ version, tickets, given }) => !(version === 'TLSv1.2' && tickets && given !== 'ticket'));
}

/** Which key names new tickets have as time passes, in each version that gives tickets with such. */
async function watchKeys(
  address: string,
  lanes: readonly LaneReport[],
  options: ProbeOptions,
  io: Io,
  progress: Progress,
): Promise<Watched[]> {
  const began = io.now();
  const elapsed = (): number => (io.now() - began) / 1000;
  const watched = lanes
    .filter(({ keyNames }) => keyNames.length > 0)
    .map((lane) => ({
      lane,
      probe: new LaneProbe(lane, address, options),
      first: undefined as Buffer | undefined,
      seen: new Map<string, number>(),
    }));
  for (;;) {
    for (const each of watched) {
      const session = await each.probe.session();
      each.first ??= session;
      const name = session && keyNameOf(session);
      if (name !== undefined && !each.seen.has(name)) each.seen.set(name, Math.round(elapsed() * 10) / 10);
    }
    const left = options.watch - elapsed();
    if (left <= 0 || watched.length === 0) break;
    progress.show(
      `watching ticket keys (${watched.map(({ lane }) => laneName(lane)).join(', ')}), ${Math.ceil(left)} s left`,
    );
    await io.sleep(1000 * Math.min(left, options.every));
  }
  return Promise.all(
    watched.map(async ({ lane, probe, first, seen }) => ({
      version: lane.version,
      keyNames: [...seen].map(([name, after]) => ({ name, after })),
      firstStillOpens: first === undefined ? null : await probe.resumes(first),
    })),
  );
}
