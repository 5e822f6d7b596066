/**
 * Sessions and shared facts in Redis or Valkey, over the client that the application has anyway.
 *
 * @module
 */

import { requireObject } from '../arguments.js';
import type { TicketSealer } from '../tickets/ticket-sealer.js';
import { asBuffer } from '../wire/bytes.js';
import { closedError, engineError, saidBy, strangeAnswer } from './engine-errors.js';
import { type RedisClient, type RedisCommands, redisCommands } from './redis-client.js';
import { withSeal } from './sealed-store.js';
import type { SessionStore } from './session-store.js';
import { requirePrefix } from './shared-state.js';

export type { IoredisClient, NodeRedisClient, RedisClient } from './redis-client.js';
export { RedisSharedState, type RedisSharedStateOptions, redisSharedState } from './redis-shared-state.js';

/** Options of {@link redisStore}. */
export interface RedisStoreOptions {
  /**
   * What seals the sessions on their way out, such as a `TicketCodec`; all hosts need its keys. `false` stores them in
   * clear: then whoever can read Redis, its network traffic or its backups can read the connections.
   */
  readonly seal: TicketSealer | false;
  /**
   * What the names of keys begin with, 0 to 200 visible ASCII characters. Services that must not share sessions have
   * guards of different names; with prefixes of their own they can be told apart, and kept apart by access rules, in
   * Redis as well. Default: `tls-resumption:`.
   */
  readonly prefix?: string | undefined;
}

/**
 * A store over a Redis or Valkey server, or a cluster of them (Redis 2.6.12 or later): `SET … PX`, `GET`, `DEL`, and
 * `GETDEL` to take (a script where the server has none, before 6.2). A key is the prefix and 43 characters of base64url;
 * the server itself ends what is over.
 *
 * The client is the application's: it connects, reconnects and closes it. Closing the store leaves it open. How it
 * behaves while Redis is away is set there. A `DeadlineStore` bounds what is waited for in any case; clients that queue
 * nothing while they are not connected (ioredis: `enableOfflineQueue: false`, `maxRetriesPerRequest: 0`; node-redis:
 * `disableOfflineQueue: true`) fail at once instead. An `error` listener that does nothing is added to the client,
 * because the loss of the cache must not end the process.
 *
 * What Redis must be set to: a `maxmemory`, and a policy that evicts (`volatile-ttl`; not `allkeys-…` where a
 * {@link redisSharedState} is on the same server), or a flood of new sessions fills it and further ones are refused.
 * Sessions that replicas were not told of when their master failed are lost: that costs full handshakes. But one that was
 * taken or deleted just before may be found once more; so may one that is read from a replica, or from a cache in the
 * client (`clientSideCache` of node-redis): set up neither.
 *
 * All errors are rejections with `ERR_STORE_UNAVAILABLE`, without keys or values: whatever the client put into its own
 * error, such as the command, is left out.
 *
 * @param client a client of ioredis, iovalkey or node-redis, told apart by its methods
 * @throws TypeError if the client is none of these, if `seal` is left out, or if an option is of the wrong type
 * @throws RangeError if `prefix` has other characters or is too long
 *
 * @example
 * ```ts
 * const seal = new TicketCodec(TicketKeyRing.fromSecret(secret));
 * const cache = new SessionCache({ external: redisStore(new Redis(url), { seal }) });
 * ```
 */
export function redisStore(client: RedisClient, options: RedisStoreOptions): SessionStore {
  requireObject('options', options);
  const { seal, prefix = 'tls-resumption:' } = options;
  return withSeal(new RedisStore(redisCommands(client), requirePrefix(prefix)), seal);
}

const TAKE = `
local value = redis.call('GET', KEYS[1])
if value then redis.call('DEL', KEYS[1]) end
return value`;

class RedisStore implements SessionStore {
  readonly #commands: RedisCommands;
  readonly #prefix: string;
  #closed = false;
  #hasGetDel = true;

  constructor(commands: RedisCommands, prefix: string) {
    this.#commands = commands;
    this.#prefix = prefix;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const name = this.#name(key);
    return bytes('Redis GET', await this.#call('Redis GET', () => this.#commands.get(name)));
  }

  async set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void> {
    const [name, value] = [this.#name(key), Buffer.from(session)];
    const answer = await this.#call('Redis SET', () => this.#commands.set(name, value, Math.ceil(timeout * 1000)));
    if (String(answer) !== 'OK') throw strangeAnswer('Redis SET', 'OK');
  }

  async delete(key: Uint8Array): Promise<void> {
    const name = this.#name(key);
    const answer = await this.#call('Redis DEL', () => this.#commands.del(name));
    // A client may be set to hand out numbers as text.
    if (!/^[01]$/.test(String(answer))) throw strangeAnswer('Redis DEL', 'a number of keys');
  }

  async take(key: Uint8Array): Promise<Uint8Array | undefined> {
    const name = this.#name(key);
    const answer = await this.#call('Redis GETDEL', () => this.#getDel(name));
    return bytes('Redis GETDEL', answer);
  }

  close(): void {
    this.#closed = true;
  }

  #name(key: Uint8Array): string {
    return this.#prefix + asBuffer(key).toString('base64url');
  }

  async #call(what: string, command: () => Promise<unknown>): Promise<unknown> {
    if (this.#closed) throw closedError();
    try {
      return await command();
    } catch (error) {
      throw engineError(what, error);
    }
  }

  async #getDel(name: string): Promise<unknown> {
    if (this.#hasGetDel) {
      try {
        return await this.#commands.getDel(name);
      } catch (error) {
        if (!/\bunknown command\b/i.test(saidBy(error))) throw error;
        this.#hasGetDel = false;
      }
    }
    return this.#commands.eval(TAKE, name, []);
  }
}

/** A copy: a client may hand out a part of what it read, or what it keeps. */
function bytes(what: string, answer: unknown): Uint8Array | undefined {
  if (answer === null || answer === undefined) return undefined;
  if (!(answer instanceof Uint8Array)) throw strangeAnswer(what, 'bytes');
  return Uint8Array.from(answer);
}
