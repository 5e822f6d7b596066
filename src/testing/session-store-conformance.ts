/**
 * What every {@link SessionStore} must do, as cases for any test runner.
 *
 * @module
 */

import { requireBoolean, requireFunction, requireInteger, requireObject } from '../arguments.js';
import type { MaybePromise, SessionStore } from '../stores/session-store.js';
import { answerOf, type ConformanceCase, ends } from './conformance.js';
import {
  BASE,
  type Cases,
  CLOSE,
  Patient,
  PEER,
  PEER_TAKE,
  TAKE,
  TIMEOUTS,
  TIMEOUTS_TAKE,
} from './session-store-cases.js';

/** Options of {@link sessionStoreConformance}. */
export interface SessionStoreConformanceOptions {
  /** Whether the store offers `take`; `false` leaves its cases out. Default: true. */
  readonly take?: boolean | undefined;
  /**
   * Lets so many seconds pass for the store: by moving its clock, or by waiting. Default: none, and the cases of
   * timeouts are left out.
   */
  readonly advance?: ((seconds: number) => MaybePromise<void>) | undefined;
  /**
   * Another store over the same storage, as another process or host opens it. Default: none, and the cases with two are
   * left out.
   */
  readonly peer?: ((store: SessionStore) => MaybePromise<SessionStore>) | undefined;
  /** Bytes of the largest value, 256 to 16 777 216. Default: 16 384. */
  readonly maxBytes?: number | undefined;
  /** Milliseconds that a call may take, 1 to 600 000. Default: 5000. */
  readonly patience?: number | undefined;
}

/**
 * The cases that an implementation of {@link SessionStore} must pass. Each makes a store of its own and closes it. Stores
 * may share their storage: keys are random. A store may forget at any time; this suite expects it not to do so when a
 * few hundred small values are all that it holds.
 *
 * @param createStore makes a store, empty or not
 * @throws TypeError | RangeError for wrong arguments
 *
 * @example
 * ```ts
 * for (const { name, run } of sessionStoreConformance(() => new MyStore())) test(name, run);
 * ```
 */
export function sessionStoreConformance(
  createStore: () => MaybePromise<SessionStore>,
  options: SessionStoreConformanceOptions = {},
): ConformanceCase[] {
  requireFunction('createStore', createStore);
  requireObject('options', options);
  const { take = true, advance, peer, maxBytes = 16_384, patience = 5000 } = options;
  requireBoolean('take', take);
  requireInteger('maxBytes', maxBytes, 256, 2 ** 24, 'bytes');
  requireInteger('patience', patience, 1, 600_000, 'ms');
  if (advance !== undefined) requireFunction('advance', advance);
  if (peer !== undefined) requireFunction('peer', peer);

  const pass = async (seconds: number): Promise<void> => advance?.(seconds);
  const chosen: Cases[] = [BASE(maxBytes)];
  if (take) chosen.push(TAKE);
  if (peer !== undefined) chosen.push(take ? { ...PEER, ...PEER_TAKE } : PEER);
  if (advance !== undefined) chosen.push(take ? { ...TIMEOUTS, ...TIMEOUTS_TAKE } : TIMEOUTS);
  chosen.push(CLOSE);
  return Object.entries(Object.assign({}, ...chosen) as Cases).map(([name, check]) => ({
    name,
    run: async () => {
      const opened: SessionStore[] = [];
      const open = async (make: () => MaybePromise<SessionStore>): Promise<Patient> => {
        const store = await answerOf('opening', patience, make);
        opened.unshift(store);
        return new Patient(store, patience);
      };
      try {
        const store = await open(createStore);
        await check(store, { pass, peer: () => open(() => peer?.(store.store) as SessionStore) });
      } finally {
        for (const store of opened) await ends('close', patience, () => store.close?.());
      }
    },
  }));
}
