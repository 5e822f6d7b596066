/**
 * A store that cannot hold anything up, whatever the one behind it does.
 *
 * @module
 */

import { inspect } from 'node:util';
import { requireFunction, requireInteger, requireNumber, requireObject } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { BoundedCalls, type CallStatistics, FULL, OPEN } from './bounded-calls.js';
import { CircuitBreaker, type CircuitState } from './circuit-breaker.js';
import { isPromise, type MaybePromise, requireSessionStore, type SessionStore } from './session-store.js';
import { WriteBehind, type WriteStatistics } from './write-behind.js';

export type { CallStatistics, CircuitState, WriteStatistics };

/** Options of a {@link DeadlineStore}. */
export interface DeadlineStoreOptions {
  /** Milliseconds that `get` and `take` may take, 1 to 60 000. Default: 50. */
  readonly deadline?: number | undefined;
  /** Milliseconds that `set` and `delete` may take, 1 to 600 000: nobody waits for them. Default: 1000. */
  readonly writeDeadline?: number | undefined;
  /**
   * Reads on their way at most, and as many writes, 1 to 65 536. One that was given up counts until it ends, a minute
   * long at most. Default: 1024.
   */
  readonly maxInFlight?: number | undefined;
  /** Writes that wait for their turn at most, and as many failed deletions, 1 to 1 048 576. Default: 4096. */
  readonly maxWrites?: number | undefined;
  /** Failures in a row that open the circuit, of reads or of writes, 1 to 1 000 000. Default: 5. */
  readonly failures?: number | undefined;
  /** Milliseconds from the opening of a circuit to the one call that tries again, 10 to 3 600 000. Default: 1000. */
  readonly period?: number | undefined;
  /** Milliseconds since any moment. It should not be set back. Default: `performance.now`. */
  readonly clock?: (() => number) | undefined;
}

/** What a {@link DeadlineStore} counts. Of reads none is lost: they are `refused`, `denied` or `reads.calls`. */
export interface DeadlineStoreStatistics {
  /** Calls of `get` and `take` that the store got. */
  readonly reads: CallStatistics;
  /** Calls of `set` and `delete` that the store got. */
  readonly writes: CallStatistics & WriteStatistics;
  /** Reads answered with nothing without asking the store: it does not answer, or too many are on their way. */
  readonly refused: number;
  /** Reads answered with nothing because a deletion of the key is not done. */
  readonly denied: number;
}

/**
 * Puts a deadline, a circuit breaker and bounds between a store and those who use it.
 *
 * - **Reads** end by their deadline, with `ERR_STORE_TIMEOUT`. An answer that comes later is dropped; if it was to a
 *   `take`, its session is gone.
 * - **Circuit breakers**, one for reads and one for writes (a full disk can still be read): after `failures` in a row the
 *   store is not called for a `period`. Reads are then `undefined` at once, and writes fail at once. Then one call tries:
 *   if it succeeds all are made again, if not there is another period. So a store that is back is used again after one
 *   period at most. (One that has left a minute's worth of tries without any end, be it an error, is tried at every
 *   thirtieth period.)
 * - **Bounds**: reads and writes on their way, writes that wait, deletions that are owed.
 * - **Writes** of one key are made one after the other. Of those that wait for another the last is made, and all end as it
 *   does. While a deletion is not done, nothing is found. While a `set` is not, `get` asks the store, which may not have
 *   it yet, and `take` waits for it.
 * - **A `set` that fails is forgotten. A `delete` that fails rejects, and is owed**: it is made again every period, and
 *   until it has succeeded, or a later `set` has, this store finds nothing under that key. This holds for `maxWrites`
 *   keys and as long as this store is open: what other processes find, and this one after its restart, is up to the
 *   storage. So is a `set` that was given up and happens after a later deletion, where a store does not keep the order of
 *   its calls. (Sessions that must not be resumed anywhere are revoked, not deleted.)
 *
 * So with a `take` no session is answered twice, whatever fails: the store hands it to one caller, and if that one has
 * gone it is lost.
 *
 * What answers at once does so here as well, without a turn of the event loop; it cannot be late, but it can fail. No
 * method throws for what the store does: errors are rejected promises. Timers keep no process alive.
 *
 * {@link SessionCache} puts its external cache into one.
 */
export class DeadlineStore implements SessionStore {
  readonly #store: SessionStore;
  readonly #deadline: number;
  readonly #writeDeadline: number;
  readonly #clock: () => number;
  readonly #reads: BoundedCalls;
  readonly #writes: BoundedCalls;
  readonly #behind: WriteBehind;
  #refused = 0;
  #denied = 0;
  #closed: { readonly ending: MaybePromise<void> } | undefined;
  /** As the method of the store, by the deadline; there when the store has it. */
  readonly take?: (key: Uint8Array) => MaybePromise<Uint8Array | undefined>;

  /**
   * @throws TypeError if an argument is of the wrong type
   * @throws RangeError if a number is out of range
   */
  constructor(store: SessionStore, options: DeadlineStoreOptions = {}) {
    this.#store = requireSessionStore('store', store);
    requireObject('options', options);
    const { deadline = 50, writeDeadline = 1000, maxInFlight = 1024, maxWrites = 4096 } = options;
    const { failures = 5, period = 1000, clock = () => performance.now() } = options;
    this.#deadline = requireNumber('deadline', deadline, 1, 60_000, 'ms');
    this.#writeDeadline = requireNumber('writeDeadline', writeDeadline, 1, 600_000, 'ms');
    requireInteger('maxInFlight', maxInFlight, 1, 65_536);
    requireInteger('maxWrites', maxWrites, 1, 2 ** 20);
    requireInteger('failures', failures, 1, 1_000_000);
    requireNumber('period', period, 10, 3_600_000, 'ms');
    this.#clock = requireFunction('clock', clock);
    const calls = (limit: number): BoundedCalls =>
      new BoundedCalls(new CircuitBreaker(failures, period, clock), limit, maxInFlight, clock);
    this.#reads = calls(deadline);
    this.#writes = calls(writeDeadline);
    this.#behind = new WriteBehind(store, this.#writes, { maxWrites, patience: writeDeadline, period, clock });
    if (store.take !== undefined) {
      const take = store.take.bind(store);
      this.take = (key) => this.#take(key, take);
    }
  }

  /** The counters, as they are now. */
  get statistics(): DeadlineStoreStatistics {
    return Object.freeze({
      reads: this.#reads.statistics,
      writes: Object.freeze({ ...this.#writes.statistics, ...this.#behind.statistics }),
      refused: this.#refused,
      denied: this.#denied,
    });
  }

  /** The value, or `undefined`: also when the store is not asked. */
  get(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    if (this.#closed !== undefined) return this.#nothing();
    if (this.#behind.isDeleted(key)) return this.#deny();
    const answer = this.#reads.make(() => this.#store.get(key));
    if (answer === OPEN || answer === FULL) return this.#nothing();
    if (!isPromise(answer)) return answer;
    const asked = Uint8Array.from(key);
    return answer.then((value) => (this.#behind.isDeleted(asked) ? undefined : value));
  }

  /** Keeps a value. Never throws; a promise rejects when the store did, did not end in time, or was not asked. */
  set(key: Uint8Array, session: Uint8Array, timeout: number): MaybePromise<void> {
    return this.#closed === undefined ? this.#behind.write(key, session, timeout) : Promise.reject(closed());
  }

  /** Forgets a key. As {@link set}, and if it fails it is owed. */
  delete(key: Uint8Array): MaybePromise<void> {
    return this.#closed === undefined ? this.#behind.write(key, undefined, 0) : Promise.reject(closed());
  }

  /**
   * Closes the store, after the writes that are on their way, which are waited for as long as `writeDeadline`. Then
   * reads are `undefined` and writes fail.
   */
  close(): MaybePromise<void> {
    this.#closed ??= { ending: this.#close() };
    return this.#closed.ending;
  }

  /** Counts only: neither keys nor sessions. */
  [inspect.custom](_depth: number, options: object): string {
    return `DeadlineStore ${inspect(this.statistics, options)}`;
  }

  #take(key: Uint8Array, take: (key: Uint8Array) => MaybePromise<Uint8Array | undefined>) {
    if (this.#closed !== undefined) return this.#nothing();
    if (this.#behind.isDeleted(key)) return this.#deny();
    const written = this.#behind.idle(key);
    if (written !== undefined) return this.#takeLater(Uint8Array.from(key), take, written);
    const answer = this.#reads.make(() => take(key));
    return answer === OPEN || answer === FULL ? this.#nothing() : answer;
  }

  /** What is being written can be taken once it is written: before, an older value of the key might be. */
  async #takeLater(
    key: Uint8Array,
    take: (key: Uint8Array) => MaybePromise<Uint8Array | undefined>,
    written: Promise<void>,
  ): Promise<Uint8Array | undefined> {
    const began = this.#clock();
    if (!(await endsWithin(this.#deadline, written))) {
      this.#refused++;
      throw new ResumptionError('ERR_STORE_TIMEOUT', `the store did not write within ${this.#deadline} ms`);
    }
    if (this.#closed !== undefined) return this.#nothing();
    if (this.#behind.isDeleted(key)) return this.#deny();
    // Written again meanwhile: whoever did that comes first.
    if (this.#behind.idle(key) !== undefined) return this.#nothing();
    const left = Math.max(1, this.#deadline - (this.#clock() - began));
    const answer = this.#reads.make(() => take(key), left);
    return answer === OPEN || answer === FULL ? this.#nothing() : answer;
  }

  #deny(): undefined {
    this.#denied++;
  }

  #nothing(): undefined {
    this.#refused++;
  }

  #close(): MaybePromise<void> {
    const busy = this.#behind.allIdle();
    if (busy === undefined) return this.#closeStore();
    return endsWithin(this.#writeDeadline, busy).then(() => this.#closeStore());
  }

  #closeStore(): MaybePromise<void> {
    this.#behind.close();
    let ending: MaybePromise<void>;
    try {
      ending = this.#store.close?.();
    } catch (error) {
      return Promise.reject(error);
    }
    if (!isPromise(ending)) return undefined;
    return endsWithin(this.#writeDeadline, ending).then((ended) => {
      if (ended) return ending;
      throw new ResumptionError('ERR_STORE_TIMEOUT', `the store did not close within ${this.#writeDeadline} ms`);
    });
  }
}

/** Whether a promise is settled within so many milliseconds. */
async function endsWithin(milliseconds: number, promise: PromiseLike<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), milliseconds);
    timer.unref();
    const ended = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    Promise.resolve(promise).then(ended, ended);
  });
}

function closed(): ResumptionError {
  return new ResumptionError('ERR_STORE_UNAVAILABLE', 'the store is closed');
}
