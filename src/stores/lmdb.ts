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
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import { LmdbFile, type ReportFault, reportTo } from './lmdb-file.js';
import { LmdbSessions, type SessionsOptions } from './lmdb-sessions.js';
import { LmdbWrites, type Write } from './lmdb-writes.js';
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
   * together. Default: 10.
   */
  readonly delay?: number | undefined;
  /** Seconds between removals of expired sessions, 1 to 86 400. Default: 60. */
  readonly interval?: number | undefined;
  /**
   * Told of what no caller is told: a corrupt file that was set aside, and a file that cannot be opened. Default: a process
   * warning with the code `TLS_RESUMPTION_LMDB`.
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

/** Milliseconds of the event loop that a slice of a removal may take, and from one to the next when nobody waits. */
const SLICE = 2;
const PAUSE = 40;

const KEY_BYTES = 32;

/**
 * Sessions in one file, `sessions-1.mdb`, which all processes of the host that name its directory share, and which
 * outlives them. Reading it is a look into shared memory: it is done at once, and costs no turn of the event loop.
 *
 * - **Writes** that come within `delay` milliseconds of the last one are gathered and written in one transaction, off the
 *   main thread. A session is found, by other processes and by this one, when the promise of its `set` is fulfilled. What
 *   has not been written when a process is killed is lost; what was written is not, and a file is never half written.
 * - **Bounds**: when the file is full the sessions that were set first make room, whichever process set them. The bounds
 *   are kept at each transaction, with what others write at the same time beyond: a batch of at most 256 sessions for
 *   each process. While a process that was stopped in the middle of a read (SIGSTOP) keeps what it read from being used
 *   again, a file that is nearly full is not written to.
 * - **Nothing is synchronised to the disk**: it is the system that does so, in its time, because a cache may forget. After
 *   a loss of power the file may be older than it was, and a session that was taken or deleted just before be there again,
 *   or it may be corrupt.
 * - **A corrupt file** is found when it is opened, before LMDB is: all of it is looked through, which takes a second for
 *   each GiB or so. It is renamed to `….mdb.corrupt`, of which one is kept, and a new one is begun under the next number.
 *   Processes that have the old one open find the new one within five seconds. (What spoils a file while it is open may end
 *   the processes that read the spoilt part: LMDB reads it through a memory map.)
 * - **A full disk** fails writes: `set` rejects. Reads go on. The `lmdb` package writes a line to the standard error for
 *   each that fails. A process that was stopped in the middle of a write (SIGSTOP) holds those of the others up; one that
 *   was killed does not. Both are what `DeadlineStore` is for, which `SessionCache` puts this store into.
 * - **Opening** stops the event loop for 15 ms and the look through the file: nobody may write to it meanwhile.
 * - **Access**: the file has mode 0600, and a new directory 0700. Whoever can read the file can read the connections of its
 *   sessions and resume them; whoever can write to it can do that to all. A directory that every user may write to is
 *   refused.
 *
 * Several stores of one process may open the same path, and share the file; the bounds are each its own. The threads of a
 * process must not: closing one would end the locks of all (fcntl(2)). Nor must containers that number their processes
 * apart (pid_namespaces(7)): a process would be taken for another one.
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
  const store = new Store({ path, maxSessions, maxBytes, delay, interval, clock, report: reportTo(onFault) });
  if (seal === false) return store;
  try {
    return sealed(store, withSeal(store, seal));
  } catch (error) {
    void store.close();
    throw error;
  }
}

/** The store with its values sealed, and all that it has beyond a session store. */
function sealed(store: Store, inside: SessionStore): LmdbStore {
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

interface Settings extends SessionsOptions {
  readonly path: string;
  readonly delay: number;
  readonly interval: number;
  readonly report: ReportFault;
}

class Store implements LmdbStore {
  readonly #file: LmdbFile;
  readonly #sessions: LmdbSessions;
  readonly #writes: LmdbWrites;
  readonly #report: ReportFault;
  readonly #maxSession: number;
  readonly #timer: NodeJS.Timeout;
  #tooLong = 0;
  #sweeping: Promise<number> | undefined;
  #closing: Promise<void> | undefined;

  constructor({ path, maxSessions, maxBytes, delay, interval, clock, report }: Settings) {
    this.#report = report;
    this.#file = LmdbFile.use({ directory: path, name: 'sessions', mapSize: 2 * maxBytes, sync: false }, report);
    const sessions = new LmdbSessions(this.#file, { maxSessions, maxBytes, clock });
    this.#sessions = sessions;
    this.#writes = new LmdbWrites({
      delay,
      maxBatch: sessions.maxBatch,
      write: (batch) => sessions.write(batch),
    });
    this.#maxSession = Math.floor(maxBytes / 64);
    this.#timer = setInterval(() => void this.#sweep(PAUSE).catch(report), interval * 1000);
    this.#timer.unref();
  }

  get statistics(): LmdbStoreStatistics {
    const { sessions, used, bytes } = this.#isOpen ? this.#sessions.fill() : { sessions: 0, used: 0, bytes: 0 };
    const dropped = this.#writes.dropped + this.#tooLong;
    return Object.freeze({ sessions, used, bytes, ...this.#sessions.counts, dropped });
  }

  get(key: Uint8Array): Uint8Array | undefined {
    requireKey(key);
    return this.#isOpen ? this.#sessions.find(key)?.session : undefined;
  }

  set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void> {
    requireKey(key);
    requireBytes('session', session, 1, Number.MAX_SAFE_INTEGER);
    requireNumber('timeout', timeout, 1, MAX_TICKET_LIFETIME, 'seconds');
    if (session.length <= this.#maxSession) {
      return this.#write({ key: Buffer.from(key), record: this.#sessions.encode(session, timeout) });
    }
    this.#tooLong++;
    // What was there is not what was set last.
    return this.#write({ key: Buffer.from(key) });
  }

  delete(key: Uint8Array): MaybePromise<void> {
    requireKey(key);
    if (this.#isOpen && !this.#writes.isBusy && this.#sessions.find(key) === undefined) return undefined;
    return this.#write({ key: Buffer.from(key) });
  }

  take(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    requireKey(key);
    if (!this.#isOpen) return undefined;
    const found = this.#sessions.find(key);
    return found === undefined && !this.#writes.isBusy ? undefined : this.#take(Buffer.from(key), found);
  }

  sweep(): Promise<number> {
    return this.#sweep(0);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Counts only: neither keys nor sessions. */
  [inspect.custom](_depth: number, options: object): string {
    return `LmdbStore ${inspect(this.statistics, options)}`;
  }

  /** @returns a promise that nobody need wait for */
  #write(write: Write): Promise<void> {
    const done = this.#writes.add(write).then(() => {});
    done.catch(() => {});
    return done;
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled([this.#writes.close(), this.#sweeping]);
    await this.#file.release(this.#report);
  }

  /** Whoever removes the version that was read has taken it. */
  async #take(key: Buffer, found: ReturnType<LmdbSessions['find']>): Promise<Uint8Array | undefined> {
    let next = found;
    if (next === undefined) {
      // It may be about to be written.
      await this.#writes.flush();
      next = this.#isOpen ? this.#sessions.find(key) : undefined;
    }
    while (next !== undefined) {
      const taken = this.#writes.add({ key, version: next.version });
      this.#writes.hurry();
      if (await taken) return next.session;
      next = this.#isOpen ? this.#sessions.find(key) : undefined;
    }
    return undefined;
  }

  /** One whole pass; calls while one is going on share it. */
  #sweep(pause: number): Promise<number> {
    if (!this.#isOpen) return Promise.resolve(0);
    this.#sweeping ??= this.#sessions
      .sweep(SLICE, pause, () => !this.#isOpen)
      .finally(() => {
        this.#sweeping = undefined;
      });
    return this.#sweeping;
  }

  get #isOpen(): boolean {
    return this.#closing === undefined && this.#file.isOpen;
  }
}

function requireKey(key: Uint8Array): void {
  requireBytes('key', key, KEY_BYTES, KEY_BYTES);
}
