/** Keeps keys at the present: when they are used, and by a timer while they are not. */

import type { ResumptionError } from '../errors.js';
import { disposedError, type KeyPlan, type KeyPlanHost, type RotationReason } from './key-plan.js';
import { KeySet, type OpenKey } from './key-set.js';
import type { TicketKey, TicketKeyInput } from './ticket-key.js';
import type { RingSettings } from './ticket-key-ring-options.js';

/** The longest that a timer of Node can wait, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Who is told what happened, when all of it is done. Must not throw. */
export interface KeyClockworkListener {
  rotated(current: TicketKey, previous: TicketKey, reason: RotationReason): void;
  fault(error: ResumptionError): void;
}

export type MakeKeyPlan = (host: KeyPlanHost, now: number) => KeyPlan;

export class KeyClockwork {
  readonly keys: KeySet;
  readonly #clock: () => number;
  readonly #listener: KeyClockworkListener;
  #plan: KeyPlan | undefined;
  /** What the clock was put back by, in all. */
  #offset = 0;
  #seen: number;
  #due = Number.POSITIVE_INFINITY;
  #soon = false;
  #untold: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** @throws what the plan cannot begin with */
  constructor(settings: RingSettings, keyLength: 48 | 80, makePlan: MakeKeyPlan, listener: KeyClockworkListener) {
    this.keys = new KeySet(keyLength, settings.maxSeals);
    this.#clock = settings.clock;
    this.#listener = listener;
    this.#seen = this.#clock();
    try {
      this.#plan = makePlan(this.#host(), this.#seen);
    } catch (error) {
      this.keys.clear();
      throw error;
    }
    this.#finish();
  }

  /** @throws ResumptionError ERR_KEY_RING_DISPOSED */
  get current(): OpenKey {
    const { current } = this.keys;
    if (current === undefined) throw disposedError();
    return current;
  }

  /** Brings the keys to the present. */
  turn(): void {
    const now = this.#now();
    if (now < this.#due && now >= this.#seen) this.#seen = now;
    else this.#settle(now);
  }

  /** @throws ResumptionError ERR_KEY_RING_DISPOSED */
  seal(): TicketKey {
    this.turn();
    this.#limitSeals();
    const { current } = this;
    current.seals++;
    return current.key;
  }

  #limitSeals(): void {
    const { current } = this.keys;
    if (current === undefined || current.seals < current.sealLimit) return;
    current.sealLimit = Number.POSITIVE_INFINITY;
    this.#plan?.overused(this.#seen);
    this.#finish();
  }

  /**
   * The same for where nothing else may happen: whatever is due comes in a turn of the event loop of its own, listeners
   * and key source included. So a key may seal beyond its limit what is sealed in this turn.
   *
   * @returns `undefined` after disposal
   */
  sealAlone(): TicketKey | undefined {
    const { current } = this.keys;
    if (current === undefined) return undefined;
    if (++current.seals >= current.sealLimit || this.#isDue()) this.#turnSoon();
    return current.key;
  }

  /** What has this name, in the same way: one whose time is over since the last turn too. */
  findAlone(name: Uint8Array): TicketKey | undefined {
    if (this.#isDue()) this.#turnSoon();
    return this.keys.find(name);
  }

  #isDue(): boolean {
    const now = this.#now();
    return now >= this.#due || now < this.#seen;
  }

  #turnSoon(): void {
    if (this.#soon) return;
    this.#soon = true;
    setImmediate(() => {
      this.#soon = false;
      this.turn();
      this.#limitSeals();
    });
  }

  /** A clock that does not know the time stands still. */
  #now(): number {
    let now = Number.NaN;
    try {
      now = this.#clock() + this.#offset;
    } catch {
      // As one that gives no number.
    }
    return Number.isFinite(now) ? now : this.#seen;
  }

  /** @throws as {@link KeyPlan.rotate}, and ResumptionError ERR_KEY_RING_DISPOSED */
  rotate(input: TicketKeyInput | undefined, overlap: boolean): TicketKey {
    this.turn();
    if (this.#plan === undefined) throw disposedError();
    const key = this.#plan.rotate(this.#seen, input, overlap);
    this.#finish();
    return key;
  }

  /** Brings the keys to the present, does something at that time, and all that follows from it. */
  act(action: (now: number) => void): void {
    this.turn();
    if (this.#plan === undefined) return;
    action(this.#seen);
    this.#settle(this.#seen);
  }

  /** Tells of a fault that came from elsewhere. */
  fault(error: ResumptionError): void {
    if (this.#plan !== undefined) this.#listener.fault(error);
  }

  /** @returns false when that was done before */
  dispose(): boolean {
    const first = this.#plan !== undefined;
    clearTimeout(this.#timer);
    this.#plan?.destroy();
    this.#plan = undefined;
    this.#due = Number.POSITIVE_INFINITY;
    this.keys.clear();
    return first;
  }

  #host(): KeyPlanHost {
    return {
      keys: this.keys,
      rotated: (previous, reason) => {
        const { key } = this.current;
        this.#untold.push(() => this.#listener.rotated(key, previous, reason));
      },
      fault: (error) => {
        // What the plan cannot begin with is the maker's to know.
        if (this.#plan === undefined) throw error;
        this.#untold.push(() => this.#listener.fault(error));
      },
      wake: () => this.#settle(this.#now()),
    };
  }

  #settle(now: number): void {
    const plan = this.#plan;
    if (plan === undefined) return;
    if (now < this.#seen && !plan.byTimeOfDay) {
      this.#offset += this.#seen - now;
      now = this.#seen;
    }
    this.#seen = now;
    plan.settle(now);
    this.#finish();
  }

  /** What follows every change: closing, the next timer, events. */
  #finish(): void {
    if (this.#plan === undefined) return;
    this.#due = Math.min(this.keys.close(this.#seen), this.#plan.due);
    clearTimeout(this.#timer);
    if (this.#due !== Number.POSITIVE_INFINITY) {
      const wait = Math.min(Math.max(Math.ceil(this.#due - this.#seen), 1), LONGEST_TIMER);
      this.#timer = setTimeout(() => this.#settle(this.#now()), wait).unref();
    }
    const untold = this.#untold;
    this.#untold = [];
    for (const tell of untold) tell();
  }
}
