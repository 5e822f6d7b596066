/** Writes behind: they are gathered for a moment and made together, one transaction at a time. */

import { ResumptionError } from '../errors.js';
import { closedError } from './engine-errors.js';

/** One write. */
export interface Write {
  readonly key: Buffer;
  /** To be set; without it the key is deleted… */
  readonly record?: Buffer;
  /** …if what lies there has this version, where one is given. */
  readonly version?: number;
}

export interface WritesOptions {
  /** Milliseconds from one transaction to the next, at least. */
  readonly delay: number;
  /** Writes of one transaction at most. */
  readonly maxBatch: number;
  /** Makes the writes. Fulfilled with whether each was made: a deletion may have had another version. */
  readonly write: (batch: readonly Write[]) => Promise<readonly boolean[]>;
}

/** Bytes of sets that wait at most, with so many for each. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
const OVERHEAD = 1024;

interface Waiting extends Write {
  readonly resolve: (made: boolean) => void;
  readonly reject: (error: unknown) => void;
}

export class LmdbWrites {
  readonly #options: WritesOptions;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | undefined;
  #last: Promise<unknown> | undefined;
  #hurried = false;
  #endPause: () => void = () => {};
  #ended = Number.NEGATIVE_INFINITY;
  #closed = false;
  /** Sessions that were not written. */
  dropped = 0;

  constructor(options: WritesOptions) {
    this.#options = options;
  }

  /** Whether there are writes that are not done. */
  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  /** @returns a promise that nobody need wait for: whether the write was made. Rejects with ERR_STORE_UNAVAILABLE */
  add(write: Write): Promise<boolean> {
    const isTooMuch = write.record !== undefined && this.#waitingBytes >= MAX_WAITING_BYTES;
    if (this.#closed || isTooMuch) {
      if (write.record !== undefined) this.dropped++;
      return Promise.reject(this.#closed ? closedError() : tooMuch());
    }
    const made = new Promise<boolean>((resolve, reject) => this.#waiting.push({ ...write, resolve, reject }));
    made.catch(() => {});
    this.#last = made;
    this.#waitingBytes += sizeOf(write);
    this.#running ??= this.#run();
    if (this.#waiting.length >= this.#options.maxBatch) this.hurry();
    return made;
  }

  /** What waits is made without more delay. */
  hurry(): void {
    this.#hurried = true;
    this.#endPause();
  }

  /** Fulfilled when all that waits now is done, be it that it has failed. */
  async flush(): Promise<void> {
    this.hurry();
    await this.#last?.catch(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.hurry();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      // The first write after a while is made as soon as this turn of the event loop is over.
      const pause = this.#ended + this.#options.delay - performance.now();
      if (!this.#hurried) await this.#pause(pause);
      this.#hurried = this.#closed || this.#waiting.length >= 2 * this.#options.maxBatch;
      await this.#make(this.#waiting.splice(0, this.#options.maxBatch));
      this.#ended = performance.now();
    }
    this.#running = undefined;
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      if (milliseconds <= 0) setImmediate(resolve);
      const timer = milliseconds > 0 ? setTimeout(resolve, milliseconds) : undefined;
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #make(batch: readonly Waiting[]): Promise<void> {
    try {
      const made = await this.#options.write(batch);
      for (const [n, { resolve }] of batch.entries()) resolve(made[n] as boolean);
    } catch (error) {
      for (const { record, reject } of batch) {
        if (record !== undefined) this.dropped++;
        reject(error);
      }
    }
    for (const write of batch) {
      this.#waitingBytes -= sizeOf(write);
      // The bytes of sessions are not left behind.
      write.record?.fill(0);
    }
  }
}

function sizeOf({ record }: Write): number {
  return record === undefined ? 0 : OVERHEAD + record.length;
}

function tooMuch(): ResumptionError {
  return new ResumptionError('ERR_STORE_UNAVAILABLE', 'the write was not made: too many wait');
}
