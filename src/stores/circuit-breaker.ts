/** A circuit breaker: what has failed several times in a row is left alone for a while, then tried once. */

/**
 * `closed`: calls are made. `open`: none is. `half-open`: the period is over, and the next call, or the one on its way,
 * decides.
 */
export type CircuitState = 'closed' | 'open' | 'half-open';

/** What {@link CircuitBreaker.enter} says instead of a permit. */
export const REFUSED = 0;

export class CircuitBreaker {
  readonly #threshold: number;
  readonly #period: number;
  readonly #clock: () => number;
  /** Calls that began before the circuit opened, or before a probe, have no say any more: permits are numbered. */
  #permit = 1;
  #failures = 0;
  #openedAt: number | undefined;
  #probing = false;

  /**
   * @param threshold failures in a row that open the circuit
   * @param period milliseconds from its opening to the next probe
   */
  constructor(threshold: number, period: number, clock: () => number) {
    this.#threshold = threshold;
    this.#period = period;
    this.#clock = clock;
  }

  get state(): CircuitState {
    if (this.#openedAt === undefined) return 'closed';
    return this.#probing || this.#rested(1) ? 'half-open' : 'open';
  }

  /**
   * Asks to make a call. Each permit is to be reported on.
   *
   * @param stretch how many periods to wait for between probes
   */
  enter(stretch = 1): number {
    if (this.#openedAt === undefined) return this.#permit;
    if (this.#probing || !this.#rested(stretch)) return REFUSED;
    this.#probing = true;
    return ++this.#permit;
  }

  /** Whether the permit is that of the one call which is made though the circuit is not closed. */
  isProbe(permit: number): boolean {
    return this.#probing && permit === this.#permit;
  }

  /** The call has succeeded. Returns whether that closed the circuit. */
  succeeded(permit: number): boolean {
    if (permit !== this.#permit) return false;
    this.#failures = 0;
    if (!this.#probing) return false;
    this.#probing = false;
    this.#openedAt = undefined;
    return true;
  }

  /** The call has failed. */
  failed(permit: number): void {
    if (permit !== this.#permit) return;
    if (this.#openedAt === undefined && ++this.#failures < this.#threshold) return;
    this.#failures = 0;
    this.#probing = false;
    this.#openedAt = this.#clock();
    this.#permit++;
  }

  #rested(stretch: number): boolean {
    const now = this.#clock();
    // A clock that was put back would keep the circuit open until it has caught up.
    if (this.#openedAt !== undefined && now < this.#openedAt) this.#openedAt = now;
    return now - (this.#openedAt ?? now) >= this.#period * stretch;
  }
}
