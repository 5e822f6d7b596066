/** The client process: connects and comes back as it is told, and says how each connection went. */

import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import type { Version } from './arguments.js';

export interface Visits {
  readonly port: number;
  readonly host: string;
  readonly certificate: string;
  readonly version: Version;
  readonly count: number;
  /** Whether to show the sessions of the connections before, one each. */
  readonly comeBack: boolean;
}

export interface Visit {
  readonly resumed: boolean;
  /** Of the TLS handshake alone, without the TCP one before it. */
  readonly milliseconds: number;
  /** TCP payload in both directions, from the ClientHello to the close. */
  readonly bytes: number;
}

export type Answer = { readonly visits: readonly Visit[] } | { readonly error: string };

/** Milliseconds that a server gets to send a session once the handshake is complete. */
const SESSION_WAIT = 1000;

/** Those of the latest connections of each version. */
const sessions = new Map<Version, readonly (Buffer | undefined)[]>();

/** TLS 1.3 servers send sessions after the handshake; each is shown once. */
async function receiveSession(socket: tls.TLSSocket, received: Promise<Buffer>): Promise<Buffer | undefined> {
  if (socket.getProtocol() !== 'TLSv1.3') return socket.getSession();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, SESSION_WAIT, undefined);
  });
  const session = await Promise.race([received, late]);
  clearTimeout(timer);
  return session;
}

/** @returns how it went, and the session to come back with */
async function visit(
  { port, host, certificate, version }: Visits,
  session: Buffer | undefined,
): Promise<[Visit, Buffer | undefined]> {
  const raw = net.connect({ port, host, noDelay: true });
  await once(raw, 'connect');
  const start = performance.now();
  const socket = tls.connect({
    socket: raw,
    servername: 'localhost',
    ca: certificate,
    ALPNProtocols: ['http/1.1'],
    minVersion: version,
    maxVersion: version,
    ...(session && { session }),
  });
  const received = new Promise<Buffer>((resolve) => socket.once('session', resolve));
  await once(socket, 'secureConnect');
  const milliseconds = performance.now() - start;
  const resumed = socket.isSessionReused();
  const next = await receiveSession(socket, received);
  const closed = once(socket, 'close');
  socket.end();
  socket.resume();
  await closed;
  return [{ resumed, milliseconds, bytes: raw.bytesRead + raw.bytesWritten }, next];
}

async function answer(request: Visits): Promise<Answer> {
  const { version, count, comeBack } = request;
  const known = (comeBack && sessions.get(version)) || [];
  const visits: Visit[] = [];
  const received: (Buffer | undefined)[] = [];
  try {
    while (visits.length < count) {
      const [how, session] = await visit(request, known[visits.length]);
      visits.push(how);
      received.push(session);
    }
    sessions.set(version, received);
    return { visits };
  } catch (error) {
    return { error: String(error) };
  }
}

process.on('message', async (request: Visits) => {
  const answered = await answer(request);
  // The playground may be gone by now.
  process.send?.(answered, undefined, undefined, () => {});
});
process.once('disconnect', () => process.exit());
// Ctrl-C reaches every process of the terminal: the playground stops this one itself.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
