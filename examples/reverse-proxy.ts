/**
 * A reverse proxy that ends TLS in front and opens it behind, over httpxy, and resumes on both sides.
 *
 * `TARGET=https://10.0.0.7:8443 KEY=… CERT=… CA=… node --import tsx examples/reverse-proxy.ts`, with PEM text: key and
 * certificate for both sides, and who is trusted behind. Without a target it plays one that asks for the certificate and
 * closes each connection after its response.
 */

import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { createProxyServer } from 'httpxy';
import { ClientResumption, ServerResumption } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const { TARGET, KEY, CERT, CA, PORT = '0' } = process.env;
const play = TARGET === undefined ? await startTarget() : undefined;
const { key, cert, ca } = play ?? { key: KEY, cert: CERT, ca: CA };
const target = play?.target ?? (TARGET as string);

const front = new ServerResumption();
const behind = new ClientResumption();
// The name to ask for and to check is that of the target. Left out, it is what the client put into its Host header.
const { hostname } = new URL(target);
const agent = behind.agent({ ca, key, cert, keepAlive: true, servername: isIP(hostname) ? '' : hostname });

const proxy = createProxyServer({ target, agent });
proxy.on('error', (error, _request, response) => {
  console.error(error.message);
  if (response && 'writeHead' in response && !response.headersSent) response.writeHead(502).end('bad gateway\n');
});

const server = createServer(front.secure({ key, cert }), (request, response) => {
  response.setHeader('Front', front.connection(request.socket)?.way ?? 'full handshake');
  void proxy.web(request, response);
});
front.attach(server);
console.log(`listening on https://127.0.0.1:${await listen(server, Number(PORT))}`);

process.once('SIGTERM', () => {
  for (const each of [server, play?.server]) {
    each?.close();
    each?.closeIdleConnections();
  }
  agent.destroy();
});

async function startTarget() {
  const authority = await makeCertificate({ isAuthority: true, commonName: 'example CA' });
  const issued = await makeCertificate({ names: ['127.0.0.1', 'localhost'], issuer: authority });
  const { key, cert } = issued;
  const ca = authority.cert;
  const resumption = new ServerResumption();
  const server = createServer(resumption.secure({ key, cert, ca, requestCert: true }), (request, response) => {
    const socket = request.socket as TLSSocket;
    const way = resumption.connection(socket)?.way ?? 'full handshake';
    response.setHeader('Connection', 'close');
    response.end(`behind: ${way}, ${socket.authorized ? 'authorized' : 'not authorized'}\n`);
  });
  resumption.attach(server);
  return { server, key, cert, ca, target: `https://127.0.0.1:${await listen(server, 0)}` };
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
