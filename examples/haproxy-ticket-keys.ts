/**
 * A server beside HAProxy with the same ticket keys, so that a client of one resumes at the other:
 * `TICKET_KEYS=/etc/haproxy/ticket.keys node --import tsx examples/haproxy-ticket-keys.ts`. Where there is no such file
 * it writes one. For a new key, take the first line away, put one from `openssl rand -base64 48` at the end, rename the
 * new file over the old one, and reload HAProxy: this server follows by itself.
 */

import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatTicketKeys, ServerResumption, SessionIdContextGuard, TicketKeyRing } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const file = process.env['TICKET_KEYS'] ?? join(mkdtempSync(join(tmpdir(), 'tickets-')), 'haproxy.keys');
if (!existsSync(file)) {
  // HAProxy asks for three keys: one that only opens, one that seals, and the next.
  const keys = Array.from({ length: 3 }, () => randomBytes(48));
  writeFileSync(file, formatTicketKeys(keys, 'haproxy'), { mode: 0o600, flag: 'wx' });
}

const tickets = TicketKeyRing.fromFile(file, { format: 'haproxy' });
tickets.on('fault', (error) => console.error(error.message));

// OpenSSL resumes a session under its own session ID context only, and HAProxy calls its own so.
const guard = new SessionIdContextGuard({ name: 'haproxy' });
const resumption = new ServerResumption({ tickets, guard });

const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });
const server = createServer(resumption.secure({ key, cert }), (request, response) => {
  response.end(`${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
});
resumption.attach(server);

server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
  console.log(`listening on https://127.0.0.1:${(server.address() as AddressInfo).port}`);
  console.log(`in haproxy.cfg: bind :443 ssl crt site.pem tls-ticket-keys ${file}`);
});

process.once('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
