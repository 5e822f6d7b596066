/** Back ends that do not share sessions, balancers before them, and clients that come from another address each time. */

import { constants, randomBytes } from 'node:crypto';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { makeCertificate } from '../../examples/support/certificates.js';
import { type AffinityBackend, ServerResumption, SessionAffinity } from '../../src/index.js';
import { nginx, type PeerServers, saidResumed } from '../support/peer-servers.js';
import { close, listen, type Visit, visit } from '../support/visits.js';

export interface Backend extends AffinityBackend {
  readonly port: number;
}

export const { key, cert } = await makeCertificate({ names: ['localhost', 'a.test'] });

const open = new Set<net.Server>();

export async function closeAll(): Promise<void> {
  const servers = [...open];
  open.clear();
  await Promise.all(servers.map(close));
}

export async function listening<T extends net.Server>(server: T): Promise<number> {
  open.add(server);
  return listen(server);
}

/** How a back end of Node keeps its sessions. */
export type Keeping = 'tickets' | 'session IDs' | 'ServerResumption';

/** A server of Node that tells each client its own name and whether the session was resumed. */
export async function nodeBackend(
  name: string,
  keeping: Keeping = 'tickets',
  options: tls.TlsOptions = {},
): Promise<Backend> {
  const answer = (socket: tls.TLSSocket): void => {
    // Who does not read does not see the end either, and keeps the connection.
    socket.on('error', () => {}).resume();
    socket.end(JSON.stringify({ name, resumed: socket.isSessionReused() }));
  };
  if (keeping === 'ServerResumption') {
    const resumption = new ServerResumption();
    const server = tls.createServer(resumption.secure({ key, cert, ...options }), answer);
    resumption.attach(server);
    return { name, port: await listening(server) };
  }
  const secureOptions = keeping === 'session IDs' ? constants.SSL_OP_NO_TICKET : 0;
  const server = tls.createServer({ key, cert, secureOptions, ...options }, answer);
  if (keeping === 'session IDs') {
    const sessions = new Map<string, Buffer>();
    server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
      sessions.set(id.toString('hex'), session);
      done();
    });
    server.on('resumeSession', (id: Buffer, done: (error: null, session: Buffer | null) => void) => {
      done(null, sessions.get(id.toString('hex')) ?? null);
    });
  }
  return { name, port: await listening(server) };
}

/** Sessions in the shape that nginx has them by default, unless it is told otherwise: tickets, under keys of its own. */
export async function nginxBackend(servers: PeerServers, name: string, more = ''): Promise<Backend> {
  const site = { key, cert, ticketKeys: randomBytes(80), more: `add_header Backend ${name}; ${more}` };
  const { port } = await servers.start(nginx, site);
  return { name, port };
}

export const connectTo = ({ port }: Backend): net.Socket => net.connect(port, '127.0.0.1');

/** A balancer with affinity. */
export async function balancer(affinity: SessionAffinity<Backend>): Promise<number> {
  return listening(net.createServer((client) => void affinity.forward(client, connectTo)));
}

/**
 * The same, but the client's address alone decides. Half-open, as the other: a socket that closes of itself once its server
 * has ended is unpiped from its client, whose end nobody reads then.
 */
export async function addressBalancer(backends: readonly Backend[]): Promise<number> {
  const affinity = new SessionAffinity({ backends });
  const server = net.createServer({ allowHalfOpen: true }, async (client) => {
    const { backend } = (await affinity.choose(undefined, client.remoteAddress)) as { backend: Backend };
    const socket = net.connect({ port: backend.port, host: '127.0.0.1', allowHalfOpen: true });
    client.on('error', () => socket.destroy());
    socket.on('error', () => client.destroy());
    client.pipe(socket).pipe(client);
  });
  return listening(server);
}

export interface Seen {
  readonly name: string;
  readonly resumed: boolean;
}

/** What the server said of a visit: JSON of a Node back end, or the headers of another program. */
export function seenBy({ received }: Visit): Seen {
  if (received.startsWith('{')) return JSON.parse(received);
  const name = /^Backend: (.*)\r$/m.exec(received)?.[1];
  const resumed = saidResumed(received);
  if (name === undefined || resumed === undefined) throw new Error(`no answer: ${received}`);
  return { name, resumed };
}

let addresses = 0;

/** An address of loopback that none of these clients has had before. */
export function anotherAddress(): string {
  const number = ++addresses;
  return `127.${1 + ((number >> 16) & 0x7f)}.${(number >> 8) & 0xff}.${number & 0xff}`;
}

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

/** A visit from a new address. */
export async function travel(port: number, options: tls.ConnectionOptions = {}): Promise<Seen & { session?: Buffer }> {
  const from = { localAddress: anotherAddress(), servername: 'localhost', send: GET };
  const made = await visit(port, { ...from, ...options });
  return { ...seenBy(made), ...(made.session && { session: made.session }) };
}

/** How many of so many clients come back, each from another address, to the server they were at, and resume there. */
export async function comeBackFromElsewhere(port: number, clients: number, options: tls.ConnectionOptions) {
  const result = { clients, sameBackend: 0, resumed: 0, first: new Map<string, number>() };
  let left = clients;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const first = await travel(port, options);
      if (first.resumed) throw new Error('a first visit was resumed');
      result.first.set(first.name, (result.first.get(first.name) ?? 0) + 1);
      const second = await travel(port, { ...options, ...(first.session && { session: first.session }) });
      if (second.name === first.name) result.sameBackend++;
      if (second.resumed) result.resumed++;
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return result;
}
