/**
 * Four processes behind one port, and no affinity. `FLEET_CONNECTIONS=10000` is the size of the table in
 * docs/store-outages.md.
 */

import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  describeMemcached,
  describeRedis,
  type RedisCluster,
  type RedisServer,
  type StoreServer,
  type StoreServers,
  storeServers,
} from '../support/store-servers.js';
import { only, VERSIONS, type Version, visit } from '../support/visits.js';
import { Crowd, Fleet, type Returns } from './fleet.js';
import type { Service } from './fleet-process.js';
import { newFolder } from './lmdb-folder.js';

const CONNECTIONS = Number(process.env['FLEET_CONNECTIONS'] ?? 200);
const CROWD = Math.min(CONNECTIONS / 4, 500);
const PROCESSES = 4;
const ATTEMPTS = 100;
const TIMEOUT = 120_000 + 30 * CONNECTIONS;

/** Long: what is busy with other things than the store is not judged here. */
const deadline = { deadline: 10_000, writeDeadline: 10_000 };

const SERVICES = ['LMDB', 'Redis', 'Redis Cluster of three', 'memcached by Keyv', 'plain Node'] as const;
const SINGLE_USE = ['LMDB', 'Redis'] as const;

const print = (what: string, version: Version, { returned, resumed, elsewhere }: Returns): void =>
  console.log(
    `${what}, ${version}: ${resumed} of ${returned} resumed, ${elsewhere} at another process than the last time`,
  );

describeRedis('four processes behind one port', () => {
  describeMemcached('without affinity', () => {
    let servers: StoreServers;
    let fleet: Fleet;
    const [folder, otherFolder] = [newFolder(), newFolder()];
    const crowdOf = (name: (typeof SERVICES)[number], version: Version): Crowd =>
      new Crowd(fleet, SERVICES.indexOf(name), version, CROWD);

    beforeAll(async () => {
      servers = await storeServers();
      const [redis, other, cluster, memcached] = (await Promise.all([
        servers.redis(),
        servers.redis(),
        servers.redisCluster(),
        servers.memcached(),
      ])) as [RedisServer, RedisServer, RedisCluster, StoreServer];
      const services: Service[] = [
        { place: { engine: 'lmdb', path: folder }, deadline },
        { place: { engine: 'redis', port: redis.port }, deadline },
        { place: { engine: 'redis-cluster', ports: cluster.ports }, deadline },
        { place: { engine: 'memcached', port: memcached.port }, deadline },
        {},
        { place: { engine: 'lmdb', path: otherFolder }, deadline, singleUse: true },
        { place: { engine: 'redis', port: other.port }, deadline, singleUse: true },
      ];
      fleet = await Fleet.start({ services, processes: PROCESSES });
    }, TIMEOUT);
    afterAll(async () => {
      await fleet?.stop();
      await servers?.remove();
      for (const path of [folder, otherFolder]) rmSync(path, { recursive: true, force: true });
    });

    describe.each(VERSIONS)('over %s', (version) => {
      it.each(SERVICES.slice(0, -1))(
        'all who come back resume with their sessions in %s',
        async (name) => {
          const returns = await crowdOf(name, version).comeBack(CONNECTIONS);
          print(name, version, returns);
          expect(returns.resumed).toBe(returns.returned);
          // Three in four, were they spread without any order.
          expect(returns.elsewhere).toBeGreaterThan(returns.returned / 2);
        },
        TIMEOUT,
      );

      it(
        version === 'TLSv1.2' ? 'about one in four resumes with plain Node' : 'none resumes with plain Node',
        async () => {
          const returns = await crowdOf('plain Node', version).comeBack(CONNECTIONS);
          print('plain Node', version, returns);
          if (version === 'TLSv1.3') expect(returns.resumed).toBe(0);
          else expect(Math.abs(returns.resumed / returns.returned - 1 / PROCESSES)).toBeLessThan(0.2);
        },
        TIMEOUT,
      );

      it.each(SINGLE_USE)(
        'of a hundred attempts at once with one single-use session in %s one resumes',
        async (name) => {
          const port = fleet.ports[SERVICES.length + SINGLE_USE.indexOf(name)] as number;
          for (let round = 0; round < 3; round++) {
            const { session } = await visit(port, only(version));
            await fleet.idle();
            const attempts = await Promise.all(
              Array.from({ length: ATTEMPTS }, () => visit(port, { ...only(version), session })),
            );
            expect(attempts.filter(({ resumed }) => resumed)).toHaveLength(1);
            expect(new Set(attempts.map(({ received }) => received)).size).toBe(PROCESSES);
            await fleet.idle();
          }
        },
        TIMEOUT,
      );
    });

    it(
      'all resume after all processes were killed and started again, with their sessions in a store',
      async () => {
        const crowds = SERVICES.flatMap((name) =>
          VERSIONS.map((version) => ({ name, version, crowd: crowdOf(name, version) })),
        );
        for (const { crowd } of crowds) await crowd.come();
        await fleet.stop();
        await fleet.start();
        for (const { name, version, crowd } of crowds) {
          const returns = await crowd.come();
          print(`${name}, after a restart`, version, returns);
          expect(returns.returned).toBe(CROWD);
          expect(returns.resumed).toBe(name === 'plain Node' ? 0 : CROWD);
        }
      },
      TIMEOUT,
    );
  });
});
