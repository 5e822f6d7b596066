/**
 * The PROXY protocol before the hello: a balancer that gets a header (from HAProxy's `send-proxy` or `send-proxy-v2`, from
 * a cloud's load balancer) and passes one on, to TLS servers that read it and resume.
 *
 * `node --import tsx examples/proxy-protocol.ts`
 */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import * as tls from 'node:tls';
import { ServerResumption, SessionAffinity } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';
import { type Endpoint, proxyHeader, takeProxyHeader } from './support/proxy-protocol.js';

const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });

const backends = await Promise.all(['a', 'b'].map(startBackend));
const affinity = new SessionAffinity({ backends });

const balancer = createServer(async (client) => {
  client.on('error', () => {});
  try {
    const { source, destination } = await takeProxyHeader(client);
    const open = ({ port }: { port: number }): Socket => {
      const socket = connect(port, '127.0.0.1');
      // Before everything that the client says.
      socket.write(proxyHeader(source, destination));
      return socket;
    };
    // All connections come from the same proxy: the address is the one that it tells.
    await affinity.forward(client, open, { key: () => source?.address });
  } catch {
    client.destroy();
  }
});
console.log(`listening on 127.0.0.1:${await listen(balancer)}`);

process.once('SIGTERM', () => {
  for (const server of [balancer, ...backends.map(({ server }) => server)]) server.close();
});

async function startBackend(name: string) {
  const resumption = new ServerResumption();
  /** Whom each connection is from, by where the balancer connects from: all that a TLS socket and its own share. */
  const sources = new Map<string, Endpoint | undefined>();
  const place = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

  const tlsServer = tls.createServer(resumption.secure({ key, cert }), (socket) => {
    const way = resumption.connection(socket)?.way ?? 'full handshake';
    socket.on('error', (error) => console.error(error.message));
    socket.end(`back end ${name}, ${sources.get(place(socket))?.address}, ${way}\n`);
  });
  resumption.attach(tlsServer);

  const server = createServer(async (socket) => {
    socket.on('error', () => {});
    try {
      const { source } = await takeProxyHeader(socket);
      const from = place(socket);
      sources.set(from, source);
      socket.once('close', () => sources.delete(from));
      // The gate reads the hello from here on, and gives the connection to `tls`.
      tlsServer.emit('connection', socket);
    } catch {
      socket.destroy();
    }
  });
  return { name, server, port: await listen(server) };
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
