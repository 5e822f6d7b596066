/** The keys that open now, and which one seals. */

import { outOfRange } from '../arguments.js';
import { KEY_NAME_BYTES, TicketKey, type TicketKeyInput } from './ticket-key.js';

/** Keys that a ring holds at most. */
export const MAX_KEYS = 1024;

/** A key that opens. Times are milliseconds. */
export interface OpenKey {
  readonly key: TicketKey;
  /** Since when it opens, or is announced to other hosts too. */
  since: number;
  /** Until when it opens, that moment included: `Infinity` as long as nobody knows. */
  until: number;
  seals: number;
  /** Seals at which something must happen. */
  sealLimit: number;
}

/** Holds copies, which are overwritten when they leave. */
export class KeySet {
  readonly keyLength: 48 | 80;
  readonly #maxSeals: number;
  readonly #all = new Set<OpenKey>();
  #current: OpenKey | undefined;
  #ahead: readonly OpenKey[] = [];
  #previous: readonly OpenKey[] = [];
  #inOrder: readonly OpenKey[] = [];

  constructor(keyLength: 48 | 80, maxSeals: number) {
    this.keyLength = keyLength;
    this.#maxSeals = maxSeals;
  }

  /** What seals; `undefined` before the first {@link arrange} and after {@link clear}. */
  get current(): OpenKey | undefined {
    return this.#current;
  }

  /** What will seal, the soonest first. */
  get ahead(): readonly OpenKey[] {
    return this.#ahead;
  }

  /** What sealed, or never will, newest first. */
  get previous(): readonly OpenKey[] {
    return this.#previous;
  }

  /** All, current first. */
  get inOrder(): readonly OpenKey[] {
    return this.#inOrder;
  }

  /**
   * A copy of a key, held from now on: {@link arrange} says as what.
   *
   * @throws TypeError or RangeError when it is no good key, has another length than the others, or repeats the name or
   *   a secret of one of them
   */
  add(input: TicketKeyInput, since: number): OpenKey {
    const key = input instanceof TicketKey ? new TicketKey(input) : TicketKey.from(input);
    try {
      if (key.length !== this.keyLength) throw outOfRange('key', `a key of ${this.keyLength} bytes`, input);
      for (const { key: held } of this.#all) {
        if (isSame(held.name, key.name)) throw outOfRange('key', 'a name that no other key has', input);
        if (isSame(held.hmacKey, key.hmacKey) || isSame(held.aesKey, key.aesKey)) {
          throw outOfRange('key', 'secrets that no other key has', input);
        }
      }
    } catch (error) {
      key.destroy();
      throw error;
    }
    const open = { key, since, until: Number.POSITIVE_INFINITY, seals: 0, sealLimit: this.#maxSeals };
    this.#all.add(open);
    return open;
  }

  /** Says what each key is for. Those that are not named, and the last previous ones of too many, leave. */
  arrange(current: OpenKey, ahead: readonly OpenKey[], previous: readonly OpenKey[]): void {
    this.#current = current;
    this.#ahead = ahead;
    this.#previous = previous.slice(0, MAX_KEYS - 1 - ahead.length);
    this.#inOrder = [current, ...ahead, ...this.#previous];
    if (this.#inOrder.length === this.#all.size) return;
    const staying = new Set(this.#inOrder);
    for (const open of this.#all) if (!staying.has(open)) this.drop(open);
  }

  /** Overwrites a key that was added and is arranged as nothing. */
  drop(open: OpenKey): void {
    this.#all.delete(open);
    open.key.destroy();
  }

  /** Overwrites the previous keys whose time is over, and returns when the next one's is. */
  close(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    let over = false;
    for (const { until } of this.#previous) {
      if (until < now) over = true;
      else if (until < next) next = until;
    }
    if (over && this.#current !== undefined) {
      this.arrange(
        this.#current,
        this.#ahead,
        this.#previous.filter(({ until }) => until >= now),
      );
    }
    return next;
  }

  find(name: Uint8Array): TicketKey | undefined {
    if (name.length !== KEY_NAME_BYTES) return undefined;
    // Names travel in clear: nothing to hide in how long this takes. For a few keys no map is as fast.
    for (const { key } of this.#inOrder) if (isSame(key.name, name)) return key;
    return undefined;
  }

  clear(): void {
    for (const open of this.#all) this.drop(open);
    this.#current = undefined;
    this.#ahead = [];
    this.#previous = [];
    this.#inOrder = [];
  }
}

/** Whether bytes of the same length are equal. Faster than `Buffer.equals`, as most differ at once. */
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}
