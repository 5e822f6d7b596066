/** The server process of the stores' benchmark: every store on a port of its own, and its CPU on request. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { ServerResumption, SessionCache, SessionCacheMode } from 'tls-resumption';
import { lmdbStore } from 'tls-resumption/stores/lmdb';

const setup = JSON.parse(process.env.BENCH_SETUP);
const folder = mkdtempSync(join(tmpdir(), 'tls-resumption-bench-'));

/** What each way of keeping sessions is given; nothing stands for the cache in memory alone. */
const STORES = {
  memory: () => undefined,
  lmdb: () => lmdbStore({ path: join(folder, 'lmdb') }),
};
/** The store alone finds the sessions; or it is written, and the cache in memory finds them. */
const MODES = {
  alone: SessionCacheMode.Server | SessionCacheMode.NoInternal,
  behind: SessionCacheMode.Server,
};

let resumed = 0;
let accepted = 0;
const serve = (socket) => {
  accepted++;
  if (socket.isSessionReused()) resumed++;
  socket.on('error', () => {});
  socket.end('.');
};

const ports = {};
const stores = [];
const resumptions = [];
for (const [name, mode] of setup.variants) {
  const external = await STORES[name]();
  if (external !== undefined) stores.push(external);
  const cache = new SessionCache({ maxSessions: 1_000_000, mode: MODES[mode], external });
  const resumption = new ServerResumption({ cache });
  resumptions.push(resumption);
  const server = tls.createServer(resumption.secure({ key: setup.key, cert: setup.cert }), serve);
  resumption.attach(server);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  ports[`${name} ${mode}`] = server.address().port;
}

process.on('message', async (moment) => {
  // What was begun counts.
  await Promise.all(resumptions.map((resumption) => resumption.idle()));
  if (moment === 'before') globalThis.gc?.();
  const { user, system } = process.cpuUsage();
  process.send({ cpu: user + system, accepted, resumed });
});
process.on('disconnect', async () => {
  await Promise.all(stores.map((store) => store.close?.()));
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
});
process.send({ ports });
