/** Facts in a file of LMDB, for all processes of one host. */

import { randomInt } from 'node:crypto';
import { requireFunction, requireInteger, requireNumber, requireObject, requireString } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { closedError } from './engine-errors.js';
import { LmdbFile, type ReportFault, recordOf, reportTo, type Table, type TableStatistics } from './lmdb-file.js';
import type { MaybePromise } from './session-store.js';
import {
  pollSharedState,
  requireFactName,
  requireFactTimeout,
  requireFactValue,
  requirePrefix,
  type SharedState,
  type SharedStateListener,
} from './shared-state.js';

/** Options of {@link lmdbSharedState}. */
export interface LmdbSharedStateOptions {
  /** A directory, as that of a store over LMDB. It may be the same. */
  readonly path: string;
  /** Facts held at most, 1 to 1 000 000. All processes should say the same. Default: 65 536. */
  readonly maxFacts?: number | undefined;
  /** Seconds between looks at what has changed, 0.01 to 3600. Changes are known after that at the latest. Default: 0.5. */
  readonly interval?: number | undefined;
  /** As that of a store over LMDB. */
  readonly onFault?: ((fault: ResumptionError) => void) | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

const END_BYTES = 6;
const LAST_TIME = 2 ** 48 - 1;
const MAP_BYTES = 16 * 1024 * 1024;
const FIRST = Buffer.of(1);

/** Facts over LMDB: see {@link lmdbSharedState}. */
export class LmdbSharedState implements SharedState {
  readonly #file: LmdbFile;
  readonly #maxFacts: number;
  readonly #interval: number;
  readonly #clock: () => number;
  readonly #report: ReportFault;
  readonly #watching = new Set<Disposable>();
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(path: string, maxFacts: number, interval: number, clock: () => number, report: ReportFault) {
    this.#file = LmdbFile.use({ directory: path, name: 'facts', mapSize: MAP_BYTES, sync: true }, report);
    this.#maxFacts = maxFacts;
    this.#interval = interval;
    this.#clock = clock;
    this.#report = report;
  }

  /**
   * The value of a fact, or `undefined`. At once.
   *
   * @throws ResumptionError ERR_STORE_UNAVAILABLE when it cannot be read
   */
  get(name: string): Uint8Array | undefined {
    return this.#find(nameBytes(name)).value;
  }

  /**
   * Sets a fact.
   *
   * @returns a promise that is fulfilled when it is on the disk. Rejects with `ERR_SHARED_STATE_FULL` when there is no room
   *   for one more, and with `ERR_STORE_UNAVAILABLE`
   */
  set(name: string, value: Uint8Array, timeout?: number): Promise<void> {
    const key = nameBytes(name);
    return this.#set(key, this.#encode(value, timeout));
  }

  /**
   * Sets a fact unless it stands; one that does is answered with at once.
   *
   * @returns the value that stands now. Rejects as {@link set}
   */
  setIfAbsent(name: string, value: Uint8Array, timeout?: number): MaybePromise<Uint8Array> {
    const key = nameBytes(name);
    const fact = this.#encode(value, timeout);
    if (this.#closing !== undefined) return Promise.reject(closedError());
    return this.#find(key).value ?? this.#setIfAbsent(key, fact);
  }

  /** All facts whose names begin with `prefix`. At once; throws as {@link get}. */
  entries(prefix: string): Map<string, Uint8Array> {
    requirePrefix(prefix);
    const start = prefix === '' ? FIRST : Buffer.from(prefix, 'latin1');
    const [found, now] = [new Map<string, Uint8Array>(), this.#clock()];
    this.#read((facts) => {
      for (const { key, value } of facts.getRange({ start })) {
        const name = Buffer.from(key).toString('latin1');
        if (!name.startsWith(prefix)) break;
        const fact = decode(value, now);
        if (fact !== undefined) found.set(name, fact);
      }
    });
    return found;
  }

  /** Tells of the facts under a prefix, those that stand before it returns, changes after `interval` at the latest. */
  watch(prefix: string, listener: SharedStateListener, failed: (error: unknown) => void = () => {}): Disposable {
    requirePrefix(prefix);
    requireFunction('listener', listener);
    requireFunction('failed', failed);
    if (this.#closing !== undefined) return { [Symbol.dispose]: () => {} };
    const watching = pollSharedState(this, prefix, listener, { interval: this.#interval, failed });
    this.#watching.add(watching);
    return {
      [Symbol.dispose]: () => {
        this.#watching.delete(watching);
        watching[Symbol.dispose]();
      },
    };
  }

  /** Ends all watching, and closes the file after the writes that are on their way. */
  close(): Promise<void> {
    for (const watching of this.#watching) watching[Symbol.dispose]();
    this.#watching.clear();
    this.#closing ??= this.#file.release(this.#report);
    return this.#closing;
  }

  #read<T>(look: (facts: Table) => T): T {
    if (this.#closing !== undefined) throw closedError();
    return this.#file.read(look);
  }

  /** What stands under a name, and the version of what lies there. */
  #find(key: Buffer): { value?: Uint8Array | undefined; version?: number } {
    return this.#read((facts) => {
      const record = recordOf(facts, key);
      return record === undefined ? {} : { value: decode(record.value, this.#clock()), version: record.version };
    });
  }

  async #set(key: Buffer, fact: Buffer): Promise<void> {
    await this.#makeRoom(key);
    await this.#file.commit((facts) => {
      facts.put(key, fact, newVersion());
    });
  }

  async #setIfAbsent(key: Buffer, fact: Buffer): Promise<Uint8Array> {
    for (;;) {
      await this.#makeRoom(key);
      const { value, version } = this.#find(key);
      if (value !== undefined) return value;
      let done: Promise<boolean> | undefined;
      await this.#file.commit((facts) => {
        const next = newVersion();
        // What is over is replaced, unless another was first; where there is nothing, unless there is now.
        done =
          version === undefined
            ? (facts as unknown as PutIfAbsent).put(key, fact, { version: next, noOverwrite: true })
            : facts.put(key, fact, next, version);
        done.catch(() => {});
      });
      if (await done) return Uint8Array.from(fact.subarray(END_BYTES));
    }
  }

  async #makeRoom(key: Buffer): Promise<void> {
    const isFull = (): boolean =>
      this.#read((facts) => recordOf(facts, key) === undefined && entryCount(facts) >= this.#maxFacts);
    if (!isFull()) return;
    const now = this.#clock();
    const over = this.#read((facts) =>
      [...facts.getRange({ start: FIRST, versions: true })].filter(({ value }) => decode(value, now) === undefined),
    );
    await this.#file.commit((facts) => {
      for (const { key: each, version = 0 } of over) facts.remove(Buffer.from(each), version).catch(() => {});
    });
    if (!isFull()) return;
    throw new ResumptionError('ERR_SHARED_STATE_FULL', `the shared state holds ${this.#maxFacts} facts, its most`);
  }

  #encode(value: Uint8Array, timeout: number | undefined): Buffer {
    requireFactValue(value);
    const fact = Buffer.allocUnsafe(END_BYTES + value.length);
    const endsAt = requireFactTimeout(timeout) === undefined ? 0 : this.#clock() + (timeout as number) * 1000;
    fact.writeUIntBE(Math.min(Math.floor(endsAt), LAST_TIME), 0, END_BYTES);
    fact.set(value, END_BYTES);
    return fact;
  }
}

/**
 * Facts in one file, `facts-1.mdb`, which all processes of the host that name its directory share. A write is on the disk
 * before its promise is fulfilled. Reading is done at once.
 *
 * A corrupt file is set aside as that of a store over LMDB is, and then **no fact is left**. With its epochs gone, every
 * context gets a new one, so that no session is resumed that was made before: also none whose revocation is lost.
 *
 * @throws TypeError | RangeError for wrong options
 * @throws ResumptionError ERR_STORE_UNAVAILABLE if the directory cannot be used, or anybody may write to it
 */
export function lmdbSharedState(options: LmdbSharedStateOptions): LmdbSharedState {
  requireObject('options', options);
  const { path, maxFacts = 65_536, interval = 0.5, onFault, clock = Date.now } = options;
  requireString('path', path);
  requireInteger('maxFacts', maxFacts, 1, 1_000_000);
  requireNumber('interval', interval, 0.01, 3600, 'seconds');
  if (onFault !== undefined) requireFunction('onFault', onFault);
  requireFunction('clock', clock);
  return new LmdbSharedState(path, maxFacts, interval, clock, reportTo(onFault));
}

/** The types of the `lmdb` package do not know that `put` takes options. */
interface PutIfAbsent {
  put(key: Buffer, value: Buffer, options: { version: number; noOverwrite: true }): Promise<boolean>;
}

function nameBytes(name: string): Buffer {
  return Buffer.from(requireFactName(name), 'latin1');
}

/** A copy of the value of a fact that stands. */
function decode(fact: Uint8Array, now: number): Uint8Array | undefined {
  const bytes = Buffer.from(fact.buffer, fact.byteOffset, fact.length);
  if (bytes.length < END_BYTES) return undefined;
  const endsAt = bytes.readUIntBE(0, END_BYTES);
  return endsAt !== 0 && now > endsAt ? undefined : Uint8Array.from(bytes.subarray(END_BYTES));
}

function entryCount(facts: Table): number {
  return (facts.getStats() as TableStatistics).entryCount;
}

/** That nobody else will have. */
function newVersion(): number {
  return randomInt(1, 2 ** 48 - 1);
}
