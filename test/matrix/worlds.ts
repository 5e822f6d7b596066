/** The same servers made by plain `tls` and with the library, over sessions kept in every way that there is. */

import { constants, createHash } from 'node:crypto';
import * as tls from 'node:tls';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { ResumptionError } from '../../src/errors.js';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import { MemorySharedState } from '../../src/stores/memory-shared-state.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { TicketKey } from '../../src/tickets/ticket-key.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { later, MemoryStore } from '../stores/memory-store.js';
import { close, listen, type Version } from '../support/visits.js';

export type Engine = 'plain' | 'library';
export type Way = 'stateful' | 'tickets';

/** Where sessions or ticket keys are: in the process, or shared with others through something that it does not hold. */
export type Place = 'memory' | 'external' | 'external, asynchronous';

/** How a client of a cell comes back. */
export interface Kind {
  readonly engine: Engine;
  readonly version: Version;
  readonly way: Way;
  readonly place: Place;
  /** A TLS 1.2 client that takes no tickets, and comes back by session ID beside them. */
  readonly ticketless?: boolean;
}

export interface Setup {
  readonly options: tls.TlsOptions;
  /** Contexts by name, beside the server's own. */
  readonly contexts?: Readonly<Record<string, tls.SecureContextOptions>>;
  /** Whether an SNICallback chooses them, and not `addContext`. */
  readonly byCallback?: boolean;
  /** Whether they are made where the library cannot see of what. */
  readonly unseen?: boolean;
  /** The guard's name, and plain Node's sessionIdContext: absent, that of the process. */
  readonly service?: string;
  readonly shareAcross?: readonly string[];
  /** Seconds. */
  readonly maxChainAge?: number;
  /** Whether the guards of all servers know by one shared state what any of them forgets. */
  readonly sharedState?: boolean;
  readonly setting?: Pick<ServerResumptionOptions, 'singleUse'>;
}

/** What a server saw of a connection that it served. */
export interface Arrival {
  readonly resumed: boolean;
  readonly authorized: boolean;
  readonly authorizationError: string | undefined;
  /** What the library says; of plain Node what it says itself. */
  readonly servername: string | undefined;
  /** What Node says: nothing of a TLS 1.2 session that resumed. */
  readonly nodeServername: string | undefined;
  /** The library's; `null` where it resumed. */
  readonly reason: string | null | undefined;
  /** What of TLS itself failed after the handshake. */
  fault: string | undefined;
}

export interface Served {
  readonly port: number;
  readonly server: tls.Server;
  readonly seen: Arrival[];
  readonly guard: SessionIdContextGuard | undefined;
  /** setSecureContext: these options merge over those that the server was made with. */
  reconfigure(options: tls.SecureContextOptions): void;
  /** Resolves when what was written behind is in the store. */
  settled(): Promise<void>;
}

/** The setup is refused on purpose, where no session could be judged. */
export class NotPossible extends Error {}

const SERVICE = 'matrix';
const TICKET_KEY = createHash('shake256', { outputLength: 48 }).update('matrix').digest();
/** Milliseconds for a store of the process on a machine that is busy with the other cells. */
const UNHURRIED = 10_000;

/** What the servers of a cell have in common. */
export class World {
  readonly kind: Kind;
  #now = 0;
  readonly #servers: tls.Server[] = [];
  readonly #disposables: Disposable[] = [];
  readonly #store = new MemoryStore(() => this.clock());
  readonly #cache = new SessionCache({ clock: () => this.clock() });
  readonly #ring: TicketKeyRing;
  readonly #state = new MemorySharedState({ clock: () => this.clock() });

  constructor(kind: Kind) {
    this.kind = kind;
    this.#ring = this.#newRing();
  }

  /** Milliseconds since 1970; only {@link pass} makes it differ from the real time. */
  clock(): number {
    return Date.now() + this.#now;
  }

  pass(milliseconds: number): void {
    this.#now += milliseconds;
  }

  /** @throws NotPossible */
  async serve(setup: Setup): Promise<Served> {
    const seen: Arrival[] = [];
    const made = this.kind.engine === 'plain' ? this.#plain(setup) : this.#withLibrary(setup);
    const { server, servernameOf, reasonOf = () => undefined } = made;
    this.#servers.push(server);
    server.on('tlsClientError', () => {});
    server.on('secureConnection', (socket) => {
      const { authorizationError } = socket;
      const arrival: Arrival = {
        resumed: socket.isSessionReused(),
        authorized: socket.authorized,
        authorizationError: authorizationError === undefined ? undefined : String(authorizationError),
        servername: servernameOf(socket),
        nodeServername: nodeServername(socket),
        reason: reasonOf(socket),
        fault: undefined,
      };
      seen.push(arrival);
      socket.on('error', ({ code }: NodeJS.ErrnoException) => {
        if (code?.startsWith('ERR_SSL')) arrival.fault ??= code;
      });
      socket.end('hello');
    });
    const { guard, reconfigure, settled } = made;
    return { port: await listen(server), server, seen, guard, reconfigure, settled };
  }

  async end(): Promise<void> {
    for (const each of this.#disposables.splice(0)) each[Symbol.dispose]();
    await Promise.all(this.#servers.splice(0).map(close));
    this.#ring[Symbol.dispose]();
  }

  #newRing(): TicketKeyRing {
    return TicketKeyRing.fromKeys([TicketKey.from(TICKET_KEY)], { clock: () => this.clock() });
  }

  get #external(): SessionStore {
    return this.kind.place === 'external, asynchronous' ? later(this.#store) : this.#store;
  }

  #plain({ options, contexts = {}, byCallback = false, service }: Setup) {
    const tickets = this.kind.way === 'tickets';
    const resumable: tls.TlsOptions = {
      ...(tickets ? { ticketKeys: TICKET_KEY } : { secureOptions: constants.SSL_OP_NO_TICKET }),
      ...(service !== undefined && { sessionIdContext: service }),
    };
    const made = Object.entries(contexts).map(([name, each]) => [name, tls.createSecureContext(each)] as const);
    const server = tls.createServer({ ...options, ...resumable, ...(byCallback && callback(made)) });
    if (!byCallback) for (const [name, context] of made) server.addContext(name, context);
    if (!tickets || this.kind.ticketless) answerSessionIds(server, this.#external);
    return {
      server,
      guard: undefined,
      servernameOf: nodeServername,
      reasonOf: undefined,
      settled: async () => {},
      reconfigure: (more: tls.SecureContextOptions) =>
        server.setSecureContext({ ...options, ...resumable, ...more } as tls.SecureContextOptions),
    };
  }

  #withLibrary({ options, contexts = {}, byCallback = false, service = SERVICE, setting, ...guarded }: Setup) {
    const { sharedState = false, shareAcross, maxChainAge, unseen = false } = guarded;
    const guard = new SessionIdContextGuard({
      name: service,
      shareAcross,
      maxChainAge,
      clock: () => this.clock(),
      // Without regard to how busy the machine is: the state tells the guards of changes.
      ...(sharedState && { state: this.#state, interval: 60 }),
    });
    this.#disposables.push(guard);
    return this.#possible(() => {
      const resumption = new ServerResumption({
        guard,
        clock: () => this.clock(),
        lookupTimeout: UNHURRIED,
        ...this.#keptBy(),
        ...setting,
      });
      const make = unseen ? tls.createSecureContext : resumption.secureContext.bind(resumption);
      const made = Object.entries(contexts).map(([name, each]) => [name, make(each)] as const);
      const server = tls.createServer(resumption.secure({ ...options, ...(byCallback && callback(made)) }));
      if (!byCallback) for (const [name, context] of made) server.addContext(name, context);
      this.#disposables.push(resumption.attach(server));
      return {
        server,
        guard,
        servernameOf: (socket: tls.TLSSocket) => resumption.connection(socket)?.servername,
        reasonOf: (socket: tls.TLSSocket) => resumption.connection(socket)?.reason,
        settled: () => resumption.idle(),
        reconfigure: (more: tls.SecureContextOptions) => server.setSecureContext({ ...options, ...more }),
      };
    });
  }

  /** Servers share a cache or a ring in memory; otherwise each has its own, over one store or with the same keys. */
  #keptBy(): Pick<ServerResumptionOptions, 'cache' | 'tickets'> {
    const inMemory = this.kind.place === 'memory';
    const cache = inMemory ? this.#cache : this.#cacheOverStore();
    if (this.kind.way === 'stateful') return { cache };
    const tickets = inMemory ? this.#ring : this.#newRing();
    if (!inMemory) this.#disposables.push(tickets);
    return { cache, tickets };
  }

  #cacheOverStore(): SessionCache {
    return new SessionCache({
      mode: SessionCacheMode.Server | SessionCacheMode.NoInternal,
      external: this.#external,
      externalDeadline: { deadline: UNHURRIED },
      clock: () => this.clock(),
    });
  }

  #possible<T>(make: () => T): T {
    try {
      return make();
    } catch (error) {
      const unsafe = error instanceof ResumptionError && error.code === 'ERR_TICKETS_UNSAFE';
      if (!unsafe && !(error instanceof RangeError && /"tickets"/.test(error.message))) throw error;
      throw new NotPossible(error.message);
    }
  }
}

function nodeServername(socket: tls.TLSSocket): string | undefined {
  return (socket as { servername?: string | false | null }).servername || undefined;
}

function callback(contexts: readonly (readonly [string, tls.SecureContext])[]): tls.TlsOptions {
  const byName = new Map(contexts);
  return { SNICallback: (servername, done) => done(null, byName.get(servername)) };
}

/** What an application of plain Node does by hand, as Node's documentation shows it, without waiting for the store. */
function answerSessionIds(server: tls.Server, store: SessionStore): void {
  server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
    void store.set(id, session, 300);
    done();
  });
  server.on('resumeSession', async (id: Buffer, done: (error: null, session: Buffer | null) => void) => {
    done(null, ((await store.get(id)) as Buffer | undefined) ?? null);
  });
}
