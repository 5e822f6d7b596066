/** Calls of a store that may fail or hang: each ends by its deadline, and only so many are on their way. */

import { ResumptionError } from '../errors.js';
import { type CircuitBreaker, type CircuitState, REFUSED } from './circuit-breaker.js';
import { isPromise, type MaybePromise } from './session-store.js';

/** The call was not made: the circuit is open. */
export const OPEN = Symbol('open');
/** The call was not made: as many as may be are on their way. */
export const FULL = Symbol('full');
/** Why a call was not made. */
export type Refusal = typeof OPEN | typeof FULL;

/** Counters of the calls of one kind. `calls` is the sum of `answered`, `errors`, `timeouts` and `inFlight`. */
export interface CallStatistics {
  /** The state of the circuit breaker. */
  readonly state: CircuitState;
  /** Calls made. */
  readonly calls: number;
  /** Calls that were answered in time. */
  readonly answered: number;
  /** Calls that threw or were rejected in time. */
  readonly errors: number;
  /** Calls that did not end in time. */
  readonly timeouts: number;
  /** Calls on their way now. */
  readonly inFlight: number;
  /** Calls that did not end in time, and have not ended yet. */
  readonly abandoned: number;
}

/** Milliseconds after which an abandoned call, which may never end, does not count any longer. */
const LOST_AFTER = 60_000;
/**
 * A store that leaves so many probes without any end, be it an error, is tried at longer intervals: what it holds for
 * each of them may never be released.
 */
const HUNG_PROBES = 60;
const HUNG_STRETCH = 30;

interface Call {
  readonly permit: number;
  /** Of a probe: which era of the circuit it belongs to. */
  readonly era: number | undefined;
  late: boolean;
  good: boolean;
}

export class BoundedCalls {
  readonly #breaker: CircuitBreaker;
  readonly #deadline: number;
  readonly #maxInFlight: number;
  readonly #clock: () => number;
  /** Oldest first: when each was given up. */
  readonly #abandoned = new Map<Call, number>();
  #calls = 0;
  #answered = 0;
  #errors = 0;
  #timeouts = 0;
  #inFlight = 0;
  /** Probes of this era that were given up and have not ended. */
  #hungProbes = 0;
  /** Counts how often the circuit was closed again. */
  #era = 0;

  constructor(breaker: CircuitBreaker, deadline: number, maxInFlight: number, clock: () => number) {
    this.#breaker = breaker;
    this.#deadline = deadline;
    this.#maxInFlight = maxInFlight;
    this.#clock = clock;
  }

  get statistics(): CallStatistics {
    return Object.freeze({
      state: this.#breaker.state,
      calls: this.#calls,
      answered: this.#answered,
      errors: this.#errors,
      timeouts: this.#timeouts,
      inFlight: this.#inFlight,
      abandoned: this.#abandoned.size,
    });
  }

  /**
   * Makes a call, if it may be made. What is answered at once is returned at once; never throws.
   *
   * @param deadline milliseconds that the answer is waited for
   * @returns a promise that rejects with the error of the call, or with `ERR_STORE_TIMEOUT`
   */
  make<T>(call: () => MaybePromise<T>, deadline = this.#deadline): MaybePromise<T> | Refusal {
    const permit = this.#breaker.enter(this.#hungProbes >= HUNG_PROBES ? HUNG_STRETCH : 1);
    if (permit === REFUSED) return OPEN;
    const probe = this.#breaker.isProbe(permit);
    if (!probe && this.full) return FULL;
    this.#calls++;
    let answer: MaybePromise<T>;
    try {
      answer = call();
      if (isPromise(answer)) return this.#await(answer, permit, probe, deadline);
    } catch (error) {
      this.#errors++;
      this.#breaker.failed(permit);
      return Promise.reject(error);
    }
    this.#answered++;
    this.#succeeded(permit);
    return answer;
  }

  get state(): CircuitState {
    return this.#breaker.state;
  }

  /** Whether a call would be made now. */
  get ready(): boolean {
    return this.state === 'closed' ? !this.full : this.state === 'half-open';
  }

  /** Whether as many calls as may be are on their way, those included that were given up and have not ended. */
  get full(): boolean {
    if (this.#inFlight + this.#abandoned.size < this.#maxInFlight) return false;
    this.#forgetLost();
    return this.#inFlight + this.#abandoned.size >= this.#maxInFlight;
  }

  #await<T>(answer: Promise<T>, permit: number, probe: boolean, deadline: number): Promise<T> {
    this.#inFlight++;
    const began = this.#clock();
    const call: Call = { permit, era: probe ? this.#era : undefined, late: false, good: false };
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#giveUp(call, deadline - (this.#clock() - began));
        reject(new ResumptionError('ERR_STORE_TIMEOUT', `the store did not answer within ${deadline} ms`));
      }, deadline);
      timer.unref();
      // A thenable of the store need not keep the rules of promises.
      Promise.resolve(answer).then(
        (value) => {
          clearTimeout(timer);
          this.#ended(call, true);
          resolve(value);
        },
        (error: unknown) => {
          clearTimeout(timer);
          this.#ended(call, false);
          reject(error);
        },
      );
    });
  }

  #ended(call: Call, good: boolean): void {
    if (call.late) {
      call.good = good;
      this.#abandoned.delete(call);
      if (call.era === this.#era) this.#hungProbes--;
      return;
    }
    this.#inFlight--;
    if (good) {
      this.#answered++;
      this.#succeeded(call.permit);
    } else {
      this.#errors++;
      this.#breaker.failed(call.permit);
    }
  }

  /** @param left milliseconds of its deadline: timers count from when the event loop last woke, not from the call */
  #giveUp(call: Call, left: number): void {
    call.late = true;
    this.#inFlight--;
    this.#timeouts++;
    this.#forgetLost();
    this.#abandoned.set(call, this.#clock());
    if (call.era === this.#era) this.#hungProbes++;
    // A busy event loop is not the store's fault: the circuit breaker is told when the store has had its time, and what
    // has come by then was read.
    const tell = (): void => {
      if (call.good) this.#succeeded(call.permit);
      else this.#breaker.failed(call.permit);
    };
    if (left < 1) setImmediate(tell);
    else setTimeout(() => setImmediate(tell), left).unref();
  }

  #succeeded(permit: number): void {
    if (!this.#breaker.succeeded(permit)) return;
    // A store that answers again will not answer what it was asked for before, or nobody waits for that.
    this.#abandoned.clear();
    this.#hungProbes = 0;
    this.#era++;
  }

  #forgetLost(): void {
    const lost = this.#clock() - LOST_AFTER;
    for (const [call, since] of this.#abandoned) {
      if (since > lost) break;
      this.#abandoned.delete(call);
    }
  }
}
