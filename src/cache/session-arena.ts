/**
 * Where session bytes live: slots of a size class in large chunks of memory, overwritten when they are given back.
 *
 * A slot holds the ID and the session, and a record of 32 bytes stands beside it, instead of a key, a Buffer, an ArrayBuffer and a
 * record on the heap: a million sessions leave the garbage collector nothing to walk. Internal: what calls it owns the
 * slot numbers and must not use one after `remove`.
 */

import { copyOf, holdsAt } from '../wire/bytes.js';

/** Slot numbers are `chunk << SLOT_BITS | position`. */
const SLOT_BITS = 12;
const MAX_SLOTS = 1 << SLOT_BITS;
const FIRST_CHUNK_BYTES = 4096;
const FULL_CHUNK_BYTES = 256 * 1024;

/** Of the bytes from `start` to `end`: a 32-bit integer. */
export type IdHash = (bytes: Uint8Array, start: number, end: number, seed: number) => number;

/** The absence of a slot. */
export const NO_SLOT = -1;

/**
 * Bytes a slot takes for `length` bytes of ID and session: multiples of 16 up to 512, then eight steps a doubling, so that
 * no more than an eighth is lost.
 */
export function slotBytes(length: number): number {
  if (length <= 512) return (length + 15) & ~15;
  const step = 2 ** (28 - Math.clz32(length - 1));
  return Math.ceil(length / step) * step;
}

/** A record is four doubles, or eight integers, in one cache line: times first, then links and lengths. */
const DOUBLES = 4;
const MADE_AT = 0;
const EXPIRES_AT = 1;
const INTEGERS = 8;
const NEWER = 4;
const OLDER = 5;
const LENGTH = 6;
const ID_LENGTH = 7;

class Chunk {
  readonly id: number;
  readonly slotBytes: number;
  readonly capacity: number;
  readonly bytes: Uint8Array;
  readonly times: Float64Array;
  readonly links: Int32Array;
  /** Slots below were used at least once; those above hold nothing to scan. */
  top = 0;
  used = 0;
  free = NO_SLOT;
  /** No session of this chunk expires before: exact after a sweep, a lower bound after removals. */
  soonest = Number.POSITIVE_INFINITY;
  /** Position in the list of the class's chunks with room. */
  roomAt = NO_SLOT;

  constructor(id: number, slot: number, capacity: number) {
    this.id = id;
    this.slotBytes = slot;
    this.capacity = capacity;
    this.times = new Float64Array(capacity * DOUBLES);
    this.links = new Int32Array(this.times.buffer);
    this.bytes = new Uint8Array(slot * capacity);
  }
}

/** Sweeps one chunk and, unless the limit stops it, learns when the next of its sessions expires. */
function sweepChunk(chunk: Chunk, now: number, limit: number, expired: (slot: number) => void): number {
  let soonest = Number.POSITIVE_INFINITY;
  let removed = 0;
  for (let at = 0; at < chunk.top; at++) {
    const expiresAt = chunk.times[at * DOUBLES + EXPIRES_AT] as number;
    if (expiresAt >= now) soonest = Math.min(soonest, expiresAt);
    else if (removed >= limit) return removed;
    else {
      expired((chunk.id << SLOT_BITS) | at);
      removed++;
    }
  }
  chunk.soonest = soonest;
  return removed;
}

interface SizeClass {
  /** Chunks that have a free slot. */
  readonly room: Chunk[];
  /** Bytes in all chunks of the class. */
  bytes: number;
}

export class SessionArena {
  readonly #chunks: (Chunk | undefined)[] = [];
  readonly #freeIds: number[] = [];
  readonly #classes = new Map<number, SizeClass>();
  /** The chunk emptied last: kept, so that a cache at the edge of a chunk does not allocate at every turn. */
  #spare: Chunk | undefined;
  #count = 0;
  #bytes = 0;
  #footprint = 0;
  #oldest = NO_SLOT;
  #newest = NO_SLOT;
  #soonest = Number.POSITIVE_INFINITY;
  #cursor = 0;

  /** Sessions held. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of the sessions held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes of memory taken for session bytes, used or not. */
  get footprint(): number {
    return this.#footprint;
  }

  /** The slot that was inserted first of those held, or {@link NO_SLOT}. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Copies a session into a slot, the newest. */
  insert(id: Uint8Array, session: Uint8Array, madeAt: number, expiresAt: number): number {
    const chunk = this.#roomFor(id.length + session.length);
    const { bytes, times, links } = chunk;
    let at = chunk.free;
    if (at === NO_SLOT) at = chunk.top++;
    else chunk.free = links[at * INTEGERS + NEWER] as number;
    if (++chunk.used === chunk.capacity) this.#full(chunk);
    bytes.set(id, at * chunk.slotBytes);
    bytes.set(session, at * chunk.slotBytes + id.length);
    times[at * DOUBLES + MADE_AT] = madeAt;
    links[at * INTEGERS + LENGTH] = session.length;
    links[at * INTEGERS + ID_LENGTH] = id.length;
    this.#expires(chunk, at, expiresAt);

    const slot = (chunk.id << SLOT_BITS) | at;
    links[at * INTEGERS + OLDER] = this.#newest;
    links[at * INTEGERS + NEWER] = NO_SLOT;
    this.#link(this.#newest, NEWER, slot);
    this.#newest = slot;
    this.#count++;
    this.#bytes += session.length;
    return slot;
  }

  /** Overwrites ID and session and gives their slot back. */
  remove(slot: number): void {
    const chunk = this.#chunkOf(slot);
    const at = slot & (MAX_SLOTS - 1);
    const { links } = chunk;
    const record = at * INTEGERS;
    const length = links[record + LENGTH] as number;
    const start = at * chunk.slotBytes;
    chunk.bytes.fill(0, start, start + (links[record + ID_LENGTH] as number) + length);
    chunk.times[at * DOUBLES + EXPIRES_AT] = Number.POSITIVE_INFINITY;
    links[record + ID_LENGTH] = 0;

    const older = links[record + OLDER] as number;
    const newer = links[record + NEWER] as number;
    this.#link(older, NEWER, newer);
    if (newer === NO_SLOT) this.#newest = older;
    else this.#link(newer, OLDER, older);

    links[record + NEWER] = chunk.free;
    chunk.free = at;
    this.#count--;
    this.#bytes -= length;
    if (chunk.used-- === chunk.capacity) this.#hasRoom(chunk);
    if (chunk.used === 0) this.#emptied(chunk);
  }

  /** The ID in place. */
  id(slot: number): Uint8Array {
    const chunk = this.#chunkOf(slot);
    const start = (slot & (MAX_SLOTS - 1)) * chunk.slotBytes;
    return chunk.bytes.subarray(start, start + this.#number(slot, ID_LENGTH));
  }

  /**
   * A hash of the ID, without a view of it: views of a million sessions are garbage that stops the event loop. For a
   * slot that was given back the hash of no bytes, or `undefined`.
   */
  hashOfId(slot: number, hash: IdHash, seed: number): number | undefined {
    const chunk = this.#chunks[slot >>> SLOT_BITS];
    const at = slot & (MAX_SLOTS - 1);
    if (chunk === undefined || at >= chunk.capacity) return undefined;
    const start = at * chunk.slotBytes;
    return hash(chunk.bytes, start, start + (chunk.links[at * INTEGERS + ID_LENGTH] as number), seed);
  }

  /** Whether the slot holds a session with that ID: not if it was given back. */
  hasId(slot: number, id: Uint8Array): boolean {
    const chunk = this.#chunks[slot >>> SLOT_BITS];
    const at = slot & (MAX_SLOTS - 1);
    if (chunk?.links[at * INTEGERS + ID_LENGTH] !== id.length) return false;
    return holdsAt(chunk.bytes, at * chunk.slotBytes, id);
  }

  length(slot: number): number {
    return this.#number(slot, LENGTH);
  }

  madeAt(slot: number): number {
    return this.#time(slot, MADE_AT);
  }

  expiresAt(slot: number): number {
    return this.#time(slot, EXPIRES_AT);
  }

  /** Makes the session's times the earlier of its own and the given ones. */
  shorten(slot: number, madeAt: number, expiresAt: number): void {
    const chunk = this.#chunkOf(slot);
    const at = slot & (MAX_SLOTS - 1);
    chunk.times[at * DOUBLES + MADE_AT] = Math.min(this.madeAt(slot), madeAt);
    this.#expires(chunk, at, Math.min(this.expiresAt(slot), expiresAt));
  }

  /** A copy of the session. */
  read(slot: number): Buffer {
    const start = this.#sessionAt(slot);
    return copyOf(this.#chunkOf(slot).bytes, start, start + this.#number(slot, LENGTH));
  }

  /** The session in place: for comparing, and for tests. */
  view(slot: number): Uint8Array {
    const start = this.#sessionAt(slot);
    return this.#chunkOf(slot).bytes.subarray(start, start + this.#number(slot, LENGTH));
  }

  /**
   * Calls `expired`, which must remove it, for each slot whose time is over at `now`, at most `limit` times.
   *
   * Goes on where the last sweep stopped; chunks in which nothing can have expired cost one comparison, and the whole
   * arena one as long as nothing in it can have.
   *
   * @returns how many; fewer than `limit` means that none is left
   */
  sweep(now: number, limit: number, expired: (slot: number) => void): number {
    if (now <= this.#soonest) return 0;
    const chunks = this.#chunks;
    let removed = 0;
    for (let left = chunks.length; left > 0; left--) {
      if (this.#cursor >= chunks.length) this.#cursor = 0;
      const chunk = chunks[this.#cursor];
      if (chunk !== undefined && chunk.soonest < now) removed += sweepChunk(chunk, now, limit - removed, expired);
      // Left behind its time, the chunk has more than the limit allows.
      if (chunk !== undefined && chunk.soonest < now) return removed;
      this.#cursor++;
    }
    this.#soonest = chunks.reduce(
      (soonest, chunk) => Math.min(soonest, chunk?.soonest ?? soonest),
      Number.POSITIVE_INFINITY,
    );
    return removed;
  }

  /** Overwrites and gives back everything. */
  clear(): void {
    for (const chunk of this.#chunks) chunk?.bytes.fill(0);
    this.#chunks.length = 0;
    this.#freeIds.length = 0;
    this.#classes.clear();
    this.#spare = undefined;
    this.#count = this.#bytes = this.#footprint = this.#cursor = 0;
    this.#oldest = this.#newest = NO_SLOT;
    this.#soonest = Number.POSITIVE_INFINITY;
  }

  #chunkOf(slot: number): Chunk {
    return this.#chunks[slot >>> SLOT_BITS] as Chunk;
  }

  #number(slot: number, which: number): number {
    return this.#chunkOf(slot).links[(slot & (MAX_SLOTS - 1)) * INTEGERS + which] as number;
  }

  #time(slot: number, which: number): number {
    return this.#chunkOf(slot).times[(slot & (MAX_SLOTS - 1)) * DOUBLES + which] as number;
  }

  /** Sets a link of a session, or of the list itself: what is newer than nothing is the oldest. */
  #link(slot: number, which: number, to: number): void {
    if (slot === NO_SLOT) this.#oldest = to;
    else this.#chunkOf(slot).links[(slot & (MAX_SLOTS - 1)) * INTEGERS + which] = to;
  }

  #expires(chunk: Chunk, at: number, expiresAt: number): void {
    chunk.times[at * DOUBLES + EXPIRES_AT] = expiresAt;
    if (expiresAt < chunk.soonest) chunk.soonest = expiresAt;
    if (expiresAt < this.#soonest) this.#soonest = expiresAt;
  }

  #roomFor(length: number): Chunk {
    const size = slotBytes(length);
    let kind = this.#classes.get(size);
    if (kind === undefined) {
      kind = { room: [], bytes: 0 };
      this.#classes.set(size, kind);
    }
    return kind.room[kind.room.length - 1] ?? this.#grow(size, kind);
  }

  /** Doubles the class until its chunks are of full size: few sessions take little, many take few chunks. */
  #grow(size: number, kind: SizeClass): Chunk {
    const bytes = Math.min(Math.max(kind.bytes, FIRST_CHUNK_BYTES), FULL_CHUNK_BYTES);
    const capacity = Math.min(Math.max(Math.floor(bytes / size), 1), MAX_SLOTS);
    const id = this.#freeIds.pop() ?? this.#chunks.length;
    const chunk = new Chunk(id, size, capacity);
    this.#chunks[id] = chunk;
    kind.bytes += chunk.bytes.length;
    this.#footprint += chunk.bytes.length;
    this.#hasRoom(chunk);
    return chunk;
  }

  /** Where the session stands in its chunk, behind its ID. */
  #sessionAt(slot: number): number {
    return (slot & (MAX_SLOTS - 1)) * this.#chunkOf(slot).slotBytes + this.#number(slot, ID_LENGTH);
  }

  #hasRoom(chunk: Chunk): void {
    const { room } = this.#classes.get(chunk.slotBytes) as SizeClass;
    chunk.roomAt = room.length;
    room.push(chunk);
  }

  #full(chunk: Chunk): void {
    const { room } = this.#classes.get(chunk.slotBytes) as SizeClass;
    const last = room.pop() as Chunk;
    if (last !== chunk) {
      room[chunk.roomAt] = last;
      last.roomAt = chunk.roomAt;
    }
    chunk.roomAt = NO_SLOT;
  }

  #emptied(chunk: Chunk): void {
    chunk.top = 0;
    chunk.free = NO_SLOT;
    chunk.soonest = Number.POSITIVE_INFINITY;
    const spare = this.#spare;
    this.#spare = chunk;
    if (spare === undefined || spare === chunk || spare.used > 0) return;
    this.#full(spare);
    const kind = this.#classes.get(spare.slotBytes) as SizeClass;
    kind.bytes -= spare.bytes.length;
    if (kind.bytes === 0) this.#classes.delete(spare.slotBytes);
    this.#footprint -= spare.bytes.length;
    this.#chunks[spare.id] = undefined;
    this.#freeIds.push(spare.id);
  }
}
