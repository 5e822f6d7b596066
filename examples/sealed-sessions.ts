/**
 * Sessions that are sealed before they leave the process: who reads the folder they are kept in learns nothing, and who
 * writes to it causes full handshakes. `node --import tsx examples/sealed-sessions.ts`; with a `SECRET` (what
 * `openssl rand -base64 32` prints), `KEY`, `CERT` and `SESSIONS`, a folder, clients come back after a restart too.
 */

import { mkdtempSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  SealedStore,
  ServerResumption,
  SessionCache,
  SessionCacheMode,
  TicketCodec,
  TicketKeyRing,
} from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';
import { FolderStore } from './support/folder-store.js';

const { SECRET, KEY, CERT, SESSIONS = mkdtempSync(join(tmpdir(), 'sessions-')), PORT } = process.env;

// AES-256-GCM; each session can be opened at the place only that it was sealed for.
const ring = SECRET ? TicketKeyRing.fromSecret(Buffer.from(SECRET, 'base64')) : TicketKeyRing.generate();
const external = new SealedStore(new FolderStore(SESSIONS), new TicketCodec(ring));

// Nothing is kept inside, so that every return shows what the folder holds.
const cache = new SessionCache({ mode: SessionCacheMode.Server | SessionCacheMode.NoInternal, external });
const resumption = new ServerResumption({ cache });

const { key, cert } = KEY && CERT ? { key: KEY, cert: CERT } : await makeCertificate({ names: ['localhost'] });
const server = createServer(resumption.secure({ key, cert }), (request, response) => {
  response.end(`${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
});
resumption.attach(server);

server.listen(Number(PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on https://127.0.0.1:${(server.address() as AddressInfo).port}`);
  console.log(`sealed sessions are in ${SESSIONS}`);
});

process.once('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
