/** Asks a key source, again and again with growing pauses while it fails. */

import { ResumptionError } from '../errors.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import type { TicketKeyInput } from './ticket-key.js';

const SHORTEST_PAUSE = 1000;
const LONGEST_PAUSE = 300_000;
const PATIENCE = 30_000;

interface Request {
  readonly deadline: number;
  answer?: { readonly input: TicketKeyInput } | { readonly error: unknown };
}

/** Times are milliseconds. */
export class KeySource {
  readonly #generateKey: () => MaybePromise<TicketKeyInput>;
  readonly #wake: () => void;
  readonly #fault: (error: ResumptionError) => void;
  #request: Request | undefined;
  /** When to ask; `Infinity` while no key is wanted. */
  #askAt = Number.POSITIVE_INFINITY;
  #failures = 0;

  /** @param wake called when an answer came that was waited for */
  constructor(
    generateKey: () => MaybePromise<TicketKeyInput>,
    wake: () => void,
    fault: (error: ResumptionError) => void,
  ) {
    this.#generateKey = generateKey;
    this.#wake = wake;
    this.#fault = fault;
  }

  /** When {@link take} has something to do. */
  get due(): number {
    return this.#request?.deadline ?? this.#askAt;
  }

  /** A key is wanted from now on, until {@link done}. */
  want(now: number): void {
    if (this.due === Number.POSITIVE_INFINITY) this.#askAt = now;
  }

  /** What the source gave: call {@link done} when it was good, or {@link fail}. */
  take(now: number): { readonly input: TicketKeyInput } | undefined {
    if (now < this.due && this.#request?.answer === undefined) return undefined;
    const answer = this.#request === undefined ? this.#ask(now) : (this.#request.answer ?? tooLate());
    if (answer === undefined) return undefined;
    if ('input' in answer) return answer;
    this.fail(now, answer.error);
    return undefined;
  }

  /** No key is wanted any more; an answer on its way does not count. */
  done(): void {
    this.#request = undefined;
    this.#askAt = Number.POSITIVE_INFINITY;
    this.#failures = 0;
  }

  fail(now: number, cause: unknown): void {
    this.#request = undefined;
    const pause = Math.min(SHORTEST_PAUSE * 2 ** this.#failures, LONGEST_PAUSE);
    this.#failures++;
    this.#askAt = now + pause * (1 - Math.random() / 2);
    this.#fault(new ResumptionError('ERR_KEY_SOURCE', 'The key source gave no good key', { cause }));
  }

  #ask(now: number): Request['answer'] {
    const request: Request = { deadline: now + PATIENCE };
    this.#request = request;
    const settle = (answer: NonNullable<Request['answer']>): void => {
      request.answer = answer;
      this.#wake();
    };
    try {
      const given = this.#generateKey();
      if (isPromise(given)) {
        Promise.resolve(given).then(
          (input) => settle({ input }),
          (error: unknown) => settle({ error }),
        );
      } else {
        request.answer = { input: given };
      }
    } catch (error) {
      request.answer = { error };
    }
    // The source itself may have rotated or disposed of the ring.
    return this.#request === request ? request.answer : undefined;
  }
}

function tooLate(): { error: Error } {
  return { error: new Error(`No answer within ${PATIENCE / 1000} seconds`) };
}
