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
import type { PlaygroundOptions } from './arguments.js';
import { HandshakeLog } from './handshake-log.js';
import { answerRequests } from './routes.js';
import { guardFor, PlaygroundTickets, type TicketKeysReport } from './tickets.js';

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

export class PlaygroundServer {
  readonly certificate: string;
  readonly handshakes = new HandshakeLog();
  readonly #server: https.Server;
  readonly #resumption: ServerResumption | undefined;
  readonly #cache: SessionCache;
  readonly #tickets: PlaygroundTickets | undefined;
  readonly #sockets = new Set<Socket>();

  /** @param warn is told in a line what goes wrong while the server goes on */
  static async create(options: PlaygroundOptions, warn: (message: string) => void): Promise<PlaygroundServer> {
    const names = new Set(['localhost', '127.0.0.1', '::1', options.host]);
    return new PlaygroundServer(options, await makeCertificate({ names: [...names], keyType: options.key }), warn);
  }

  private constructor(
    options: PlaygroundOptions,
    { key, cert }: { readonly key: string; readonly cert: string },
    warn: (message: string) => void,
  ) {
    this.certificate = cert;
    const secureOptions: https.ServerOptions = {
      key,
      cert,
      minVersion: options.min,
      maxVersion: options.max,
      ALPNProtocols: ['http/1.1', 'http/1.0'],
    };
    if (options.mode === 'tickets') this.#tickets = new PlaygroundTickets(options, () => this.handshakes.tell(), warn);
    if (options.mode !== 'none') {
      this.#cache = new SessionCache({ timeout: options.timeout });
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
      this.#server = https.createServer({ ...secureOptions, secureOptions: constants.SSL_OP_NO_TICKET });
    }
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('secureConnection', (socket) => this.handshakes.add(this.report(socket)));
    answerRequests(this.#server, this);
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

  /** @returns the port */
  async listen(port: number, host: string): Promise<number> {
    this.#server.listen(port, host);
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.handshakes.close();
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, GRACE);
    await closed;
    clearTimeout(timer);
    this.#tickets?.ring[Symbol.dispose]();
  }
}
