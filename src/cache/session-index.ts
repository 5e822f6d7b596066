/**
 * IDs to slots, in order of insertion: one `LRUCache`, or several for a large cache.
 *
 * Keys are 32-bit hashes of IDs, not strings: with a million strings on the heap the garbage collector has a million
 * objects to keep alive and walk. An ID whose hash another one has goes to a map by string.
 *
 * One map of a million entries stops the event loop for tens of milliseconds whenever it grows or shrinks; shards of
 * some ten thousand do not. Each shard keeps the order of its own entries, and as the whole cache's oldest entry is
 * also the oldest of its shard, eviction is exact whatever the number of shards.
 */

import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { latin1 } from '../wire/bytes.js';
import { type IdHash, NO_SLOT, type SessionArena } from './session-arena.js';

const ENTRIES_PER_SHARD = 20_480;
const MAX_SHARDS = 256;
const FIRST_ENTRIES = 256;
/** A shard that is larger than this is given back when it is empty: an `LRUCache` never shrinks. */
const KEEP_WHEN_EMPTY = 1024;
/**
 * A large shard is not emptied below this share of its size: at a quarter V8 begins to make its map smaller, and when
 * a million sessions expire, the maps left behind bring about a collection in the middle of it. Entries of sessions
 * that are gone stay instead, until they are evicted, replaced, or all of a shard are.
 */
const LEAVE_BELOW = 0.3;

type Shard = LRUCache<number, number>;

/** FNV-1a from a seed that nobody knows, its bits mixed once more: a small integer, which needs no memory of its own. */
function fnv1a(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return hash ^ (hash >>> 13);
}

/** Where the IDs stand. */
type Ids = Pick<SessionArena, 'id' | 'hasId' | 'hashOfId'>;

export class SessionIndex {
  readonly #arena: Ids;
  readonly #hash: IdHash;
  readonly #seed = randomBytes(4).readInt32LE();
  readonly #shards: (Shard | undefined)[];
  /** How large a shard gets when IDs spread evenly: eight standard deviations over the mean. */
  readonly #full: number;
  readonly #mask: number;
  /** Sessions of each shard that are there. */
  readonly #live: Int32Array;
  /** By latin1 string: IDs whose hash was taken. */
  readonly #collided = new Map<string, number>();

  /** @param hash for tests, which need collisions */
  constructor(maxSessions: number, arena: Ids, hash: IdHash = fnv1a) {
    let shards = 1;
    while (shards < MAX_SHARDS && maxSessions > shards * ENTRIES_PER_SHARD) shards *= 2;
    this.#shards = new Array<Shard | undefined>(shards).fill(undefined);
    const mean = maxSessions / shards;
    this.#full = shards === 1 ? maxSessions : Math.ceil(mean + 8 * Math.sqrt(mean));
    this.#mask = shards - 1;
    this.#live = new Int32Array(shards);
    this.#arena = arena;
    this.#hash = hash;
  }

  find(id: Uint8Array): number {
    const hash = this.#hash(id, 0, id.length, this.#seed);
    const slot = this.#shards[this.#shardOf(hash)]?.peek(hash);
    if (slot !== undefined && this.#arena.hasId(slot, id)) return slot;
    return this.#collided.size === 0 ? NO_SLOT : (this.#collided.get(latin1(id)) ?? NO_SLOT);
  }

  /** An ID that is not held becomes the newest. */
  add(id: Uint8Array, slot: number): void {
    const hash = this.#hash(id, 0, id.length, this.#seed);
    const at = this.#shardOf(hash);
    const taken = this.#shards[at]?.peek(hash);
    if (taken !== undefined && taken !== slot && this.#holds(taken, hash)) {
      this.#collided.set(latin1(id), slot);
      return;
    }
    this.#withRoom(at).set(hash, slot);
    this.#live[at] = (this.#live[at] as number) + 1;
  }

  delete(slot: number): void {
    const hash = this.#hashOf(slot);
    const at = this.#shardOf(hash);
    const shard = this.#shards[at];
    if (shard?.peek(hash) !== slot) this.#collided.delete(latin1(this.#arena.id(slot)));
    else if (!this.#letGo(at, shard) && (shard.max <= KEEP_WHEN_EMPTY || shard.size > shard.max * LEAVE_BELOW)) {
      shard.delete(hash);
    }
  }

  /** Deletes the oldest ID of all: the one that its shard evicts, after entries of sessions that are gone. */
  evict(slot: number): void {
    const hash = this.#hashOf(slot);
    const at = this.#shardOf(hash);
    const shard = this.#shards[at];
    if (shard?.peek(hash) !== slot) this.#collided.delete(latin1(this.#arena.id(slot)));
    else if (!this.#letGo(at, shard)) while (shard.size > 0 && shard.pop() !== slot);
  }

  clear(): void {
    this.#shards.fill(undefined);
    this.#live.fill(0);
    this.#collided.clear();
  }

  #hashOf(slot: number): number {
    return this.#arena.hashOfId(slot, this.#hash, this.#seed) as number;
  }

  /** Whether the entry of `hash` is of a session that is there. */
  #holds(slot: number, hash: number): boolean {
    return this.#arena.hashOfId(slot, this.#hash, this.#seed) === hash;
  }

  /** One session of the shard is gone; says whether the whole shard is, if it is large. */
  #letGo(at: number, shard: Shard): boolean {
    this.#live[at] = (this.#live[at] as number) - 1;
    if (this.#live[at] !== 0 || shard.max <= KEEP_WHEN_EMPTY) return false;
    this.#shards[at] = undefined;
    return true;
  }

  /**
   * The shard, with room for one more: when it is full a new one, as an `LRUCache` takes the memory for its `max` at
   * once. (One with a `maxSize` alone grows by itself, but takes twice the memory. Steps between small and full would
   * be for nothing too: each leaves arrays behind that make V8 enlarge the young generation, by 100 MB on Node 24 for a
   * million entries.)
   */
  #withRoom(at: number): Shard {
    const shard = this.#shards[at];
    if (shard !== undefined && shard.size < shard.max) return shard;
    let max = Math.min(FIRST_ENTRIES, this.#full);
    if (shard !== undefined) {
      const needed = (this.#live[at] as number) + 1;
      for (max = this.#full; max - needed < max / 32; ) max *= 2;
    }
    const larger: Shard = new LRUCache<number, number>({ max });
    shard?.rforEach((slot, hash) => {
      if (this.#holds(slot, hash)) larger.set(hash, slot);
    });
    this.#shards[at] = larger;
    return larger;
  }

  #shardOf(hash: number): number {
    return (hash >>> 24) & this.#mask;
  }
}
