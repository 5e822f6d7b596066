/** Back ends on loopback, and what they see of the clients that come: nothing here believes the client. */

import * as https from 'node:https';
import type { Socket } from 'node:net';
import type * as tls from 'node:tls';
import { vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import { freePort } from '../support/ports.js';
import { close, listen, type Version } from '../support/visits.js';

export const HOST = 'a.test';

/** Waits for what comes in a moment, and on a busy machine later. */
export const eventually = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 20 });

/** A connection as the server saw it. */
export interface Arrival {
  readonly socket: tls.TLSSocket;
  readonly resumed: boolean;
  /** PSK identities (TLS 1.3), the session ticket or the session ID (TLS 1.2) of its hello, in hexadecimal. */
  readonly offered: readonly string[];
  /** The common name in the client's certificate. */
  readonly peer: string | string[] | undefined;
}

export interface BackEnd {
  readonly port: number;
  readonly server: https.Server;
  /** Every connection whose handshake succeeded, in order. */
  readonly arrivals: Arrival[];
  /** Each of them: whether it was resumed. */
  readonly resumed: boolean[];
  /** Everything that was ever accepted, TLS or not. */
  readonly accepted: Socket[];
  close(): Promise<void>;
}

export interface BackEndOptions {
  readonly tls?: tls.TlsOptions;
  readonly resumption?: ServerResumptionOptions;
  /** Default: false, every response ends its connection. */
  readonly keepAlive?: boolean;
  readonly answer?: (path: string) => string | Promise<string>;
}

export interface Region {
  readonly authority: IssuedCertificate;
  /** Names the HOST, `b.test` and the address. */
  readonly certificate: IssuedCertificate;
  /** A client's. */
  readonly client: IssuedCertificate;
  start(options?: BackEndOptions): Promise<BackEnd>;
  /** Ends the back ends that were started. */
  closeAll(): Promise<void>;
}

export async function region(): Promise<Region> {
  const authority = await makeCertificate({ isAuthority: true, commonName: 'test CA' });
  const [certificate, client] = await Promise.all([
    makeCertificate({ names: [HOST, 'b.test', 'localhost', '127.0.0.1'], issuer: authority }),
    makeCertificate({ commonName: 'client', issuer: authority }),
  ]);
  const running: BackEnd[] = [];
  return {
    authority,
    certificate,
    client,
    async start(options = {}) {
      const backEnd = await startBackEnd(certificate, options);
      running.push(backEnd);
      return backEnd;
    },
    async closeAll() {
      for (const backEnd of running.splice(0)) await backEnd.close();
    },
  };
}

async function startBackEnd({ key, cert }: IssuedCertificate, options: BackEndOptions): Promise<BackEnd> {
  const resumption = new ServerResumption(options.resumption);
  const server = https.createServer(resumption.secure({ key, cert, ...options.tls }), async (request, response) => {
    if (options.keepAlive !== true) response.setHeader('Connection', 'close');
    response.end((await options.answer?.(request.url ?? '')) ?? `${request.headers.host}`);
  });
  const arrivals: Arrival[] = [];
  const resumed: boolean[] = [];
  const accepted: Socket[] = [];
  server.on('connection', (socket: Socket) => accepted.push(socket.on('error', () => {})));
  server.on('secureConnection', (socket: tls.TLSSocket) => {
    socket.on('error', () => {});
    const peer = socket.getPeerCertificate().subject?.CN;
    arrivals.push({ socket, resumed: socket.isSessionReused(), offered: offeredBy(resumption, socket), peer });
    resumed.push(socket.isSessionReused());
  });
  server.on('tlsClientError', () => {});
  resumption.attach(server);
  const port = await listen(server, await freePort());
  return { port, server, arrivals, resumed, accepted, close: () => close(server) };
}

function offeredBy(resumption: ServerResumption, socket: tls.TLSSocket): string[] {
  const hello = resumption.connection(socket)?.hello;
  if (hello === undefined) throw new Error('the hello was not read');
  const { pskIdentities, sessionTicket, sessionId, supportedVersions } = hello;
  const offered = pskIdentities.map(({ identity }) => identity);
  if (sessionTicket !== undefined && sessionTicket.length > 0) offered.push(sessionTicket);
  // A client that speaks TLS 1.3 sends a session ID that says nothing.
  else if (!supportedVersions.includes(0x0304) && sessionId.length > 0) offered.push(sessionId);
  return offered.map((bytes) => bytes.toString('hex'));
}

/** The protocol as options of a client. */
export const speaking = (version: Version) => ({ minVersion: version, maxVersion: version });

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly reusedSocket: boolean;
}

/** A request of Node's own client. */
export function get(options: https.RequestOptions): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = https.get({ host: '127.0.0.1', servername: HOST, ...options }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, reusedSocket: request.reusedSocket }));
    });
    request.on('error', reject);
  });
}

/** Sends a request and reads all that comes; when it is closed, the result. */
export function drained(socket: tls.TLSSocket, send = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`) {
  return new Promise<{ resumed: boolean; received: string }>((resolve, reject) => {
    let received = '';
    let resumed = false;
    socket.once('secureConnect', () => {
      resumed = socket.isSessionReused();
      socket.write(send);
    });
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
    });
    let failure: Error | undefined;
    socket.on('error', (error) => {
      failure ??= error;
    });
    socket.on('close', () => (failure ? reject(failure) : resolve({ resumed, received })));
  });
}
