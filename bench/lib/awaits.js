/** A process of its own: awaits of unrelated work before a server is attached and used, and after. */

import { once } from 'node:events';
import * as tls from 'node:tls';
import { ServerResumption } from 'tls-resumption';

const AWAITS = 1_000;
const ROUNDS = 301;

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

async function unrelated(value) {
  return value + 1;
}

async function round() {
  let sum = 0;
  const start = process.hrtime.bigint();
  for (let i = 0; i < AWAITS; i++) sum = await unrelated(sum);
  const time = Number(process.hrtime.bigint() - start);
  if (sum !== AWAITS) throw new Error(`${sum} of ${AWAITS} awaits`);
  return time;
}

async function measure() {
  const times = [];
  for (let i = 0; i < ROUNDS; i++) times.push(await round());
  return median(times);
}

const { key, cert } = JSON.parse(process.env.BENCH_SETUP);
const resumption = new ServerResumption();
const server = tls.createServer(resumption.secure({ key, cert }), (socket) => socket.end('.'));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
await measure();
const before = await measure();

resumption.attach(server);
let session;
let resumed = 0;
for (let i = 0; i < 20; i++) {
  const socket = tls.connect({ host: '127.0.0.1', port: server.address().port, session, rejectUnauthorized: false });
  socket.on('session', (bytes) => {
    session = bytes;
  });
  socket.resume();
  await once(socket, 'secureConnect');
  if (socket.isSessionReused()) resumed++;
  await once(socket, 'close');
}
if (resumed !== 19) throw new Error(`${resumed} of 19 resumed`);
const after = await measure();
console.log(JSON.stringify({ before: before / AWAITS, after: after / AWAITS }));
process.exit(0);
