/**
 * What an RFC 5077 ticket says to its maker beyond the session: the initialization vector is chosen by the server, so
 * it can be an encrypted block that tells where the ticket belongs. To all others it is random, as CBC needs it.
 */

import { type Cipher, createCipheriv, createDecipheriv, createHmac, type Decipher } from 'node:crypto';
import { writeRandom } from './codec-random.js';
import type { TicketKey } from './ticket-key.js';

/** Bytes of an initialization vector, and so of a stamp. */
const STAMP_BYTES = 16;

/** Bytes of a context that a stamp has room for. */
const TAG_BYTES = 6;

/** Another server's vector is taken for a stamp once in 65 536 times, and then costs a full handshake. */
const MAGIC = 0x7472;

const RANDOM_BYTES = 4;

/** Where and when the full handshake was made that a ticket descends from. */
export interface TicketStamp {
  /** The first 6 bytes of the context. */
  readonly tag: Buffer;
  /** Milliseconds since 1970, down to the second. */
  readonly fullHandshakeTime: number;
}

interface StampCipher {
  readonly seal: Cipher;
  readonly open: Decipher;
}

const ciphers = new WeakMap<TicketKey, StampCipher>();

/** Single blocks under a key of their own: an HMAC of the ticket's HMAC key over what no ticket can be. */
function cipherOf(key: TicketKey): StampCipher {
  let cipher = ciphers.get(key);
  if (cipher === undefined) {
    const stampKey = createHmac('sha256', key.hmacKey)
      .update('tls-resumption ticket stamp v1')
      .digest()
      .subarray(0, 16);
    cipher = {
      seal: createCipheriv('aes-128-ecb', stampKey, null).setAutoPadding(false),
      open: createDecipheriv('aes-128-ecb', stampKey, null).setAutoPadding(false),
    };
    stampKey.fill(0);
    ciphers.set(key, cipher);
    key.onDestroy(() => ciphers.delete(key));
  }
  return cipher;
}

const block = Buffer.alloc(STAMP_BYTES);

/**
 * @param context where the ticket belongs, at least 6 bytes
 * @param fullHandshakeTime milliseconds since 1970
 * @returns 16 bytes, an initialization vector for a ticket under `key`
 */
export function sealStamp(key: TicketKey, context: Uint8Array, fullHandshakeTime: number): Buffer {
  block.writeUInt16BE(MAGIC, 0);
  block.set(context.subarray(0, TAG_BYTES), 2);
  block.writeUInt32BE(Math.floor(fullHandshakeTime / 1000) >>> 0, 2 + TAG_BYTES);
  writeRandom(block, STAMP_BYTES - RANDOM_BYTES, STAMP_BYTES);
  return cipherOf(key).seal.update(block);
}

/** @returns `undefined` for a vector that was chosen by a server without stamps */
export function openStamp(key: TicketKey, vector: Uint8Array): TicketStamp | undefined {
  if (vector.length !== STAMP_BYTES) return undefined;
  const opened = cipherOf(key).open.update(vector);
  if (opened.readUInt16BE(0) !== MAGIC) return undefined;
  return { tag: opened.subarray(2, 2 + TAG_BYTES), fullHandshakeTime: opened.readUInt32BE(2 + TAG_BYTES) * 1000 };
}

/** Whether a ticket with this stamp belongs to a context. */
export function isStampedFor(stamp: TicketStamp, context: Uint8Array): boolean {
  return stamp.tag.equals(context.subarray(0, TAG_BYTES));
}
