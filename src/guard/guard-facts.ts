/** What a guard knows beside its options: epochs and revocations, its own and those that others tell. */

import { createHash } from 'node:crypto';
import { channels, type RotatedMessage } from '../diagnostics.js';
import type { MaybePromise } from '../stores/session-store.js';
import type { SharedState } from '../stores/shared-state.js';
import { Epochs, isEpochName, nameOf, parametersOf, WHOLE } from './epochs.js';
import { decodeRevocation, encodeRevocation, factNameOf, keyOfFactName, Revocations } from './revocations.js';
import { type FactKeeper, SharedFacts } from './shared-facts.js';

/** By what the clocks of hosts may differ: facts outlive by this what they are about. In milliseconds. */
const LIFE_MARGIN = 3_600_000;
/** What another host made is taken for made this much earlier. In milliseconds. */
const CLOCK_MARGIN = 5000;
/** Facts that one look finds missing and writes again. */
const MAX_CLAIMS = 100;

/** What a guard gives of itself. */
export interface GuardFactsOptions {
  readonly name: string;
  /** Seconds. */
  readonly maxChainAge: number;
  readonly clock: () => number;
  readonly state: SharedState | undefined;
  /** Seconds. */
  readonly interval: number;
}

export class GuardFacts implements FactKeeper {
  readonly epochs: Epochs;
  readonly revocations = new Revocations();
  /** Milliseconds. */
  readonly margin: number;
  readonly shared: SharedFacts | undefined;
  readonly #guard: string;
  readonly #clock: () => number;
  /** Milliseconds in which something from before a moment can still be shown. */
  readonly #life: number;
  /** Whether the state was read: what it said then had happened before. */
  #begun = false;

  constructor({ name, maxChainAge, clock, state, interval }: GuardFactsOptions) {
    this.#guard = name;
    this.#clock = clock;
    this.#life = maxChainAge * 1000 + LIFE_MARGIN;
    this.margin = state === undefined ? 0 : CLOCK_MARGIN;
    this.epochs = new Epochs(state && clock());
    if (state === undefined) return;
    const digest = createHash('sha256').update(name).digest('hex');
    this.shared = new SharedFacts({ state, prefix: `tls-resumption/${digest}/`, interval, clock }, this);
    this.shared.begin();
  }

  /** Whether all that could have been revoked or forgotten is known here. */
  get current(): boolean {
    return this.shared === undefined || (this.epochs.known && this.shared.fresh);
  }

  rotate(reason: string): MaybePromise<void> {
    return this.#renew(WHOLE, reason);
  }

  retire(parameters: Uint8Array, reason: string): MaybePromise<void> {
    if (this.epochs.full) this.#forget(this.#clock());
    return this.#renew(this.epochs.full ? WHOLE : nameOf(parameters), reason);
  }

  revoke(key: string): MaybePromise<void> {
    const now = this.#clock();
    const { revocations } = this;
    if (revocations.full) this.#forget(now);
    if (revocations.full && revocations.at(key) === undefined) return this.rotate('too many revocations');
    revocations.add(key, now);
    return this.shared?.put(factNameOf(key), seconds(this.#life), () => encodeRevocation(revocations.at(key) ?? now));
  }

  told(name: string, value: Uint8Array): void {
    if (isEpochName(name)) {
      const adoption = this.epochs.adopt(name, value);
      // The state went back, or what was written before came late: nobody may follow it.
      if (adoption === 'stale') void this.#renew(name, this.epochs.reasonOf(name));
      else if (adoption === 'moved' && this.#begun) this.#publish(name);
      return;
    }
    const key = keyOfFactName(name);
    if (key === undefined) return;
    const at = decodeRevocation(value);
    if (at !== undefined) this.revocations.add(key, at);
  }

  looked(missing: (name: string) => boolean): boolean {
    const { epochs } = this;
    if (missing(WHOLE)) this.shared?.claim(WHOLE, epochs.factOf(WHOLE) as Buffer);
    const now = this.#clock();
    this.#forget(now, missing);
    this.#claimMissing(now, missing);
    this.#begun = epochs.known;
    return epochs.known;
  }

  /** What the state has lost, here it still stands. */
  #claimMissing(now: number, missing: (name: string) => boolean): void {
    let claims = 0;
    const claim = (name: string, since: number, fact: () => Buffer): void => {
      const left = since + this.#life - now;
      // At its end others may take it for over already.
      if (left < LIFE_MARGIN / 2 || !missing(name) || ++claims > MAX_CLAIMS) return;
      this.shared?.claim(name, fact(), Math.min(seconds(left), seconds(this.#life)));
    };
    for (const [name, since] of this.epochs.retired()) claim(name, since, () => this.epochs.factOf(name) as Buffer);
    for (const [key, at] of this.revocations.entries()) claim(factNameOf(key), at, () => encodeRevocation(at));
  }

  /** What can have no effect any more. */
  #forget(now: number, over: (name: string) => boolean = () => this.shared === undefined): void {
    for (const [name, since] of this.epochs.retired()) {
      if (since + this.#life < now && over(name)) this.epochs.forget(name);
    }
    this.revocations.prune(now - this.#life);
  }

  #renew(name: string, reason: string): MaybePromise<void> {
    const fact = this.epochs.renew(name, this.#clock(), reason);
    this.#publish(name);
    // After a failure nobody knows which write came last: an epoch that is tried twice could bring back what another
    // host has left since.
    return this.shared?.put(name, name === WHOLE ? undefined : seconds(this.#life), (again) =>
      again ? this.epochs.renew(name, this.#clock(), reason) : fact,
    );
  }

  #publish(name: string): void {
    if (!channels.rotated.hasSubscribers) return;
    const parameters = parametersOf(name);
    const message: RotatedMessage = { guard: this.#guard, reason: this.epochs.reasonOf(name), parameters };
    channels.rotated.publish(message);
  }
}

function seconds(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds / 1000));
}
