/**
 * A layer-4 balancer: passes TLS on without decrypting it, and sends clients that come back to the server that knows
 * their session, whatever address they come from.
 *
 * `BACKENDS=10.0.0.1:8443,10.0.0.2:8443 PORT=443 node --import tsx examples/l4-balancer.ts`. Without back ends it plays
 * two that share nothing and ask for client certificates, and a client that has another address at each visit.
 */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import { SessionAffinity } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const { BACKENDS, PORT = '0' } = process.env;

const play = BACKENDS === undefined ? await startBackends(['a', 'b']) : undefined;
const backends = play?.backends ?? (BACKENDS as string).split(',').map(addressOf);

const affinity = new SessionAffinity({ backends });
const balancer = createServer(async (client) => {
  await affinity.forward(client, ({ host, port }) => connect(port, host));
});

balancer.listen(Number(PORT), '127.0.0.1');
await once(balancer, 'listening');
const { port } = balancer.address() as AddressInfo;
console.log(`listening on 127.0.0.1:${port}`);

process.once('SIGTERM', () => {
  balancer.close();
  play?.close();
  const { memory, key } = affinity.statistics;
  console.log(`${memory} of ${memory + key} connections went to the server of their session`);
});

if (play !== undefined) await comeBack(port, play.client, 8);

function addressOf(name: string): { name: string; host: string; port: number } {
  const { hostname: host, port } = new URL(`tcp://${name}`);
  return { name, host, port: Number(port) };
}

/** Servers with ticket keys of their own: as good as strangers to each other. */
async function startBackends(names: readonly string[]) {
  const authority = await makeCertificate({ isAuthority: true, commonName: 'example CA' });
  const server = await makeCertificate({ names: ['localhost'], issuer: authority });
  const client = await makeCertificate({ commonName: 'client 7', issuer: authority });
  const servers = names.map((name) => {
    const options = { key: server.key, cert: server.cert, ca: authority.cert, requestCert: true };
    return tls.createServer(options, (socket) => {
      const { CN } = socket.getPeerCertificate().subject;
      socket.on('error', (error) => console.error(error.message));
      socket.end(`back end ${name}, ${CN}, ${socket.isSessionReused() ? 'resumed' : 'full handshake'}\n`);
    });
  });
  await Promise.all(servers.map((each) => once(each.listen(0, '127.0.0.1'), 'listening')));
  return {
    backends: servers.map((each, i) => ({
      name: names[i] as string,
      host: '127.0.0.1',
      port: (each.address() as AddressInfo).port,
    })),
    client: { key: client.key, cert: client.cert, ca: authority.cert },
    close: () => {
      for (const each of servers) each.close();
    },
  };
}

/** TLS 1.2: what the sessions of TLS 1.3 are called is encrypted, and their servers need a store or keys in common. */
async function comeBack(port: number, client: tls.ConnectionOptions, visits: number): Promise<void> {
  let session: Buffer | undefined;
  for (let visit = 1; visit <= visits; visit++) {
    const transport = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${100 + visit}` });
    const options = { ...client, ...(session && { session }) };
    const socket = tls.connect({ socket: transport, servername: 'localhost', maxVersion: 'TLSv1.2', ...options });
    socket.on('session', (made) => {
      session = made;
    });
    const [answer] = (await once(socket, 'data')) as [Buffer];
    process.stdout.write(`from ${transport.localAddress}: ${answer}`);
    socket.end();
    await once(socket, 'close');
  }
}
