/** A file of LMDB, opened once in a process for all that use it, and set aside when it is corrupt. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Database, RootDatabase, RootDatabaseOptions } from 'lmdb';
import * as lmdb from 'lmdb';
import { ResumptionError } from '../errors.js';
import { engineError } from './engine-errors.js';
import { faultOfFile } from './lmdb-check.js';
import {
  currentFile,
  fileError,
  identity,
  isMistake,
  MAX_READERS,
  prepareLockFile,
  requireDirectory,
  restrict,
  setAside,
} from './lmdb-directory.js';
import { openInQuiet, whileOpening } from './lmdb-opening.js';

/** Told of a fault. */
export type ReportFault = (fault: ResumptionError) => void;

export type Table = Database<Buffer, Uint8Array>;

/**
 * Stands for `setTimeout` while something is read: `lmdb` (3.5.6) has a timer end what is read, which has ended by then,
 * and each costs the event loop a turn (measured: 8 % of the processor time of a handshake that finds its session).
 */
const NO_TIMER = {};
const noTimeout = (): object => NO_TIMER;
const timers = globalThis as { setTimeout: unknown };

/** What lies under a key. */
export interface LmdbRecord {
  /** The next read overwrites it. */
  readonly value: Buffer;
  readonly version: number;
}

export interface LmdbFileOptions {
  readonly directory: string;
  /** What the file's name begins with. */
  readonly name: string;
  /** Bytes of address space; more is taken when the file is longer. */
  readonly mapSize: number;
  /** Whether a write is on the disk before it is said to have succeeded. */
  readonly sync: boolean;
}

interface Opened {
  readonly path: string;
  readonly table: RootDatabase<Buffer, Uint8Array>;
  readonly identity: string | undefined;
}

/** Corrupt files that are set aside at one opening: more than one means that something goes on spoiling them. */
const MAX_SET_ASIDE = 3;
/** Milliseconds between looks whether the file is still the one that others use. */
const LOOK = 5000;

/**
 * The files that are open in this process, also those of another copy of this module: LMDB must not open a file twice in
 * a process, because closing one ends the locks of both (fcntl(2)), and then others take this process for dead.
 */
const OPEN = Symbol.for('tls-resumption.lmdb-files.1');
const shared = globalThis as { [OPEN]?: Map<string, LmdbFile> };
const files = shared[OPEN] ?? new Map<string, LmdbFile>();
shared[OPEN] = files;

export class LmdbFile {
  readonly #options: LmdbFileOptions;
  readonly #users = new Set<ReportFault>();
  readonly #timer: NodeJS.Timeout;
  #opened: Opened | undefined;
  #told = '';

  /**
   * Opens the file of a name in a directory, or finds it open.
   *
   * @param report told of faults, from now on
   * @throws ResumptionError ERR_STORE_UNAVAILABLE if it can not be, now and later. A full disk and the like are reported,
   *   and it is tried again
   */
  static use(options: LmdbFileOptions, report: ReportFault): LmdbFile {
    const directory = requireDirectory(options.directory);
    const key = join(directory, options.name);
    const file = files.get(key) ?? new LmdbFile({ ...options, directory });
    file.join(report);
    files.set(key, file);
    return file;
  }

  private constructor(options: LmdbFileOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#refresh(), LOOK);
    this.#timer.unref();
  }

  get isOpen(): boolean {
    return this.#opened !== undefined;
  }

  /** @throws ResumptionError ERR_STORE_UNAVAILABLE if the file could not be opened */
  get table(): RootDatabase<Buffer, Uint8Array> {
    if (this.#opened !== undefined) return this.#opened.table;
    throw new ResumptionError('ERR_STORE_UNAVAILABLE', 'the file could not be opened');
  }

  /** One more user: see {@link use}. (A method, because the file may be of another copy of this class.) */
  join(report: ReportFault): void {
    this.#users.add(report);
    try {
      if (this.#opened === undefined) this.#open();
    } catch (error) {
      this.#leave(report);
      throw error;
    }
  }

  /** Closes the file, after the writes that are on their way, when nobody uses it any longer. */
  async release(report: ReportFault): Promise<void> {
    this.#leave(report);
    if (this.#users.size > 0) return;
    const opened = this.#opened;
    this.#opened = undefined;
    // Also one that could not be opened: nobody looks any longer whether it can be.
    files.delete(join(this.#options.directory, this.#options.name));
    if (opened === undefined) return;
    await whileOpening(opened.path);
    await opened.table.close();
  }

  /**
   * Reads in a snapshot of now, which ends with it: what was replaced is to be used again.
   *
   * @throws ResumptionError ERR_STORE_UNAVAILABLE
   */
  read<T>(look: (table: RootDatabase<Buffer, Uint8Array>) => T): T {
    const { table } = this;
    const { setTimeout } = timers;
    timers.setTimeout = noTimeout;
    try {
      return look(table);
    } catch (error) {
      throw this.#failed('LMDB read', error);
    } finally {
      table.resetReadTxn();
      timers.setTimeout = setTimeout;
    }
  }

  /** One transaction. Rejects as {@link read} throws, without keys or values. */
  async commit(write: (table: Table) => void): Promise<void> {
    const { path } = this.#opened ?? {};
    if (path !== undefined) await whileOpening(path);
    const { table } = this;
    try {
      await table.batch(() => write(table));
    } catch (error) {
      // `lmdb` says why in a promise of its own, which must be handled.
      const { commitError } = error as { commitError?: unknown };
      const cause = await Promise.resolve(commitError).catch((reason: unknown) => reason);
      throw this.#failed('LMDB write', cause ?? error);
    }
  }

  /** Looks whether the file is still the one that others open, and opens that. Never throws. */
  #refresh(): void {
    try {
      requireDirectory(this.#options.directory);
      const path = currentFile(this.#options.directory, this.#options.name);
      if (this.#opened === undefined || identity(path) !== this.#opened.identity) this.#open();
      // A process that was killed while it read would keep what it read from being used again.
      this.#opened?.table.readerCheck();
    } catch (error) {
      this.#tell(fileError('the file cannot be opened', error));
    }
  }

  #leave(report: ReportFault): void {
    this.#users.delete(report);
    if (this.#users.size === 0) clearInterval(this.#timer);
  }

  #open(): void {
    const old = this.#opened;
    this.#opened = undefined;
    void old?.table.close();
    try {
      for (let attempt = 0; attempt < MAX_SET_ASIDE && this.#opened === undefined; attempt++) this.#openCurrent();
      if (this.#opened !== undefined) this.#told = '';
      else throw new ResumptionError('ERR_STORE_UNAVAILABLE', 'files are set aside as soon as they are begun');
    } catch (error) {
      const fault = fileError('the file cannot be opened', error);
      if (isMistake(error)) throw fault;
      this.#tell(fault);
    }
  }

  #openCurrent(): void {
    const path = currentFile(this.#options.directory, this.#options.name);
    let fault: string | undefined;
    try {
      if (identity(path) !== undefined) fault = faultOfFile(path);
    } catch (error) {
      // Another process has just set it aside.
      if ((error as { code?: unknown }).code === 'ENOENT') return;
      throw error;
    }
    if (fault === undefined) {
      prepareLockFile(path);
      try {
        const table = openInQuiet(
          path,
          () => this.#openTable(path),
          (opened) => void opened.close(),
        );
        if (currentFile(this.#options.directory, this.#options.name) === path) {
          restrict(path);
          this.#opened = { path, table, identity: identity(path) };
          return;
        }
        // Another process has set it aside since it was looked for, and it was made anew here: nobody else would find it.
        void table.close();
        for (const file of [path, `${path}-lock`]) rmSync(file, { force: true });
        return;
      } catch (error) {
        // EINVAL: the locks were destroyed while the file was opened.
        const { code } = error as { code?: unknown };
        fault = code === 22 ? 'its locks are gone' : corruptionOf(error, path);
        if (fault === undefined) throw error;
      }
    }
    this.#setAside(path, fault);
  }

  #openTable(path: string): RootDatabase<Buffer, Uint8Array> {
    const options: RootDatabaseOptions & { permissionsMode: number } = {
      encoding: 'binary',
      keyEncoding: 'binary',
      useVersions: true,
      noSubdir: true,
      permissionsMode: 0o600,
      mapSize: this.#options.mapSize,
      maxDbs: 1,
      maxReaders: MAX_READERS,
      noSync: !this.#options.sync,
      overlappingSync: false,
      // With it, a write that fails is a rejection that nobody can handle (measured: lmdb 3.5.6).
      eventTurnBatching: false,
    };
    return lmdb.open<Buffer, Uint8Array>(path, options);
  }

  #setAside(path: string, fault: string): void {
    setAside(this.#options.directory, this.#options.name, path);
    this.#tell(new ResumptionError('ERR_STORE_CORRUPT', `${path} is corrupt and was set aside: ${fault}`));
  }

  #failed(what: string, error: unknown): ResumptionError {
    const opened = this.#opened;
    if (opened !== undefined) setImmediate(() => this.#setAsideIfCorrupt(opened, error));
    return engineError(what, error);
  }

  #setAsideIfCorrupt(opened: Opened, error: unknown): void {
    if (this.#opened !== opened) return;
    try {
      const fault = corruptionOf(error, opened.path);
      if (fault === undefined) return;
      this.#setAside(opened.path, fault);
    } catch {
      // Another process was first, or what cannot be renamed is told of when it cannot be opened.
    }
    this.#refresh();
  }

  /** Told once for as long as it is so. */
  #tell(fault: ResumptionError): void {
    if (fault.message === this.#told) return;
    this.#told = fault.message;
    for (const report of [...this.#users]) report(fault);
  }
}

/** What lies under a key in the snapshot of now. It is to be used before anything else is read. */
export function recordOf(table: Table, key: Buffer): LmdbRecord | undefined {
  const value = table.getBinaryFast(key);
  if (value === undefined) return undefined;
  // It may be a part of a longer buffer, whose `length` alone is right.
  return { value: Buffer.from(value.buffer, value.byteOffset, value.length), version: lmdb.getLastVersion() };
}

/** What `getStats()` answers with; its types do not say. */
export interface TableStatistics extends Tree {
  readonly free: Tree;
  readonly lastPageNumber: number;
  readonly lastTxnId: number;
}
export interface Tree {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
  readonly entryCount: number;
}

/**
 * Hands faults to the application. What its function throws is an uncaught exception, as from a timer, and not the
 * failure of the call that the fault came in.
 */
export function reportTo(onFault: ReportFault | undefined): ReportFault {
  return (fault) => {
    try {
      if (onFault !== undefined) onFault(fault);
      else process.emitWarning(fault.message, { code: 'TLS_RESUMPTION_LMDB' });
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  };
}

/** MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_VERSION_MISMATCH, MDB_INVALID: LMDB cannot use the file. */
const CORRUPT: readonly unknown[] = [-30797, -30796, -30794, -30793];
/** MDB_BAD_TXN, MDB_BAD_VALSIZE, MDB_PROBLEM: what writes to a corrupt file end with, but others too. */
const DOUBTFUL: readonly unknown[] = [-30782, -30781, -30779];

/** Why a file is to be set aside after an error, if it is. */
function corruptionOf(error: unknown, path: string): string | undefined {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (CORRUPT.includes(code)) return String(message);
  return DOUBTFUL.includes(code) ? faultOfFile(path) : undefined;
}
