/** A ticket that a client shows, and whether it may be opened. */

import type { NotResumedReason } from '../guard/resumption-rules.js';
import { PART_BYTES } from './ticket-key-callback.js';

/** Key name and initialization vector: what a ticket shows in clear (RFC 5077 §4). */
export const CLEAR_BYTES = 2 * PART_BYTES;

/** A ticket that a hello shows, judged before OpenSSL asks for its key. */
export interface TicketJudgement {
  /** Its key's name and its initialization vector. */
  readonly clear: Buffer;
  readonly tls13: boolean;
  /** Why it is not to be opened; `undefined` when it may be. */
  readonly refused: NotResumedReason | undefined;
  /** Milliseconds since 1970 when the full handshake was that it descends from; of use when it is opened. */
  readonly fullHandshakeTime: number;
}

/** `undefined` when no connection may open such a ticket now, or one that may not shows it as well. */
export function judgementOf(
  open: Iterable<TicketJudgement>,
  name: Buffer,
  vector: Buffer,
): TicketJudgement | undefined {
  let found: TicketJudgement | undefined;
  for (const judgement of open) {
    const { clear, refused } = judgement;
    if (clear.compare(name, 0, PART_BYTES, 0, PART_BYTES) !== 0) continue;
    if (clear.compare(vector, 0, PART_BYTES, PART_BYTES, CLEAR_BYTES) !== 0) continue;
    if (refused !== undefined) return undefined;
    found = judgement;
  }
  return found;
}

/** What a ticket is that may not be opened. */
export function refuse(ticket: Buffer, tls13: boolean, refused: NotResumedReason): TicketJudgement {
  return { clear: ticket.subarray(0, CLEAR_BYTES), tls13, refused, fullHandshakeTime: 0 };
}
