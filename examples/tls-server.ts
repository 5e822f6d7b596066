/** A plain TLS server: `node --import tsx examples/tls-server.ts`, then `openssl s_client -reconnect -connect …`. */

import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { ServerResumption } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });

const resumption = new ServerResumption();
const server = createServer(resumption.secure({ key, cert }), (socket) => {
  const way = resumption.connection(socket)?.way ?? 'full handshake';
  socket.on('error', (error) => console.error(error.message));
  socket.end(`${socket.getProtocol()}, ${way}\n`);
});
const attachment = resumption.attach(server);

server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${(server.address() as AddressInfo).port}`);
});

process.once('SIGTERM', () => {
  server.close(() => attachment[Symbol.dispose]());
});
