/**
 * An HTTP/2 client whose sessions resume: `node --import tsx examples/http2-client.ts`. `TARGET=https://a.test/` asks that
 * one, and `CA` is PEM text; without a target it plays one.
 */

import { once } from 'node:events';
import { connect, createSecureServer, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { ClientResumption, ServerResumption } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const played = process.env['TARGET'] === undefined ? await play() : undefined;
const { target, ca } = played ?? { target: process.env['TARGET'] as string, ca: process.env['CA'] };
const { hostname, port } = new URL(target);

const resumption = new ClientResumption();
const options = { host: hostname, port: Number(port || 443), servername: hostname, ca, ALPNProtocols: ['h2'] };

for (let i = 0; i < 3; i++) {
  const socket = resumption.connect(options);
  const session = connect(target, { createConnection: () => socket });
  const request = session.request();
  const [headers] = (await once(request.resume(), 'response')) as [IncomingHttpHeaders];
  console.log(`${headers[':status']}, ${socket.isSessionReused() ? 'resumed' : 'full handshake'}`);
  session.close();
  await once(session, 'close');
}
played?.server.close();

async function play() {
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  const resumption = new ServerResumption();
  const server = createSecureServer(resumption.secure({ key, cert }), (_request, response) => response.end('hello\n'));
  resumption.attach(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { server, target: `https://localhost:${(server.address() as AddressInfo).port}/`, ca: cert };
}
