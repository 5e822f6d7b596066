/**
 * A cluster: `WORKERS=2 node --import tsx examples/cluster.ts`. Each worker has a cache in its own memory, so a client
 * resumes only where it was before: with n workers about one return in n. Until the workers share an external store
 * (`new SessionCache({ external })`), the others cost a full handshake, never the connection.
 */

import cluster from 'node:cluster';
import { createServer } from 'node:https';
import { ServerResumption } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

if (cluster.isPrimary) {
  // One certificate and one guard name for all workers: sessions are bound to both.
  const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });
  let listening = 0;
  let [resumed, handshakes] = [0, 0];
  const workers = Array.from({ length: Number(process.env['WORKERS'] ?? 2) }, () =>
    cluster.fork({ KEY: key, CERT: cert }),
  );
  cluster.on('listening', (_worker, { port }) => {
    if (++listening === workers.length) console.log(`listening on https://127.0.0.1:${port}`);
  });
  cluster.on('message', (_worker, way: string) => {
    handshakes++;
    if (way !== 'full') resumed++;
  });
  process.once('SIGTERM', () => {
    cluster.disconnect(() => console.log(`${resumed} of ${handshakes} handshakes resumed`));
  });
} else {
  const { KEY: key, CERT: cert, PORT } = process.env;
  const resumption = new ServerResumption();
  const server = createServer(resumption.secure({ key, cert }), (request, response) => {
    response.end(`worker ${cluster.worker?.id}, ${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
  });
  resumption.attach(server);
  server.on('secureConnection', (socket) => process.send?.(resumption.connection(socket)?.way ?? 'full'));
  server.listen(Number(PORT ?? 0), '127.0.0.1');
  // The primary disconnects the workers.
  process.on('SIGTERM', () => {});
}
