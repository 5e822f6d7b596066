/** A server process of the stores' benchmark: sessions in one store, and its CPU on request. */

import { randomBytes } from 'node:crypto';
import * as tls from 'node:tls';
import KeyvMemcache from '@keyv/memcache';
import { Redis } from 'ioredis';
import Keyv from 'keyv';
import { createClient } from 'redis';
import { ServerResumption, SessionCache, SessionCacheMode, TicketCodec, TicketKeyRing } from 'tls-resumption';
import { keyvStore } from 'tls-resumption/stores/keyv';
import { lmdbStore } from 'tls-resumption/stores/lmdb';
import { redisStore } from 'tls-resumption/stores/redis';

const { key, cert, store, mode, path, redis, memcached, first } = JSON.parse(process.env.BENCH_SETUP);
const seal = new TicketCodec(TicketKeyRing.generate());

/** What each way of keeping sessions is given; nothing stands for the cache in memory alone. */
const STORES = {
  memory: () => undefined,
  lmdb: () => lmdbStore({ path }),
  'lmdb, sealed': () => lmdbStore({ path, seal }),
  'redis by ioredis': () => redisStore(new Redis(redis), { seal: false }),
  'redis by ioredis, sealed': () => redisStore(new Redis(redis), { seal, prefix: 'sealed:' }),
  'redis by node-redis': async () => {
    const client = createClient({ socket: { host: '127.0.0.1', port: redis } });
    await client.connect();
    return redisStore(client, { seal: false, prefix: 'node-redis:' });
  },
  'memcached by keyv': () => {
    const memcache = new KeyvMemcache(`127.0.0.1:${memcached}`, { deserialize: String });
    return keyvStore(new Keyv({ store: memcache }), { seal: false });
  },
};
/** The store alone finds the sessions; or it is written, and the cache in memory finds them. */
const ALONE = SessionCacheMode.Server | SessionCacheMode.NoInternal;
const MODES = { alone: ALONE, hits: ALONE, behind: SessionCacheMode.Server };
/** Milliseconds: a busy machine makes no full handshakes. */
const externalDeadline = { deadline: 10_000, writeDeadline: 10_000 };

/** Keeps what the first visits bring, and nothing of what comes later. */
const unwritten = (kept) => ({
  get: (id) => kept.get(id),
  set: (...session) => (accepted <= first ? kept.set(...session) : undefined),
  delete: (id) => kept.delete(id),
  close: () => kept.close?.(),
});

let resumed = 0;
let accepted = 0;
const made = await STORES[store]();
const external = mode === 'hits' ? unwritten(made) : made;
const cache = new SessionCache({ maxSessions: 1_000_000, mode: MODES[mode], external, externalDeadline });
const id = randomBytes(32);
await cache.store(id, randomBytes(160));
const found = cache.lookup(id);
/** Whether a lookup is answered without a turn of the event loop, and with the session. */
const atOnce = Buffer.isBuffer(found);
if (!Buffer.isBuffer(await found)) throw new Error(`${store} ${mode} does not find what it stored`);

const resumption = new ServerResumption({ cache, lookupTimeout: externalDeadline.deadline });
const server = tls.createServer(resumption.secure({ key, cert }), (socket) => {
  accepted++;
  if (socket.isSessionReused()) resumed++;
  socket.on('error', () => {});
  socket.end('.');
});
resumption.attach(server);
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

process.on('message', async () => {
  // What was begun counts.
  await resumption.idle();
  const { user, system } = process.cpuUsage();
  process.send({ cpu: user + system, accepted, resumed });
});
process.on('disconnect', async () => {
  await external?.close?.();
  process.exit(0);
});
process.send({ port: server.address().port, atOnce });
