/** The stores of a fleet, opened in each of its processes from what can be said in JSON. */

import KeyvMemcache from '@keyv/memcache';
import Keyv from 'keyv';
import { keyvStore } from '../../src/stores/keyv.js';
import { lmdbStore } from '../../src/stores/lmdb.js';
import { redisStore } from '../../src/stores/redis.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import type { TicketSealer } from '../../src/tickets/ticket-sealer.js';
import { CLIENTS, CLUSTER_CLIENTS, type ClientKind, type ClusterClientKind } from './redis-clients.js';

/** Where sessions are kept. */
export type Place =
  | { readonly engine: 'redis' | 'memcached'; readonly port: number }
  | { readonly engine: 'redis-cluster'; readonly ports: readonly number[] }
  | { readonly engine: 'lmdb'; readonly path: string; readonly maxSessions?: number; readonly maxBytes?: number };

/** Which of the clients of Redis: ioredis. */
const CLIENT = 0;

export async function openStore(place: Place, seal: TicketSealer | false): Promise<SessionStore> {
  switch (place.engine) {
    case 'redis': {
      const { client } = await (CLIENTS[CLIENT] as ClientKind).open(place.port, { failFast: true });
      return redisStore(client, { seal });
    }
    case 'redis-cluster': {
      const { client } = await (CLUSTER_CLIENTS[CLIENT] as ClusterClientKind).openCluster(place.ports);
      return redisStore(client, { seal });
    }
    case 'memcached': {
      const options = { timeout: 0.5, retries: 1, logger: { log() {} }, deserialize: String };
      const store = new KeyvMemcache(`127.0.0.1:${place.port}`, options as never);
      return keyvStore(new Keyv({ store }), { seal });
    }
    case 'lmdb': {
      const { path, maxSessions, maxBytes } = place;
      // What it cannot write is counted; a line for each fault would be many.
      return lmdbStore({ path, maxSessions, maxBytes, seal, onFault: () => {} });
    }
  }
}
