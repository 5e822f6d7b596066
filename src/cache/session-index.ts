/**
 * Keys to slots, in order of insertion: one `LRUCache`, or several for a large cache.
 *
 * One map of a million entries stops the event loop for tens of milliseconds whenever it grows or shrinks; shards of
 * some ten thousand do not. Each shard keeps the order of its own entries, and as the whole cache's oldest entry is
 * also the oldest of its shard, eviction is exact whatever the number of shards.
 */

import { LRUCache } from 'lru-cache';

const ENTRIES_PER_SHARD = 16_384;
const MAX_SHARDS = 256;
/** A shard that was larger than this is given back when it is empty: an `LRUCache` never shrinks its arrays. */
const KEEP_WHEN_EMPTY = 1024;

type Shard = LRUCache<string, number>;

function makeShard(): Shard {
  // The bounds are the table's. Of the ways to have an LRUCache without bound this is the one that allocates nothing
  // beforehand: `max` reserves five arrays of that length.
  return new LRUCache<string, number>({ maxSize: Number.MAX_SAFE_INTEGER, sizeCalculation: () => 1 });
}

export class SessionIndex {
  readonly #shards: (Shard | undefined)[];
  readonly #peaks: number[];
  readonly #mask: number;

  constructor(maxSessions: number) {
    let shards = 1;
    while (shards < MAX_SHARDS && maxSessions > shards * ENTRIES_PER_SHARD * 2) shards *= 2;
    this.#shards = new Array<Shard | undefined>(shards).fill(undefined);
    this.#peaks = new Array<number>(shards).fill(0);
    this.#mask = shards - 1;
  }

  get(key: string): number | undefined {
    return this.#shards[this.#shardOf(key)]?.peek(key);
  }

  /** The key becomes the newest. */
  set(key: string, slot: number): void {
    const at = this.#shardOf(key);
    let shard = this.#shards[at];
    if (shard === undefined) {
      shard = makeShard();
      this.#shards[at] = shard;
    }
    shard.set(key, slot);
    if (shard.size > (this.#peaks[at] as number)) this.#peaks[at] = shard.size;
  }

  delete(key: string): void {
    const at = this.#shardOf(key);
    this.#shards[at]?.delete(key);
    this.#tidy(at);
  }

  /** Evicts the oldest of the shard that `key`, the oldest key of all, belongs to: `key` itself. */
  evict(key: string): void {
    const at = this.#shardOf(key);
    this.#shards[at]?.pop();
    this.#tidy(at);
  }

  clear(): void {
    this.#shards.fill(undefined);
    this.#peaks.fill(0);
  }

  #tidy(at: number): void {
    if ((this.#peaks[at] as number) > KEEP_WHEN_EMPTY && this.#shards[at]?.size === 0) {
      this.#shards[at] = undefined;
      this.#peaks[at] = 0;
    }
  }

  /** IDs are random or digests: two of their bytes spread them. Others only share shards unevenly. */
  #shardOf(key: string): number {
    if (this.#mask === 0) return 0;
    return (key.charCodeAt(0) * 31 + key.charCodeAt(key.length - 1)) & this.#mask;
  }
}
