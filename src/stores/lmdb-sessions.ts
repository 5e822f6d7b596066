/**
 * Sessions in a file of LMDB, and their order.
 *
 * - `1 | key 32` → ends at 6 | session, with a version that says when it was set and that no other write of the key has;
 * - `2 | version 8 | key 32` → ends at 6: the place of a session in the order, so that the oldest is the first.
 *
 * Times are milliseconds since 1970. A place whose session has another version by now, or is gone, is of no meaning: what
 * is done with it is done to a session of that version only.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { ResumptionError } from '../errors.js';
import { copyOf } from '../wire/bytes.js';
import { type LmdbFile, recordOf, type Table, type TableStatistics, type Tree } from './lmdb-file.js';
import type { Write } from './lmdb-writes.js';

const KEY_BYTES = 32;
const TIME_BYTES = 6;
const [SESSION, PLACE] = [1, 2];
const FIRST_PLACE = Buffer.of(PLACE);
const AFTER_PLACES = Buffer.of(PLACE + 1);
const LAST_TIME = 2 ** 42 - 1;
/** Room for the key that is looked up: for one read after the other. */
const forLookup = Buffer.alloc(1 + KEY_BYTES);

/** The part of the file that sessions may fill. The rest is for pages that are free, or copies that were replaced. */
const FILL = 0.7;
/** From here on the file should not grow any more. */
const BRIM = 0.875;
/** Transactions after which every reader has gone on, unless it cannot. */
const LAG = 4;
/** Milliseconds between looks whether it has, and how many there are. */
const HELD_UP = 20;
const MAX_LOOKS = 50;

export interface SessionsOptions {
  readonly maxSessions: number;
  readonly maxBytes: number;
  readonly clock: () => number;
}

/** What a file holds. */
export interface Fill {
  readonly sessions: number;
  /** Bytes of pages in use. */
  readonly used: number;
  /** Bytes of the file. */
  readonly bytes: number;
  readonly lastTxnId: number;
}

interface Place {
  readonly place: Buffer;
  readonly version: number;
  readonly endsAt: number;
}

export class LmdbSessions {
  readonly #file: LmdbFile;
  readonly #options: SessionsOptions;
  #lastVersion = 0;
  /** What was done so far. */
  readonly counts = { written: 0, evicted: 0, expired: 0 };

  constructor(file: LmdbFile, options: SessionsOptions) {
    this.#file = file;
    this.#options = options;
  }

  /**
   * Sessions that one transaction may set. Each copies a few pages, and what was copied can be used again only after some
   * more: the file must have room for that.
   */
  get maxBatch(): number {
    return Math.min(Math.max(Math.floor(this.#options.maxBytes / 2 ** 19), 8), 256);
  }

  /** A copy of a session that is not over, and its version. */
  find(key: Uint8Array): { session: Buffer; version: number } | undefined {
    const record = this.#file.read((table) => recordOf(table, sessionKey(key, forLookup)));
    if (record === undefined || record.value.length <= TIME_BYTES) return undefined;
    const { value, version } = record;
    if (this.#options.clock() > value.readUIntBE(0, TIME_BYTES)) return undefined;
    return { session: copyOf(value, TIME_BYTES, value.length), version };
  }

  encode(session: Uint8Array, timeout: number): Buffer {
    const record = Buffer.allocUnsafe(TIME_BYTES + session.length);
    record.writeUIntBE(timeOf(this.#options.clock() + timeout * 1000), 0, TIME_BYTES);
    record.set(session, TIME_BYTES);
    return record;
  }

  fill(): Fill {
    return this.#file.read((table) => {
      const { free, lastPageNumber, lastTxnId, ...tree } = table.getStats() as TableStatistics;
      return {
        sessions: Math.ceil(tree.entryCount / 2),
        used: (pagesOf(tree) + pagesOf(free)) * tree.pageSize,
        bytes: (lastPageNumber + 1) * tree.pageSize,
        lastTxnId,
      };
    });
  }

  /** Makes writes in one transaction, and room for them. @returns whether each was made */
  async write(batch: readonly Write[]): Promise<readonly boolean[]> {
    const added = batch.filter(({ record }) => record !== undefined).length;
    const fill = await this.#settle(added > 0);
    const { evicted, replaced } = this.#file.read((table) => ({
      evicted: placesFrom(table, FIRST_PLACE, this.#surplus(fill, added)),
      replaced: batch.map(({ key, version }) => version ?? recordOf(table, sessionKey(key))?.version),
    }));
    const made: (boolean | Promise<boolean>)[] = [];
    await this.#file.commit((table) => {
      for (const each of evicted) void removePlace(table, each);
      for (const [n, { key, record, version }] of batch.entries()) {
        const old = replaced[n];
        if (old !== undefined) void table.remove(placeKey(old, key));
        if (record !== undefined) this.#set(table, key, record);
        else if (version !== undefined) made[n] = handled(table.remove(sessionKey(key), version));
        else void table.remove(sessionKey(key));
        made[n] ??= true;
      }
    });
    this.counts.written += added;
    this.counts.evicted += evicted.length;
    return Promise.all(made);
  }

  /**
   * Removes expired sessions, in slices.
   *
   * @param slice milliseconds of the event loop that one may take
   * @param pause milliseconds between them
   */
  async sweep(slice: number, pause: number, ended: () => boolean): Promise<number> {
    let removed = 0;
    let from: Buffer | undefined = FIRST_PLACE;
    while (from !== undefined && !ended()) {
      const now = this.#options.clock();
      const start: Buffer = from;
      const { over, next } = this.#file.read((table) => expiredFrom(table, start, now, performance.now() + slice));
      if (over.length > 0) {
        const gone: Promise<boolean>[] = [];
        await this.#file.commit((table) => {
          for (const each of over) gone.push(removePlace(table, each));
        });
        removed += (await Promise.all(gone)).filter(Boolean).length;
      }
      from = next;
      await sleep(pause, undefined, { ref: pause === 0 });
    }
    this.counts.expired += removed;
    return removed;
  }

  #set(table: Table, key: Buffer, record: Buffer): void {
    const version = this.#newVersion();
    void table.put(sessionKey(key), record, version);
    void table.put(placeKey(version, key), record.subarray(0, TIME_BYTES), 0);
  }

  /** Milliseconds, and 11 random bits, no secret: in order in each process, and not the same in two but by chance. */
  #newVersion(): number {
    const version = timeOf(this.#options.clock()) * 2048 + Math.floor(Math.random() * 2048);
    this.#lastVersion = Math.max(version, this.#lastVersion + 1);
    return this.#lastVersion;
  }

  /** How many must go so that others can come. */
  #surplus({ sessions, used }: Fill, added: number): number {
    const { maxSessions, maxBytes } = this.#options;
    const tooLong = used - maxBytes * FILL;
    // Pages become free when several sessions of them have gone: so some more than come, and the rest next time.
    const tooBig = tooLong > 0 ? added + Math.min(Math.ceil((tooLong * sessions) / used), added + 64) : 0;
    return Math.max(sessions + added - maxSessions, tooBig, 0);
  }

  /**
   * Waits while a file that must not grow would: a process that stands still in the middle of a read keeps all that was
   * replaced since from being used again.
   */
  async #settle(grows: boolean): Promise<Fill> {
    for (let look = 0; look < MAX_LOOKS; look++) {
      const fill = this.fill();
      if (!grows || fill.bytes < this.#options.maxBytes * BRIM || !this.#isHeldUp(fill)) return fill;
      await sleep(HELD_UP);
    }
    throw new ResumptionError('ERR_STORE_UNAVAILABLE', 'the file is full: a process that reads it does not go on');
  }

  #isHeldUp({ lastTxnId }: Fill): boolean {
    // mdb_reader_list(): a line for each reader, with its process, its thread, and the transaction that it sees or a dash.
    const readers = this.#file.table.readerList().matchAll(/^\s*\d+\s+[0-9a-f]+\s+(\d+)\s*$/gm);
    return [...readers].some(([, transaction]) => lastTxnId - Number(transaction) > LAG);
  }
}

function sessionKey(key: Uint8Array, bytes = Buffer.allocUnsafe(1 + KEY_BYTES)): Buffer {
  bytes[0] = SESSION;
  bytes.set(key, 1);
  return bytes;
}

function placeKey(version: number, key: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(9 + KEY_BYTES);
  bytes[0] = PLACE;
  bytes.writeDoubleBE(version, 1);
  bytes.set(key, 9);
  return bytes;
}

function placesFrom(table: Table, start: Buffer, limit: number): Place[] {
  if (limit === 0) return [];
  const places: Place[] = [];
  for (const { key, value } of table.getRange({ start, end: AFTER_PLACES, limit })) {
    const place = Buffer.from(key);
    const known = place.length === 9 + KEY_BYTES && value.length === TIME_BYTES;
    // What cannot have been written by us is over.
    const endsAt = known ? Buffer.from(value).readUIntBE(0, TIME_BYTES) : 0;
    places.push({ place, version: known ? place.readDoubleBE(1) : 0, endsAt });
  }
  return places;
}

/** Places that are looked at in one go. */
const STEP = 128;

/** Places from one on whose time is over, and where to go on. */
function expiredFrom(table: Table, start: Buffer, now: number, until: number) {
  const over: Place[] = [];
  let next: Buffer | undefined = start;
  do {
    const places = placesFrom(table, next, STEP);
    for (const place of places) if (now > place.endsAt) over.push(place);
    const last = places.at(-1);
    next = last && places.length === STEP ? Buffer.concat([last.place, Buffer.of(0)]) : undefined;
  } while (next !== undefined && over.length < 8 * STEP && performance.now() < until);
  return { over, next };
}

/** Removes a place and its session. @returns whether the session was there */
function removePlace(table: Table, { place, version }: Place): Promise<boolean> {
  void table.remove(place);
  return handled(table.remove(sessionKey(place.subarray(9, 9 + KEY_BYTES)), version));
}

/** A promise that need not be waited for. */
function handled(promise: Promise<boolean>): Promise<boolean> {
  promise.catch(() => {});
  return promise;
}

function pagesOf({ treeBranchPageCount, treeLeafPageCount, overflowPages }: Tree): number {
  return treeBranchPageCount + treeLeafPageCount + overflowPages;
}

function timeOf(time: number): number {
  return Math.min(Math.max(Math.floor(time), 0), LAST_TIME);
}
