/** The playground's server: what it knows of each connection, and how it starts and stops. */

import { constants } from 'node:crypto';
import { once } from 'node:events';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import {
  type ResumptionWay,
  ServerResumption,
  SessionCache,
  SessionCacheMode,
  type SessionCacheStatistics,
} from 'tls-resumption';
import { makeCertificate } from '../support/certificates.js';
import { type Action, Actions } from './actions.js';
import type { PlaygroundOptions } from './arguments.js';
import { Dashboard } from './dashboard.js';
import { guardFor } from './guard.js';
import type { HandshakeLog } from './handshake-log.js';
import { describeReload } from './happenings.js';
import { answerRequests } from './routes.js';
import { openStore, type PlaygroundStore } from './store.js';
import { PlaygroundTickets, type TicketKeysReport } from './tickets.js';

/** What `GET /connection` answers. */
export interface ConnectionReport {
  readonly protocol: string | null;
  readonly cipher: string;
  readonly resumed: boolean;
  readonly way: ResumptionWay | null;
  readonly servername: string | null;
  readonly alpn: string | null;
}

/** What `GET /statistics` answers. */
export interface Statistics extends SessionCacheStatistics {
  /** With `--mode tickets`. */
  readonly ticketKeys?: TicketKeysReport;
}

/** Seconds since a full handshake in which its sessions may be renewed. */
const CHAIN_AGE = 86_400;

/** Milliseconds that requests under way get to finish when the server stops. */
const GRACE = 200;

interface Certificate {
  readonly key: string;
  readonly cert: string;
}

function newCertificate({ host, key }: PlaygroundOptions): Promise<Certificate> {
  const names = new Set(['localhost', '127.0.0.1', '::1', host]);
  return makeCertificate({ names: [...names], keyType: key });
}

export class PlaygroundServer {
  readonly actions: Actions;
  readonly dashboard: Dashboard;
  readonly #options: PlaygroundOptions;
  readonly #secureOptions: https.ServerOptions;
  #certificate: string;
  readonly #server: https.Server;
  readonly #resumption: ServerResumption | undefined;
  readonly #cache: SessionCache;
  readonly #tickets: PlaygroundTickets | undefined;
  readonly #store: PlaygroundStore | undefined;
  readonly #sockets = new Set<Socket>();

  /** @param warn is told in a line what goes wrong while the server goes on */
  static async create(options: PlaygroundOptions, warn: (message: string) => void): Promise<PlaygroundServer> {
    const certificate = await newCertificate(options);
    const store = await openStore(options.store, warn);
    return new PlaygroundServer(options, certificate, store, warn);
  }

  private constructor(
    options: PlaygroundOptions,
    { key, cert }: Certificate,
    store: PlaygroundStore | undefined,
    warn: (message: string) => void,
  ) {
    this.#options = options;
    this.#certificate = cert;
    this.#store = store;
    const secureOptions: https.ServerOptions = {
      key,
      cert,
      minVersion: options.min,
      maxVersion: options.max,
      ALPNProtocols: ['http/1.1', 'http/1.0'],
    };
    this.#secureOptions = secureOptions;
    if (options.mode === 'tickets') this.#tickets = new PlaygroundTickets(options, () => this.handshakes.tell(), warn);
    if (options.mode !== 'none') {
      // With a store it alone keeps sessions: so every return shows what it holds.
      const mode = SessionCacheMode.Server | (store ? SessionCacheMode.NoInternal : 0);
      this.#cache = new SessionCache({ mode, timeout: options.timeout, external: store?.sessions });
      this.#resumption = new ServerResumption({
        cache: this.#cache,
        guard: guardFor(options, Math.max(CHAIN_AGE, options.timeout)),
        tickets: this.#tickets?.ring,
      });
      this.#server = https.createServer(this.#resumption.secure(secureOptions));
      this.#resumption.attach(this.#server);
    } else {
      // No tickets that carry the session, and nobody who keeps sessions: nothing to come back with.
      this.#cache = new SessionCache({ mode: SessionCacheMode.Off });
      secureOptions.secureOptions = constants.SSL_OP_NO_TICKET;
      this.#server = https.createServer(secureOptions);
    }
    this.dashboard = new Dashboard(options, this.#tickets, this);
    this.actions = new Actions(this.#actionsThereAre());
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('secureConnection', (socket) => {
      this.dashboard.handshake(socket, this.report(socket), this.#resumption?.connection(socket)?.reason ?? null);
    });
    answerRequests(this.#server, this);
  }

  get handshakes(): HandshakeLog {
    return this.dashboard.handshakes;
  }

  /** In PEM. */
  get certificate(): string {
    return this.#certificate;
  }

  get cacheBytes(): number {
    return this.#cache.bytes;
  }

  get statistics(): Statistics {
    const { statistics } = this.#cache;
    return this.#tickets === undefined ? statistics : { ...statistics, ticketKeys: this.#tickets.report };
  }

  report(socket: TLSSocket): ConnectionReport {
    const known = this.#resumption?.connection(socket);
    return {
      protocol: socket.getProtocol(),
      cipher: socket.getCipher().standardName,
      resumed: socket.isSessionReused(),
      way: known?.way ?? null,
      // A resumed TLS 1.2 connection has its name in the library's report only.
      servername: known?.servername ?? ((socket as { servername?: string | false }).servername || null),
      alpn: socket.alpnProtocol || null,
    };
  }

  #actionsThereAre(): Record<string, Action> {
    const { mode, store } = this.#options;
    return {
      ...(this.#tickets?.own && { rotate: () => this.#rotate() }),
      ...(mode === 'stateful' && store.kind === 'memory' && { flush: () => this.#flush() }),
      ...(mode !== 'none' && { forget: () => this.#forget() }),
      reload: () => this.#reload(),
    };
  }

  #rotate(): string {
    const key = this.#tickets?.ring.rotate();
    return `Key ${key?.name.toString('hex', 0, 4)} seals now; the ones before still open.`;
  }

  #flush(): string {
    const removed = this.#cache.flush();
    return `Expired sessions removed: ${removed}. Still good: ${this.#cache.size}.`;
  }

  async #forget(): Promise<string> {
    await this.#resumption?.guard.rotate('by hand');
    this.#cache.clear();
    return 'Forgotten: nothing from before resumes any more.';
  }

  async #reload(): Promise<string> {
    const { key, cert } = await newCertificate(this.#options);
    const report = await this.#resumption?.reload(this.#server, { options: { key, cert } });
    if (report === undefined) this.#server.setSecureContext({ ...this.#secureOptions, key, cert });
    this.#certificate = cert;
    return report === undefined ? 'New certificate and key.' : describeReload(report);
  }

  /** @returns the port */
  async listen(port: number, host: string): Promise<number> {
    this.#server.listen(port, host);
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  /** Resolves when all sessions made so far are stored. */
  async idle(): Promise<void> {
    await this.#resumption?.idle();
  }

  async close(): Promise<void> {
    this.dashboard.close();
    if (this.#server.listening) await this.#closeServer();
    await this.idle();
    await this.#store?.close();
    this.#tickets?.ring[Symbol.dispose]();
  }

  async #closeServer(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, GRACE);
    await closed;
    clearTimeout(timer);
  }
}
