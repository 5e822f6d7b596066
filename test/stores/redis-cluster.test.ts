import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisClient, redisSharedState, redisStore } from '../../src/stores/redis.js';
import { sessionStoreConformance, sharedStateConformance } from '../../src/testing.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { describeRedis, type RedisCluster, type StoreServers, storeServers } from '../support/store-servers.js';
import { CLUSTER_CLIENTS, PASS } from './redis-clients.js';

const seal = new TicketCodec(TicketKeyRing.generate());

let servers: StoreServers;
let cluster: RedisCluster;
const closing: (() => Promise<void>)[] = [];

const pass = async (seconds: number): Promise<void> => {
  for (const node of cluster.nodes) expect(await node.ask('EVAL', PASS, '0', String(seconds))).toBe('passed');
};

describeRedis('a cluster of three', () => {
  beforeAll(async () => {
    servers = await storeServers();
    cluster = await servers.redisCluster();
  });
  afterAll(async () => {
    for (const close of closing.splice(0)) await close();
    await servers?.remove();
  });

  describe.each(CLUSTER_CLIENTS)('by $name', ({ name: kind, openCluster }) => {
    const clients: Promise<RedisClient>[] = [];
    const client = (n: 0 | 1): Promise<RedisClient> => {
      clients[n] ??= openCluster(cluster.ports).then(({ client, close }) => {
        closing.push(close);
        return client;
      });
      return clients[n];
    };

    describe('as a store', () => {
      for (const { name, run } of sessionStoreConformance(async () => redisStore(await client(0), { seal }), {
        peer: async () => redisStore(await client(1), { seal }),
        advance: pass,
      })) {
        it(name, run);
      }
    });

    describe('as a shared state', () => {
      // A prefix of its own: the clients of the others would find these facts too.
      const options = { interval: 0.05, prefix: `${kind}:` };
      for (const { name, run } of sharedStateConformance(async () => redisSharedState(await client(0), options), {
        peer: async () => redisSharedState(await client(1), options),
        advance: pass,
      })) {
        it(name, run);
      }
    });

    it('has sessions on every node, and facts on one', async () => {
      const store = redisStore(await client(0), { seal, prefix: `${kind}-spread:` });
      const state = redisSharedState(await client(0), { prefix: `${kind}-spread:` });
      const keys = Array.from({ length: 60 }, () => randomBytes(32));
      await Promise.all(keys.map((key) => store.set(key, Buffer.from('session'), 60)));
      await Promise.all(keys.map((_, n) => state.set(`fact/${n}`, Buffer.from('fact'))));
      const held = await Promise.all(cluster.nodes.map((node) => node.ask('KEYS', `${kind}-spread:*`)));
      const count = (pattern: RegExp): number[] => held.map((keys) => keys.match(pattern)?.length ?? 0);
      expect(count(/:[\w-]{43}\r/g).every((n) => n > 0)).toBe(true);
      expect(count(/:facts/g).sort()).toEqual([0, 0, 1]);
    });
  });
});
