/**
 * Which services share sessions: `REDIS_URL=… node --import tsx examples/sharing-between-services.ts`. Four servers with
 * one certificate and one Redis; a client is at the shop first, and then comes to each of the others.
 *
 * Two things decide. The **guard's name** is part of every session's context: under another name a session is not found,
 * wherever it is kept, and OpenSSL would refuse it. It is what keeps services apart. The **prefix** says where in Redis
 * the sessions are: with prefixes of their own, services can be given access to their own keys alone, and be emptied one
 * by one.
 */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { createClient } from 'redis';
import { ServerResumption, SessionCache, SessionIdContextGuard, TicketCodec, TicketKeyRing } from 'tls-resumption';
import { redisStore } from 'tls-resumption/stores/redis';
import { makeCertificate } from './support/certificates.js';

const SERVICES = [
  { service: 'shop', guard: 'shop', prefix: 'shop:' },
  { service: 'shop, another host', guard: 'shop', prefix: 'shop:' },
  { service: 'admin, keys of the shop', guard: 'admin', prefix: 'shop:' },
  { service: 'shop, keys of its own', guard: 'shop', prefix: 'blog:' },
];

const client = createClient({ url: process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379', disableOfflineQueue: true });
client.on('error', (error: Error) => console.error(error.message));
await client.connect();
const seal = new TicketCodec(TicketKeyRing.generate());
const { key, cert } = await makeCertificate({ names: ['localhost'] });

const servers = await Promise.all(
  SERVICES.map(async ({ service, guard: name, prefix }) => {
    const cache = new SessionCache({ external: redisStore(client, { seal, prefix }) });
    const resumption = new ServerResumption({ cache, guard: new SessionIdContextGuard({ name }) });
    const server = createServer(resumption.secure({ key, cert }), (socket) => socket.end('hello'));
    resumption.attach(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { service, name, prefix, resumption, server };
  }),
);

/** Visits a server; returns whether that resumed, and the session to come back with. */
async function visit({ server }: { server: ReturnType<typeof createServer> }, session?: Buffer) {
  const { port } = server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1', ca: cert, servername: 'localhost', ...(session && { session }) });
  let received: Buffer | undefined;
  socket.on('session', (bytes: Buffer) => {
    received = bytes;
  });
  await once(socket, 'secureConnect');
  const resumed = socket.isSessionReused();
  socket.resume();
  await once(socket, 'close');
  return { resumed, session: received };
}

const [shop] = servers as [(typeof servers)[number]];
const { session } = await visit(shop);
await shop.resumption.idle();

console.log(`${'came back to'.padEnd(24)} ${'guard'.padEnd(6)} ${'prefix'.padEnd(7)} handshake`);
for (const { service, name, prefix, server } of servers) {
  const { resumed } = await visit({ server }, session);
  console.log(`${service.padEnd(24)} ${name.padEnd(6)} ${prefix.padEnd(7)} ${resumed ? 'resumed' : 'full'}`);
}

for (const { server } of servers) server.close();
await client.close();
