import { createHash } from 'node:crypto';
import { TicketKey } from '../../src/tickets/ticket-key.js';

/** A key of 48 bytes, always the same for a number. */
export function numberedKey(n: number, length: 48 | 80 = 48): TicketKey {
  const bytes = createHash('shake256', { outputLength: length }).update(`key ${n}`).digest();
  return TicketKey.from(bytes);
}

export function names(keys: Iterable<TicketKey>): string[] {
  return Array.from(keys, ({ name }) => name.toString('hex'));
}

export function isOverwritten({ destroyed, hmacKey, aesKey }: TicketKey): boolean {
  return destroyed && [...hmacKey, ...aesKey].every((byte) => byte === 0);
}
