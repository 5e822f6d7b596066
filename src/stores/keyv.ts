/**
 * Sessions in whatever Keyv has an adapter for: memcached, SQLite, Postgres, MySQL, Mongo, …
 *
 * @module
 */

import { outOfRange, requireFunction, requireObject, requireString, wrongType } from '../arguments.js';
import type { TicketSealer } from '../tickets/ticket-sealer.js';
import { asBuffer } from '../wire/bytes.js';
import { closedError, engineError, strangeAnswer } from './engine-errors.js';
import { withSeal } from './sealed-store.js';
import type { SessionStore } from './session-store.js';

/** What a `Keyv` has of a key. */
export interface KeyvValue {
  /** As it was set. */
  readonly value?: unknown;
}

/** What a store needs of a `Keyv` (5.5 or later, 6); it need not be an instance of the class. */
export interface KeyvLike {
  /** The value and when it is over, or nothing. */
  getRaw(key: string): Promise<KeyvValue | null | undefined>;
  /** Keeps a value for so many milliseconds; `false` when that failed. */
  set(key: string, value: string, ttl: number): Promise<unknown>;
  /** Forgets a key; `false` when there was nothing, or when that failed. */
  delete(key: string): Promise<unknown>;
  /** Adds a listener. */
  on(event: 'error', listener: (error: unknown) => void): unknown;
}

/** Options of {@link keyvStore}. */
export interface KeyvStoreOptions {
  /**
   * What seals the sessions on their way out, such as a `TicketCodec`; all hosts need its keys. `false` stores them in
   * clear: then whoever can read the storage can read the connections.
   */
  readonly seal: TicketSealer | false;
  /**
   * What keys begin with, 0 to 100 visible ASCII characters, after the namespace of the Keyv. 64 hexadecimal digits
   * follow; memcached takes 250 characters in all. Default: `tls-resumption:`.
   */
  readonly prefix?: string | undefined;
}

/**
 * A store over a Keyv, whose namespaces, adapters and options are the application's. Values are text (base64), which every
 * adapter keeps as it is; memcached takes 1 MiB, a hundred times the longest session.
 *
 * There is no `take`: Keyv has no step that gets and deletes at once. With single-use sessions, two who ask for the same
 * one at the same moment may both get it.
 *
 * Timeouts are kept by Keyv, which looks when it reads, and by those adapters that can. What nobody asks for again stays
 * where an adapter cannot (SQLite, for one) until the application removes it.
 *
 * Keyv tells some failures by an `error` event only, and answers as if there were nothing. So the store listens, and an
 * empty answer during which an error was told is a failure: at worst the failure of another call at the same time. (Before
 * version 6 a Keyv with `emitErrors: false` hides that a deletion has failed.)
 *
 * An adapter that throws where neither Keyv nor this store can catch it ends the process. `@keyv/memcache` 2 does so on a
 * value that is not JSON: with `deserialize: String` it leaves the parsing to Keyv, which can.
 *
 * All errors are rejections with `ERR_STORE_UNAVAILABLE`, without keys or values. Closing the store leaves the Keyv open.
 *
 * @throws TypeError if `keyv` is none, if `seal` is left out, or if an option is of the wrong type
 * @throws RangeError if `prefix` has other characters or is too long
 *
 * @example
 * ```ts
 * const adapter = new KeyvMemcache('cache.internal:11211', { deserialize: String });
 * const keyv = new Keyv({ store: adapter, namespace: 'tls' });
 * const cache = new SessionCache({ external: keyvStore(keyv, { seal }) });
 * ```
 */
export function keyvStore(keyv: KeyvLike, options: KeyvStoreOptions): SessionStore {
  requireObject('options', options);
  const { seal, prefix = 'tls-resumption:' } = options;
  if (!/^[!-~]{0,100}$/.test(requireString('prefix', prefix))) {
    throw outOfRange('prefix', '0 to 100 visible ASCII characters', prefix);
  }
  return withSeal(new KeyvStore(requireKeyv(keyv), prefix), seal);
}

function requireKeyv(keyv: KeyvLike): KeyvLike {
  if (typeof keyv !== 'object' || keyv === null) throw wrongType('keyv', 'a Keyv', keyv);
  for (const name of ['getRaw', 'set', 'delete', 'on'] as const) requireFunction(`keyv.${name}`, keyv[name]);
  return keyv;
}

class KeyvStore implements SessionStore {
  readonly #keyv: KeyvLike;
  readonly #prefix: string;
  /** How often Keyv told of an error, and the last one. */
  #failures = 0;
  #failure: unknown;
  #closed = false;

  constructor(keyv: KeyvLike, prefix: string) {
    this.#keyv = keyv;
    this.#prefix = prefix;
    keyv.on('error', (error) => {
      this.#failures++;
      this.#failure = error;
    });
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const name = this.#name(key);
    const found = await this.#call('Keyv get', () => this.#keyv.getRaw(name), isNothing);
    const value = (found as { value?: unknown } | null | undefined)?.value;
    if (value === undefined || value === null) return undefined;
    const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : undefined;
    // Neither cut short nor anything else than this store has written.
    if (bytes === undefined || bytes.length === 0 || bytes.toString('base64') !== value) {
      throw strangeAnswer('Keyv get', 'what was set');
    }
    return bytes;
  }

  async set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void> {
    const [name, value] = [this.#name(key), Buffer.from(session).toString('base64')];
    const kept = await this.#call('Keyv set', () => this.#keyv.set(name, value, Math.ceil(timeout * 1000)), isFalse);
    if (kept === false) throw engineError('Keyv set', undefined);
  }

  async delete(key: Uint8Array): Promise<void> {
    const name = this.#name(key);
    await this.#call('Keyv delete', () => this.#keyv.delete(name), isFalse);
  }

  close(): void {
    this.#closed = true;
  }

  #name(key: Uint8Array): string {
    // Hexadecimal: there are databases that compare text without regard to case.
    return this.#prefix + asBuffer(key).toString('hex');
  }

  /** @param doubtful says of an answer that it may stand for a failure */
  async #call(what: string, call: () => Promise<unknown>, doubtful: (answer: unknown) => boolean): Promise<unknown> {
    if (this.#closed) throw closedError();
    const before = this.#failures;
    let answer: unknown;
    try {
      answer = await call();
    } catch (error) {
      throw engineError(what, error);
    }
    if (doubtful(answer) && this.#failures !== before) throw engineError(what, this.#failure);
    return answer;
  }
}

function isNothing(answer: unknown): boolean {
  return answer === undefined || answer === null;
}

function isFalse(answer: unknown): boolean {
  return answer === false;
}
