/**
 * What every {@link SharedState} must do, as cases for any test runner.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { requireFunction, requireInteger, requireObject } from '../arguments.js';
import type { MaybePromise } from '../stores/session-store.js';
import type { SharedState } from '../stores/shared-state.js';
import { answerOf, type ConformanceCase, ends } from './conformance.js';
import {
  PatientState,
  STATE_BASE,
  STATE_CLOSE,
  STATE_PEER,
  STATE_TIMEOUTS,
  type StateCases,
} from './shared-state-cases.js';

/** Options of {@link sharedStateConformance}. */
export interface SharedStateConformanceOptions {
  /**
   * Lets so many seconds pass for the state: by moving its clock, or by waiting. Default: none, and the cases of
   * timeouts are left out.
   */
  readonly advance?: ((seconds: number) => MaybePromise<void>) | undefined;
  /**
   * Another state over the same storage, as another process or host opens it. Default: none, and the cases with two are
   * left out.
   */
  readonly peer?: ((state: SharedState) => MaybePromise<SharedState>) | undefined;
  /** Milliseconds that a call, or a change until it is told, may take: 1 to 600 000. Default: 5000. */
  readonly patience?: number | undefined;
}

/**
 * The cases that an implementation of {@link SharedState} must pass. Each makes a state of its own and closes it. States
 * may share their storage: names begin with something random, and at most 19 characters.
 *
 * @param createState makes a state, empty or not
 * @throws TypeError | RangeError for wrong arguments
 *
 * @example
 * ```ts
 * for (const { name, run } of sharedStateConformance(() => new MyState())) test(name, run);
 * ```
 */
export function sharedStateConformance(
  createState: () => MaybePromise<SharedState>,
  options: SharedStateConformanceOptions = {},
): ConformanceCase[] {
  requireFunction('createState', createState);
  requireObject('options', options);
  const { advance, peer, patience = 5000 } = options;
  requireInteger('patience', patience, 1, 600_000, 'ms');
  if (advance !== undefined) requireFunction('advance', advance);
  if (peer !== undefined) requireFunction('peer', peer);

  const pass = async (seconds: number): Promise<void> => advance?.(seconds);
  const chosen: StateCases[] = [STATE_BASE];
  if (peer !== undefined) chosen.push(STATE_PEER);
  if (advance !== undefined) chosen.push(STATE_TIMEOUTS);
  chosen.push(STATE_CLOSE);
  return Object.entries(Object.assign({}, ...chosen) as StateCases).map(([name, check]) => ({
    name,
    run: async () => {
      const opened: SharedState[] = [];
      const open = async (make: () => MaybePromise<SharedState>): Promise<PatientState> => {
        const state = await answerOf('opening', patience, make);
        opened.unshift(state);
        return new PatientState(state, patience);
      };
      try {
        const state = await open(createState);
        const prefix = `t/${randomBytes(8).toString('hex')}/`;
        await check(state, { prefix, pass, peer: () => open(() => peer?.(state.state) as SharedState) });
      } finally {
        for (const state of opened) await ends('close', patience, () => state.close?.());
      }
    },
  }));
}
