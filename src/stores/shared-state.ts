/**
 * Small facts that all hosts agree on: the epoch of a context, what is revoked.
 *
 * @module
 */

import {
  outOfRange,
  requireBytes,
  requireFunction,
  requireInteger,
  requireNumber,
  requireObject,
  requireString,
} from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { isPromise, type MaybePromise } from './session-store.js';

/** Characters of a fact's name at most. */
const MAX_FACT_NAME = 200;
/** Bytes of a fact at most. */
const MAX_FACT_BYTES = 1024;
/** Seconds that a fact with a timeout lives at most: a year. */
const MAX_FACT_TIMEOUT = 31_536_000;

/**
 * Told of a fact under a watched prefix: once for each that stands, then at each change.
 *
 * @param name the whole name
 * @param value its bytes; `undefined` when the fact is over
 */
export type SharedStateListener = (name: string, value: Uint8Array | undefined) => void;

/**
 * Facts by name that every host sees alike. It is the opposite of a {@link SessionStore}: small, and reliable.
 *
 * - **Nothing is forgotten** but what was set with a timeout, after it. When there is no room, a write fails.
 * - **What failed, throws or rejects.** A promise that is fulfilled means that the fact was read from, or has reached,
 *   what all hosts share. After an error a write may or may not have happened.
 * - **One order for each name.** Once a write has succeeded, every `get` of any host that begins later sees it or a later
 *   one. Of any number of hosts that call `setIfAbsent` at the same time, all get the same value.
 * - **No order between names.**
 *
 * Names are 1 to 200 visible ASCII characters (no space), told apart by case; a slash is only a habit. Values are 0 to
 * 1024 bytes, copied in and out. Timeouts are whole seconds, 1 to 31 536 000 (a year); none means for ever. Anything else
 * is a `TypeError` or a `RangeError`, thrown at once. Names and values are no secrets: do not put sessions or session IDs
 * there, but hashes of them.
 *
 * `sharedStateConformance` of `tls-resumption/testing` checks all of this on an implementation.
 */
export interface SharedState {
  /** The value of a fact, or `undefined`. */
  get(name: string): MaybePromise<Uint8Array | undefined>;
  /**
   * Sets a fact, whatever stood there before.
   *
   * @param timeout seconds after which the fact is over. Default: never, also if it had a timeout before
   */
  set(name: string, value: Uint8Array, timeout?: number): MaybePromise<void>;
  /**
   * Sets a fact unless it stands, in one atomic step.
   *
   * @param timeout as in {@link set}; that of a fact that stands does not change
   * @returns the value that stands now: the given one, or the one that was there
   */
  setIfAbsent(name: string, value: Uint8Array, timeout?: number): MaybePromise<Uint8Array>;
  /** All facts whose names begin with `prefix` (0 to 200 characters), in no particular order. */
  entries(prefix: string): MaybePromise<Map<string, Uint8Array>>;
  /**
   * Tells of the facts under a prefix: first each that stands, then each change, of this host and of others. Of changes
   * that come close together only the last need be told, and a fact may be told again though it has not changed. That
   * a fact is over because of its timeout need not be told. Watching keeps no process alive.
   *
   * A store without it is watched by asking for its {@link entries}: see {@link watchSharedState}.
   *
   * @param listener what it throws goes to `failed`, or nowhere
   * @param failed told when the facts cannot be read; watching goes on, also when it throws
   * @returns ends it: no listener is called after that
   */
  watch?(prefix: string, listener: SharedStateListener, failed?: (error: unknown) => void): Disposable;
  /** Ends all watching and releases what is held open. Later calls of any method, this one too, end. */
  close?(): MaybePromise<void>;
}

/** Options of {@link watchSharedState}. */
export interface WatchSharedStateOptions {
  /** Seconds from one look to the next, 0.01 to 3600. Default: 1. */
  readonly interval?: number | undefined;
  /** Told when the facts cannot be read, and what the listener throws. Watching goes on, also when it throws. Default: nobody. */
  readonly failed?: ((error: unknown) => void) | undefined;
}

/**
 * Watches any {@link SharedState}: by its own `watch` if it has one, else by asking for its `entries` at an interval. A
 * look that has not ended is waited for, ten intervals long: then `failed` is told, and there is another one.
 *
 * @returns ends it: the listener is not called after that
 * @throws TypeError | RangeError for wrong arguments; never for what the state does
 */
export function watchSharedState(
  state: SharedState,
  prefix: string,
  listener: SharedStateListener,
  options: WatchSharedStateOptions = {},
): Disposable {
  requireObject('state', state);
  requirePrefix(prefix);
  requireFunction('listener', listener);
  requireObject('options', options);
  const { interval = 1, failed = nobody } = options;
  requireFunction('failed', failed);
  return state.watch?.(prefix, listener, failed) ?? pollSharedState(state, prefix, listener, { interval, failed });
}

/**
 * The looks of {@link watchSharedState}, for implementations that have no way to be told.
 *
 * @returns ends it
 */
export function pollSharedState(
  state: Pick<SharedState, 'entries'>,
  prefix: string,
  listener: SharedStateListener,
  { interval = 1, failed = nobody }: WatchSharedStateOptions = {},
): Disposable {
  requireFunction('entries', state.entries);
  requireNumber('interval', interval, 0.01, 3600, 'seconds');
  return new Looks({ state, prefix, listener, failed }, interval);
}

interface Watched {
  readonly state: Pick<SharedState, 'entries'>;
  readonly prefix: string;
  readonly listener: SharedStateListener;
  readonly failed: (error: unknown) => void;
}

/** Intervals after which a look that has not ended is given up. */
const PATIENCE = 10;

/** Looks at the facts under a prefix, and tells how they differ from those of the look before. */
class Looks implements Disposable {
  readonly #watched: Watched;
  readonly #timer: NodeJS.Timeout;
  #told = new Map<string, Uint8Array>();
  #ended = false;
  /** Counts looks: an answer to one that was given up is no news. */
  #look = 0;
  /** Intervals that the look on its way has taken. */
  #waited: number | undefined;

  constructor(watched: Watched, interval: number) {
    this.#watched = watched;
    this.#timer = setInterval(() => this.#next(), interval * 1000);
    this.#timer.unref();
    this.#next();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#told.clear();
  }

  #next(): void {
    if (this.#waited !== undefined && ++this.#waited < PATIENCE) return;
    if (this.#waited !== undefined) {
      this.#fail(new ResumptionError('ERR_STORE_TIMEOUT', `the shared state did not answer for ${PATIENCE} intervals`));
    }
    this.#waited = undefined;
    this.#look++;
    try {
      const { state, prefix } = this.#watched;
      const facts = state.entries(prefix);
      if (isPromise(facts)) this.#await(facts, this.#look);
      else this.#compare(facts);
    } catch (error) {
      this.#fail(error);
    }
  }

  #await(facts: Promise<Map<string, Uint8Array>>, look: number): void {
    this.#waited = 0;
    const ended = (then: () => void): void => {
      if (look !== this.#look) return;
      this.#waited = undefined;
      then();
    };
    Promise.resolve(facts)
      .then((found) => ended(() => this.#compare(found)))
      .catch((error: unknown) => ended(() => this.#fail(error)));
  }

  #compare(facts: Map<string, Uint8Array>): void {
    if (this.#ended) return;
    const before = this.#told;
    this.#told = new Map(facts);
    for (const [name, value] of facts) {
      const known = before.get(name);
      if (known === undefined || Buffer.compare(known, value) !== 0) this.#tell(name, Uint8Array.from(value));
    }
    for (const name of before.keys()) if (!facts.has(name)) this.#tell(name, undefined);
  }

  #tell(name: string, value: Uint8Array | undefined): void {
    if (this.#ended) return;
    try {
      this.#watched.listener(name, value);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    try {
      this.#watched.failed(error);
    } catch {
      // Who is told of failures has nobody to tell.
    }
  }
}

/** @throws TypeError | RangeError if it can be no fact's name */
export function requireFactName(name: string): string {
  if (!/^[!-~]{1,200}$/.test(requireString('name', name))) {
    throw outOfRange('name', `1 to ${MAX_FACT_NAME} visible ASCII characters`, name);
  }
  return name;
}

/** @throws TypeError | RangeError if no fact's name can begin with it */
export function requirePrefix(prefix: string): string {
  if (!/^[!-~]{0,200}$/.test(requireString('prefix', prefix))) {
    throw outOfRange('prefix', `0 to ${MAX_FACT_NAME} visible ASCII characters`, prefix);
  }
  return prefix;
}

/** @throws TypeError | RangeError if it can be no fact's value */
export function requireFactValue(value: Uint8Array): Uint8Array {
  return requireBytes('value', value, 0, MAX_FACT_BYTES);
}

/** @throws TypeError | RangeError if it is no timeout; `undefined` is one that never ends */
export function requireFactTimeout(timeout: number | undefined): number | undefined {
  return timeout === undefined ? undefined : requireInteger('timeout', timeout, 1, MAX_FACT_TIMEOUT, 'seconds');
}

function nobody(): void {}
