import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DeadlineStore } from '../../src/stores/deadline-store.js';
import { redisSharedState, redisStore } from '../../src/stores/redis.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { describeRedis, type RedisCluster, type StoreServers, storeServers, until } from '../support/store-servers.js';
import { CLUSTER_CLIENTS, type OpenClient } from './redis-clients.js';

const seal = new TicketCodec(TicketKeyRing.generate());

let servers: StoreServers;
let cluster: RedisCluster;
let opened: OpenClient[];

describeRedis('a cluster of three masters with a replica each', () => {
  beforeAll(async () => {
    servers = await storeServers();
    cluster = await servers.redisCluster({ replicas: true });
    opened = await Promise.all(CLUSTER_CLIENTS.map(({ openCluster }) => openCluster(cluster.ports)));
  });
  afterAll(async () => {
    for (const { close } of opened ?? []) await close();
    await servers?.remove();
  });

  it('that loses a master serves again once its replica has taken over, to all clients, and lets nobody wait', async () => {
    const stores = opened.map(({ client }) => new DeadlineStore(redisStore(client, { seal }), { period: 100 }));
    const states = opened.map(({ client }, n) => redisSharedState(client, { prefix: `state-${n}:`, interval: 0.1 }));
    const keys = Array.from({ length: 60 }, () => randomBytes(32));
    await Promise.all(keys.map((key, n) => stores[n % 3]?.set(key, Buffer.from(`session ${n}`), 300)));
    for (const [n, state] of states.entries()) await state.set('epoch', Buffer.from(`epoch ${n}`));
    await until('the replicas', async () => {
      // All writes are acknowledged by the replica of their master: SIGKILL loses none of them.
      for (const node of cluster.nodes.slice(0, 3)) {
        const info = await node.ask('INFO', 'replication');
        const [, at] = /master_repl_offset:(\d+)/.exec(info) ?? [];
        expect(/offset=(\d+)/.exec(info)?.[1]).toBe(at);
      }
    });

    const [lost] = cluster.nodes;
    await lost?.kill();
    const began = performance.now();
    const back: number[] = [];
    await until(
      'all sessions and facts',
      async () => {
        for (const [n, store] of stores.entries()) {
          if (back[n] !== undefined) continue;
          const asked = performance.now();
          const answers = await Promise.all(keys.map((key) => Promise.resolve(store.get(key)).catch(() => undefined)));
          // 50 ms is the deadline; what else may keep this process busy is not judged.
          expect(performance.now() - asked).toBeLessThan(2000);
          const found = answers.map((answer) => answer && Buffer.from(answer).toString());
          if (found.every((session, m) => session === `session ${m}`)) back[n] = performance.now() - began;
        }
        expect(back.filter(Boolean)).toHaveLength(3);
      },
      25_000,
    );
    for (const [n, { name }] of CLUSTER_CLIENTS.entries()) {
      console.log(`${name}: all sessions are found ${back[n]?.toFixed(0)} ms after the loss of a master`);
    }
    for (const [n, state] of states.entries()) {
      expect(Buffer.from((await state.get('epoch')) as Uint8Array).toString()).toBe(`epoch ${n}`);
      await state.set('epoch', Buffer.from('new'));
    }
    await Promise.all(keys.map((key, n) => stores[n % 3]?.set(key, Buffer.from('again'), 300)));
  });
});
