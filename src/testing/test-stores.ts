/**
 * Session stores for tests: one in memory, one that counts, and one that does what stores should not.
 *
 * @module
 */

import { outOfRange, requireFunction, requireNumber } from '../arguments.js';
import { isPromise, type MaybePromise, requireSessionStore, type SessionStore } from '../stores/session-store.js';

/** A method of a store that has to do with its contents. */
export type StoreCall = 'get' | 'set' | 'delete' | 'take';

/** A store in the memory of this process that answers at once. For tests: it has no bound. */
export class MemoryStore implements SessionStore {
  readonly #clock: () => number;
  readonly #held = new Map<string, { value: Buffer; expiresAt: number }>();

  /**
   * @param options `clock`: milliseconds since 1970; default `Date.now`
   * @throws {TypeError} when the clock is no function
   */
  constructor({ clock = Date.now }: { readonly clock?: (() => number) | undefined } = {}) {
    this.#clock = requireFunction('clock', clock);
  }

  /** Sessions in it, those whose time is over included. */
  get size(): number {
    return this.#held.size;
  }

  /** A copy of the value. */
  get(key: Uint8Array): Buffer | undefined {
    const found = this.#held.get(nameOf(key));
    return found === undefined || this.#clock() >= found.expiresAt ? undefined : Buffer.from(found.value);
  }

  /** Keeps a copy for so many seconds. */
  set(key: Uint8Array, session: Uint8Array, timeout: number): void {
    this.#held.set(nameOf(key), { value: Buffer.from(session), expiresAt: this.#clock() + timeout * 1000 });
  }

  /** Forgets the value. */
  delete(key: Uint8Array): void {
    this.#held.delete(nameOf(key));
  }

  /** The value, which is gone. */
  take(key: Uint8Array): Buffer | undefined {
    const value = this.get(key);
    this.delete(key);
    return value;
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('hex');
}

/** Another store, and what was asked of it. */
export class CountingStore implements SessionStore {
  /** The methods called since the beginning or {@link reset}, in order. */
  readonly calls: StoreCall[] = [];
  /** How often a `get` or `take` was answered with a session. */
  hits = 0;
  /** There when the other store has it. */
  readonly take?: (key: Uint8Array) => MaybePromise<Uint8Array | undefined>;
  readonly #store: SessionStore;

  /**
   * @param store what does the work. Default: a new {@link MemoryStore}
   * @throws {TypeError} when it is no store
   */
  constructor(store: SessionStore = new MemoryStore()) {
    this.#store = requireSessionStore('store', store);
    if (store.take !== undefined) this.take = (key) => this.#answer('take', store.take?.(key));
  }

  /** How often a method was called. */
  count(call: StoreCall): number {
    return this.calls.filter((each) => each === call).length;
  }

  /** Counts from nought again. */
  reset(): void {
    this.calls.length = 0;
    this.hits = 0;
  }

  /** Counted. */
  get(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    return this.#answer('get', this.#store.get(key));
  }

  /** Counted. */
  set(key: Uint8Array, session: Uint8Array, timeout: number): MaybePromise<void> {
    this.calls.push('set');
    return this.#store.set(key, session, timeout);
  }

  /** Counted. */
  delete(key: Uint8Array): MaybePromise<void> {
    this.calls.push('delete');
    return this.#store.delete(key);
  }

  /** Closes the other store. */
  close(): MaybePromise<void> {
    return this.#store.close?.();
  }

  #answer(call: StoreCall, answer: MaybePromise<Uint8Array | undefined>): MaybePromise<Uint8Array | undefined> {
    this.calls.push(call);
    const count = (session: Uint8Array | undefined): Uint8Array | undefined => {
      if (session !== undefined) this.hits++;
      return session;
    };
    return isPromise(answer) ? answer.then(count) : count(answer);
  }
}

/**
 * What a {@link FaultyStore} does:
 *
 * | fault | a call |
 * |---|---|
 * | `throws` | throws, and has no effect |
 * | `rejects` | rejects in a later turn, and has no effect |
 * | `hangs` | never ends, until {@link FaultyStore.release}, and has no effect |
 * | `slow` | ends after `delay` milliseconds |
 * | `lies` | answers with bytes that were never set, also where there are none |
 * | `cuts` | answers with the first half of the session |
 * | `swaps` | answers with the session last set, whatever was asked for |
 * | `forgets` | answers with nothing; what is set is lost |
 */
export type StoreFault = 'throws' | 'rejects' | 'hangs' | 'slow' | 'lies' | 'cuts' | 'swaps' | 'forgets';

const FAULTS: readonly StoreFault[] = ['throws', 'rejects', 'hangs', 'slow', 'lies', 'cuts', 'swaps', 'forgets'];

/** Options of a {@link FaultyStore}. */
export interface FaultyStoreOptions {
  /** What does the work when nothing is wrong. Default: a new {@link MemoryStore}. */
  readonly store?: SessionStore | undefined;
  /** Milliseconds that a `slow` call takes, by `setTimeout`: fake timers hold it. Default: 100. */
  readonly delay?: number | undefined;
}

/**
 * A store that goes wrong as it is told: a server must complete every handshake over it. {@link fault} may be changed at
 * any time, `undefined` heals it.
 *
 * @example
 * ```ts
 * const store = new FaultyStore('hangs');
 * const cache = new SessionCache({ mode: SessionCacheMode.Server | SessionCacheMode.NoInternal, external: store });
 * ```
 */
export class FaultyStore implements SessionStore {
  readonly #store: SessionStore;
  readonly #delay: number;
  readonly #hanging = new Set<() => void>();
  #fault: StoreFault | undefined;
  #last: Buffer | undefined;

  /**
   * @throws {TypeError} when an argument is of the wrong type
   * @throws {RangeError} when there is no such fault, or the delay is out of range
   */
  constructor(fault?: StoreFault, { store = new MemoryStore(), delay = 100 }: FaultyStoreOptions = {}) {
    this.fault = fault;
    this.#store = requireSessionStore('store', store);
    this.#delay = requireNumber('delay', delay, 0, 600_000, 'ms');
  }

  /** What is wrong; `undefined`: nothing. */
  get fault(): StoreFault | undefined {
    return this.#fault;
  }

  /** @throws {RangeError} when there is no such fault */
  set fault(fault: StoreFault | undefined) {
    if (fault !== undefined && !FAULTS.includes(fault)) throw outOfRange('fault', FAULTS.join(', '), fault);
    this.#fault = fault;
  }

  /** Calls that hang. */
  get hanging(): number {
    return this.#hanging.size;
  }

  /** Lets calls that hang fail. */
  release(): void {
    for (const end of this.#hanging) end();
    this.#hanging.clear();
  }

  /** The value, unless the fault has it otherwise. */
  get(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    return this.#answer('get', () => this.#store.get(key));
  }

  /** Gets and deletes; a `delete` after a `get` when the other store cannot take. */
  take(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    return this.#answer('take', () => {
      if (this.#store.take !== undefined) return this.#store.take(key);
      const value = this.#store.get(key);
      const gone = this.#store.delete(key);
      return isPromise(gone) ? gone.then(() => value) : value;
    });
  }

  /** Keeps the value, unless the fault has it otherwise. */
  set(key: Uint8Array, session: Uint8Array, timeout: number): MaybePromise<void> {
    const last = Buffer.from(session);
    return this.#call('set', () => {
      this.#last = last;
      return this.#fault === 'forgets' ? undefined : this.#store.set(key, last, timeout);
    });
  }

  /** Forgets the value, unless the fault has it otherwise. */
  delete(key: Uint8Array): MaybePromise<void> {
    return this.#call('delete', () => this.#store.delete(key));
  }

  /** Closes the other store, and lets what hangs fail. */
  close(): MaybePromise<void> {
    this.release();
    return this.#store.close?.();
  }

  #answer(call: StoreCall, act: () => MaybePromise<Uint8Array | undefined>): MaybePromise<Uint8Array | undefined> {
    const answer = this.#call(call, act);
    return isPromise(answer) ? answer.then((session) => this.#spoil(session)) : this.#spoil(answer);
  }

  #spoil(session: Uint8Array | undefined): Uint8Array | undefined {
    switch (this.#fault) {
      case 'lies':
        return Buffer.alloc(session?.length || 160, 'no session');
      case 'cuts':
        return session?.subarray(0, session.length >> 1);
      case 'swaps':
        return this.#last && Buffer.from(this.#last);
      case 'forgets':
        return undefined;
      default:
        return session;
    }
  }

  #call<T>(call: StoreCall, act: () => MaybePromise<T>): MaybePromise<T> {
    const failed = (): Error => new Error(`the store was told to fail: ${call}`);
    switch (this.#fault) {
      case 'throws':
        throw failed();
      case 'rejects':
        return new Promise((_, reject) => setImmediate(() => reject(failed())));
      case 'hangs':
        return new Promise((_, reject) => this.#hanging.add(() => reject(failed())));
      case 'slow': {
        const answer = act();
        return new Promise((resolve) => setTimeout(() => resolve(answer), this.#delay));
      }
      default:
        return act();
    }
  }
}
