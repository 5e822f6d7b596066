/**
 * Session tickets in the format that RFC 5077 §4 recommends, as OpenSSL makes them for TLS 1.2 and 1.3.
 *
 * @module
 */

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto';
import { requireBytes, wrongType } from '../arguments.js';
import {
  requireMaxBytes,
  requireRing,
  requireSecrets,
  type TicketCodecOptions,
  ticketBytes,
} from './codec-arguments.js';
import { writeRandom } from './codec-random.js';
import { isBuildingSnapshot } from './startup-snapshot.js';
import { KEY_NAME_BYTES, type TicketKey } from './ticket-key.js';
import { sealingKeyOf, type TicketKeyRing } from './ticket-key-ring.js';
import type { TicketSealer } from './ticket-sealer.js';

const BLOCK_BYTES = 16;
const MAC_BYTES = 32;
const IV_AT = KEY_NAME_BYTES;
const CIPHERTEXT_AT = IV_AT + BLOCK_BYTES;
/** Even an empty state is padded to a block. */
const MIN_BYTES = CIPHERTEXT_AT + BLOCK_BYTES + MAC_BYTES;

/**
 * Seals and opens the tickets of OpenSSL, and so of Node, nginx and HAProxy, under the same keys. The layout, in bytes:
 *
 *     key name 16 | IV 16 | AES-CBC ciphertext | HMAC-SHA256 32
 *
 * The HMAC is over all before it and checked, in constant time, before anything is decrypted. The cipher is AES-128 for
 * keys of 48 bytes and AES-256 for keys of 80. A ticket's state is the session as {@link decodeSslSession} reads it.
 * Whether the other side takes a ticket depends on that session too: OpenSSL resumes under the session ID context that
 * is in it.
 *
 * The format has no place for a context. To bind what is sealed to one, use {@link TicketCodec}.
 */
export class Rfc5077Codec implements TicketSealer {
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
   * Seals bytes under the ring's current key.
   *
   * @param state what to seal: at most `maxBytes` bytes
   * @param context must be left out
   * @returns the ticket, 65 to 80 bytes longer than the state
   * @throws {TypeError} when the state is no `Uint8Array`, or there is a context
   * @throws {RangeError} when the state is too long
   * @throws {ResumptionError} `ERR_KEY_RING_DISPOSED` when the ring has no key any more
   */
  seal(state: Uint8Array, context?: undefined): Buffer {
    requireBytes('state', state, 0, this.#maxBytes);
    requireNoContext(context);
    return sealTicketWith(sealingKeyOf(this.#ring), state);
  }

  /**
   * Opens a ticket. Whatever else is given for one, of any type, never throws.
   *
   * @param context must be left out
   * @returns the state, a copy; `undefined` for anything that no holder of a key of the ring sealed: changed, cut off,
   *   longer than `maxBytes` allows, under a key that the ring does not have any more
   * @throws {TypeError} when there is a context
   */
  open(ticket: Uint8Array, context?: undefined): Buffer | undefined {
    requireNoContext(context);
    const bytes = ticketBytes(ticket, MIN_BYTES, ticketLength(this.#maxBytes));
    const key = bytes && this.#ring.find(bytes.subarray(0, IV_AT));
    const state = bytes && key && openTicketWith(key, bytes);
    // Padding rounds up what fits.
    return state && state.length <= this.#maxBytes ? state : undefined;
  }
}

/** Bytes of a ticket for a state of `length`. */
function ticketLength(length: number): number {
  return CIPHERTEXT_AT + length - (length % BLOCK_BYTES) + BLOCK_BYTES + MAC_BYTES;
}

/** Seals under one key, whatever the length; throws `ERR_KEY_RING_DISPOSED` when it is destroyed. */
export function sealTicketWith(key: TicketKey, state: Uint8Array): Buffer {
  const { hmacKey, aesKey } = keyObjectsOf(key);
  const ticket = Buffer.allocUnsafe(ticketLength(state.length));
  const macAt = ticket.length - MAC_BYTES;
  key.name.copy(ticket);
  writeRandom(ticket, IV_AT, CIPHERTEXT_AT);
  const cipher = createCipheriv(cipherOf(key), aesKey, ticket.subarray(IV_AT, CIPHERTEXT_AT));
  const head = cipher.update(state);
  ticket.set(head, CIPHERTEXT_AT);
  ticket.set(cipher.final(), CIPHERTEXT_AT + head.length);
  ticket.set(macOf(ticket.subarray(0, macAt), hmacKey), macAt);
  return ticket;
}

/** Opens a ticket of this key, whatever its length; `undefined` for all else, and when the key is destroyed. */
export function openTicketWith(key: TicketKey, ticket: Uint8Array): Buffer | undefined {
  const macAt = ticket.length - MAC_BYTES;
  if (ticket.length < MIN_BYTES || key.destroyed) return undefined;
  if (key.name.compare(ticket, 0, IV_AT) !== 0) return undefined;
  const { hmacKey, aesKey } = keyObjectsOf(key);
  if (!timingSafeEqual(macOf(ticket.subarray(0, macAt), hmacKey), ticket.subarray(macAt))) return undefined;
  const decipher = createDecipheriv(cipherOf(key), aesKey, ticket.subarray(IV_AT, CIPHERTEXT_AT));
  const head = decipher.update(ticket.subarray(CIPHERTEXT_AT, macAt));
  let state: Buffer | undefined;
  try {
    state = Buffer.concat([head, decipher.final()]);
  } catch {
    // Only a holder of the key can get here: what is under a right HMAC is no whole blocks, or wrongly padded.
  }
  head.fill(0);
  return state;
}

function cipherOf(key: TicketKey): 'aes-128-cbc' | 'aes-256-cbc' {
  return key.length === 48 ? 'aes-128-cbc' : 'aes-256-cbc';
}

function macOf(bytes: Uint8Array, hmacKey: KeyObject): Buffer {
  return createHmac('sha256', hmacKey).update(bytes).digest();
}

interface KeyObjects {
  readonly hmacKey: KeyObject;
  readonly aesKey: KeyObject;
}

const keyObjects = new WeakMap<TicketKey, KeyObjects>();

/** HMACs and ciphers of Node 24 take four times as long with bytes. */
function keyObjectsOf(key: TicketKey): KeyObjects {
  let objects = keyObjects.get(key);
  if (objects === undefined) {
    requireSecrets(key);
    objects = { hmacKey: createSecretKey(key.hmacKey), aesKey: createSecretKey(key.aesKey) };
    // A startup snapshot cannot hold them.
    if (isBuildingSnapshot()) return objects;
    keyObjects.set(key, objects);
    key.onDestroy(() => keyObjects.delete(key));
  }
  return objects;
}

function requireNoContext(context: unknown): void {
  if (context !== undefined)
    throw wrongType('context', 'undefined, as RFC 5077 tickets have no place for one', context);
}
