/** Servers that share a guard's state, in both modes, for the tests of the guard. */

import * as tls from 'node:tls';
import {
  type ResumptionConnection,
  ServerResumption,
  SessionCache,
  SessionCacheMode,
  type SessionIdContextGuard,
  type SessionStore,
  TicketKeyRing,
} from 'tls-resumption';
import { afterEach } from 'vitest';
import { close, listen, VERSIONS, type Version } from '../support/visits.js';

/** Where sessions are: in memory, in a store and then in memory too, in a store alone, with the clients. */
export type Mode = 'memory' | 'copied inside' | 'external' | 'tickets';

export const MODES: readonly Mode[] = ['memory', 'copied inside', 'external', 'tickets'];
export const CELLS: readonly (readonly [Version, Mode])[] = VERSIONS.flatMap((version) =>
  MODES.map((mode) => [version, mode] as const),
);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Runs when the test is over. */
export function afterwards(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

export interface Host {
  readonly port: number;
  readonly server: tls.Server;
  readonly resumption: ServerResumption;
  readonly seen: (ResumptionConnection | undefined)[];
  /** Why the last connection did not resume; `null` when it did. */
  readonly last: () => string | null | undefined;
}

/** What hosts of one fleet have in common. */
export interface Fleet {
  readonly mode: Mode;
  readonly store?: SessionStore | undefined;
  readonly ring?: TicketKeyRing | undefined;
  readonly clock?: (() => number) | undefined;
  readonly singleUse?: boolean | undefined;
}

export function cacheOf({ mode, store, clock }: Fleet): SessionCache {
  if (mode === 'external') {
    const noInside = SessionCacheMode.Server | SessionCacheMode.NoInternal;
    return new SessionCache({ mode: noInside, external: store, externalDeadline: false, clock, timeout: 86_400 });
  }
  const external = mode === 'memory' ? undefined : store;
  return new SessionCache({ external, externalDeadline: false, clock, timeout: 86_400 });
}

/** A server that says hello and closes. */
export async function startHost(
  fleet: Fleet,
  guard: SessionIdContextGuard,
  options: tls.TlsOptions,
  prepare: (server: tls.Server, resumption: ServerResumption) => void = () => {},
): Promise<Host> {
  const { mode, clock, singleUse } = fleet;
  // On a busy machine nothing is to be too late.
  const lookupTimeout = 10_000;
  const setting = mode === 'tickets' ? { tickets: fleet.ring ?? TicketKeyRing.generate() } : { cache: cacheOf(fleet) };
  const resumption = new ServerResumption({ ...setting, guard, clock, singleUse, lookupTimeout });
  const server = tls.createServer(resumption.secure(options));
  prepare(server, resumption);
  resumption.attach(server);
  const seen: (ResumptionConnection | undefined)[] = [];
  server.on('secureConnection', (socket) => {
    seen.push(resumption.connection(socket));
    socket.on('error', () => {});
    socket.end('hello');
  });
  afterwards(() => close(server));
  return { port: await listen(server), server, resumption, seen, last: () => seen.at(-1)?.reason };
}
