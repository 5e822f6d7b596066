/**
 * Requests over new connections that resume, by `https.get` and by `fetch`: `node --import tsx examples/client-agent.ts`.
 * `TARGET=https://a.test/` asks that one, and `CA` is PEM text; without a target it plays one.
 */

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, get } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { ClientResumption, ServerResumption } from 'tls-resumption';
import { undiciConnector } from 'tls-resumption/client/undici';
import { Agent, fetch, setGlobalDispatcher } from 'undici';
import { makeCertificate } from './support/certificates.js';

const played = process.env['TARGET'] === undefined ? await play() : undefined;
const { target, ca } = played ?? { target: process.env['TARGET'] as string, ca: process.env['CA'] };

// One store of sessions for both. No connection is kept alive, to have new ones to look at.
const resumption = new ClientResumption();
const agent = resumption.agent({ ca });
const dispatcher = new Agent({ connect: undiciConnector(resumption, { ca }), pipelining: 0 });
// From now on every fetch resumes, Node's own too.
setGlobalDispatcher(dispatcher);

for (let i = 0; i < 3; i++) {
  const [response] = (await once(get(target, { agent }), 'response')) as [IncomingMessage];
  const resumed = (response.socket as TLSSocket).isSessionReused();
  await once(response.resume(), 'end');
  console.log(`https.get: ${resumed ? 'resumed' : 'full handshake'}`);
}
const { hits } = resumption.cache.statistics;
for (let i = 0; i < 3; i++) await (await fetch(target)).text();
console.log(`fetch: ${resumption.cache.statistics.hits - hits} of 3 resumed`);

agent.destroy();
await dispatcher.close();
played?.server.close();

async function play() {
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  const resumption = new ServerResumption();
  const server = createServer(resumption.secure({ key, cert }), (_request, response) => response.end('hello\n'));
  resumption.attach(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { server, target: `https://localhost:${(server.address() as AddressInfo).port}/`, ca: cert };
}
