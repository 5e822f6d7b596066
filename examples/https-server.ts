/** An HTTPS server: `node --import tsx examples/https-server.ts`, then open it in a browser and reload. */

import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ServerResumption, SessionCache } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });

// Both options have defaults; here: at most 50 000 sessions, each good for ten minutes.
const cache = new SessionCache({ maxSessions: 50_000, timeout: 600 });
const resumption = new ServerResumption({ cache });

const server = createServer(resumption.secure({ key, cert }), (request, response) => {
  const { way, servername } = resumption.connection(request.socket) ?? {};
  const { number, hits, misses } = cache.statistics;
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ way, servername, statistics: { number, hits, misses } }));
});
resumption.attach(server);

server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
  console.log(`listening on https://127.0.0.1:${(server.address() as AddressInfo).port}`);
});

process.once('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
