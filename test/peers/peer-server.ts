/** Servers for real programs to come back to. */

import { writeFile } from 'node:fs/promises';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import { join } from 'node:path';
import type * as tls from 'node:tls';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import type { ResumptionConnection } from '../../src/server/connection.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import { temporaryFolder } from '../support/peers.js';
import { close, listen, type Version } from '../support/visits.js';

export const HOST = 'a.test';
/** What text clients send. */
export const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;

export const WAYS: Record<Version, 'session-id' | 'stateful-ticket'> = {
  'TLSv1.2': 'session-id',
  'TLSv1.3': 'stateful-ticket',
};

/** A connection as the server saw it. */
export interface Seen {
  readonly protocol: string | null;
  readonly authorized: boolean;
  readonly resumed: boolean;
  readonly way: string | null;
  readonly reason: string | null;
  readonly connection: ResumptionConnection;
}

export interface PeerServer {
  readonly port: number;
  readonly resumption: ServerResumption;
  /** Every connection whose handshake succeeded, in order. */
  readonly seen: Seen[];
  /** Every handshake that failed. */
  readonly errors: Error[];
}

export interface PeerServerOptions {
  readonly tls?: tls.TlsOptions;
  readonly resumption?: ServerResumptionOptions;
  readonly http2?: boolean;
  readonly pages?: Pages;
}

/** Answers requests over HTTP/1.1. Default: with JSON, what the server knows of the connection. */
export type Pages = (path: string) => { type: string; body: string };

/** A server without the library. */
export interface PlainServer {
  readonly port: number;
  /** Of every connection whose handshake succeeded, in order, whether it was resumed. */
  readonly resumed: boolean[];
  readonly errors: Error[];
}

/** A certificate authority, its files, and servers with its certificates; all gone after {@link Town.remove}. */
export interface Town {
  readonly folder: string;
  readonly caFile: string;
  readonly authority: IssuedCertificate;
  /** Of its servers, PEM. */
  readonly certificate: { readonly key: string; readonly cert: string };
  start(options?: PeerServerOptions): Promise<PeerServer>;
  /** The same without the library. */
  startPlain(options?: { tls?: tls.TlsOptions; pages?: Pages }): Promise<PlainServer>;
  closeServers(): Promise<void>;
  remove(): Promise<void>;
}

export async function town(): Promise<Town> {
  const authority = await makeCertificate({ isAuthority: true, commonName: 'test CA' });
  const { key, cert } = await makeCertificate({ names: [HOST, 'localhost', '127.0.0.1'], issuer: authority });
  const { path: folder, remove } = await temporaryFolder();
  const caFile = join(folder, 'ca.pem');
  await writeFile(caFile, authority.cert);
  const servers: tls.Server[] = [];
  const closeServers = async (): Promise<void> => {
    for (const server of servers.splice(0)) await close(server);
  };

  async function listenTo(server: tls.Server): Promise<{ port: number; errors: Error[] }> {
    servers.push(server);
    const errors: Error[] = [];
    server.on('tlsClientError', (error) => errors.push(error));
    return { port: await listen(server), errors };
  }

  return {
    folder,
    caFile,
    authority,
    certificate: { key, cert },
    async start(options = {}) {
      const resumption = new ServerResumption(options.resumption);
      const secured = resumption.secure({ key, cert, ...options.tls });
      const server = options.http2
        ? overHttp2(resumption, secured)
        : overHttp1(secured, options.pages, (socket) => told(resumption, socket));
      const seen: Seen[] = [];
      server.on('secureConnection', (socket: tls.TLSSocket) => {
        const connection = resumption.connection(socket) as ResumptionConnection;
        const { resumed, way, reason } = connection;
        const { authorized } = socket;
        seen.push({ protocol: socket.getProtocol(), authorized, resumed, way, reason, connection });
      });
      resumption.attach(server);
      return { ...(await listenTo(server)), resumption, seen };
    },
    async startPlain(options = {}) {
      const isReused = (socket: object): boolean => (socket as tls.TLSSocket).isSessionReused();
      const answer = (socket: object): string => JSON.stringify({ resumed: isReused(socket), way: null });
      const server = overHttp1({ key, cert, ...options.tls }, options.pages, answer);
      const resumed: boolean[] = [];
      server.on('secureConnection', (socket: tls.TLSSocket) => resumed.push(isReused(socket)));
      return { ...(await listenTo(server)), resumed };
    },
    closeServers,
    async remove() {
      await closeServers();
      await remove();
    },
  };
}

/** What a client is told about its own connection. */
function told(resumption: ServerResumption, socket: object): string {
  const { resumed, way } = resumption.connection(socket) as ResumptionConnection;
  return JSON.stringify({ resumed, way });
}

function overHttp1(
  options: tls.TlsOptions,
  pages: Pages | undefined,
  answer: (socket: object) => string,
): https.Server {
  return https.createServer(options, (request, response) => {
    const page = pages?.(request.url as string);
    response.setHeader('Connection', 'close');
    response.setHeader('Cache-Control', 'no-store');
    response.setHeader('Content-Type', page?.type ?? 'application/json');
    response.end(page?.body ?? answer(request.socket));
  });
}

/** Answers what the client is told. */
function overHttp2(resumption: ServerResumption, options: tls.TlsOptions): tls.Server {
  const server = http2.createSecureServer(options);
  server.on('stream', (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/json' });
    stream.end(told(resumption, stream.session?.socket as object));
  });
  return server;
}
