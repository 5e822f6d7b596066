/**
 * Writes that nobody waits for: one at a time for each key, the latest of those that wait wins, and a deletion that did
 * not succeed is made again until it does.
 */

import { ResumptionError } from '../errors.js';
import { latin1 } from '../wire/bytes.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import { type BoundedCalls, FULL, OPEN } from './bounded-calls.js';
import { isPromise, type MaybePromise, type SessionStore } from './session-store.js';

/** Milliseconds: no session lives longer, so what was to be deleted then is over. */
const LONGEST_LIFE = MAX_TICKET_LIFETIME * 1000;
/** Deletions that are made again at a time. */
const RETRIES = 16;

/** A `set`, or a `delete` when there is no value. */
interface Write {
  readonly value: Uint8Array | undefined;
  /** Seconds. */
  readonly timeout: number;
  /** When it was asked for. */
  readonly at: number;
  /** Writes are numbered as they are asked for. */
  readonly order: number;
}

interface WaitingWrite extends Write {
  readonly done: Deferred;
  /** Since when it, or one that it replaced, waits. */
  readonly since: number;
}

/** What is known of a key while a write of it is not done. */
interface Entry {
  readonly name: string;
  readonly key: Uint8Array;
  /** On its way. */
  current: Write | undefined;
  /** Asked for since, or waiting for its turn. */
  next: WaitingWrite | undefined;
  /** A deletion that was asked for and may not have happened. */
  debt: Write | undefined;
  /** Fulfilled when no write is on its way or waits. */
  idle: Deferred | undefined;
}

export interface WriteBehindOptions {
  readonly maxWrites: number;
  /** Milliseconds that a write waits for its turn. */
  readonly patience: number;
  /** Milliseconds from one try of a deletion to the next. */
  readonly period: number;
  readonly clock: () => number;
}

/** Counters of writes. */
export interface WriteStatistics {
  /** Writes that a later one of the same key replaced before they were made. */
  readonly coalesced: number;
  /** Writes given up before they were made, and deletions that were forgotten because too many are owed. */
  readonly dropped: number;
  /** Deletions made again. */
  readonly retried: number;
  /** Writes that wait for their turn now. */
  readonly waiting: number;
  /** Deletions that have failed, and will be made again. */
  readonly owed: number;
}

export class WriteBehind {
  readonly #store: SessionStore;
  readonly #calls: BoundedCalls;
  readonly #options: WriteBehindOptions;
  readonly #entries = new Map<string, Entry>();
  /** Entries whose next write waits until there is room, oldest first. */
  readonly #queue = new Queue<Entry>();
  #timer: NodeJS.Timeout | undefined;
  #pumping = false;
  #closed = false;
  #order = 0;
  #owed = 0;
  #coalesced = 0;
  #dropped = 0;
  #retried = 0;

  constructor(store: SessionStore, calls: BoundedCalls, options: WriteBehindOptions) {
    this.#store = store;
    this.#calls = calls;
    this.#options = options;
  }

  get statistics(): WriteStatistics {
    let waiting = 0;
    for (const { next } of this.#entries.values()) if (next !== undefined) waiting++;
    const [coalesced, dropped, retried, owed] = [this.#coalesced, this.#dropped, this.#retried, this.#owed];
    return { coalesced, dropped, retried, waiting, owed };
  }

  /** Whether the last write of `key` is a deletion that is not done, or has failed. */
  isDeleted(key: Uint8Array): boolean {
    // A store that answers at once leaves no entries: then a read costs nothing here.
    const entry = this.#find(key);
    const last = entry && (entry.next ?? entry.current ?? entry.debt);
    return last !== undefined && last.value === undefined;
  }

  /** Fulfilled when no write of `key` is on its way or waits; `undefined` when there is none. */
  idle(key: Uint8Array): Promise<void> | undefined {
    const entry = this.#find(key);
    if (entry === undefined || !isBusy(entry)) return undefined;
    entry.idle ??= new Deferred();
    return entry.idle.promise;
  }

  /** Fulfilled when no write that was asked for so far is on its way or waits; `undefined` when there is none. */
  allIdle(): Promise<unknown> | undefined {
    const busy = [...this.#entries.values()].filter(isBusy);
    return busy.length === 0 ? undefined : Promise.all(busy.map(({ key }) => this.idle(key)));
  }

  /** Sets, or deletes when there is no value. A promise that rejects says that the write failed; never throws. */
  write(key: Uint8Array, value: Uint8Array | undefined, timeout: number): MaybePromise<void> {
    const entry = this.#find(key);
    const write = { value, timeout, at: this.#options.clock(), order: ++this.#order };
    if (entry === undefined || !isBusy(entry)) return this.#make(entry, key, write);
    const { next } = entry;
    if (next !== undefined) {
      this.#coalesced++;
      // Should the later write fail, what the earlier one was to delete must still not be found.
      if (next.value === undefined && value !== undefined) this.#owe(entry, next);
    }
    const [done, since] = [next?.done ?? new Deferred(), next?.since ?? write.at];
    entry.next = { ...write, value: copyOf(value), done, since };
    return done.promise;
  }

  /** Forgets what waits and what is owed. Calls on their way go on. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#queue.clear();
    for (const entry of [...this.#entries.values()]) {
      if (entry.next !== undefined) this.#dropped++;
      entry.next?.done.reject(unavailable());
      entry.next = undefined;
      this.#settle(entry);
      this.#tidy(entry);
    }
  }

  #make(entry: Entry | undefined, key: Uint8Array, write: Write, done?: Deferred): MaybePromise<void> {
    const { value, timeout } = write;
    const answer = this.#calls.make(() =>
      value === undefined ? this.#store.delete(key) : this.#store.set(key, value, timeout),
    );
    if (answer === FULL && this.#queue.size < this.#options.maxWrites) {
      return this.#wait(entry ?? this.#remember(key), write, done);
    }
    if (answer === OPEN || answer === FULL) return this.#refuse(entry ?? this.#remember(key), write, done);
    if (!isPromise(answer)) {
      if (entry !== undefined) this.#ended(entry, write, true);
      done?.resolve();
      return done?.promise;
    }
    const known = entry ?? this.#remember(key);
    known.current = write;
    const made = answer.then(
      () => this.#ended(known, write, true),
      (error: unknown) => {
        this.#ended(known, write, false);
        throw error;
      },
    );
    if (done === undefined) return made;
    made.then(done.resolve, done.reject);
    return done.promise;
  }

  #wait(entry: Entry, write: Write, done = new Deferred()): Promise<void> {
    entry.next = { ...write, value: copyOf(write.value), done, since: write.at };
    this.#queue.push(entry);
    this.#wakeLater();
    return done.promise;
  }

  #refuse(entry: Entry, write: Write, done = new Deferred(), error = unavailable()): Promise<void> {
    if (write.value === undefined) this.#owe(entry, write);
    else this.#dropped++;
    this.#tidy(entry);
    done.reject(error);
    return done.promise;
  }

  #ended(entry: Entry, write: Write, good: boolean): void {
    entry.current = undefined;
    if (!good && write.value === undefined) this.#owe(entry, write);
    else if (good && entry.debt !== undefined && entry.debt.order <= write.order) this.#settle(entry);
    const { next } = entry;
    if (next !== undefined) {
      entry.next = undefined;
      void this.#make(entry, entry.key, next, next.done);
    }
    this.#tidy(entry);
    this.#pump();
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#queue.size > 0 && !(this.#calls.full && this.#calls.state === 'closed')) {
      const [entry, next] = this.#dequeue();
      void this.#make(entry, entry.key, next, next.done);
    }
    this.#pumping = false;
  }

  #dequeue(): [Entry, WaitingWrite] {
    const entry = this.#queue.shift() as Entry;
    const next = entry.next as WaitingWrite;
    entry.next = undefined;
    return [entry, next];
  }

  #owe(entry: Entry, deletion: Write): void {
    // Nobody asks any more, and the store is closed too.
    if (this.#closed) return;
    if (entry.debt === undefined) {
      if (this.#owed >= this.#options.maxWrites) {
        this.#dropped++;
        return;
      }
      this.#owed++;
    }
    entry.debt = { value: undefined, timeout: 0, at: deletion.at, order: deletion.order };
    this.#wakeLater();
  }

  #settle(entry: Entry): void {
    if (entry.debt === undefined) return;
    entry.debt = undefined;
    this.#owed--;
  }

  #wakeLater(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#wake();
      if (this.#owed > 0 || this.#queue.size > 0) this.#wakeLater();
    }, this.#options.period);
    this.#timer.unref();
  }

  #wake(): void {
    const now = this.#options.clock();
    this.#pump();
    while (now - (this.#queue.first?.next?.since ?? now) >= this.#options.patience) {
      const [entry, next] = this.#dequeue();
      void this.#refuse(entry, next, next.done, tooLate());
    }
    for (const entry of this.#due(now)) {
      if (entry.debt === undefined || !this.#calls.ready) break;
      this.#retried++;
      const made = this.#make(entry, entry.key, entry.debt);
      if (isPromise(made)) made.catch(() => {});
    }
  }

  /** The next deletions to make again. Each goes to the end of the line. */
  #due(now: number): Entry[] {
    const due: Entry[] = [];
    for (const entry of this.#owed > 0 ? this.#entries.values() : []) {
      if (entry.debt === undefined || isBusy(entry)) continue;
      if (now - entry.debt.at > LONGEST_LIFE) {
        this.#settle(entry);
        this.#tidy(entry);
      } else if (due.push(entry) === RETRIES) break;
    }
    for (const entry of due) {
      this.#entries.delete(entry.name);
      this.#entries.set(entry.name, entry);
    }
    return due;
  }

  #find(key: Uint8Array): Entry | undefined {
    return this.#entries.size === 0 ? undefined : this.#entries.get(latin1(key));
  }

  #remember(key: Uint8Array): Entry {
    const name = latin1(key);
    const entry = {
      name,
      key: Uint8Array.from(key),
      current: undefined,
      next: undefined,
      debt: undefined,
      idle: undefined,
    };
    this.#entries.set(name, entry);
    return entry;
  }

  #tidy(entry: Entry): void {
    if (isBusy(entry)) return;
    entry.idle?.resolve();
    entry.idle = undefined;
    if (entry.debt === undefined) this.#entries.delete(entry.name);
  }
}

/** First in, first out, in constant time. */
class Queue<T> {
  #items: T[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  get first(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const first = this.first;
    if (++this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return first;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}

class Deferred {
  readonly promise: Promise<void>;
  resolve!: () => void;
  reject!: (error: unknown) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

function isBusy(entry: Entry): boolean {
  return entry.current !== undefined || entry.next !== undefined;
}

function copyOf(value: Uint8Array | undefined): Uint8Array | undefined {
  return value && Buffer.from(value);
}

function unavailable(): ResumptionError {
  return new ResumptionError(
    'ERR_STORE_UNAVAILABLE',
    'the write was not made: the store does not answer, or too many wait',
  );
}

function tooLate(): ResumptionError {
  return new ResumptionError('ERR_STORE_TIMEOUT', 'the write was not made: too many were before it');
}
