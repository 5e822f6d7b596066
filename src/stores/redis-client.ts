/** Clients of Redis and Valkey, told apart by shape: what the stores ask of any of them. */

import { wrongType } from '../arguments.js';

/**
 * A client of ioredis (5 or later) or iovalkey: a `Redis`, be it through sentinels, or a `Cluster`. These methods of it
 * are called; it need not be an instance of their classes.
 */
export interface IoredisClient {
  /** `GET`, answered with bytes. */
  getBuffer(key: string): Promise<Uint8Array | null>;
  /** `GETDEL`, answered with bytes. */
  getdelBuffer(key: string): Promise<Uint8Array | null>;
  /** `SET … PX`. */
  set(key: string, value: Buffer, unit: 'PX', milliseconds: number): Promise<unknown>;
  /** `DEL`. */
  del(key: string): Promise<number>;
  /** `EVAL`. What is called is `evalBuffer`, answered with bytes: it is there, but not in the types of either. */
  eval(script: string, keys: number, ...keysAndArguments: (string | Buffer)[]): Promise<unknown>;
  /** Adds a listener. */
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/**
 * A client of node-redis (the package `redis`, version 5 or later): of `createClient`, `createClientPool`,
 * `createCluster` or `createSentinel`, connected by whoever made it.
 */
export interface NodeRedisClient {
  /** The same client with other types of answers: asked for bytes (`$`, 36 in RESP) as Buffers. */
  withTypeMapping(mapping: { 36: BufferConstructor }): unknown;
  /** Adds a listener. */
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/** Any client that the stores over Redis take. */
export type RedisClient = IoredisClient | NodeRedisClient;

/** The commands of any client. Keys are text; values and answers are bytes. They may throw as well as reject. */
export interface RedisCommands {
  get(key: string): Promise<unknown>;
  getDel(key: string): Promise<unknown>;
  set(key: string, value: Buffer, milliseconds: number): Promise<unknown>;
  del(key: string): Promise<unknown>;
  /** Runs a script that uses one key. */
  eval(script: string, key: string, args: readonly (string | Buffer)[]): Promise<unknown>;
  /** Hears of messages over a connection of its own, for as long as there is one; `undefined` where that cannot be. */
  subscribe(channel: string, heard: () => void): Disposable | undefined;
}

/** @throws TypeError if it is no client of these */
export function redisCommands(client: RedisClient): RedisCommands {
  const commands = has(client, ['withTypeMapping', 'on'])
    ? nodeRedisCommands(client)
    : has(client, ['getBuffer', 'getdelBuffer', 'set', 'del', 'evalBuffer', 'on'])
      ? ioredisCommands(client as IoredisClient)
      : undefined;
  if (commands === undefined) {
    throw wrongType('client', 'a client of ioredis, iovalkey or node-redis (5 or later)', client);
  }
  hearErrors(client);
  return commands;
}

const heardAlready = new WeakSet<RedisClient>();

/**
 * A client whose connection fails emits `error`, and without a listener that ends the process (node-redis). What fails
 * is told by the commands that are rejected.
 */
function hearErrors(client: RedisClient): void {
  if (heardAlready.has(client)) return;
  heardAlready.add(client);
  client.on('error', nothing);
}

function ioredisCommands(client: IoredisClient): RedisCommands {
  // `callBuffer` would be in the types, and fails where commands are pipelined automatically.
  const { evalBuffer } = client as unknown as { evalBuffer: IoredisClient['eval'] };
  return {
    get: (key) => client.getBuffer(key),
    getDel: (key) => client.getdelBuffer(key),
    set: (key, value, milliseconds) => client.set(key, value, 'PX', milliseconds),
    del: (key) => client.del(key),
    eval: (script, key, args) => evalBuffer.call(client, script, 1, key, ...args),
    subscribe: (channel, heard) => ioredisSubscription(client, channel, heard),
  };
}

interface NodeRedisCommands {
  get(key: string): Promise<unknown>;
  getDel(key: string): Promise<unknown>;
  set(key: string, value: Buffer, options: { expiration: { type: 'PX'; value: number } }): Promise<unknown>;
  del(key: string): Promise<unknown>;
  eval(script: string, options: { keys: string[]; arguments: (string | Buffer)[] }): Promise<unknown>;
}

function nodeRedisCommands(client: NodeRedisClient): RedisCommands | undefined {
  const mapped = client.withTypeMapping({ 36: Buffer }) as NodeRedisCommands;
  if (!has(mapped, ['get', 'getDel', 'set', 'del', 'eval'])) return undefined;
  return {
    get: (key) => mapped.get(key),
    getDel: (key) => mapped.getDel(key),
    set: (key, value, milliseconds) => mapped.set(key, value, { expiration: { type: 'PX', value: milliseconds } }),
    del: (key) => mapped.del(key),
    eval: (script, key, args) => mapped.eval(script, { keys: [key], arguments: [...args] }),
    subscribe: (channel, heard) => nodeRedisSubscription(client, channel, heard),
  };
}

interface IoredisConnection {
  readonly status?: string;
  readonly stream?: { unref?(): void };
  duplicate(override: object): IoredisConnection;
  connect(): Promise<unknown>;
  subscribe(channel: string): Promise<unknown>;
  disconnect(): void;
  on(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
}

/** A cluster would connect to every node again: there the interval has to do. */
function ioredisSubscription(client: IoredisClient, channel: string, heard: () => void): Disposable | undefined {
  if (has(client, ['nodes']) || !has(client, ['duplicate', 'subscribe', 'disconnect'])) return undefined;
  const original = client as unknown as IoredisConnection;
  const connection = original.duplicate({ lazyConnect: true, autoResubscribe: false, enableOfflineQueue: true });
  const disconnect = (): void => connection.disconnect();
  connection.on('error', nothing);
  connection.on('message', heard);
  connection.on('connect', () => connection.stream?.unref?.());
  connection.on('ready', () => {
    // What was published before this connection stood was not heard.
    connection.subscribe(channel).then(heard, nothing);
  });
  original.on('end', disconnect);
  connection.connect().catch(nothing);
  return {
    [Symbol.dispose]: () => {
      original.off('end', disconnect);
      disconnect();
    },
  };
}

interface NodeRedisConnection {
  duplicate(): NodeRedisConnection;
  connect(): Promise<unknown>;
  subscribe(channel: string, heard: () => void): Promise<unknown>;
  destroy(): void;
  unref(): void;
  on(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
}

/** Clusters, pools and sentinels have no `unref`: there the interval has to do. */
function nodeRedisSubscription(client: NodeRedisClient, channel: string, heard: () => void): Disposable | undefined {
  if (!has(client, ['duplicate', 'connect', 'subscribe', 'destroy', 'unref'])) return undefined;
  const original = client as unknown as NodeRedisConnection;
  const connection = original.duplicate();
  const destroy = (): void => {
    try {
      connection.destroy();
    } catch {
      // It was never open, or is closed already.
    }
  };
  connection.on('error', nothing);
  connection.on('connect', () => connection.unref());
  connection.on('ready', heard);
  original.on('end', destroy);
  connection
    .connect()
    .then(() => connection.subscribe(channel, heard))
    .then(heard, nothing);
  return {
    [Symbol.dispose]: () => {
      original.off('end', destroy);
      destroy();
    },
  };
}

function has<Names extends string>(value: unknown, methods: readonly Names[]): value is Record<Names, () => unknown> {
  if (typeof value !== 'object' || value === null) return false;
  return methods.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}

function nothing(): void {}
