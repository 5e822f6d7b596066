/** When which key seals and opens: what the kinds of rings differ in. */

import { ResumptionError } from '../errors.js';
import type { KeySet } from './key-set.js';
import type { TicketKey, TicketKeyInput } from './ticket-key.js';

/**
 * Why another key seals: its time came, it was rotated by hand, the one before had sealed often enough, the key source
 * answered late, or the file says so.
 */
export type RotationReason = 'time' | 'hand' | 'seals' | 'source' | 'file';

/** What a plan needs of the ring. */
export interface KeyPlanHost {
  readonly keys: KeySet;
  /** Another key seals. Told to listeners when the plan is done. */
  rotated(previous: TicketKey, reason: RotationReason): void;
  /** Something failed. Told to listeners when the plan is done. */
  fault(error: ResumptionError): void;
  /** Something came at a time of its own: asks for {@link KeyPlan.settle}. */
  wake(): void;
}

export interface KeyPlan {
  /** Whether it goes by the time of day, also when that is put back; otherwise `now` never goes back. */
  readonly byTimeOfDay: boolean;
  /** When {@link settle} has something to do, in milliseconds. */
  readonly due: number;
  /**
   * Puts the keys into the state that they have at `now`, however long ago the last time was. Throws nothing. A key
   * source may use the ring that asks it, so this may be called from within.
   */
  settle(now: number): void;
  /** The current key reached its limit of seals. It is asked once a key. */
  overused(now: number): void;
  /** @throws ResumptionError ERR_KEYS_SHARED where that is not for one host to do; RangeError for a repeated key */
  rotate(now: number, input: TicketKeyInput | undefined, overlap: boolean): TicketKey;
  destroy(): void;
}

export function disposedError(): ResumptionError {
  return new ResumptionError('ERR_KEY_RING_DISPOSED', 'The key ring was disposed of, and its keys were overwritten');
}

export function overusedError(remedy: string): ResumptionError {
  return new ResumptionError('ERR_KEY_OVERUSED', `A key reached "maxSeals" and goes on sealing: ${remedy}`);
}

export function sharedError(remedy: string): ResumptionError {
  const message = `Other hosts would not know a key that is rotated in on this one: ${remedy}`;
  return new ResumptionError('ERR_KEYS_SHARED', message);
}
