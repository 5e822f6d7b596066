/** One guard's facts in a SharedState: looked at from time to time, told sooner where the state can, and written. */

import { publishStoreError } from '../diagnostics.js';
import { ResumptionError } from '../errors.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import type { SharedState } from '../stores/shared-state.js';

/** Looks begin twice an interval, so that a fact is known within it when the state takes no longer than half of it. */
const LOOKS_PER_INTERVAL = 2;
/** Looks after which a call of the state that has not ended is given up. */
const PATIENCE = 10;

/** Who the facts are about. */
export interface FactKeeper {
  /** A fact as it stands. One that is being written from here is not told of, nor what may be older than that. */
  told(name: string, value: Uint8Array): void;
  /**
   * After all facts of a look were told.
   *
   * @param missing whether a name does not stand, and nothing is known of its being written
   * @returns whether nothing is left to be known
   */
  looked(missing: (name: string) => boolean): boolean;
}

/** How a guard follows its facts. */
export interface SharedFactsOptions {
  readonly state: SharedState;
  /** What all names begin with. */
  readonly prefix: string;
  /** Seconds. */
  readonly interval: number;
  readonly clock: () => number;
}

/** A fact on its way to the state. */
interface Write {
  /** Makes the value of each attempt. */
  make: (again: boolean) => Uint8Array;
  timeout: number | undefined;
  attempt: number;
  /** Looks since the attempt began; `undefined` when it has failed. */
  waited: number | undefined;
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class SharedFacts implements Disposable {
  readonly #options: SharedFactsOptions;
  readonly #keeper: FactKeeper;
  readonly #timer: NodeJS.Timeout;
  readonly #writes = new Map<string, Write>();
  readonly #ready = settleLater();
  /** Names whose writing began or ended since the look began: what the look says of them may be older. */
  readonly #written = new Set<string>();
  #watch: Disposable | undefined;
  #soon: NodeJS.Immediate | undefined;
  #ended = false;
  #claimed = false;
  #again = false;
  /** Counts looks: the answer to one that was given up is no news. */
  #look = 0;
  /** Intervals of the timer that the look under way has taken. */
  #waited: number | undefined;
  #knownAt = Number.NEGATIVE_INFINITY;

  constructor(options: SharedFactsOptions, keeper: FactKeeper) {
    this.#options = options;
    this.#keeper = keeper;
    this.#timer = setInterval(() => this.#tick(), (options.interval * 1000) / LOOKS_PER_INTERVAL);
    this.#timer.unref();
  }

  /** To be called once the keeper can be told. */
  begin(): void {
    this.#tick();
    const { state, prefix } = this.#options;
    // What it tells may be older than what was written here, so it is only a reason to look.
    const changed = (name: string): void => {
      if (!this.#writes.has(name.slice(prefix.length))) this.#lookSoon();
    };
    try {
      this.#watch = state.watch?.(prefix, changed, (error) => publishStoreError('state', 'watch', error));
    } catch (error) {
      publishStoreError('state', 'watch', error);
    }
  }

  /** Whether a look that began within the interval was answered. Throws what the clock throws. */
  get fresh(): boolean {
    if (this.#ended || this.#knownAt === Number.NEGATIVE_INFINITY) return false;
    const age = this.#options.clock() - this.#knownAt;
    return age >= 0 && age <= 1000 * this.#options.interval;
  }

  /** Resolves when the state has been read for the first time, or never will be. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /**
   * Writes a fact, again and again until it is there.
   *
   * @param make the value; called again for each attempt
   * @returns a promise that rejects only when the facts are no longer followed
   */
  put(name: string, timeout: number | undefined, make: Write['make']): MaybePromise<void> {
    const settle = settleLater();
    if (this.#ended) {
      settle.reject(new ResumptionError('ERR_STORE_UNAVAILABLE', 'the guard was disposed of: others are not told'));
      return settle.promise;
    }
    const write = this.#writes.get(name) ?? { make, timeout, attempt: 0, waited: undefined, ...settle };
    write.make = make;
    write.timeout = timeout;
    this.#writes.set(name, write);
    this.#attempt(name, write, false);
    return this.#writes.get(name) === write ? write.promise : undefined;
  }

  /** Sets a fact unless it stands. The next look, which follows at once, shows which does. */
  claim(name: string, value: Uint8Array, timeout?: number): void {
    const look = (): void => {
      if (this.#claimed || this.#ended) return;
      this.#claimed = true;
      this.#next();
    };
    this.#call('setIfAbsent', (state) => state.setIfAbsent(this.#options.prefix + name, value, timeout), look);
  }

  [Symbol.dispose](): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    clearImmediate(this.#soon);
    try {
      this.#watch?.[Symbol.dispose]();
    } catch (error) {
      publishStoreError('state', 'watch', error);
    }
    this.#ready.resolve();
    for (const write of this.#writes.values()) {
      write.reject(new ResumptionError('ERR_STORE_UNAVAILABLE', 'the guard was disposed of before the state answered'));
    }
    this.#writes.clear();
  }

  #lookSoon(): void {
    if (this.#ended) return;
    this.#soon ??= setImmediate(() => {
      this.#soon = undefined;
      // The answer under way may be older than what made us look.
      if (this.#waited !== undefined) this.#again = true;
      else this.#next();
    }).unref();
  }

  #tick(): void {
    for (const write of this.#writes.values()) {
      if (write.waited !== undefined && ++write.waited >= PATIENCE) write.waited = undefined;
    }
    this.#claimed = false;
    if (this.#waited !== undefined && ++this.#waited >= PATIENCE) {
      publishStoreError(
        'state',
        'entries',
        new ResumptionError('ERR_STORE_TIMEOUT', 'the shared state did not answer'),
      );
      this.#waited = undefined;
    }
    this.#next();
  }

  #next(): void {
    if (this.#waited !== undefined) return;
    const look = ++this.#look;
    const began = this.#now();
    this.#waited = 0;
    this.#again = false;
    this.#written.clear();
    const ended = (then: () => void): void => {
      if (look !== this.#look || this.#ended) return;
      this.#waited = undefined;
      then();
      if (this.#again) this.#lookSoon();
    };
    this.#call(
      'entries',
      (state) => state.entries(this.#options.prefix),
      (facts) => ended(() => this.#arrived(facts, began)),
      () => ended(() => {}),
    );
  }

  #arrived(facts: Map<string, Uint8Array>, began: number): void {
    const standing = new Set<string>();
    for (const [name, value] of facts) {
      const own = name.slice(this.#options.prefix.length);
      standing.add(own);
      if (!this.#unsettled(own)) this.#keeper.told(own, value);
    }
    this.#knownAt = began;
    // Now that the state answers again.
    for (const [name, write] of this.#writes) if (write.waited === undefined) this.#attempt(name, write, true);
    if (this.#keeper.looked((name) => !standing.has(name) && !this.#unsettled(name))) this.#ready.resolve();
  }

  #unsettled(name: string): boolean {
    return this.#writes.has(name) || this.#written.has(name);
  }

  #attempt(name: string, write: Write, again: boolean): void {
    const attempt = ++write.attempt;
    this.#written.add(name);
    write.waited = 0;
    const mine = (then: () => void): void => {
      if (attempt === write.attempt) then();
    };
    const value = write.make(again);
    this.#call(
      'set',
      (state) => state.set(this.#options.prefix + name, value, write.timeout),
      () =>
        mine(() => {
          this.#writes.delete(name);
          this.#written.add(name);
          write.resolve();
        }),
      () =>
        mine(() => {
          write.waited = undefined;
        }),
    );
  }

  /** What answers at once is answered at once; what fails is published. */
  #call<T>(
    operation: string,
    call: (state: SharedState) => MaybePromise<T>,
    answered: (value: T) => void,
    failed: () => void = () => {},
  ): void {
    const fail = (error: unknown): void => {
      failed();
      publishStoreError('state', operation, error);
    };
    try {
      const answer = call(this.#options.state);
      if (isPromise(answer)) Promise.resolve(answer).then(answered).catch(fail);
      else answered(answer);
    } catch (error) {
      fail(error);
    }
  }

  /** A clock of the application that throws makes the look one of long ago. */
  #now(): number {
    try {
      return this.#options.clock();
    } catch {
      return Number.NEGATIVE_INFINITY;
    }
  }
}

/** Its rejection, if nobody waits for it, is nobody's. */
function settleLater(): Pick<Write, 'promise' | 'resolve' | 'reject'> {
  let resolve: () => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<void>((...settle) => {
    [resolve, reject] = settle;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
