/** What is remembered of sessions: a name for each hash, bounded in number and timed. */

interface Entry {
  readonly value: string;
  /** By the clock of the table, in milliseconds. */
  readonly expiresAt: number;
}

/** Expired entries that one `set` removes at most beside what it replaces: constant work, and it never falls behind. */
const SWEPT = 4;

export class AffinityTable {
  readonly #maxEntries: number;
  readonly #clock: () => number;
  /** In the order in which they were set or found, the oldest first. */
  readonly #entries = new Map<string, Entry>();
  evicted = 0;

  constructor(maxEntries: number, clock: () => number) {
    this.#maxEntries = maxEntries;
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What was set, unless its time is over. It counts as used. */
  get(key: string): string | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (entry.expiresAt <= this.#clock()) return undefined;
    this.#entries.set(key, entry);
    return entry.value;
  }

  /**
   * Keeps a value for so many seconds, in the place of the least recently used where there is no room.
   *
   * @returns false when the same value is held and has more than half of that time to go: then nothing was worth telling.
   */
  set(key: string, value: string, seconds: number): boolean {
    const now = this.#clock();
    const held = this.#entries.get(key);
    this.#entries.delete(key);
    const fresh = held?.value === value && held.expiresAt - now > seconds * 500;
    this.#entries.set(key, fresh ? held : { value, expiresAt: now + seconds * 1000 });
    this.#sweep(now);
    return !fresh;
  }

  clear(): void {
    this.#entries.clear();
  }

  #sweep(now: number): void {
    let looked = 0;
    for (const [key, { expiresAt }] of this.#entries) {
      if (this.#entries.size <= this.#maxEntries && (expiresAt > now || looked === SWEPT)) return;
      if (expiresAt > now) this.evicted++;
      this.#entries.delete(key);
      looked++;
    }
  }
}
