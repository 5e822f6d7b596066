/** A file of LMDB, opened once in a process for all that use it, and set aside when it is corrupt. */

import { join } from 'node:path';
import type { Database, DatabaseOptions, RootDatabase, RootDatabaseOptions } from 'lmdb';
import * as lmdb from 'lmdb';
import { ResumptionError } from '../errors.js';
import { engineError } from './engine-errors.js';
import { checkLmdbFile, type LmdbCensus } from './lmdb-check.js';
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
import type { ReportFault } from './lmdb-faults.js';

export type Table = Database<Buffer, Uint8Array>;

/** What a kind of file has in it. */
export interface LmdbLayout<Name extends string> {
  /** What its name begins with. */
  readonly name: string;
  readonly tables: Readonly<Record<Name, DatabaseOptions>>;
  /** Whether a write is on the disk before it is said to have succeeded. */
  readonly sync: boolean;
  /** Whether what its tables hold can be. */
  isPossible(census: LmdbCensus): boolean;
}

/** An open file. */
export interface LmdbEnvironment<Name extends string> {
  readonly path: string;
  readonly root: RootDatabase<Buffer, Uint8Array>;
  readonly tables: Readonly<Record<Name, Table>>;
  /** What stands under a key now: the next read overwrites it. */
  read(table: Table, key: Uint8Array): Uint8Array | undefined;
}

interface Opened<Name extends string> extends LmdbEnvironment<Name> {
  readonly identity: string | undefined;
}

/** Corrupt files that are set aside at one opening: more than one means that something goes on spoiling them. */
const MAX_SET_ASIDE = 3;

/**
 * The files that are open in this process, also those of another copy of this module: LMDB must not open a file twice in
 * a process, because closing one ends the locks of both (fcntl(2)), and then others take this process for dead.
 */
const OPEN = Symbol.for('tls-resumption.lmdb-files.1');
const shared = globalThis as { [OPEN]?: Map<string, LmdbFile<string>> };
const files = shared[OPEN] ?? new Map<string, LmdbFile<string>>();
shared[OPEN] = files;

export class LmdbFile<Name extends string> {
  readonly #directory: string;
  readonly #layout: LmdbLayout<Name>;
  readonly #mapSize: number;
  readonly #users = new Set<ReportFault>();
  #opened: Opened<Name> | undefined;
  #told = '';

  /**
   * Opens the file of a layout in a directory, or finds it open.
   *
   * @param mapSize bytes of address space; more is taken when the file is longer
   * @param report told of faults, from now on
   * @throws ResumptionError ERR_STORE_UNAVAILABLE if it can not be, now and later. A full disk and the like are reported,
   *   and tried again at each {@link refresh}
   */
  static use<Name extends string>(
    directory: string,
    layout: LmdbLayout<Name>,
    mapSize: number,
    report: ReportFault,
  ): LmdbFile<Name> {
    const real = requireDirectory(directory);
    const key = join(real, layout.name);
    const file = (files.get(key) as LmdbFile<Name> | undefined) ?? new LmdbFile(real, layout, mapSize);
    file.join(report);
    files.set(key, file as unknown as LmdbFile<string>);
    return file;
  }

  private constructor(directory: string, layout: LmdbLayout<Name>, mapSize: number) {
    this.#directory = directory;
    this.#layout = layout;
    this.#mapSize = mapSize;
  }

  get isOpen(): boolean {
    return this.#opened !== undefined;
  }

  /**
   * What is open now.
   *
   * @throws ResumptionError ERR_STORE_UNAVAILABLE if nothing is
   */
  get environment(): LmdbEnvironment<Name> {
    if (this.#opened !== undefined) return this.#opened;
    throw new ResumptionError('ERR_STORE_UNAVAILABLE', 'the file could not be opened');
  }

  /** One more user: see {@link use}. (A method, because the file may be of another copy of this class.) */
  join(report: ReportFault): void {
    this.#users.add(report);
    try {
      if (this.#opened === undefined) this.#open();
    } catch (error) {
      this.#users.delete(report);
      throw error;
    }
  }

  /** Looks whether the file is still the one that others open, and opens that. Never throws. */
  refresh(): void {
    if (this.#users.size === 0) return;
    try {
      requireDirectory(this.#directory);
      const path = currentFile(this.#directory, this.#layout.name);
      if (this.#opened === undefined || identity(path) !== this.#opened.identity) this.#open();
    } catch (error) {
      this.#tell(fileError('the file cannot be opened', error));
    }
  }

  /** Closes the file when nobody uses it any longer. */
  async release(report: ReportFault): Promise<void> {
    this.#users.delete(report);
    if (this.#users.size > 0) return;
    const opened = this.#opened;
    this.#opened = undefined;
    files.delete(join(this.#directory, this.#layout.name));
    await opened?.root.close();
  }

  #open(): void {
    const old = this.#opened;
    this.#opened = undefined;
    void old?.root.close();
    try {
      for (let attempt = 0; attempt < MAX_SET_ASIDE && this.#opened === undefined; attempt++) this.#openCurrent();
      if (this.#opened !== undefined) this.#told = '';
    } catch (error) {
      const fault = fileError('the file cannot be opened', error);
      if (isMistake(error)) throw fault;
      this.#tell(fault);
    }
  }

  #openCurrent(): void {
    const { name } = this.#layout;
    const path = currentFile(this.#directory, name);
    let fault = this.#check(path);
    if (fault === undefined) {
      prepareLockFile(path);
      try {
        this.#opened = this.#openTables(path);
        return;
      } catch (error) {
        fault = faultOf(error);
        if (fault === undefined) throw error;
      }
    }
    setAside(this.#directory, name, path);
    this.#tell(new ResumptionError('ERR_STORE_CORRUPT', `${path} is corrupt and was set aside: ${fault}`));
  }

  #check(path: string): string | undefined {
    if (identity(path) === undefined) return undefined;
    const check = checkLmdbFile(path);
    if ('fault' in check) return check.fault;
    return check.census.size === 0 || this.#layout.isPossible(check.census) ? undefined : 'its tables do not match';
  }

  #openTables(path: string): Opened<Name> {
    const { tables, sync } = this.#layout;
    const options: RootDatabaseOptions & { permissionsMode: number } = {
      ...BYTES,
      noSubdir: true,
      permissionsMode: 0o600,
      mapSize: this.#mapSize,
      maxDbs: 8,
      maxReaders: MAX_READERS,
      noSync: !sync,
      overlappingSync: false,
      // With it, a write that fails is a rejection that nobody can handle (measured: lmdb 3.5.6).
      eventTurnBatching: false,
    };
    const root = lmdb.open<Buffer, Uint8Array>(path, options);
    try {
      restrict(path);
      const opened = Object.entries<DatabaseOptions>(tables).map(([table, its]) => {
        return [table, root.openDB<Buffer, Uint8Array>(table, { ...BYTES, ...its })];
      });
      const byName = Object.fromEntries(opened) as Record<Name, Table>;
      return { path, root, tables: byName, read: readerOf(root), identity: identity(path) };
    } catch (error) {
      void root.close();
      throw error;
    }
  }

  /** Told once for as long as it is so. */
  #tell(fault: ResumptionError): void {
    if (fault.message === this.#told) return;
    this.#told = fault.message;
    for (const report of [...this.#users]) report(fault);
  }
}

const BYTES = { encoding: 'binary', keyEncoding: 'binary' } as const;

/**
 * Reads, each in a snapshot of its own, which it does not leave open: what others have written is to be seen, and what was
 * replaced to be used again.
 *
 * `lmdb` does so with a timer for each snapshot (`resetReadTxn` only ends it earlier). A transaction that is ours and the
 * native function that ends its snapshot do without: measured, a third of the time. That function is exported and not
 * documented, and so looked for.
 */
function readerOf(root: RootDatabase<Buffer, Uint8Array>): LmdbEnvironment<string>['read'] {
  const { nativeAddon } = lmdb as { nativeAddon?: { resetTxn?: (address: number) => void } };
  const resetTxn = nativeAddon?.resetTxn;
  if (typeof resetTxn !== 'function') {
    return (table, key) => {
      const found = table.getBinaryFast(key);
      table.resetReadTxn();
      return found;
    };
  }
  const transaction = root.useReadTransaction() as { address?: number };
  const address = transaction.address as number;
  resetTxn(address);
  const options = { transaction };
  return (table, key) => {
    try {
      return (table as ReadsInTransaction).getBinaryFast(key, options);
    } finally {
      resetTxn(address);
    }
  };
}

/** The types of the `lmdb` package do not know that it takes options. */
type ReadsInTransaction = { getBinaryFast(key: Uint8Array, options: object): Buffer | undefined };

/** What LMDB says of a file that it cannot use: MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_VERSION_MISMATCH, MDB_INVALID. */
function faultOf(error: unknown): string | undefined {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const corrupt = [-30797, -30796, -30794, -30793];
  return corrupt.includes(code as number) ? String(message) : undefined;
}

/** One transaction. Rejects without keys or values. */
export async function commit(table: Table, write: () => void): Promise<void> {
  try {
    await table.batch(write);
  } catch (error) {
    // `lmdb` says why in a promise of its own, which must be handled.
    const { commitError } = error as { commitError?: unknown };
    const cause = await Promise.resolve(commitError).catch((reason: unknown) => reason);
    throw engineError('LMDB write', cause ?? error);
  }
}
