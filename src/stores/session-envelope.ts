/**
 * What goes to an external cache: a session with what must be true of it, so that an answer can be checked.
 *
 * Layout: version 1 (one byte, 1) | key 32 | time of the full handshake 8 | expiry 8 | session.
 * Both times are milliseconds since 1970, unsigned, big-endian. Nothing in it is encrypted or authenticated.
 *
 * @module
 */

import { asBuffer, copyOf, holdsAt } from '../wire/bytes.js';

const VERSION = 1;
const KEY_BYTES = 32;
const HEADER_BYTES = 1 + KEY_BYTES + 8 + 8;
/** RFC 8446 §4.6.1: no session outlives seven days. A day more lets the clocks of two hosts differ. */
const FARTHEST_EXPIRY = 8 * 86_400_000;

/** A session with its times. */
export interface SessionEntry {
  /** The session, as Node's `newSession` gave it. It holds the master secret. */
  readonly session: Buffer;
  /** When the full handshake took place that the session descends from: milliseconds since 1970. */
  readonly fullHandshakeTime: number;
  /** The last moment at which the session may be used: milliseconds since 1970. */
  readonly expiresAt: number;
}

/**
 * Puts a session into an envelope.
 *
 * @param key the 32 bytes that the envelope will be stored under
 * @param session the session; copied
 * @param fullHandshakeTime milliseconds since 1970, 0 or more; fractions are cut off
 * @param expiresAt milliseconds since 1970, not before `fullHandshakeTime`; fractions are cut off
 */
export function sealEnvelope(
  key: Uint8Array,
  session: Uint8Array,
  fullHandshakeTime: number,
  expiresAt: number,
): Buffer {
  const envelope = Buffer.allocUnsafe(HEADER_BYTES + session.length);
  envelope[0] = VERSION;
  envelope.set(key, 1);
  writeTime(envelope, 33, fullHandshakeTime);
  writeTime(envelope, 41, expiresAt);
  envelope.set(session, HEADER_BYTES);
  return envelope;
}

/**
 * Takes a session out of an envelope. Never throws: whatever is not a whole envelope of this version, for this key and
 * with times that can be true is `undefined`. An envelope whose time is over is opened: telling is the caller's job.
 *
 * @param envelope what the store answered
 * @param key the 32 bytes that were asked for
 * @param now milliseconds since 1970
 * @returns the session, copied, and its times
 */
export function openEnvelope(envelope: unknown, key: Uint8Array, now: number): SessionEntry | undefined {
  if (!(envelope instanceof Uint8Array) || envelope.length <= HEADER_BYTES || key.length !== KEY_BYTES)
    return undefined;
  const bytes = asBuffer(envelope);
  if (bytes[0] !== VERSION || !holdsAt(bytes, 1, key)) return undefined;
  const fullHandshakeTime = readTime(bytes, 33);
  const expiresAt = readTime(bytes, 41);
  if (fullHandshakeTime > expiresAt || !(expiresAt <= now + FARTHEST_EXPIRY)) return undefined;
  return { session: copyOf(bytes, HEADER_BYTES, bytes.length), fullHandshakeTime, expiresAt };
}

function writeTime(bytes: Buffer, at: number, time: number): void {
  const whole = Math.floor(time);
  bytes.writeUInt32BE(Math.floor(whole / 2 ** 32), at);
  bytes.writeUInt32BE(whole % 2 ** 32, at + 4);
}

function readTime(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}
