/**
 * The fields of OpenSSL's SSL_SESSION_ASN1 (i2d_SSL_SESSION(3)), for those who read all of them or some.
 *
 * @module
 */

import { DerReader, SEQUENCE } from './der.js';

export const STRUCTURE_VERSION = 1;
export const FLAG_EXTENDED_MASTER_SECRET = 0x1;
export const UINT32 = 0xffff_ffff;

/** Numbers of the explicit tags. Those not listed (PSK names, SRP, key exchange group) are skipped. */
export const TIME = 1;
export const TIMEOUT = 2;
export const PEER = 3;
export const SESSION_ID_CONTEXT = 4;
export const VERIFY_RESULT = 5;
export const HOSTNAME = 6;
export const TICKET_LIFETIME_HINT = 9;
export const TICKET = 10;
export const FLAGS = 13;
export const TICKET_AGE_ADD = 14;
export const MAX_EARLY_DATA = 15;
export const ALPN = 16;

/** Of the numbers; times are 64 bits wide, of which JavaScript counts to 2⁵³. */
export function largest(number: number): number {
  if (number === VERIFY_RESULT) return 0x7fff_ffff;
  return number === TIME || number === TIMEOUT || number === TICKET_LIFETIME_HINT ? Number.MAX_SAFE_INTEGER : UINT32;
}

/** Before the first field of what begins at `from`; `undefined` when that is no SEQUENCE, or not the whole rest. */
export function fieldsOf(der: Uint8Array, from: number): DerReader | undefined {
  const fields = new DerReader(der, from);
  if (!fields.nextOf(SEQUENCE) || !fields.done) return undefined;
  fields.descend();
  return fields;
}

/**
 * The number of a tagged field that follows the one numbered `last`; -1 for what cannot: each is there at most once, in
 * order. 0x80 is the implicit [0] of SSLv2's key_arg, all others are explicit.
 */
export function numberAfter(last: number, tag: number): number {
  const number = tag & 0x1f;
  return (tag & 0xc0) === 0x80 && number > last ? number : -1;
}

/** From a field that was listed to the one element inside it. */
export function unwrapField(field: DerReader, inside: number): boolean {
  return (field.tag & 0x20) !== 0 && field.unwrap(inside);
}
