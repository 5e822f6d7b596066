/**
 * Removes expired sessions in the background, a little at a time.
 *
 * @module
 */

import { requireFunction, requireNumber, requireObject, wrongType } from '../arguments.js';
import type { SessionCache } from './session-cache.js';

/** Options of a {@link SessionFlusher}. */
export interface SessionFlusherOptions {
  /** Seconds from the end of one pass to the next, 0.001 to 2 147 483. Default: 60. */
  readonly interval?: number | undefined;
  /** Milliseconds of the event loop's time that one slice of a pass may take, 0.01 to 1000. Default: 2. */
  readonly slice?: number | undefined;
  /** Milliseconds, to measure slices with; not the time that sessions expire by. Default: `performance.now`. */
  readonly now?: (() => number) | undefined;
}

/** Sessions removed between two looks at the time. */
const BATCH = 128;

interface Pass {
  readonly done: Promise<number>;
  readonly resolve: (removed: number) => void;
  readonly reject: (error: unknown) => void;
  readonly waiting: Pick<SessionCache, 'flush'>[];
  readonly errors: unknown[];
  removed: number;
  immediate: NodeJS.Immediate | undefined;
  /** Somebody awaits it, so that it keeps the process alive. */
  awaited: boolean;
}

/**
 * Flushes one or several caches from time to time, in slices, so that the event loop stays responsive while a million
 * sessions expire. Its timers do not keep the process alive.
 *
 * @example
 * ```ts
 * using flusher = new SessionFlusher(cache, { interval: 30 }).start();
 * ```
 */
export class SessionFlusher {
  readonly #caches: readonly Pick<SessionCache, 'flush'>[];
  readonly #interval: number;
  readonly #slice: number;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;
  #started = false;
  #pass: Pass | undefined;

  /**
   * @param caches one cache, or several
   * @throws TypeError if an argument is of the wrong type
   * @throws RangeError if a number is out of range
   */
  constructor(
    caches: Pick<SessionCache, 'flush'> | Iterable<Pick<SessionCache, 'flush'>>,
    options: SessionFlusherOptions = {},
  ) {
    requireObject('caches', caches);
    this.#caches = Symbol.iterator in caches ? [...caches] : [caches];
    for (const cache of this.#caches) {
      if (typeof cache?.flush !== 'function') throw wrongType('caches', 'a SessionCache, or several', cache);
    }
    requireObject('options', options);
    const { interval = 60, slice = 2, now = () => performance.now() } = options;
    this.#interval = requireNumber('interval', interval, 0.001, 2_147_483, 'seconds');
    this.#slice = requireNumber('slice', slice, 0.01, 1000, 'milliseconds');
    this.#now = requireFunction('now', now);
  }

  /** Begins to flush every `interval` seconds; nothing if it does already. An error of a cache is a process warning. */
  start(): this {
    if (this.#started) return this;
    this.#started = true;
    this.#schedule();
    return this;
  }

  /** Ends the periodic flushing, and a pass that is going on at its present slice: its promise has what was removed. */
  stop(): void {
    this.#started = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pass !== undefined) this.#end(this.#pass);
  }

  /**
   * One whole pass over all caches. The first slice is done when this returns; between slices the event loop turns.
   * Calls while a pass is going on share it.
   *
   * @returns how many sessions were removed; rejects with the error of a cache, or an `AggregateError` of several, after
   *   the others were flushed
   */
  run(): Promise<number> {
    const pass = this.#pass ?? this.#begin();
    pass.awaited = true;
    pass.immediate?.ref();
    return pass.done;
  }

  /** The same as {@link stop}. */
  [Symbol.dispose](): void {
    this.stop();
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      (this.#pass ?? this.#begin()).done.catch(warn).finally(() => {
        if (this.#started && this.#timer === undefined) this.#schedule();
      });
      this.#timer = undefined;
    }, this.#interval * 1000).unref();
  }

  #begin(): Pass {
    let resolve: Pass['resolve'] = () => {};
    let reject: Pass['reject'] = () => {};
    const done = new Promise<number>((...settle) => {
      [resolve, reject] = settle;
    });
    const waiting = [...this.#caches];
    const pass: Pass = {
      done,
      resolve,
      reject,
      waiting,
      errors: [],
      removed: 0,
      immediate: undefined,
      awaited: false,
    };
    this.#pass = pass;
    this.#work(pass);
    return pass;
  }

  /** One slice. */
  #work(pass: Pass): void {
    pass.immediate = undefined;
    const until = this.#now() + this.#slice;
    for (;;) {
      const cache = pass.waiting[0];
      if (cache === undefined) {
        this.#end(pass);
        return;
      }
      const removed = this.#flush(cache, pass);
      pass.removed += removed;
      if (removed < BATCH) pass.waiting.shift();
      if (this.#pass !== pass) return;
      if (this.#now() >= until && pass.waiting.length > 0) break;
    }
    pass.immediate = setImmediate(() => this.#work(pass));
    if (!pass.awaited) pass.immediate.unref();
  }

  #flush(cache: Pick<SessionCache, 'flush'>, pass: Pass): number {
    try {
      return cache.flush(undefined, BATCH);
    } catch (error) {
      pass.errors.push(error);
      return 0;
    }
  }

  #end(pass: Pass): void {
    if (this.#pass === pass) this.#pass = undefined;
    if (pass.immediate !== undefined) clearImmediate(pass.immediate);
    pass.immediate = undefined;
    if (pass.errors.length === 0) pass.resolve(pass.removed);
    else if (pass.errors.length === 1) pass.reject(pass.errors[0]);
    else pass.reject(new AggregateError(pass.errors, `${pass.errors.length} caches could not be flushed`));
  }
}

function warn(error: unknown): void {
  process.emitWarning(
    `A session cache could not be flushed: ${error instanceof Error ? error.message : String(error)}`,
    {
      code: 'TLS_RESUMPTION_FLUSH',
    },
  );
}
