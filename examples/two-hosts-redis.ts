/**
 * Two hosts, or more, with their sessions in one Redis: a client that was at one of them resumes at the other.
 *
 * On each host `REDIS_URL=… SECRET=… KEY=… CERT=… node --import tsx examples/two-hosts-redis.ts`, where the secret is what
 * `openssl rand -base64 32` prints, and key and certificate are PEM text. Without a secret it plays two hosts on this
 * machine.
 */

import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { ServerResumption, SessionCache, TicketCodec, TicketKeyRing } from 'tls-resumption';
import { redisStore } from 'tls-resumption/stores/redis';
import { makeCertificate } from './support/certificates.js';

const { REDIS_URL = 'redis://127.0.0.1:6379', SECRET, KEY: key, CERT: cert, PORT = '0' } = process.env;

if (SECRET === undefined) await playHosts();
else serve(Buffer.from(SECRET, 'base64'));

function serve(secret: Buffer): void {
  // What is in Redis is sealed: all hosts derive the same keys from the secret, and Redis has none of them.
  const seal = new TicketCodec(TicketKeyRing.fromSecret(secret));
  // While Redis is away, calls fail at once instead of waiting for it: those are full handshakes.
  const client = new Redis(REDIS_URL, { enableOfflineQueue: false, maxRetriesPerRequest: 0 });
  const cache = new SessionCache({ external: redisStore(client, { seal }) });

  // Sessions are bound to the certificate, the settings and the guard's name: all hosts have the same.
  const resumption = new ServerResumption({ cache });
  const server = createServer(resumption.secure({ key, cert }), (request, response) => {
    response.end(`host ${process.pid}, ${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
  });
  resumption.attach(server);
  client.once('ready', () => {
    server.listen(Number(PORT), '127.0.0.1', () => {
      console.log(`listening on https://127.0.0.1:${(server.address() as AddressInfo).port}`);
    });
  });

  const stop = async (): Promise<void> => {
    server.close();
    server.closeIdleConnections();
    await resumption.idle();
    client.disconnect();
  };
  process.once('SIGTERM', stop);
  process.once('disconnect', stop);
}

async function playHosts(): Promise<void> {
  const issued = await makeCertificate({ names: ['localhost', '127.0.0.1'] });
  const env = { ...process.env, SECRET: randomBytes(32).toString('base64'), KEY: issued.key, CERT: issued.cert };
  const program = fileURLToPath(import.meta.url);
  const hosts = [1, 2].map(() => fork(program, { env, execArgv: process.execArgv }));
  process.once('SIGTERM', () => {
    for (const host of hosts) host.disconnect();
  });
}
