/** Writes behind: sessions are gathered for a moment and written together, and the oldest make room for them. */

import { setTimeout as setTimeoutPromise } from 'node:timers/promises';
import { ResumptionError } from '../errors.js';
import { closedError } from './engine-errors.js';
import { type ReportFault, WriteFaults } from './lmdb-faults.js';
import { commit, type LmdbFile } from './lmdb-file.js';
import {
  decodeOrder,
  encodeOrder,
  encodeSession,
  newVersion,
  placeOf,
  type SessionEnvironment,
  type SessionTables,
} from './lmdb-records.js';
import { type Bounds, isHeldUp, maxBatchOf, Room, surplusOf } from './lmdb-room.js';

/** Milliseconds after which a write that has not ended is no longer waited for: another process may have stopped in its. */
const PATIENCE = 5000;
/** Milliseconds between looks whether the file need not grow. */
const HELD_UP = 20;
/** Writes that wait at most, and their bytes. */
const MAX_WAITING = 8192;
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

export interface SessionWritesOptions extends Bounds {
  readonly file: LmdbFile<SessionTables>;
  /** Milliseconds from one transaction to the next, at least. */
  readonly delay: number;
  readonly clock: () => number;
  readonly report: ReportFault;
}

/** A session to be set, or a key to be deleted. */
interface Write {
  readonly key: Buffer;
  readonly record: Buffer | undefined;
}

/** What is written in one transaction. */
class Batch {
  /** By key: of several writes of one key the last counts. */
  readonly writes = new Map<string, Write>();
  readonly promise: Promise<void>;
  resolve!: () => void;
  reject!: (error: unknown) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Nobody need wait for it.
    this.promise.catch(() => {});
  }
}

export interface SessionWritesStatistics {
  readonly written: number;
  readonly dropped: number;
  readonly evicted: number;
}

export class SessionWrites {
  readonly #options: SessionWritesOptions;
  readonly #maxBatch: number;
  readonly #room: Room;
  readonly #faults: WriteFaults;
  readonly #queue: Batch[] = [];
  #gathering = new Batch();
  #writing: Batch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #flushedAt = Number.NEGATIVE_INFINITY;
  #running = false;
  #waiting = 0;
  #waitingBytes = 0;
  #closed = false;
  #written = 0;
  #dropped = 0;
  #evicted = 0;

  constructor(options: SessionWritesOptions) {
    this.#options = options;
    this.#maxBatch = maxBatchOf(options.maxBytes);
    this.#room = new Room(options);
    this.#faults = new WriteFaults(options.report);
  }

  get statistics(): SessionWritesStatistics {
    return { written: this.#written, dropped: this.#dropped, evicted: this.#evicted };
  }

  /** @returns a promise that several writes may share */
  set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void> {
    if (this.#closed) return Promise.reject(closedError());
    const full = this.#waiting >= MAX_WAITING || this.#waitingBytes >= MAX_WAITING_BYTES;
    if (full || this.#faults.refuses()) {
      this.#dropped++;
      return Promise.reject(this.#faults.error ?? tooMany());
    }
    const now = this.#options.clock();
    return this.#gather(key, encodeSession(session, now, now + timeout * 1000));
  }

  delete(key: Uint8Array): Promise<void> {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#faults.stalled) return Promise.reject(late());
    return this.#gather(key, undefined);
  }

  /** Whether a write of the key is not done. */
  has(key: Uint8Array): boolean {
    return this.#find(key) !== undefined;
  }

  /** Fulfilled when no write of the key that was asked for is not done, be it that it has failed. */
  async settled(key: Uint8Array): Promise<void> {
    for (let batch = this.#find(key); batch !== undefined; batch = this.#find(key)) {
      this.#flush();
      await batch.promise.catch(() => {});
    }
  }

  /** Writes what waits. Fulfilled when it is done, or cannot be. */
  async close(): Promise<void> {
    this.#closed = true;
    const batches = [this.#gathering, ...this.#queue, this.#writing];
    this.#flush();
    await Promise.allSettled(batches.map((batch) => batch?.promise));
  }

  #find(key: Uint8Array): Batch | undefined {
    const name = nameOf(key);
    return [this.#gathering, ...this.#queue, this.#writing].findLast((batch) => batch?.writes.has(name));
  }

  #gather(key: Uint8Array, record: Buffer | undefined): Promise<void> {
    const batch = this.#gathering;
    const name = nameOf(key);
    const replaced = batch.writes.get(name);
    if (replaced !== undefined) this.#forget(replaced);
    batch.writes.set(name, { key: replaced?.key ?? Buffer.from(key), record });
    this.#waiting++;
    this.#waitingBytes += record?.length ?? 0;
    if (batch.writes.size >= this.#maxBatch) this.#flush();
    else if (batch.writes.size === 1) this.#flushLater();
    return batch.promise;
  }

  /** The first write after a while is made as soon as this turn of the event loop is over. */
  #flushLater(): void {
    const wait = this.#flushedAt + this.#options.delay - performance.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#flush(), wait);
    else this.#immediate = setImmediate(() => this.#flush());
  }

  #flush(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#flushedAt = performance.now();
    const batch = this.#gathering;
    this.#gathering = new Batch();
    if (batch.writes.size === 0) batch.resolve();
    else this.#queue.push(batch);
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let batch = this.#queue.shift(); batch !== undefined; batch = this.#queue.shift()) {
      this.#writing = batch;
      const timer = setTimeout(() => this.#stall(), PATIENCE);
      try {
        await this.#write(batch);
        this.#faults.succeeded();
        batch.resolve();
      } catch (error) {
        const fault = error as ResumptionError;
        this.#faults.failed(fault);
        for (const { record } of batch.writes.values()) if (record !== undefined) this.#dropped++;
        batch.reject(fault);
      }
      clearTimeout(timer);
      this.#writing = undefined;
      for (const write of batch.writes.values()) this.#forget(write);
    }
    this.#running = false;
  }

  async #write(batch: Batch): Promise<void> {
    let environment = this.#options.file.environment;
    const fill = this.#room.claim(environment, batch.writes.size);
    while (fill !== undefined && isHeldUp(environment, fill, this.#options.maxBytes)) {
      await setTimeoutPromise(HELD_UP);
      environment = this.#options.file.environment;
    }
    const { sessions, order } = environment.tables;
    sessions.resetReadTxn();
    const replaced: Buffer[] = [];
    const removed: Buffer[] = [];
    let added = 0;
    for (const { key, record } of batch.writes.values()) {
      const entry = sessions.doesExist(key) ? sessions.getEntry(key) : undefined;
      if (entry !== undefined) replaced.push(placeOf(entry.value, entry.version ?? 0));
      if (record === undefined) removed.push(key);
      else if (entry === undefined) added++;
    }
    const evicted = this.#oldest(environment, fill === undefined ? 0 : surplusOf(fill, added, this.#options));
    const done = commit(sessions, () => {
      for (const { place, key } of evicted) {
        order.remove(place);
        if (key !== undefined) sessions.remove(key);
      }
      for (const place of replaced) order.remove(place);
      for (const key of removed) sessions.remove(key);
      for (const { key, record } of batch.writes.values()) {
        if (record === undefined) continue;
        const version = newVersion();
        sessions.put(key, record, version);
        order.put(placeOf(record, version), encodeOrder(record, key));
      }
    });
    sessions.resetReadTxn();
    await done;
    this.#written += batch.writes.size - removed.length;
    this.#evicted += evicted.length;
  }

  /** Those that were set first. What no longer is in `sessions` as `order` says leaves that alone. */
  #oldest(environment: SessionEnvironment, count: number): { place: Uint8Array; key: Buffer | undefined }[] {
    if (count === 0) return [];
    const { sessions, order } = environment.tables;
    const oldest = [];
    for (const { key: place, value } of order.getRange({ limit: count })) {
      const entry = decodeOrder(place, value);
      const held = entry !== undefined && sessions.doesExist(entry.key, entry.version);
      oldest.push({ place, key: held ? entry.key : undefined });
    }
    return oldest;
  }

  /** A write does not end: nobody is to wait for it, or for those behind it. */
  #stall(): void {
    const error = late();
    this.#faults.stall(error);
    for (const batch of [this.#writing, ...this.#queue.splice(0), this.#gathering]) {
      if (batch === undefined) continue;
      batch.reject(error);
      if (batch === this.#writing) continue;
      for (const write of batch.writes.values()) {
        if (write.record !== undefined) this.#dropped++;
        this.#forget(write);
      }
    }
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#gathering = new Batch();
  }

  #forget({ record }: Write): void {
    this.#waiting--;
    this.#waitingBytes -= record?.length ?? 0;
    record?.fill(0);
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

function tooMany(): ResumptionError {
  return new ResumptionError('ERR_STORE_UNAVAILABLE', 'the write was not made: too many wait');
}

function late(): ResumptionError {
  return new ResumptionError('ERR_STORE_TIMEOUT', `the write did not end within ${PATIENCE} ms`);
}
