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
import { type IdHash, NO_SLOT, type SessionArena } from './session-arena.js';

const ENTRIES_PER_SHARD = 20_480;
const MAX_SHARDS = 256;
const FIRST_ENTRIES = 256;
/** A shard that is larger than this is given back when it is empty: an `LRUCache` never shrinks. */
const KEEP_WHEN_EMPTY = 1024;

type Shard = LRUCache<number, number>;

/**
 * The shard with room for more: a new one, as an `LRUCache` takes the memory for its `max` at once. (One with a
 * `maxSize` alone grows by itself, but takes twice the memory. Steps between small and full would be for nothing too:
 * each leaves arrays behind that make V8 enlarge the young generation, by 100 MB on Node 24 for a million entries.)
 */
function grown(shard: Shard | undefined, full: number): Shard {
  if (shard === undefined) return new LRUCache<number, number>({ max: Math.min(FIRST_ENTRIES, full) });
  const larger: Shard = new LRUCache<number, number>({ max: shard.max < full ? full : shard.max * 2 });
  shard.rforEach((slot, hash) => {
    larger.set(hash, slot);
  });
  return larger;
}

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
    this.#arena = arena;
    this.#hash = hash;
  }

  find(id: Uint8Array): number {
    const hash = this.#hash(id, 0, id.length, this.#seed);
    const slot = this.#shards[this.#shardOf(hash)]?.peek(hash);
    if (slot !== undefined && this.#arena.hasId(slot, id)) return slot;
    return this.#collided.size === 0 ? NO_SLOT : (this.#collided.get(keyOf(id)) ?? NO_SLOT);
  }

  /** An ID that is not held becomes the newest. */
  add(id: Uint8Array, slot: number): void {
    const hash = this.#hash(id, 0, id.length, this.#seed);
    const at = this.#shardOf(hash);
    let shard = this.#shards[at];
    if (shard !== undefined && shard.peek(hash) !== undefined) {
      this.#collided.set(keyOf(id), slot);
      return;
    }
    if (shard === undefined || shard.size === shard.max) {
      shard = grown(shard, this.#full);
      this.#shards[at] = shard;
    }
    shard.set(hash, slot);
  }

  delete(slot: number): void {
    const hash = this.#arena.hashOfId(slot, this.#hash, this.#seed);
    const at = this.#shardOf(hash);
    if (this.#shards[at]?.peek(hash) === slot) {
      this.#shards[at]?.delete(hash);
      this.#tidy(at);
    } else this.#collided.delete(keyOf(this.#arena.id(slot)));
  }

  /** Deletes the oldest ID of all: the one that its shard evicts. */
  evict(slot: number): void {
    const hash = this.#arena.hashOfId(slot, this.#hash, this.#seed);
    const at = this.#shardOf(hash);
    if (this.#shards[at]?.peek(hash) === slot) {
      this.#shards[at]?.pop();
      this.#tidy(at);
    } else this.#collided.delete(keyOf(this.#arena.id(slot)));
  }

  clear(): void {
    this.#shards.fill(undefined);
    this.#collided.clear();
  }

  #tidy(at: number): void {
    const shard = this.#shards[at];
    if (shard !== undefined && shard.size === 0 && shard.max > KEEP_WHEN_EMPTY) this.#shards[at] = undefined;
  }

  #shardOf(hash: number): number {
    return (hash >>> 24) & this.#mask;
  }
}

function keyOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.length).toString('latin1');
}
