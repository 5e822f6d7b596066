/** An HTTP/2 server that answers HTTP/1.1 too: `node --import tsx examples/http2-server.ts`, then `curl -k https://…`. */

import { createSecureServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { ServerResumption } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });

const resumption = new ServerResumption();
const server = createSecureServer(resumption.secure({ key, cert, allowHTTP1: true }), (request, response) => {
  // With HTTP/2 `request.socket` is a proxy of the session's socket: it works all the same.
  const way = resumption.connection(request.socket)?.way ?? 'full handshake';
  response.writeHead(200, { 'Content-Type': 'text/plain' });
  response.end(`HTTP/${request.httpVersion}, ${way}\n`);
});
resumption.attach(server);

// An HTTP/2 session stays open until somebody closes it; one may still arrive after the server was closed.
const sessions = new Set<ServerHttp2Session>();
server.on('session', (session) => {
  if (!server.listening) session.close();
  sessions.add(session);
  session.once('close', () => sessions.delete(session));
});

server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
  console.log(`listening on https://127.0.0.1:${(server.address() as AddressInfo).port}`);
});

process.once('SIGTERM', () => {
  server.close();
  for (const session of sessions) session.close();
});
