/**
 * From TLS records to the handshake message in them (RFC 8446 §5.1).
 *
 * @module
 */

import { uint16, uint24 } from './bytes.js';

/** Content type of a record that holds handshake messages. */
export const HANDSHAKE_RECORD = 0x16;
/** Handshake types (RFC 8446 §4, RFC 5246 §7.4). */
export const CLIENT_HELLO = 0x01;
export const SERVER_HELLO = 0x02;
export const NEW_SESSION_TICKET = 0x04;
/** Bytes before the payload of a record: type, version, length. */
export const RECORD_HEADER = 5;
/** Bytes before the body of a handshake message: type, length. */
export const MESSAGE_HEADER = 4;
/** The most that an unencrypted record may hold. */
export const MAX_RECORD_PAYLOAD = 16_384;

/** The bytes of a whole handshake message with its 4-byte header: `bytes[start]` up to, not including, `bytes[end]`. */
export interface MessageBytes {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** Where the message ends whose header stands at `at`; `undefined` when it is of another type or does not end by `end`. */
function messageEnd(bytes: Uint8Array, at: number, end: number, type: number): number | undefined {
  if (end - at < MESSAGE_HEADER || bytes[at] !== type) return undefined;
  const stop = at + MESSAGE_HEADER + uint24(bytes, at + 1);
  return stop <= end ? stop : undefined;
}

/** How many bytes the payload of the handshake record at `at` has; `undefined` when no such record stands there. */
function recordPayload(bytes: Uint8Array, at: number): number | undefined {
  if (at + RECORD_HEADER > bytes.length || bytes[at] !== HANDSHAKE_RECORD || bytes[at + 1] !== 3) return undefined;
  const length = uint16(bytes, at + 3);
  return length > 0 && length <= MAX_RECORD_PAYLOAD ? length : undefined;
}

/**
 * The handshake message of this type at the beginning of `bytes`, which are records or a bare message. Copies only when
 * the message spans several records.
 *
 * @returns `undefined` when there is none, or not all of it.
 */
export function findMessage(bytes: Uint8Array, type: number): MessageBytes | undefined {
  if (bytes[0] === type) {
    const end = messageEnd(bytes, 0, bytes.length, type);
    return end === undefined ? undefined : { bytes, start: 0, end };
  }
  const payload = recordPayload(bytes, 0);
  if (payload === undefined) return undefined;
  const recordEnd = RECORD_HEADER + payload;
  const end = messageEnd(bytes, RECORD_HEADER, Math.min(recordEnd, bytes.length), type);
  if (end !== undefined) return { bytes, start: RECORD_HEADER, end };
  return recordEnd < bytes.length ? joinRecords(bytes, type) : undefined;
}

/**
 * The ClientHello message that begins `chunk`, where the first record holds all of it, as nearly always: a view.
 *
 * @returns `undefined` for every other beginning: a message in several records or chunks, one of more than `maxBytes`
 * with its header, anything else.
 */
export function helloInFirstRecord(chunk: Buffer, maxBytes: number): Buffer | undefined {
  const payload = recordPayload(chunk, 0);
  if (payload === undefined) return undefined;
  const end = messageEnd(chunk, RECORD_HEADER, Math.min(RECORD_HEADER + payload, chunk.length), CLIENT_HELLO);
  return end !== undefined && end - RECORD_HEADER <= maxBytes ? chunk.subarray(RECORD_HEADER, end) : undefined;
}

function joinRecords(bytes: Uint8Array, type: number): MessageBytes | undefined {
  const joined = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; ) {
    const payload = recordPayload(bytes, at);
    if (payload === undefined) return undefined;
    const from = at + RECORD_HEADER;
    at = Math.min(from + payload, bytes.length);
    joined.set(bytes.subarray(from, at), length);
    length += at - from;
    const end = messageEnd(joined, 0, length, type);
    if (end !== undefined) return { bytes: joined, start: 0, end };
    if (joined[0] !== type) return undefined;
  }
  return undefined;
}
