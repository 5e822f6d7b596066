/** What is done in the background: expired sessions removed, dead readers cleared, the file looked after. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ReportFault } from './lmdb-faults.js';
import { commit, type LmdbFile } from './lmdb-file.js';
import { decodeOrder, type OrderEntry, type SessionTables } from './lmdb-records.js';

/** Milliseconds between looks at the file. */
const LOOK = 5000;
/** Milliseconds of the event loop that a slice of a pass may take, and places between looks at the time. */
const SLICE = 2;
const STEP = 64;
/** Places of a slice at most: their removal is one transaction. */
const MAX_SLICE = 1024;

const SWEPT = Buffer.from('swept');

export interface UpkeepOptions {
  readonly file: LmdbFile<SessionTables>;
  /** Seconds from one pass to the next. */
  readonly interval: number;
  readonly clock: () => number;
  readonly report: ReportFault;
}

export class SessionUpkeep {
  readonly #options: UpkeepOptions;
  readonly #timer: NodeJS.Timeout;
  #sweptAt = performance.now();
  #sweep: Promise<number> | undefined;
  #closed = false;
  #expired = 0;

  constructor(options: UpkeepOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK, options.interval * 1000));
    this.#timer.unref();
  }

  /** Sessions removed because their time was over. */
  get expired(): number {
    return this.#expired;
  }

  /** One whole pass; calls while one is going on share it. */
  sweep(): Promise<number> {
    this.#sweep ??= this.#pass().finally(() => {
      this.#sweep = undefined;
    });
    return this.#sweep;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#sweep?.catch(() => {});
  }

  #look(): void {
    const { file, interval, report } = this.#options;
    file.refresh();
    if (performance.now() - this.#sweptAt < interval * 1000) return;
    this.#sweptAt = performance.now();
    try {
      // A process that was killed while it read would keep what it read from being used again.
      file.environment.root.readerCheck();
      if (this.#isDue()) this.sweep().catch(report);
    } catch {
      // Reported where the file was opened.
    }
  }

  /** One process of all that use the file does it: the others find that it was done. */
  #isDue(): boolean {
    const { notes } = this.#options.file.environment.tables;
    notes.resetReadTxn();
    const note = notes.getBinary(SWEPT);
    const since = this.#options.clock() - (note?.length === 8 ? note.readDoubleBE(0) : 0);
    return !(since >= 0 && since < this.#options.interval * 1000);
  }

  async #pass(): Promise<number> {
    const { notes } = this.#options.file.environment.tables;
    const now = this.#options.clock();
    const note = Buffer.alloc(8);
    note.writeDoubleBE(now);
    await commit(notes, () => {
      notes.put(SWEPT, note);
    });
    let removed = 0;
    let from: Uint8Array | undefined = Buffer.alloc(1);
    while (from !== undefined && !this.#closed) {
      const slice = this.#slice(from, now);
      removed += await this.#remove(slice.over);
      from = slice.next;
      await nextTurn();
    }
    return removed;
  }

  /** Some places from one on: those whose time is over, and where to go on. */
  #slice(from: Uint8Array, now: number): { over: Place[]; next: Uint8Array | undefined } {
    const { order, sessions } = this.#options.file.environment.tables;
    order.resetReadTxn();
    const until = performance.now() + SLICE;
    const over: Place[] = [];
    let seen = 0;
    let next: Uint8Array | undefined;
    for (const { key: place, value } of order.getRange({ start: from })) {
      if (seen++ === MAX_SLICE || (seen % STEP === 0 && performance.now() >= until)) {
        next = place;
        break;
      }
      const entry = decodeOrder(place, value);
      if (entry === undefined) over.push({ place, key: undefined });
      else if (entry.endsAt < now) over.push({ place, key: heldBy(entry, sessions) });
    }
    order.resetReadTxn();
    return { over, next };
  }

  async #remove(over: readonly Place[]): Promise<number> {
    if (over.length === 0) return 0;
    const { order, sessions } = this.#options.file.environment.tables;
    let removed = 0;
    await commit(sessions, () => {
      for (const { place, key } of over) {
        order.remove(place);
        if (key === undefined) continue;
        sessions.remove(key);
        removed++;
      }
    });
    this.#expired += removed;
    return removed;
  }
}

interface Place {
  readonly place: Uint8Array;
  /** What is to go with it. */
  readonly key: Buffer | undefined;
}

function heldBy(entry: OrderEntry, sessions: { doesExist(key: Buffer, version: number): boolean }): Buffer | undefined {
  return sessions.doesExist(entry.key, entry.version) ? entry.key : undefined;
}
