/** Facts in a file of LMDB, for all processes of one host. */

import { requireFunction, requireInteger, requireNumber, requireObject, requireString } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { closedError, engineError } from './engine-errors.js';
import { type ReportFault, reportTo } from './lmdb-faults.js';
import { commit, LmdbFile, type LmdbLayout, type Table } from './lmdb-file.js';
import { newVersion } from './lmdb-records.js';
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

/** Milliseconds between looks at the file itself. */
const LOOK = 5000;
const END_BYTES = 6;
const LAST_TIME = 2 ** 48 - 1;

/** Name, in ASCII → when the fact is over, milliseconds since 1970 in 6 bytes, 0 for never | value; with a version. */
const FACT_LAYOUT: LmdbLayout<'facts'> = {
  name: 'facts',
  tables: { facts: { useVersions: true } },
  sync: true,
  isPossible: () => true,
};

/** Facts over LMDB: see {@link lmdbSharedState}. */
export class LmdbSharedState implements SharedState {
  readonly #file: LmdbFile<'facts'>;
  readonly #maxFacts: number;
  readonly #interval: number;
  readonly #clock: () => number;
  readonly #report: ReportFault;
  readonly #timer: NodeJS.Timeout;
  readonly #watching = new Set<Disposable>();
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(path: string, maxFacts: number, interval: number, clock: () => number, report: ReportFault) {
    this.#file = LmdbFile.use(path, FACT_LAYOUT, 16 * 1024 * 1024, report);
    this.#maxFacts = maxFacts;
    this.#interval = interval;
    this.#clock = clock;
    this.#report = report;
    this.#timer = setInterval(() => this.#file.refresh(), LOOK);
    this.#timer.unref();
  }

  /**
   * The value of a fact, or `undefined`. At once.
   *
   * @throws ResumptionError ERR_STORE_UNAVAILABLE when it cannot be read
   */
  get(name: string): Uint8Array | undefined {
    return this.#find(this.#facts(), nameBytes(name)).value;
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
    return this.#find(this.#facts(), key).value ?? this.#setIfAbsent(key, fact);
  }

  /** All facts whose names begin with `prefix`. At once; throws as {@link get}. */
  entries(prefix: string): Map<string, Uint8Array> {
    requirePrefix(prefix);
    const facts = this.#facts();
    const [found, now] = [new Map<string, Uint8Array>(), this.#clock()];
    const start = prefix === '' ? Buffer.alloc(1) : Buffer.from(prefix, 'latin1');
    for (const { key, value } of read(() => facts.getRange({ start }))) {
      const name = Buffer.from(key).toString('latin1');
      if (!name.startsWith(prefix)) break;
      const fact = decode(value, now);
      if (fact !== undefined) found.set(name, fact);
    }
    facts.resetReadTxn();
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
    clearInterval(this.#timer);
    this.#closing ??= this.#file.release(this.#report);
    return this.#closing;
  }

  #facts(): Table {
    if (this.#closing !== undefined) throw closedError();
    const { facts } = this.#file.environment.tables;
    // What others have written since is to be seen.
    facts.resetReadTxn();
    return facts;
  }

  /** What stands under a name, and the version of what lies there. */
  #find(facts: Table, key: Buffer): { value: Uint8Array | undefined; version: number | undefined } {
    const entry = read(() => facts.getEntry(key));
    facts.resetReadTxn();
    return { value: entry && decode(entry.value, this.#clock()), version: entry && (entry.version ?? 0) };
  }

  async #set(key: Buffer, fact: Buffer): Promise<void> {
    const facts = this.#facts();
    await this.#makeRoom(facts, key);
    await commit(facts, () => {
      facts.put(key, fact, newVersion());
    });
  }

  async #setIfAbsent(key: Buffer, fact: Buffer): Promise<Uint8Array> {
    for (;;) {
      const facts = this.#facts();
      await this.#makeRoom(facts, key);
      const { value, version } = this.#find(facts, key);
      if (value !== undefined) return value;
      let done: Promise<boolean> | undefined;
      await commit(facts, () => {
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

  async #makeRoom(facts: Table, key: Buffer): Promise<void> {
    if (facts.doesExist(key) || entryCount(facts) < this.#maxFacts) return;
    const now = this.#clock();
    const over: Uint8Array[] = [];
    for (const { key, value } of facts.getRange({ start: Buffer.alloc(1) })) {
      if (decode(value, now) === undefined) over.push(key);
    }
    await commit(facts, () => {
      for (const each of over) facts.remove(each);
    });
    facts.resetReadTxn();
    if (entryCount(facts) < this.#maxFacts) return;
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
  return (facts.getStats() as { entryCount: number }).entryCount;
}

function read<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw engineError('LMDB read', error);
  }
}
