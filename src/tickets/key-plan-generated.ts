/** Keys that belong to one ring alone: random ones, those of a key source, or those it was given. */

import { randomBytes } from 'node:crypto';
import type { MaybePromise } from '../stores/session-store.js';
import { disposedError, type KeyPlan, type KeyPlanHost, overusedError, type RotationReason } from './key-plan.js';
import type { OpenKey } from './key-set.js';
import { KeySource } from './key-source.js';
import type { TicketKey, TicketKeyInput } from './ticket-key.js';

/** Times are milliseconds. */
export interface GeneratedPlanSettings {
  readonly lifetime: number;
  /** `Infinity` for no rotation by time. */
  readonly interval: number;
  readonly generateKey?: (() => MaybePromise<TicketKeyInput>) | undefined;
  /** Keys to begin with, which are not replaced unless by hand. */
  readonly given?: readonly TicketKeyInput[] | undefined;
}

export class GeneratedPlan implements KeyPlan {
  readonly byTimeOfDay = false;
  readonly #host: KeyPlanHost;
  readonly #lifetime: number;
  readonly #interval: number;
  readonly #source: KeySource | undefined;
  readonly #given: boolean;
  #rotateAt: number;
  /** Why the source was asked. */
  #why: RotationReason = 'source';

  constructor(host: KeyPlanHost, now: number, settings: GeneratedPlanSettings) {
    const { lifetime, interval, generateKey, given } = settings;
    this.#host = host;
    this.#lifetime = lifetime;
    this.#interval = interval;
    this.#rotateAt = now + interval;
    this.#given = given !== undefined;
    if (generateKey !== undefined) {
      this.#source = new KeySource(
        generateKey,
        () => host.wake(),
        (error) => host.fault(error),
      );
    }
    const [first = this.#fresh(now), ...others] = (given ?? []).map((input) => host.keys.add(input, now));
    host.keys.arrange(first, [], others);
  }

  get due(): number {
    return Math.min(this.#rotateAt, this.#source?.due ?? Number.POSITIVE_INFINITY);
  }

  settle(now: number): void {
    if (now >= this.#rotateAt) {
      const missed = this.#rotateAt;
      this.#rotateAt += this.#interval * (Math.floor((now - missed) / this.#interval) + 1);
      // As if it had been looked at in time: nothing was sealed since.
      if (this.#source === undefined) this.#replace(this.#random(now), missed, 'time');
      else this.#want(now, 'time');
    }
    const fresh = this.#fromSource(now);
    if (fresh === undefined) return;
    this.#rotateAt = now + this.#interval;
    this.#replace(fresh, now, this.#why);
  }

  overused(now: number): void {
    if (this.#given) {
      this.#host.fault(overusedError('rotate() it'));
    } else if (this.#source === undefined) {
      this.#rotateAt = now + this.#interval;
      this.#replace(this.#random(now), now, 'seals');
    } else {
      this.#want(now, 'seals');
      this.settle(now);
    }
  }

  rotate(now: number, input: TicketKeyInput | undefined, overlap: boolean): TicketKey {
    const { keys } = this.#host;
    const fresh = input === undefined ? this.#fresh(now) : keys.add(input, now);
    if (input !== undefined) this.#source?.done();
    if (keys.current === undefined) {
      keys.drop(fresh);
      throw disposedError();
    }
    this.#rotateAt = now + this.#interval;
    this.#replace(fresh, now, 'hand');
    if (!overlap) keys.arrange(fresh, [], []);
    return fresh.key;
  }

  destroy(): void {
    this.#source?.done();
  }

  /** A key at once: of the source, or a random one that stands in until the source answers. */
  #fresh(now: number): OpenKey {
    this.#source?.done();
    this.#want(now, 'source');
    return this.#fromSource(now) ?? this.#random(now);
  }

  #want(now: number, why: RotationReason): void {
    this.#why = why;
    this.#source?.want(now);
  }

  #fromSource(now: number): OpenKey | undefined {
    const given = this.#source?.take(now);
    if (given === undefined) return undefined;
    try {
      const fresh = this.#host.keys.add(given.input, now);
      this.#source?.done();
      return fresh;
    } catch (error) {
      this.#source?.fail(now, error);
      return undefined;
    }
  }

  #random(now: number): OpenKey {
    const bytes = randomBytes(this.#host.keys.keyLength);
    const fresh = this.#host.keys.add(bytes, now);
    bytes.fill(0);
    return fresh;
  }

  #replace(fresh: OpenKey, at: number, reason: RotationReason): void {
    const { keys } = this.#host;
    const { current, previous } = keys;
    if (current === undefined) return;
    const older = [current, ...previous];
    for (const open of older) open.until = Math.min(open.until, at + this.#lifetime);
    keys.arrange(fresh, [], older);
    this.#host.rotated(current.key, reason);
  }
}
