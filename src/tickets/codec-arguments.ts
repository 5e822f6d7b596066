/** What the codecs have in common: their option, and what they make of arguments. */

import { requireInteger, requireObject, wrongType } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import type { TicketKey } from './ticket-key.js';
import { TicketKeyRing } from './ticket-key-ring.js';

/** Above any session that Node hands out: it drops those over 10 240 bytes. */
const DEFAULT_MAX_BYTES = 16_384;
const MAX_MAX_BYTES = 2 ** 24;

/** Options of {@link TicketCodec} and {@link Rfc5077Codec}. */
export interface TicketCodecOptions {
  /**
   * Bytes of the longest state that is sealed or opened, 1 to 16 777 216. A ticket that is longer is not looked at.
   * Default: 16 384.
   */
  readonly maxBytes?: number;
}

export function requireRing(ring: unknown): TicketKeyRing {
  if (!(ring instanceof TicketKeyRing)) throw wrongType('ring', 'a TicketKeyRing', ring);
  return ring;
}

export function requireMaxBytes(options: TicketCodecOptions): number {
  const { maxBytes = DEFAULT_MAX_BYTES } = requireObject('options', options) as TicketCodecOptions;
  return requireInteger('options.maxBytes', maxBytes, 1, MAX_MAX_BYTES, 'bytes');
}

/** What is meant to be a ticket; `undefined` unless it is bytes, and `min` to `max` of them. */
export function ticketBytes(ticket: unknown, min: number, max: number): Uint8Array | undefined {
  return ticket instanceof Uint8Array && ticket.length >= min && ticket.length <= max ? ticket : undefined;
}

/** Bytes `start` to `end`, not copied. In all versions of Node faster than `subarray` of a Buffer. */
export function view(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}

/** Refuses a key that is zeros: everybody has that one (CVE-2020-13777). */
export function requireSecrets(key: TicketKey): void {
  if (key.destroyed) throw new ResumptionError('ERR_KEY_RING_DISPOSED', 'The ticket key was destroyed');
}
