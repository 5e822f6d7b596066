/** Two hosts with nothing in common but a Redis: one is reloaded, and then the Redis is stopped. */

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { DiagnosticsChannels, type RotatedMessage } from '../../src/diagnostics.js';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import { redisSharedState, redisStore } from '../../src/stores/redis.js';
import type { SharedState } from '../../src/stores/shared-state.js';
import { CLIENTS, type ClientKind } from '../stores/redis-clients.js';
import { hear } from '../support/diagnostics.js';
import { describeRedis, type RedisServer, type StoreServers, storeServers, until } from '../support/store-servers.js';
import { VERSIONS, type Visit } from '../support/visits.js';
import { type Certificates, certificates, type Reloadable, startReloadable, stopAll } from './fixtures/reloading.js';

const [kind] = CLIENTS as [ClientKind];
/** Milliseconds in which a busy machine does what takes one second. */
const PATIENCE = 60_000;

let all: Certificates;
let servers: StoreServers;
let redis: RedisServer;
const cleanups: (() => unknown)[] = [];

/** Sessions in memory and in Redis, facts in Redis; nothing is told, it must be asked. */
async function host(): Promise<Reloadable> {
  const { client, close } = await kind.open(redis.port, { failFast: true });
  const cache = new SessionCache({ external: redisStore(client, { seal: false }), externalDeadline: false });
  const facts = redisSharedState(client);
  const state: SharedState = {
    get: (name) => facts.get(name),
    set: (name, value, timeout) => facts.set(name, value, timeout),
    setIfAbsent: (name, value, timeout) => facts.setIfAbsent(name, value, timeout),
    entries: (prefix) => facts.entries(prefix),
  };
  const guard = new SessionIdContextGuard({ name: 'shop', state });
  cleanups.push(close, () => guard[Symbol.dispose]());
  await guard.ready();
  return startReloadable({}, { cache, guard, lookupTimeout: 10_000 });
}

describeRedis('two hosts over one Redis', () => {
  beforeAll(async () => {
    all = await certificates();
    servers = await storeServers();
  });
  afterAll(() => servers?.remove());
  afterEach(async () => {
    await stopAll();
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  it.each(VERSIONS)(
    'refuse what one of them was reloaded for, and everything once it is stopped (%s)',
    {
      timeout: 3 * PATIENCE,
    },
    async (version) => {
      redis = await servers.redis();
      const [here, there] = [await host(), await host()];
      const sessionOf = async (at: Reloadable, name: string): Promise<Visit['session']> => {
        const { session } = await at.come(version, name);
        await at.resumption.idle();
        return session;
      };
      const [a, b] = [await sessionOf(here, 'a.test'), await sessionOf(here, 'b.test')];
      expect((await there.come(version, 'a.test', a)).resumed).toBe(true);

      const rotated = hear<RotatedMessage>(DiagnosticsChannels.Rotated, cleanups);
      const { renewed } = all;
      await here.resumption.reload(here.server, { options: { key: renewed.key, cert: renewed.cert } });
      const heard = async (): Promise<void> =>
        expect(rotated.map(({ reason }) => reason)).toEqual(['reload', 'reload']);
      await until('the other host to know', heard, PATIENCE);
      expect((await there.come(version, 'a.test', a)).resumed).toBe(false);
      expect((await there.come(version, 'b.test', b)).resumed).toBe(true);

      const kept = await sessionOf(there, 'a.test');
      expect((await there.come(version, 'a.test', kept)).resumed).toBe(true);
      await redis.kill();
      const refused = async (): Promise<void> => {
        // In memory it still is.
        expect((await there.come(version, 'a.test', kept)).received).toBe('hello');
        expect(there.seen.at(-1)?.reason).toBe('state-unavailable');
      };
      await until('resumption to be refused', refused, PATIENCE);
      await redis.restart();
      const resumed = async (): Promise<void> =>
        expect((await there.come(version, 'a.test', await sessionOf(there, 'a.test'))).resumed).toBe(true);
      await until('resumption to be had again', resumed, PATIENCE);
      // What Redis has lost, the hosts have not.
      expect((await there.come(version, 'a.test', a)).resumed).toBe(false);
    },
  );
});
