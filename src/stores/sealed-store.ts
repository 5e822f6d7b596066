/**
 * Values that leave the process encrypted, each bound to the key that it is stored under.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { requireFunction, wrongType } from '../arguments.js';
import type { TicketSealer } from '../tickets/ticket-sealer.js';
import { isPromise, type MaybePromise, requireSessionStore, type SessionStore } from './session-store.js';

/** Keeps what was sealed for a store from being opened as anything else that the same keys seal, and the reverse. */
const LABEL = Buffer.from('tls-resumption store v1\0', 'latin1');

/** What a {@link SealedStore} counts. */
export interface SealedStoreStatistics {
  /** Values that were opened. */
  readonly opened: number;
  /** Values that were not: altered, moved to another key, not sealed at all, or sealed by keys that are gone. */
  readonly refused: number;
}

/**
 * A store whose values are sealed on the way out and opened on the way back: who reads the storage gets nothing, and a
 * value that was altered or moved to another key is a miss. What opens no longer is `undefined`, and counted.
 *
 * Keys go through as they are: they are hashes already. What cannot be told is that a value is an older one of the same
 * key; sessions carry their own expiry.
 *
 * @example
 * ```ts
 * const external = new SealedStore(store, new TicketCodec(TicketKeyRing.fromSecret(secret)));
 * const cache = new SessionCache({ external });
 * ```
 */
export class SealedStore implements SessionStore {
  readonly #store: SessionStore;
  readonly #sealer: TicketSealer;
  #opened = 0;
  #refused = 0;
  /** As the method of the store; there when the store has it. */
  readonly take?: (key: Uint8Array) => MaybePromise<Uint8Array | undefined>;

  /**
   * @param store where the sealed values go
   * @param sealer what seals them, such as {@link TicketCodec}. It is tried at once on random bytes
   * @throws TypeError if an argument is of the wrong type, or if the sealer takes no context ({@link Rfc5077Codec}),
   *   does not bind to it, or does not encrypt: then values could be moved from key to key, or read
   */
  constructor(store: SessionStore, sealer: TicketSealer) {
    this.#store = requireSessionStore('store', store);
    this.#sealer = requireBindingSealer('sealer', sealer);
    if (store.take !== undefined) {
      const take = store.take.bind(store);
      this.take = (key) => this.#answer(take(key), key);
    }
  }

  /** The counters, as they are now. */
  get statistics(): SealedStoreStatistics {
    return Object.freeze({ opened: this.#opened, refused: this.#refused });
  }

  /** As the store, opened; `undefined` for what was not sealed for this key. */
  get(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    return this.#answer(this.#store.get(key), key);
  }

  /** As the store, sealed. */
  set(key: Uint8Array, session: Uint8Array, timeout: number): MaybePromise<void> {
    return this.#store.set(key, this.#sealer.seal(session, contextOf(key)), timeout);
  }

  /** As the store. */
  delete(key: Uint8Array): MaybePromise<void> {
    return this.#store.delete(key);
  }

  /** Closes the store. The sealer is the caller's. */
  close(): MaybePromise<void> {
    return this.#store.close?.();
  }

  /** Counts only. */
  [inspect.custom](_depth: number, options: object): string {
    return `SealedStore ${inspect(this.statistics, options)}`;
  }

  #answer(answer: MaybePromise<Uint8Array | undefined>, key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    if (!isPromise(answer)) return this.#open(answer, contextOf(key));
    // The caller may write to its key while the store is on its way.
    const context = contextOf(key);
    return Promise.resolve(answer).then((value) => this.#open(value, context));
  }

  #open(value: unknown, context: Uint8Array): Uint8Array | undefined {
    if (value === undefined || value === null) return undefined;
    let opened: Uint8Array | undefined;
    try {
      if (value instanceof Uint8Array) opened = this.#sealer.open(value, context);
    } catch {
      // A sealer of the application that throws on what it does not know: no different from one that says so.
    }
    if (opened === undefined) this.#refused++;
    else this.#opened++;
    return opened;
  }
}

/**
 * What the factories of stores that leave the machine do with their `seal`, which is never left out.
 *
 * @param seal what seals the values; `false` stores sessions in clear
 * @throws TypeError if `seal` is neither, or does not bind to a context: see {@link SealedStore}
 */
export function withSeal(store: SessionStore, seal: TicketSealer | false): SessionStore {
  if (seal === false) return requireSessionStore('store', store);
  return new SealedStore(store, requireSealer('seal', seal));
}

function contextOf(key: Uint8Array): Buffer {
  const context = Buffer.allocUnsafe(LABEL.length + key.length);
  context.set(LABEL);
  context.set(key, LABEL.length);
  return context;
}

function requireSealer(name: string, sealer: TicketSealer): TicketSealer {
  if (typeof sealer !== 'object' || sealer === null) {
    throw wrongType(name, 'a TicketSealer, or false for sessions in clear', sealer);
  }
  requireFunction(`${name}.seal`, sealer.seal);
  requireFunction(`${name}.open`, sealer.open);
  return sealer;
}

/** Seals random bytes, to see that they come back, under their context only, and are not there to be read. */
function requireBindingSealer(name: string, sealer: TicketSealer): TicketSealer {
  requireSealer(name, sealer);
  const [state, key, other] = [randomBytes(32), contextOf(randomBytes(32)), contextOf(randomBytes(32))];
  const sealed = sealWithContext(name, sealer, state, key);
  if (!(sealed instanceof Uint8Array)) throw wrongType(`${name}.seal()`, 'bytes', sealed);
  const opened: unknown = sealer.open(sealed, key);
  if (!(opened instanceof Uint8Array) || Buffer.compare(opened, state) !== 0) {
    throw new TypeError(`"${name}" expected a TicketSealer, and does not open what it sealed`);
  }
  if (sealer.open(sealed, other) !== undefined) {
    throw new TypeError(`"${name}" expected a TicketSealer that binds to its context, and opens under another one`);
  }
  if (Buffer.from(sealed).includes(state)) {
    throw new TypeError(`"${name}" expected a TicketSealer that encrypts, and leaves the bytes as they are`);
  }
  return sealer;
}

function sealWithContext(name: string, sealer: TicketSealer, state: Uint8Array, context: Uint8Array): unknown {
  try {
    return sealer.seal(state, context);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new TypeError(
      `"${name}" expected a TicketSealer that takes a context, such as TicketCodec (the format of RFC 5077 has no place for one)`,
      { cause },
    );
  }
}
