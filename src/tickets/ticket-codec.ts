/**
 * Sessions sealed for the library's own use: in an external cache, or wherever else they leave the process.
 *
 * @module
 */

import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { requireBytes, wrongType } from '../arguments.js';
import { requireMaxBytes, requireRing, type TicketCodecOptions, ticketBytes, view } from './codec-arguments.js';
import { DerivedKeys, HEADER_BYTES, NAME_AT, NONCE_AT, SALT_AT, VERSION } from './codec-derived-keys.js';
import { sealingKeyOf, type TicketKeyRing } from './ticket-key-ring.js';
import type { TicketSealer } from './ticket-sealer.js';

export type { TicketCodecOptions } from './codec-arguments.js';

const CIPHER = 'aes-256-gcm';
const TAG_BYTES = 16;
/** Bytes that a ticket is longer than what it holds. */
const OVERHEAD = HEADER_BYTES + TAG_BYTES;

/**
 * Seals with AES-256-GCM under keys of a {@link TicketKeyRing}. The layout, in bytes:
 *
 *     version 1 (0x01) | key name 16 | salt 32 | nonce 12 | ciphertext | tag 16
 *
 * - The AES key is HKDF-HMAC-SHA256 (RFC 5869) of the ring key's secrets (HMAC key, then AES key), with the salt, and
 *   with `tls-resumption ticket v1` as info. So ring keys of 48 bytes and of 80 serve alike, and a key that also
 *   encrypts RFC 5077 tickets is never used twice as it is.
 * - What is authenticated besides the ciphertext is all before it, 61 bytes, followed by the context. Only the context
 *   can vary in length, so there is one way to read it.
 * - The salt is drawn by each process for each ring key at its first seal, and again after 2²⁰ seals. AES-GCM asks that
 *   no nonce be used twice under one key: different salts give different AES keys, and under one salt the nonce is a
 *   counter (4 bytes), which never repeats, followed by random bytes (8). Those are for copies of a process, such as a
 *   cloned virtual machine, that go on counting from the same number.
 * - Derived keys are remembered, at most 1 024 for each ring key, and only once a ticket under them was found genuine.
 *   They are let go with their ring key, and do not open once the ring does not have it any more.
 *
 * Hosts with the same keys open each other's tickets.
 *
 * @example
 * ```ts
 * const codec = new TicketCodec(ring);
 * const ticket = codec.seal(session, context);
 * codec.open(ticket, context); // the session
 * codec.open(ticket, otherContext); // undefined
 * ```
 */
export class TicketCodec implements TicketSealer {
  readonly #ring: TicketKeyRing;
  readonly #maxBytes: number;

  /**
   * @param ring the keys: its current one seals, all of its keys open
   * @throws {TypeError} when an argument is of the wrong type
   * @throws {RangeError} when `maxBytes` is out of range
   */
  constructor(ring: TicketKeyRing, options: TicketCodecOptions = {}) {
    this.#ring = requireRing(ring);
    this.#maxBytes = requireMaxBytes(options);
  }

  /**
   * Seals bytes under the ring's current key. Never twice the same: equal states give different tickets.
   *
   * @param state what to seal: at most `maxBytes` bytes
   * @param context of any length; none is the same as an empty one. {@link open} needs the same bytes
   * @returns the ticket, 77 bytes longer than the state
   * @throws {TypeError} when an argument is no `Uint8Array`
   * @throws {RangeError} when the state is too long
   * @throws {ResumptionError} `ERR_KEY_RING_DISPOSED` when the ring has no key any more
   */
  seal(state: Uint8Array, context?: Uint8Array): Buffer {
    requireBytes('state', state, 0, this.#maxBytes);
    requireContext(context);
    const { header, nonce, aesKey } = DerivedKeys.of(sealingKeyOf(this.#ring)).nextSeal();
    const cipher = createCipheriv(CIPHER, aesKey, nonce).setAAD(authenticated(header, context));
    const ciphertext = cipher.update(state);
    cipher.final();
    const ticket = Buffer.allocUnsafe(OVERHEAD + state.length);
    ticket.set(header);
    ticket.set(ciphertext, HEADER_BYTES);
    ticket.set(cipher.getAuthTag(), HEADER_BYTES + ciphertext.length);
    return ticket;
  }

  /**
   * Opens a ticket. Whatever else is given for one, of any type, never throws.
   *
   * @param context the bytes that the ticket was sealed with
   * @returns the state, a copy; `undefined` for anything that no holder of a key of the ring sealed under this context:
   *   changed, cut off, longer than `maxBytes` allows, of another version, under a key that the ring does not have any
   *   more
   * @throws {TypeError} when the context is neither `undefined` nor a `Uint8Array`
   */
  open(ticket: Uint8Array, context?: Uint8Array): Buffer | undefined {
    requireContext(context);
    const bytes = ticketBytes(ticket, OVERHEAD, OVERHEAD + this.#maxBytes);
    if (bytes === undefined || bytes[0] !== VERSION) return undefined;
    const key = this.#ring.find(view(bytes, NAME_AT, SALT_AT));
    if (key === undefined || key.destroyed) return undefined;
    const keys = DerivedKeys.of(key);
    const known = keys.get(bytes);
    const aesKey = known ?? keys.derive(view(bytes, SALT_AT, NONCE_AT));
    const state = decrypt(bytes, aesKey, context);
    // Salts that anybody can make up must not drive out those in use.
    if (known === undefined && state !== undefined) keys.remember(bytes, aesKey);
    return state;
  }
}

function decrypt(ticket: Uint8Array, aesKey: KeyObject, context: Uint8Array | undefined): Buffer | undefined {
  const tagAt = ticket.length - TAG_BYTES;
  let state: Buffer | undefined;
  try {
    const decipher = createDecipheriv(CIPHER, aesKey, view(ticket, NONCE_AT, HEADER_BYTES));
    decipher.setAAD(authenticated(view(ticket, 0, HEADER_BYTES), context));
    decipher.setAuthTag(view(ticket, tagAt, ticket.length));
    state = decipher.update(view(ticket, HEADER_BYTES, tagAt));
    decipher.final();
    return state;
  } catch {
    state?.fill(0);
    return undefined;
  }
}

function authenticated(header: Uint8Array, context: Uint8Array | undefined): Uint8Array {
  return context === undefined ? header : Buffer.concat([header, context]);
}

function requireContext(context: unknown): void {
  if (context !== undefined && !(context instanceof Uint8Array)) throw wrongType('context', 'a Uint8Array', context);
}
