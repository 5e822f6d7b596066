/** The server process of the handshake benchmark: every variant on a port of its own, and its CPU on request. */

import * as tls from 'node:tls';
import { ServerResumption, SessionCache, TicketKeyRing } from 'tls-resumption';
import { attachBareGate, bareOptions } from './bare-gate.js';

const setup = JSON.parse(process.env.BENCH_SETUP);
const options = {
  key: setup.key,
  cert: setup.cert,
  ...(setup.ca === undefined ? {} : { ca: setup.ca, requestCert: true }),
};

let resumed = 0;
let accepted = 0;
const serve = (socket) => {
  accepted++;
  if (socket.isSessionReused()) resumed++;
  socket.on('error', () => {});
  socket.end('.');
};

const resumption = new ServerResumption({ cache: new SessionCache({ maxSessions: 1_000_000 }) });
const stateless = new ServerResumption({ tickets: TicketKeyRing.generate({ lifetime: 86_400 }) });
const servers = {
  library: tls.createServer(resumption.secure(options), serve),
  bare: tls.createServer(bareOptions(options), serve),
  tickets: tls.createServer(stateless.secure(options), serve),
  node: tls.createServer(options, serve),
};
stateless.attach(servers.tickets);
resumption.attach(servers.library);
attachBareGate(servers.bare);

const ports = {};
for (const [name, server] of Object.entries(servers)) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  ports[name] = server.address().port;
}

process.on('message', (moment) => {
  if (moment === 'before') globalThis.gc?.();
  const { user, system } = process.cpuUsage();
  process.send({ cpu: user + system, accepted, resumed });
});
process.on('disconnect', () => process.exit(0));
process.send({ ports });
