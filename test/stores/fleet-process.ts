/**
 * Processes behind one port for each of several services: a cluster, told over IPC what to do. Each process answers
 * every order, and the first of them, to begin, with the ports.
 */

import cluster, { type Worker } from 'node:cluster';
import { constants } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import * as tls from 'node:tls';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { DeadlineStore, type DeadlineStoreOptions } from '../../src/stores/deadline-store.js';
import { isPromise, type SessionStore } from '../../src/stores/session-store.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { openStore, type Place } from './fleet-stores.js';

/** A server on a port of its own. */
export interface Service {
  /** Nothing: Node itself, with the sessions of each process in its memory. `none`: the library, and no sessions at all. */
  readonly place?: Place | 'none';
  readonly singleUse?: boolean;
  /** Whether sessions are stored as they are: to see that they are found where they should not be. */
  readonly clear?: boolean;
  /** Whether the cache in memory is left out, so that only the store finds sessions. */
  readonly storeAlone?: boolean;
  readonly deadline?: DeadlineStoreOptions;
}

export interface FleetSetup {
  readonly key: string;
  readonly cert: string;
  /** In base64. */
  readonly secret: string;
  readonly processes: number;
  readonly services: readonly Service[];
}

/**
 * `idle`: answer when all sessions are stored. `report`: what there is to say of each service since the last time. The
 * others fill a disk with a file, and remove it.
 */
export type Order = 'idle' | 'report' | { readonly fill: string } | { readonly free: string };

/** What a process says of one service. */
export interface Report {
  /** Milliseconds of the longest lookup outside since the last report. */
  readonly longestLookup: number;
  /** Lookups that a bare timer of the deadline, begun with them, did not outlast: that is so however busy the process is. */
  readonly overdue: number;
  /** When a lookup last got no answer of the store, in milliseconds since 1970. */
  readonly lastAway: number;
  /** Lookups that were given up at their deadline. */
  readonly timeouts: number;
  /** Lookups and writes that failed otherwise. */
  readonly errors: number;
}

const NOTHING: Report = { longestLookup: 0, overdue: 0, lastAway: 0, timeouts: 0, errors: 0 };

/** Seconds: no run takes so long. */
const TIMEOUT = 7200;

const setup = JSON.parse(process.env['FLEET_SETUP'] as string) as FleetSetup;

async function lead(): Promise<void> {
  const workers = Array.from({ length: setup.processes }, () => cluster.fork());
  const answers = (): Promise<unknown[]> =>
    Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0] as unknown));
  const [ports] = await answers();
  process.send?.(ports);
  process.on('message', async (order: Order) => {
    if (typeof order === 'object') occupy(order);
    const given = answers();
    for (const worker of workers) worker.send(order);
    process.send?.(await given);
  });
  process.once('disconnect', () => process.exit());
}

function occupy(order: { readonly fill: string } | { readonly free: string }): void {
  if ('free' in order) {
    rmSync(order.free);
    return;
  }
  const file = openSync(order.fill, 'w');
  try {
    for (;;) writeSync(file, Buffer.alloc(4096));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
}

/** Looks how long a store takes to answer, and whether it does. */
class Watched implements SessionStore {
  readonly #store: DeadlineStore;
  readonly #deadline: number;
  readonly take?: NonNullable<SessionStore['take']>;
  #longest = 0;
  #overdue = 0;
  #lastAway = 0;

  constructor(store: DeadlineStore, deadline: number) {
    this.#store = store;
    this.#deadline = deadline;
    const { take } = store;
    if (take !== undefined) this.take = (key) => this.#watch(() => take.call(store, key));
  }

  report(): Pick<Report, 'longestLookup' | 'overdue' | 'lastAway'> {
    const longestLookup = this.#longest;
    this.#longest = 0;
    return { longestLookup, overdue: this.#overdue, lastAway: this.#lastAway };
  }

  get(key: Uint8Array) {
    return this.#watch(() => this.#store.get(key));
  }

  set(key: Uint8Array, session: Uint8Array, timeout: number) {
    return this.#store.set(key, session, timeout);
  }

  delete(key: Uint8Array) {
    return this.#store.delete(key);
  }

  #watch<T>(call: () => T): T {
    const began = performance.now();
    const { refused } = this.#store.statistics;
    const answer = call();
    let over = false;
    const ended = (): void => {
      over = true;
      this.#longest = Math.max(this.#longest, performance.now() - began);
    };
    const away = (): void => {
      this.#lastAway = Date.now();
    };
    if (this.#store.statistics.refused > refused) away();
    if (!isPromise(answer)) {
      ended();
      return answer;
    }
    answer.then(ended, () => {
      ended();
      away();
    });
    // Timers of one duration end in the order in which they were begun.
    setTimeout(() => {
      if (!over) this.#overdue++;
    }, this.#deadline);
    return answer;
  }
}

interface Running {
  readonly server: tls.Server;
  readonly idle: () => Promise<void>;
  readonly report: () => Report;
}

const { key, cert } = setup;
const worker = cluster.worker as Worker;

async function serve(service: Service): Promise<Running> {
  if (service.place === undefined) return servePlain();
  const { singleUse = false, storeAlone = false, clear = false, deadline = {} } = service;
  if (service.place === 'none') {
    const cache = new SessionCache({ mode: SessionCacheMode.Off });
    return serveWith(new ServerResumption({ cache }), () => NOTHING);
  }
  const lookupTimeout = deadline.deadline ?? 50;
  const seal = !clear && new TicketCodec(TicketKeyRing.fromSecret(Buffer.from(setup.secret, 'base64')));
  const bounded = new DeadlineStore(await openStore(service.place, seal), deadline);
  const external = new Watched(bounded, lookupTimeout);
  const mode = SessionCacheMode.Server | (storeAlone ? SessionCacheMode.NoInternal : 0);
  const cache = new SessionCache({ mode, timeout: TIMEOUT, external, externalDeadline: false });
  return serveWith(new ServerResumption({ cache, singleUse, lookupTimeout }), () => ({
    ...external.report(),
    timeouts: cache.statistics.externalTimeouts,
    errors: cache.statistics.externalErrors,
  }));
}

function serveWith(resumption: ServerResumption, report: () => Report): Running {
  const server = tls.createServer(resumption.secure({ key, cert }), (socket) => {
    socket.on('error', () => {});
    socket.end(String(worker.id));
  });
  resumption.attach(server);
  return { server, idle: () => resumption.idle(), report };
}

/** What Node offers: the server's ID and PSK identity under one name, in a map. */
function servePlain(): Running {
  const sessions = new Map<string, Buffer>();
  const server = tls.createServer({ key, cert, secureOptions: constants.SSL_OP_NO_TICKET }, (socket) => {
    socket.on('error', () => {});
    socket.end(String(worker.id));
  });
  server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
    sessions.set(id.toString('hex'), session);
    done();
  });
  server.on('resumeSession', (id: Buffer, done: (error: null, session: Buffer | null) => void) => {
    done(null, sessions.get(id.toString('hex')) ?? null);
  });
  return { server, idle: async () => {}, report: () => NOTHING };
}

async function work(): Promise<void> {
  const running: Running[] = [];
  const ports: number[] = [];
  for (const service of setup.services) {
    const each = await serve(service);
    // One after the other: so all processes mean the same port.
    each.server.listen(0, '127.0.0.1');
    await once(each.server, 'listening');
    running.push(each);
    ports.push((each.server.address() as AddressInfo).port);
  }
  process.on('message', async (order: Order) => {
    if (order === 'idle') await Promise.all(running.map(({ idle }) => idle()));
    process.send?.(running.map(({ report }) => report()));
  });
  process.send?.(ports);
}

if (cluster.isPrimary) void lead();
else void work();
