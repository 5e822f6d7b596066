/**
 * A fleet of hosts with one secret: their clients keep the sessions, as tickets, and resume at any host. The keys of the
 * tickets change every hour, at all hosts together.
 *
 * On each host `SECRET_FILE=… KEY_FILE=… CERT_FILE=… node --import tsx examples/fleet-from-secret.ts`, where the secret
 * is what `openssl rand -base64 32` prints; `SECRET`, `KEY` and `CERT` can hold the same themselves. Without a secret
 * it plays a fleet of `HOSTS` processes on this machine.
 */

import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { ServerResumption, TicketKeyRing } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

function setting(name: string): string | undefined {
  const file = process.env[`${name}_FILE`];
  return file === undefined ? process.env[name] : readFileSync(file, 'utf8');
}

const base64 = setting('SECRET');
if (base64 === undefined) await playFleet(Number(process.env['HOSTS'] ?? 2));
else serve(Buffer.from(base64, 'base64'));

function serve(secret: Buffer): void {
  const tickets = TicketKeyRing.fromSecret(secret);
  secret.fill(0);
  const resumption = new ServerResumption({ tickets });
  // A ticket is bound to the certificate and the settings too: all hosts have the same.
  const options = resumption.secure({ key: setting('KEY'), cert: setting('CERT') });
  const server = createServer(options, (request, response) => {
    response.end(`host ${process.pid}, ${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
  });
  resumption.attach(server);
  server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
    console.log(`listening on https://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
  const stop = (): void => {
    server.close();
    server.closeIdleConnections();
  };
  process.once('SIGTERM', stop);
  process.once('disconnect', stop);
}

async function playFleet(hosts: number): Promise<void> {
  const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });
  const env = { ...process.env, SECRET: randomBytes(32).toString('base64'), KEY: key, CERT: cert };
  const program = fileURLToPath(import.meta.url);
  const fleet = Array.from({ length: hosts }, () => fork(program, { env, execArgv: process.execArgv }));
  process.once('SIGTERM', () => {
    for (const host of fleet) host.disconnect();
  });
}
