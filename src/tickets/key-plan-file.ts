/** Keys that are handed to all hosts, not quite at the same time. */

import { outOfRange } from '../arguments.js';
import { type KeyPlan, type KeyPlanHost, overusedError, sharedError } from './key-plan.js';
import { MAX_KEYS, type OpenKey } from './key-set.js';
import type { TicketKey } from './ticket-key.js';

/** Times are milliseconds. */
export interface FilePlanSettings {
  readonly lifetime: number;
  readonly skew: number;
  /** Whether the second key of a list is the one that the next list will seal with. */
  readonly announces: boolean;
}

/**
 * All keys of a list open at once. Its first seals once it was listed for `skew`: then all hosts have it. Another host
 * may read the list `skew` later, and seal with what is not in it for `skew` after that: so long, and for `lifetime`
 * then, a key opens that left.
 */
export class FilePlan implements KeyPlan {
  readonly byTimeOfDay = false;
  readonly #host: KeyPlanHost;
  readonly #skew: number;
  readonly #lifetime: number;
  readonly #announces: boolean;
  #listed: readonly OpenKey[] = [];
  #sealsAt = Number.POSITIVE_INFINITY;

  /** @param list at least one key, the first of which seals at once: there is no other yet */
  constructor(host: KeyPlanHost, now: number, settings: FilePlanSettings, list: readonly TicketKey[]) {
    this.#host = host;
    this.#skew = settings.skew;
    this.#lifetime = settings.lifetime;
    this.#announces = settings.announces;
    this.#listed = this.#match(list, now);
    this.#arrange(this.#listed[0] as OpenKey);
  }

  get due(): number {
    return this.#sealsAt;
  }

  /**
   * A new list, which begins with the key to seal with.
   *
   * @throws TypeError or RangeError when a key is none, repeats another one, or when there are too many; nothing changed
   */
  replace(list: readonly TicketKey[], now: number): void {
    const { current, previous, ahead } = this.#host.keys;
    if (current === undefined) return;
    const listed = this.#match(list, now);
    const left = now + 2 * this.#skew + this.#lifetime;
    for (const open of [...previous, ...ahead]) open.until = Math.min(open.until, left);
    for (const open of listed) {
      if (!this.#listed.includes(open)) open.since = now;
      open.until = Number.POSITIVE_INFINITY;
    }
    this.#listed = listed;
    const first = listed[0] as OpenKey;
    this.#sealsAt = first === current ? Number.POSITIVE_INFINITY : Math.max(now, first.since + this.#skew);
    this.#arrange(current);
  }

  settle(now: number): void {
    const { current } = this.#host.keys;
    if (current === undefined || now < this.#sealsAt) return;
    // This host was in the middle of those that change over.
    if (!this.#listed.includes(current)) current.until = this.#sealsAt + this.#skew + this.#lifetime;
    this.#sealsAt = Number.POSITIVE_INFINITY;
    this.#arrange(this.#listed[0] as OpenKey);
    this.#host.rotated(current.key, 'file');
  }

  overused(): void {
    this.#host.fault(overusedError('put another one into the file'));
  }

  rotate(): TicketKey {
    throw sharedError('put another key into the file of each');
  }

  destroy(): void {
    this.#listed = [];
    this.#sealsAt = Number.POSITIVE_INFINITY;
  }

  /** The keys of a list as they are held: those that are not yet are added. */
  #match(list: readonly TicketKey[], now: number): readonly OpenKey[] {
    if (list.length < 1 || list.length > MAX_KEYS / 2)
      throw outOfRange('keys', `1 to ${MAX_KEYS / 2} keys`, list.length);
    const { keys } = this.#host;
    const held = new Map(keys.inOrder.map((open) => [open.key.name.toString('hex'), open]));
    const added: OpenKey[] = [];
    try {
      const listed = list.map((key) => {
        const known = held.get(key.name.toString('hex'));
        if (known !== undefined && sameSecrets(known.key, key)) return known;
        const open = keys.add(key, now);
        added.push(open);
        return open;
      });
      if (new Set(listed).size < listed.length) throw outOfRange('keys', 'each key once', list.length);
      return listed;
    } catch (error) {
      for (const open of added) keys.drop(open);
      throw error;
    }
  }

  #arrange(current: OpenKey): void {
    const { keys } = this.#host;
    const [first, second] = this.#listed;
    const ahead = [first, this.#announces ? second : undefined].filter(
      (open): open is OpenKey => open !== undefined && open !== current,
    );
    const listed = this.#listed.filter((open) => open !== current && !ahead.includes(open));
    const left = keys.inOrder.filter((open) => !this.#listed.includes(open) && open !== current);
    left.sort((one, other) => other.until - one.until);
    keys.arrange(current, ahead, [...listed, ...left]);
  }
}

function sameSecrets(one: TicketKey, other: TicketKey): boolean {
  return one.hmacKey.equals(other.hmacKey) && one.aesKey.equals(other.aesKey);
}
