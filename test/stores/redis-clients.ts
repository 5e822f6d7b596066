/** Every client that the stores over Redis take, opened alike. */

import { once } from 'node:events';
import { Redis as Ioredis, Cluster as IoredisCluster } from 'ioredis';
import { Redis as Iovalkey, Cluster as IovalkeyCluster } from 'iovalkey';
import { createClient, createClientPool, createCluster } from 'redis';
import type { IoredisClient, RedisClient } from '../../src/stores/redis.js';

export interface OpenClient {
  readonly client: RedisClient;
  close(): Promise<void>;
}

export interface ClientOptions {
  /** Put before all keys by the client itself. */
  readonly keyPrefix?: string;
  /** Commands fail while there is no connection, instead of waiting for one. */
  readonly failFast?: boolean;
}

export interface ClientKind {
  readonly name: string;
  open(port: number, options?: ClientOptions): Promise<OpenClient>;
}

export interface ClusterClientKind {
  readonly name: string;
  openCluster(ports: readonly number[]): Promise<OpenClient>;
}

const HOST = '127.0.0.1';
const RETRY_MS = 20;

function ioredisOptions({ keyPrefix, failFast = false }: ClientOptions) {
  return {
    host: HOST,
    retryStrategy: () => RETRY_MS,
    ...(keyPrefix !== undefined && { keyPrefix }),
    ...(failFast && { enableOfflineQueue: false, maxRetriesPerRequest: 0 }),
  };
}

function nodeRedisOptions(port: number, { keyPrefix, failFast = false }: ClientOptions) {
  return {
    socket: { host: HOST, port, reconnectStrategy: () => RETRY_MS },
    disableOfflineQueue: failFast,
    ...(keyPrefix !== undefined && { keyPrefix }),
  };
}

async function connected(client: IoredisClient & { disconnect(): void }): Promise<OpenClient> {
  // The stores add a listener of their own; before there is one, these clients only write to the console.
  client.on('error', () => {});
  await once(client as never, 'ready');
  return { client, close: async () => client.disconnect() };
}

export const CLIENTS: readonly ClientKind[] = [
  { name: 'ioredis', open: async (port, options = {}) => connected(new Ioredis(port, ioredisOptions(options))) },
  {
    name: 'iovalkey',
    open: async (port, options = {}) => connected(new Iovalkey(port, ioredisOptions(options))),
  },
  {
    name: 'node-redis',
    async open(port, options = {}) {
      const client = createClient(nodeRedisOptions(port, options));
      client.on('error', () => {});
      await client.connect();
      return { client, close: async () => client.destroy() };
    },
  },
];

/** The same clients, set up in ways that change how commands are sent and answered. */
export const VARIANTS: readonly ClientKind[] = [
  {
    name: 'a pool of node-redis',
    async open(port, options = {}) {
      const client = createClientPool(nodeRedisOptions(port, options));
      client.on('error', () => {});
      await client.connect();
      return { client, close: async () => client.destroy() };
    },
  },
  {
    name: 'node-redis that keeps what it has read',
    async open(port, options = {}) {
      const clientSideCache = { ttl: 0, maxEntries: 0, evictPolicy: 'LRU' as const };
      const client = createClient({ ...nodeRedisOptions(port, options), clientSideCache });
      client.on('error', () => {});
      await client.connect();
      return { client, close: async () => client.destroy() };
    },
  },
  {
    name: 'ioredis that sends commands together',
    open: async (port, options = {}) =>
      connected(new Ioredis(port, { ...ioredisOptions(options), enableAutoPipelining: true, stringNumbers: true })),
  },
  {
    name: 'ioredis over RESP3',
    open: async (port, options = {}) =>
      connected(new Ioredis(port, { ...ioredisOptions(options), protocol: 3, replyMapping: 'resp3' })),
  },
];

export const CLUSTER_CLIENTS: readonly ClusterClientKind[] = [
  {
    name: 'ioredis',
    openCluster: async (ports) => connected(new IoredisCluster(ports.map((port) => ({ host: HOST, port })))),
  },
  {
    name: 'iovalkey',
    openCluster: async (ports) => connected(new IovalkeyCluster(ports.map((port) => ({ host: HOST, port })))),
  },
  {
    name: 'node-redis',
    async openCluster(ports) {
      const client = createCluster({ rootNodes: ports.map((port) => ({ socket: { host: HOST, port } })) });
      client.on('error', () => {});
      await client.connect();
      return { client, close: async () => client.destroy() };
    },
  },
];

/** The same storage, as if so many seconds had passed: what is left of each timeout becomes shorter. */
export const PASS = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left > 0 then redis.call('PEXPIRE', key, left - ARGV[1] * 1000) end
  if redis.call('TYPE', key).ok == 'hash' then
    for _, name in ipairs(redis.call('HKEYS', key)) do
      local over, value = string.match(redis.call('HGET', key, name), '^(%d+)(:.*)$')
      if over and over ~= '0' then
        redis.call('HSET', key, name, string.format('%.0f', over - ARGV[1] * 1000) .. value)
      end
    end
  end
end
return 'passed'`;
