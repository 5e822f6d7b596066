/** A server process of the handshake benchmark, which tells its CPU on request. */

import * as tls from 'node:tls';
import { attachTicketKeys, ServerResumption, SessionCache, TicketKeyRing } from 'tls-resumption';
import { attachBareGate, bareOptions } from './bare-gate.js';

const setup = JSON.parse(process.env.BENCH_SETUP);
const options = {
  key: setup.key,
  cert: setup.cert,
  ...(setup.ca === undefined ? {} : { ca: setup.ca, requestCert: true }),
};

/** Says what it did, as nginx does. */
const serve = (socket) => {
  socket.on('error', () => {});
  socket.end(socket.isSessionReused() ? 'r' : '.');
};

/** One variant a process: its garbage and its compiled code are its own. */
const variants = {
  library() {
    const resumption = new ServerResumption({ cache: new SessionCache({ maxSessions: 1_000_000 }) });
    const server = tls.createServer(resumption.secure(options), serve);
    resumption.attach(server);
    return server;
  },
  bare() {
    const server = tls.createServer(bareOptions(options), serve);
    attachBareGate(server);
    return server;
  },
  tickets() {
    const resumption = new ServerResumption({ tickets: TicketKeyRing.generate({ lifetime: 86_400 }) });
    const server = tls.createServer(resumption.secure(options), serve);
    resumption.attach(server);
    return server;
  },
  keys() {
    const server = tls.createServer(options, serve);
    attachTicketKeys(server, TicketKeyRing.generate({ lifetime: 86_400 }));
    return server;
  },
  node: () => tls.createServer(options, serve),
};

const server = variants[setup.variant]();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send({ cpu: user + system });
});
process.on('disconnect', () => process.exit(0));
process.send({ port: server.address().port });
