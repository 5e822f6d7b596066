/** Facts in one hash of Redis: every command of a state is one script on one key, so that clusters serve as well. */

import { requireInteger, requireNumber, requireObject } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { closedError, engineError, saidBy, strangeAnswer } from './engine-errors.js';
import { type RedisClient, type RedisCommands, redisCommands } from './redis-client.js';
import { GET, READ, VERSION, WRITE } from './redis-scripts.js';
import { RedisWatch } from './redis-watch.js';
import {
  requireFactName,
  requireFactTimeout,
  requireFactValue,
  requirePrefix,
  type SharedState,
  type SharedStateListener,
} from './shared-state.js';

/** Options of {@link redisSharedState}. */
export interface RedisSharedStateOptions {
  /** What the names of key and channel begin with, 0 to 200 visible ASCII characters. Default: `tls-resumption:`. */
  readonly prefix?: string | undefined;
  /** Seconds between looks at what has changed, 0.01 to 3600. Changes are known after that at the latest. Default: 1. */
  readonly interval?: number | undefined;
  /** Facts held at most, 1 to 1 000 000. All hosts should say the same. Default: 65 536. */
  readonly maxFacts?: number | undefined;
}

/** See {@link redisSharedState}. */
export class RedisSharedState implements SharedState {
  readonly #commands: RedisCommands;
  readonly #key: string;
  readonly #channel: string;
  readonly #maxFacts: number;
  readonly #watch: RedisWatch;
  #closed = false;

  /** @internal */
  constructor(commands: RedisCommands, prefix: string, interval: number, maxFacts: number) {
    this.#commands = commands;
    this.#key = `${prefix}facts`;
    this.#channel = `${prefix}changes`;
    this.#maxFacts = maxFacts;
    this.#watch = new RedisWatch({
      interval,
      version: async () => text(await this.#run('Redis HGET', VERSION, [])),
      read: () => this.#read(''),
      subscribe: (heard) => commands.subscribe(this.#channel, heard),
    });
  }

  /**
   * The value of a fact, or `undefined`.
   *
   * @returns a promise that rejects with `ERR_STORE_UNAVAILABLE` when Redis did not answer with it
   */
  get(name: string): Promise<Uint8Array | undefined> {
    return this.#get(requireFactName(name));
  }

  /**
   * Sets a fact.
   *
   * @returns a promise that rejects with `ERR_SHARED_STATE_FULL` when there is no room, and with `ERR_STORE_UNAVAILABLE`
   */
  set(name: string, value: Uint8Array, timeout?: number): Promise<void> {
    return this.#write(name, value, timeout, 'always').then(() => {});
  }

  /**
   * Sets a fact unless it stands.
   *
   * @returns the value that stands now. Rejects as {@link set}
   */
  setIfAbsent(name: string, value: Uint8Array, timeout?: number): Promise<Uint8Array> {
    return this.#write(name, value, timeout, 'absent');
  }

  /** All facts whose names begin with `prefix`. Rejects as {@link get}. */
  entries(prefix: string): Promise<Map<string, Uint8Array>> {
    requirePrefix(prefix);
    return this.#read(prefix).then(({ facts }) => facts);
  }

  /** Tells of the facts under a prefix: see {@link redisSharedState} for how soon. */
  watch(prefix: string, listener: SharedStateListener, failed: (error: unknown) => void = () => {}): Disposable {
    return this.#watch.add(requirePrefix(prefix), listener, failed);
  }

  /** Ends all watching, and the connection for it. The client stays open. */
  close(): void {
    this.#closed = true;
    this.#watch.close();
  }

  async #get(name: string): Promise<Uint8Array | undefined> {
    const answer = await this.#run('Redis HGET', GET, [name]);
    return answer === null || answer === undefined ? undefined : bytes(answer);
  }

  #write(name: string, value: Uint8Array, timeout: number | undefined, when: 'always' | 'absent'): Promise<Uint8Array> {
    requireFactName(name);
    const copy = Buffer.from(requireFactValue(value));
    const milliseconds = String((requireFactTimeout(timeout) ?? 0) * 1000);
    const args = [name, copy, milliseconds, when, this.#channel, String(this.#maxFacts)];
    return this.#run('Redis HSET', WRITE, args).then(bytes);
  }

  /** @returns the facts, and the version of all facts, which changes with each write */
  async #read(prefix: string): Promise<{ version: string; facts: Map<string, Uint8Array> }> {
    const answer = await this.#run('Redis HGETALL', READ, [prefix]);
    if (!Array.isArray(answer)) throw strangeAnswer('Redis HGETALL', 'a list');
    const facts = new Map<string, Uint8Array>();
    for (let i = 1; i + 1 < answer.length; i += 2) facts.set(text(answer[i]), bytes(answer[i + 1]));
    return { version: text(answer[0]), facts };
  }

  async #run(what: string, script: string, args: readonly (string | Buffer)[]): Promise<unknown> {
    if (this.#closed) throw closedError();
    try {
      return await this.#commands.eval(script, this.#key, args);
    } catch (error) {
      throw factError(what, error);
    }
  }
}

/**
 * Facts over a Redis or Valkey server, or a cluster of them (Redis 5 or later), in one hash: `<prefix>facts`.
 *
 * - **Nothing is forgotten** only if Redis is set up so. Its `maxmemory-policy` must be `noeviction` or one of `volatile-…`
 *   (the hash has no expiry; sessions have): while it is one of `allkeys-…` and there is a `maxmemory`, reading all facts
 *   and writing is refused. Whether facts outlive a restart of Redis is up to its persistence (`appendonly yes`), and
 *   whether the last of them outlive the loss of a master up to replication, which does not wait.
 * - **How soon a change is known**: at once, over a second connection that listens to the channel `<prefix>changes`, where the
 *   client is of a single server. Otherwise, and when that connection fails or may not listen, at the next look: every
 *   `interval` seconds each process asks for one short field, and for the facts only when that has changed.
 * - Timeouts are counted by the clock of Redis, and facts that are over are removed little by little, as others are set.
 *
 * The client stays the application's, as in {@link redisStore}.
 *
 * @throws TypeError if the client is none of these, or an option is of the wrong type
 * @throws RangeError if an option is out of range
 */
export function redisSharedState(client: RedisClient, options: RedisSharedStateOptions = {}): RedisSharedState {
  requireObject('options', options);
  const { prefix = 'tls-resumption:', interval = 1, maxFacts = 65_536 } = options;
  requireNumber('interval', interval, 0.01, 3600, 'seconds');
  requireInteger('maxFacts', maxFacts, 1, 1_000_000);
  return new RedisSharedState(redisCommands(client), requirePrefix(prefix), interval, maxFacts);
}

function factError(what: string, error: unknown): ResumptionError {
  const said = saidBy(error);
  if (/\b(?:FULL|OOM)\b/.test(said)) {
    return new ResumptionError('ERR_SHARED_STATE_FULL', `${what} failed: Redis has no room for another fact`);
  }
  if (/\bEVICTS\b/.test(said)) {
    const remedy = 'set its maxmemory-policy to noeviction, or to one of volatile-…';
    return new ResumptionError('ERR_STORE_UNAVAILABLE', `${what} refused: Redis may evict facts; ${remedy}`);
  }
  return engineError(what, error);
}

function bytes(answer: unknown): Uint8Array {
  if (!(answer instanceof Uint8Array)) throw strangeAnswer('Redis', 'bytes');
  return Uint8Array.from(answer);
}

function text(answer: unknown): string {
  return answer instanceof Uint8Array ? Buffer.from(answer).toString('latin1') : '';
}
