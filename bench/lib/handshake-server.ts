/** The server process of the handshake benchmark: every variant on a port of its own, and its CPU on request. */

import type { AddressInfo } from 'node:net';
import * as tls from 'node:tls';
import { ServerResumption, SessionCache } from 'tls-resumption';
import { attachBareGate, bareOptions } from './bare-gate.js';

export interface HandshakeServerSetup {
  readonly key: string;
  readonly cert: string;
  readonly ca?: string;
}

const setup = JSON.parse(process.env['BENCH_SETUP'] as string) as HandshakeServerSetup;
const options: tls.TlsOptions = {
  key: setup.key,
  cert: setup.cert,
  ...(setup.ca === undefined ? {} : { ca: setup.ca, requestCert: true }),
};

let resumed = 0;
let accepted = 0;
const serve = (socket: tls.TLSSocket): void => {
  accepted++;
  if (socket.isSessionReused()) resumed++;
  socket.on('error', () => {});
  socket.end('.');
};

const resumption = new ServerResumption({ cache: new SessionCache({ maxSessions: 1_000_000 }) });
const servers: Record<string, tls.Server> = {
  library: tls.createServer(resumption.secure(options), serve),
  bare: tls.createServer(bareOptions(options), serve),
  node: tls.createServer(options, serve),
};
resumption.attach(servers['library'] as tls.Server);
attachBareGate(servers['bare'] as tls.Server);

const ports: Record<string, number> = {};
for (const [name, server] of Object.entries(servers)) {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ports[name] = (server.address() as AddressInfo).port;
}

process.on('message', (moment: 'before' | 'after') => {
  if (moment === 'before') (globalThis as { gc?: () => void }).gc?.();
  const { user, system } = process.cpuUsage();
  process.send?.({ cpu: user + system, accepted, resumed });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ports });
