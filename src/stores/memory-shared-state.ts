/**
 * The shared state of one process, for tests and for what has no second one.
 *
 * @module
 */

import { requireFunction, requireInteger, requireObject } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import {
  requireFactName,
  requireFactTimeout,
  requireFactValue,
  requirePrefix,
  type SharedState,
  type SharedStateListener,
} from './shared-state.js';

/** Options of {@link MemorySharedState}. */
export interface MemorySharedStateOptions {
  /** Facts held at most, 1 to 16 777 216. Default: 65 536. */
  readonly maxFacts?: number | undefined;
  /** Milliseconds since any moment. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

interface Fact {
  readonly value: Uint8Array;
  readonly expiresAt: number;
}

/** The facts of one process. It answers at once, and tells its watchers before `set` returns. */
export class MemorySharedState implements SharedState {
  readonly #facts = new Map<string, Fact>();
  readonly #watchers = new Set<{ prefix: string; tell: SharedStateListener }>();
  readonly #maxFacts: number;
  readonly #clock: () => number;
  #closed = false;

  /**
   * @throws TypeError if an option is of the wrong type
   * @throws RangeError if `maxFacts` is out of range
   */
  constructor(options: MemorySharedStateOptions = {}) {
    requireObject('options', options);
    const { maxFacts = 65_536, clock = Date.now } = options;
    this.#maxFacts = requireInteger('maxFacts', maxFacts, 1, 2 ** 24);
    this.#clock = requireFunction('clock', clock);
  }

  /** The value of a fact, or `undefined`. */
  get(name: string): Uint8Array | undefined {
    const fact = this.#find(requireFactName(name));
    return fact && Uint8Array.from(fact.value);
  }

  /**
   * Sets a fact.
   *
   * @throws ResumptionError `ERR_SHARED_STATE_FULL` when there is no room for one more; `ERR_STORE_UNAVAILABLE` when closed
   */
  set(name: string, value: Uint8Array, timeout?: number): void {
    requireFactName(name);
    requireFactValue(value);
    requireFactTimeout(timeout);
    this.#put(name, value, timeout);
  }

  /**
   * Sets a fact unless it stands.
   *
   * @returns the value that stands now
   * @throws ResumptionError as {@link set}
   */
  setIfAbsent(name: string, value: Uint8Array, timeout?: number): Uint8Array {
    requireFactName(name);
    requireFactValue(value);
    requireFactTimeout(timeout);
    const fact = this.#closed ? undefined : this.#find(name);
    if (fact === undefined) this.#put(name, value, timeout);
    return Uint8Array.from(fact?.value ?? value);
  }

  /** All facts whose names begin with `prefix`. */
  entries(prefix: string): Map<string, Uint8Array> {
    requirePrefix(prefix);
    const found = new Map<string, Uint8Array>();
    for (const name of this.#facts.keys()) {
      const fact = name.startsWith(prefix) ? this.#find(name) : undefined;
      if (fact !== undefined) found.set(name, Uint8Array.from(fact.value));
    }
    return found;
  }

  /** Tells of the facts under a prefix, those that stand before it returns. */
  watch(prefix: string, listener: SharedStateListener, failed: (error: unknown) => void = nobody): Disposable {
    requireFunction('listener', listener);
    requireFunction('failed', failed);
    const watcher = {
      prefix: requirePrefix(prefix),
      tell: (name: string, value: Uint8Array | undefined): void => {
        try {
          listener(name, value && Uint8Array.from(value));
        } catch (error) {
          failed(error);
        }
      },
    };
    const end = { [Symbol.dispose]: () => void this.#watchers.delete(watcher) };
    if (this.#closed) return end;
    this.#watchers.add(watcher);
    for (const [name, value] of this.entries(prefix)) watcher.tell(name, value);
    return end;
  }

  /** Forgets all facts, and ends all watching. */
  close(): void {
    this.#closed = true;
    this.#watchers.clear();
    this.#facts.clear();
  }

  #find(name: string): Fact | undefined {
    const fact = this.#facts.get(name);
    if (fact === undefined || this.#clock() <= fact.expiresAt) return fact;
    this.#facts.delete(name);
    return undefined;
  }

  #put(name: string, value: Uint8Array, timeout: number | undefined): void {
    if (this.#closed) throw new ResumptionError('ERR_STORE_UNAVAILABLE', 'the shared state is closed');
    if (!this.#facts.has(name)) this.#makeRoom();
    const copy = Uint8Array.from(value);
    const expiresAt = timeout === undefined ? Number.POSITIVE_INFINITY : this.#clock() + timeout * 1000;
    this.#facts.set(name, { value: copy, expiresAt });
    this.#tell(name);
  }

  /** A listener may set facts and end watching itself: each is told what stands when its turn comes. */
  #tell(name: string): void {
    for (const watcher of [...this.#watchers]) {
      const fact = this.#facts.get(name);
      if (fact !== undefined && name.startsWith(watcher.prefix) && this.#watchers.has(watcher)) {
        watcher.tell(name, fact.value);
      }
    }
  }

  #makeRoom(): void {
    if (this.#facts.size < this.#maxFacts) return;
    for (const name of this.#facts.keys()) this.#find(name);
    if (this.#facts.size >= this.#maxFacts) {
      throw new ResumptionError('ERR_SHARED_STATE_FULL', `the shared state holds ${this.#maxFacts} facts, its most`);
    }
  }
}

function nobody(): void {}
