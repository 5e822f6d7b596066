/**
 * A cluster whose workers share their sessions: `STORE=DIRECTORY WORKERS=4 node --import tsx examples/cluster-lmdb.ts`. A
 * client resumes at whichever worker it comes to, and after a restart of all of them.
 *
 * KEY and CERT are PEM text. Without them it makes a certificate, which it keeps beside the sessions: they are bound to it.
 */

import cluster from 'node:cluster';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServerResumption, SessionCache, SessionCacheMode } from 'tls-resumption';
import { lmdbStore } from 'tls-resumption/stores/lmdb';
import { makeCertificate } from './support/certificates.js';

const { STORE = join(tmpdir(), 'tls-resumption-cluster'), WORKERS = '2', PORT = '0', KEY, CERT } = process.env;

if (cluster.isPrimary) await lead();
else serve();

function serve(): void {
  const external = lmdbStore({ path: STORE });
  // Looking into the file costs some microseconds: no copies in the memory of each worker.
  const cache = new SessionCache({ external, mode: SessionCacheMode.Server | SessionCacheMode.NoInternal });
  const resumption = new ServerResumption({ cache });
  const server = createServer(resumption.secure({ key: KEY, cert: CERT }), (request, response) => {
    response.end(`worker ${process.pid}, ${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
  });
  resumption.attach(server);
  server.listen(Number(PORT), '127.0.0.1');

  // The primary disconnects the workers.
  process.on('SIGTERM', () => {});
  process.once('disconnect', async () => {
    await resumption.idle();
    await external.close();
  });
}

async function lead(): Promise<void> {
  const { key, cert } = KEY && CERT ? { key: KEY, cert: CERT } : await keptCertificate();
  const workers = Array.from({ length: Number(WORKERS) }, () => cluster.fork({ KEY: key, CERT: cert, STORE }));
  let listening = 0;
  cluster.on('listening', (_worker, { port }) => {
    if (++listening === workers.length) console.log(`listening on https://127.0.0.1:${port}`);
  });
  process.once('SIGTERM', () => cluster.disconnect());
}

async function keptCertificate(): Promise<{ key: string; cert: string }> {
  const file = join(STORE, 'certificate.json');
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
  const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });
  mkdirSync(STORE, { recursive: true, mode: 0o700 });
  writeFileSync(file, JSON.stringify({ key, cert }), { mode: 0o600 });
  return { key, cert };
}
