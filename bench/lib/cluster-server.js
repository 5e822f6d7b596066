/** A cluster whose workers find their sessions in one LMDB store and nowhere else; it tells its CPU on request. */

import cluster from 'node:cluster';
import { once } from 'node:events';
import * as tls from 'node:tls';
import { ServerResumption, SessionCache, SessionCacheMode } from 'tls-resumption';
import { lmdbStore } from 'tls-resumption/stores/lmdb';

const setup = JSON.parse(process.env.BENCH_SETUP);

function cpu() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function work() {
  const external = lmdbStore({ path: setup.path });
  // Milliseconds: a busy machine makes no full handshakes.
  const externalDeadline = { deadline: 10_000, writeDeadline: 10_000 };
  const mode = SessionCacheMode.Server | SessionCacheMode.NoInternal;
  const cache = new SessionCache({ external, mode, externalDeadline });
  const resumption = new ServerResumption({ cache, lookupTimeout: externalDeadline.deadline });
  let accepted = 0;
  const server = tls.createServer(resumption.secure({ key: setup.key, cert: setup.cert }), (socket) => {
    accepted++;
    socket.on('error', () => {});
    socket.end(socket.isSessionReused() ? 'r' : '.');
  });
  resumption.attach(server);
  process.on('message', async () => {
    // What was begun counts.
    await resumption.idle();
    process.send({ cpu: cpu(), accepted });
  });
  process.on('disconnect', async () => {
    await external.close();
    process.exit(0);
  });
  server.listen(0, '127.0.0.1');
}

async function lead() {
  const workers = Array.from({ length: setup.workers }, () => cluster.fork());
  let port;
  await Promise.all(
    workers.map(async (worker) => {
      [{ port }] = await once(worker, 'listening');
    }),
  );
  process.on('message', async () => {
    const readings = await Promise.all(
      workers.map(async (worker) => {
        worker.send('read');
        return (await once(worker, 'message'))[0];
      }),
    );
    // The primary hands the connections out: its work is a part of the price.
    const all = readings.reduce((sum, reading) => sum + reading.cpu, cpu());
    process.send({ cpu: all, accepted: readings.map((reading) => reading.accepted) });
  });
  process.on('disconnect', () => cluster.disconnect(() => process.exit(0)));
  process.send({ port });
}

if (cluster.isPrimary) await lead();
else await work();
