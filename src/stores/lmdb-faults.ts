/** Who is told when something fails, and how often. */

import type { ResumptionError } from '../errors.js';

/** Told of a fault. Must not throw. */
export type ReportFault = (fault: ResumptionError) => void;

/** Milliseconds that sets are dropped for after a write that failed. */
const REST = 1000;
/** Milliseconds after which a fault that goes on is told again. */
const REMIND = 60_000;

/**
 * Hands faults to the application. What its function throws is an uncaught exception, as from a timer, and not the
 * failure of the call that the fault came in.
 */
export function reportTo(onFault: ((fault: ResumptionError) => void) | undefined): ReportFault {
  return (fault) => {
    try {
      if (onFault !== undefined) onFault(fault);
      else process.emitWarning(fault.message, { code: 'TLS_RESUMPTION_LMDB' });
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  };
}

/** Whether writes fail, such as on a full disk: then they are tried from time to time only, and told of seldom. */
export class WriteFaults {
  readonly #report: ReportFault;
  #error: ResumptionError | undefined;
  #stalled = false;
  #retryAt = 0;
  #remindAt = 0;

  constructor(report: ReportFault) {
    this.#report = report;
  }

  /** What the last write failed with. */
  get error(): ResumptionError | undefined {
    return this.#error;
  }

  /** A write has not ended for long. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** Whether a set is not worth trying now. */
  refuses(): boolean {
    return this.#error !== undefined && (this.#stalled || performance.now() < this.#retryAt);
  }

  succeeded(): void {
    this.#error = undefined;
    this.#stalled = false;
  }

  failed(error: ResumptionError): void {
    const now = performance.now();
    if (this.#error === undefined || now >= this.#remindAt) {
      this.#remindAt = now + REMIND;
      this.#report(error);
    }
    this.#error = error;
    this.#stalled = false;
    this.#retryAt = now + REST;
  }

  stall(error: ResumptionError): void {
    this.failed(error);
    this.#stalled = true;
  }
}
