/** Keys that all hosts derive from one secret and the time of day. */

import { PeriodKeys } from './key-derivation.js';
import { type KeyPlan, type KeyPlanHost, overusedError, sharedError } from './key-plan.js';
import type { OpenKey } from './key-set.js';
import type { TicketKey } from './ticket-key.js';

/** Times are milliseconds. */
export interface SecretPlanSettings {
  readonly secret: Uint8Array;
  readonly interval: number;
  readonly lifetime: number;
  readonly skew: number;
}

/**
 * The key of a period seals in it, and opens from `skew` before its begin until `lifetime + skew` after its end, both
 * moments included. What is held depends on nothing but the time: it may jump.
 */
export class SecretPlan implements KeyPlan {
  readonly byTimeOfDay = true;
  readonly #host: KeyPlanHost;
  readonly #interval: number;
  readonly #skew: number;
  /** Milliseconds that a key opens after its period. */
  readonly #after: number;
  readonly #periodKeys: PeriodKeys;
  #held = new Map<number, OpenKey>();
  #due = Number.NEGATIVE_INFINITY;

  constructor(host: KeyPlanHost, now: number, settings: SecretPlanSettings) {
    const { secret, interval, lifetime, skew } = settings;
    this.#host = host;
    this.#interval = interval;
    this.#skew = skew;
    this.#after = lifetime + skew;
    this.#periodKeys = new PeriodKeys(secret, interval, host.keys.keyLength);
    this.settle(now);
  }

  get due(): number {
    return this.#due;
  }

  settle(now: number): void {
    const interval = this.#interval;
    // Before 1970 it is the first period.
    const period = Math.max(0, Math.floor(now / interval));
    const first = Math.max(0, Math.ceil((now - this.#after) / interval) - 1);
    const last = Math.max(period, Math.floor((now + this.#skew) / interval));
    this.#due = Math.min(
      (period + 1) * interval,
      (last + 1) * interval - this.#skew,
      (first + 1) * interval + this.#after,
    );
    const held = new Map<number, OpenKey>();
    for (let p = first; p <= last; p++) held.set(p, this.#held.get(p) ?? this.#derive(p, now));
    this.#held = held;

    const { keys } = this.#host;
    const before = keys.current;
    const current = held.get(period) as OpenKey;
    const open = [...held.values()];
    keys.arrange(current, open.slice(period - first + 1), open.slice(0, period - first).reverse());
    if (before !== undefined && before !== current) this.#host.rotated(before.key, 'time');
  }

  overused(): void {
    this.#host.fault(overusedError('shorten "interval" on all hosts'));
  }

  rotate(): TicketKey {
    throw sharedError('change the secret on all of them');
  }

  destroy(): void {
    this.#periodKeys.destroy();
    this.#held.clear();
  }

  #derive(period: number, now: number): OpenKey {
    const bytes = this.#periodKeys.derive(period);
    const open = this.#host.keys.add(bytes, now);
    bytes.fill(0);
    return open;
  }
}
