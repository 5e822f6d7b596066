/** The layer-4 balancer of the examples without affinity: the client's address decides, and bytes are passed on. */

import { type AddressInfo, connect, createServer } from 'node:net';
import { SessionAffinity } from 'tls-resumption';

const backends = (process.env['BACKENDS'] as string).split(',').map((name) => {
  const [host, port] = name.split(':') as [string, string];
  return { name, host, port: Number(port) };
});
const affinity = new SessionAffinity({ backends });
const sockets = { allowHalfOpen: true, noDelay: true };

const balancer = createServer(sockets, async (client) => {
  const choice = await affinity.choose(undefined, client.remoteAddress);
  if (choice === undefined) return;
  const server = connect({ ...choice.backend, ...sockets });
  client.on('error', () => server.destroy());
  server.on('error', () => client.destroy());
  client.setTimeout(600_000, () => client.destroy());
  client.pipe(server);
  server.pipe(client);
});
balancer.listen(0, '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${(balancer.address() as AddressInfo).port}`);
});
process.once('SIGTERM', () => balancer.close());
