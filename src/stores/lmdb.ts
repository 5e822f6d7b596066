/**
 * Sessions and shared facts in files of LMDB, for all processes of one host, and for their restarts. Needs the package
 * `lmdb`.
 *
 * @module
 */

import { inspect } from 'node:util';
import {
  requireBytes,
  requireFunction,
  requireInteger,
  requireNumber,
  requireObject,
  requireString,
} from '../arguments.js';
import type { ResumptionError } from '../errors.js';
import type { TicketSealer } from '../tickets/ticket-sealer.js';
import { closedError, engineError } from './engine-errors.js';
import { type ReportFault, reportTo } from './lmdb-faults.js';
import { commit, LmdbFile } from './lmdb-file.js';
import { decodeSession, KEY_BYTES, placeOf, SESSION_LAYOUT, type SessionTables } from './lmdb-records.js';
import { fillOf } from './lmdb-room.js';
import { SessionUpkeep } from './lmdb-upkeep.js';
import { SessionWrites } from './lmdb-writes.js';
import { withSeal } from './sealed-store.js';
import type { MaybePromise, SessionStore } from './session-store.js';

export { LmdbSharedState, type LmdbSharedStateOptions, lmdbSharedState } from './lmdb-shared-state.js';

/** Options of {@link lmdbStore}. */
export interface LmdbStoreOptions {
  /**
   * A directory on a local disk (not on a network file system), of this user alone. It is made if it is not there. Several
   * processes may open it, but not several threads of one.
   */
  readonly path: string;
  /** Sessions held at most, 1 to 16 777 216. All processes should say the same. Default: 100 000. */
  readonly maxSessions?: number | undefined;
  /** Bytes of the file at most, 4 MiB to 2⁴⁰; sessions fill three quarters of it. Default: 128 MiB. */
  readonly maxBytes?: number | undefined;
  /**
   * What seals the sessions in the file, such as a `TicketCodec`; all processes need its keys. `false` leaves them in
   * clear: the file does not leave the machine, but its backups may. Default: false.
   */
  readonly seal?: TicketSealer | false | undefined;
  /**
   * Milliseconds from one transaction to the next at least, 0 to 1000: new sessions are gathered meanwhile, and written
   * together. Default: 20.
   */
  readonly delay?: number | undefined;
  /** Seconds between removals of expired sessions, 1 to 86 400. Default: 60. */
  readonly interval?: number | undefined;
  /**
   * Told of what no caller is told: a corrupt file that was set aside, a file that cannot be opened, and writes that
   * fail, once a minute for as long as they do. Default: a process warning with the code `TLS_RESUMPTION_LMDB`.
   */
  readonly onFault?: ((fault: ResumptionError) => void) | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

/** What a store over LMDB counts. Those of the file are of all processes. */
export interface LmdbStoreStatistics {
  /** Sessions in the file, expired ones that were not removed yet included. */
  readonly sessions: number;
  /** Bytes of the file. */
  readonly bytes: number;
  /** Bytes of it that are in use. */
  readonly used: number;
  /** Sessions that this process has written. */
  readonly written: number;
  /** Sessions that it has not, because writing failed, too many were waiting, or they were too long. */
  readonly dropped: number;
  /** Sessions that it has removed to make room. */
  readonly evicted: number;
  /** Sessions that it has removed because their time was over. */
  readonly expired: number;
  /** Records it found that cannot have been written by a store, and removed. */
  readonly malformed: number;
}

/** A store over LMDB: see {@link lmdbStore}. */
export interface LmdbStore extends SessionStore {
  /** At once: reading is. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** @returns a promise that is fulfilled when the session is written, and every process finds it */
  set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void>;
  /** @returns a promise that is fulfilled when no process finds it any more; nothing when none would have */
  delete(key: Uint8Array): MaybePromise<void>;
  /** Gets and deletes: of all callers of all processes one is answered. At once when there is nothing. */
  take(key: Uint8Array): MaybePromise<Uint8Array | undefined>;
  /** Removes expired sessions now, in slices. Calls while a removal is going on share it. @returns how many it were */
  sweep(): Promise<number>;
  /** The counters, as they are now. */
  readonly statistics: LmdbStoreStatistics;
  /** Writes what waits, and closes the file when no other store of this process has it open. */
  close(): Promise<void>;
}

const MAX_TAKES = 64;

/**
 * Sessions in one file, `sessions-1.mdb`, which all processes of the host that name its directory share, and which
 * outlives them. Reading it is a look into shared memory: it is done at once, and costs no turn of the event loop.
 *
 * - **Writes** that come within `delay` milliseconds of the last one are gathered and written in one transaction, off the
 *   main thread. A session is found, by other processes and by this one, when the promise of its `set` is fulfilled. What
 *   has not been written when a process is killed is lost; what was written is not, and a file is never half written.
 * - **Bounds**: when the file is full the sessions that were set first make room, whichever process set them. The bounds
 *   are kept at each transaction, with what others write at the same time beyond: a batch of at most 256 sessions for
 *   each process. The file grows to `maxBytes` at most while every process reads and goes on; one that is stopped (SIGSTOP)
 *   in the moment of a read keeps what it read from being used again, until it goes on or ends.
 * - **Nothing is synchronised to the disk**: it is the system that does so, in its time, because a cache may forget. After
 *   a loss of power the file may be older than it was, and a session that was taken or deleted just before be there again,
 *   or it may be corrupt.
 * - **A corrupt file** is found when it is opened, before LMDB is: all of it is looked through, which takes a second for
 *   each GiB or so. It is renamed to `….mdb.corrupt`, of which one is kept, and a new one is begun under the next number.
 *   Processes that have the old one open find the new one within five seconds. (What spoils a file while it is open ends the
 *   processes that read the spoilt part: LMDB reads it through a memory map.)
 * - **A full disk** fails writes: `set` rejects at once for a second, then one is tried. Reads go on. The `lmdb` package
 *   writes a line to the standard error for each that fails.
 * - **Access**: the file has mode 0600, and a new directory 0700. Whoever can read the file can read the connections of its
 *   sessions and resume them; whoever can write to it can do that to all. A directory that every user may write to is
 *   refused. What is read is checked for being possible, and what is not is removed.
 *
 * Several stores of one process may open the same path, and share the file; the bounds are each its own. The threads of a
 * process must not: closing one would end the locks of all (fcntl(2)).
 *
 * @throws TypeError if an option is of the wrong type, or `seal` does not bind to a context: see `SealedStore`
 * @throws RangeError if a number is out of range
 * @throws ResumptionError ERR_STORE_UNAVAILABLE if the directory cannot be used or anybody may write to it. A full disk and
 *   the like are no such reason: then the store finds nothing and its writes fail, until the file can be opened
 *
 * @example
 * ```ts
 * const external = lmdbStore({ path: '/var/lib/shop/sessions' });
 * const cache = new SessionCache({ external });
 * ```
 */
export function lmdbStore(options: LmdbStoreOptions): LmdbStore {
  requireObject('options', options);
  const {
    path,
    maxSessions = 100_000,
    maxBytes = 128 * 1024 * 1024,
    seal = false,
    delay = 10,
    interval = 60,
  } = options;
  const { onFault, clock = Date.now } = options;
  requireString('path', path);
  requireInteger('maxSessions', maxSessions, 1, 2 ** 24);
  requireInteger('maxBytes', maxBytes, 4 * 1024 * 1024, 2 ** 40, 'bytes');
  requireNumber('delay', delay, 0, 1000, 'ms');
  requireNumber('interval', interval, 1, 86_400, 'seconds');
  if (onFault !== undefined) requireFunction('onFault', onFault);
  requireFunction('clock', clock);
  const store = new LmdbSessions({ path, maxSessions, maxBytes, delay, interval, clock, report: reportTo(onFault) });
  if (seal === false) return store;
  try {
    return sealed(store, withSeal(store, seal));
  } catch (error) {
    void store.close();
    throw error;
  }
}

/** The store with its values sealed, and all that it has beyond a session store. */
function sealed(store: LmdbSessions, inside: SessionStore): LmdbStore {
  return {
    get: (key) => inside.get(key) as Uint8Array | undefined,
    set: (key, session, timeout) => inside.set(key, session, timeout) as Promise<void>,
    delete: (key) => inside.delete(key),
    take: (key) => inside.take?.(key),
    sweep: () => store.sweep(),
    close: () => store.close(),
    get statistics() {
      return store.statistics;
    },
  };
}

interface LmdbSettings {
  readonly path: string;
  readonly maxSessions: number;
  readonly maxBytes: number;
  readonly delay: number;
  readonly interval: number;
  readonly clock: () => number;
  readonly report: ReportFault;
}

class LmdbSessions implements LmdbStore {
  readonly #file: LmdbFile<SessionTables>;
  readonly #writes: SessionWrites;
  readonly #upkeep: SessionUpkeep;
  readonly #clock: () => number;
  readonly #report: ReportFault;
  readonly #maxSession: number;
  #tooLong = 0;
  #malformed = 0;
  #closing: Promise<void> | undefined;

  constructor({ path, maxSessions, maxBytes, delay, interval, clock, report }: LmdbSettings) {
    const file = LmdbFile.use(path, SESSION_LAYOUT, 2 * maxBytes, report);
    this.#file = file;
    this.#clock = clock;
    this.#report = report;
    this.#maxSession = Math.floor(maxBytes / 64);
    this.#writes = new SessionWrites({ file, maxSessions, maxBytes, delay, clock, report });
    this.#upkeep = new SessionUpkeep({ file, interval, clock, report });
  }

  get statistics(): LmdbStoreStatistics {
    const fill = this.#isOpen ? this.#fill() : { sessions: 0, used: 0, bytes: 0 };
    const { written, dropped, evicted } = this.#writes.statistics;
    const [expired, malformed] = [this.#upkeep.expired, this.#malformed];
    return Object.freeze({ ...fill, written, dropped: dropped + this.#tooLong, evicted, expired, malformed });
  }

  get(key: Uint8Array): Uint8Array | undefined {
    requireKey(key);
    return this.#isOpen ? this.#read(key) : undefined;
  }

  set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void> {
    requireKey(key);
    requireBytes('session', session, 1, Number.MAX_SAFE_INTEGER);
    requireNumber('timeout', timeout, 1, 604_800, 'seconds');
    if (session.length <= this.#maxSession || this.#closing !== undefined)
      return this.#writes.set(key, session, timeout);
    this.#tooLong++;
    // What was there is not what was set last.
    return this.#writes.delete(key);
  }

  delete(key: Uint8Array): MaybePromise<void> {
    requireKey(key);
    if (this.#isOpen && !this.#writes.has(key) && !this.#holds(key)) return undefined;
    return this.#writes.delete(key);
  }

  take(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    requireKey(key);
    if (this.#closing !== undefined) return Promise.reject(closedError());
    if (!this.#isOpen || (!this.#writes.has(key) && this.#read(key) === undefined)) return undefined;
    return this.#take(Buffer.from(key));
  }

  sweep(): Promise<number> {
    return this.#isOpen ? this.#upkeep.sweep() : Promise.resolve(0);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Counts only: neither keys nor sessions. */
  [inspect.custom](_depth: number, options: object): string {
    return `LmdbStore ${inspect(this.statistics, options)}`;
  }

  async #close(): Promise<void> {
    await Promise.all([this.#writes.close(), this.#upkeep.close()]);
    await this.#file.release(this.#report);
  }

  /** Whoever removes the version that was read has taken it. */
  async #take(key: Buffer): Promise<Uint8Array | undefined> {
    await this.#writes.settled(key);
    for (let attempt = 0; attempt < MAX_TAKES && this.#closing === undefined; attempt++) {
      const found = this.#readEntry(key);
      if (found === undefined) return undefined;
      const { sessions, order } = this.#file.environment.tables;
      let taken: Promise<boolean> | undefined;
      const done = commit(sessions, () => {
        taken = sessions.remove(key, found.version);
        taken.catch(() => {});
        order.remove(found.place);
      });
      await done;
      if (await taken) return found.session;
    }
    return undefined;
  }

  #read(key: Uint8Array): Buffer | undefined {
    const { read, tables } = this.#file.environment;
    try {
      const record = read(tables.sessions, key);
      const session = record && decodeSession(record, this.#clock());
      if (session !== 'malformed') return session;
      this.#remove(key);
      return undefined;
    } catch (error) {
      throw engineError('LMDB read', error);
    }
  }

  #readEntry(key: Uint8Array): { session: Buffer; version: number; place: Buffer } | undefined {
    const { sessions } = this.#file.environment.tables;
    const entry = sessions.getEntry(key);
    sessions.resetReadTxn();
    const session = entry && decodeSession(entry.value, this.#clock());
    if (entry === undefined || session === undefined || session === 'malformed') return undefined;
    const version = entry.version ?? 0;
    return { session, version, place: placeOf(entry.value, version) };
  }

  #remove(key: Uint8Array): void {
    this.#malformed++;
    void this.#writes.delete(key);
  }

  #holds(key: Uint8Array): boolean {
    const { sessions } = this.#file.environment.tables;
    const held = sessions.doesExist(key);
    sessions.resetReadTxn();
    return held;
  }

  #fill() {
    try {
      return fillOf(this.#file.environment);
    } catch {
      return { sessions: 0, used: 0, bytes: 0 };
    }
  }

  get #isOpen(): boolean {
    return this.#closing === undefined && this.#file.isOpen;
  }
}

function requireKey(key: Uint8Array): void {
  requireBytes('key', key, KEY_BYTES, KEY_BYTES);
}
