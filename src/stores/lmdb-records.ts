/**
 * How sessions lie in a file of LMDB. Two tables, always written together:
 *
 * - `sessions`: key 32 → set at 6 | ends at 6 | session, with a version (the table's own, a double) that no other write
 *   has;
 * - `order`: set at 6 | version 8 → ends at 6 | key 32, so that the oldest is the first.
 *
 * Times are milliseconds since 1970. What is read may be anything: the file is no more trusted than the disk.
 */

import { randomBytes } from 'node:crypto';
import type { LmdbCensus } from './lmdb-check.js';
import type { LmdbEnvironment, LmdbLayout } from './lmdb-file.js';

export type SessionTables = 'sessions' | 'order' | 'notes';
export type SessionEnvironment = LmdbEnvironment<SessionTables>;

export const SESSION_LAYOUT: LmdbLayout<SessionTables> = {
  name: 'sessions',
  tables: { sessions: { useVersions: true }, order: {}, notes: {} },
  // A cache need not survive the loss of power. What comes of it is found when the file is opened.
  sync: false,
  // What is not in the order would never go.
  isPossible: (census: LmdbCensus) => (census.get('sessions') ?? 0) <= (census.get('order') ?? 0),
};

export const KEY_BYTES = 32;
const TIME_BYTES = 6;
const HEADER_BYTES = 2 * TIME_BYTES;
const ORDER_KEY_BYTES = TIME_BYTES + 8;
const LAST_TIME = 2 ** 48 - 1;
/** Seven days (RFC 8446 §4.6.1), and one for clocks that differ. */
const FARTHEST_END = 8 * 86_400_000;

/** What is in `order`. */
export interface OrderEntry {
  readonly key: Buffer;
  readonly version: number;
  readonly endsAt: number;
}

/** An integer that nobody else will have: the chance is one in 2⁵³. */
export function newVersion(): number {
  if (random.at === random.bytes.length) {
    random.bytes = randomBytes(1024);
    random.at = 0;
  }
  const version = random.bytes.readUIntBE(random.at, 6) * 32 + ((random.bytes[random.at + 6] as number) & 31);
  random.at += 8;
  return version + 1;
}
const random = { bytes: Buffer.alloc(0), at: 0 };

export function encodeSession(session: Uint8Array, setAt: number, endsAt: number): Buffer {
  const record = Buffer.allocUnsafe(HEADER_BYTES + session.length);
  record.writeUIntBE(timeOf(setAt), 0, TIME_BYTES);
  record.writeUIntBE(timeOf(endsAt), TIME_BYTES, TIME_BYTES);
  record.set(session, HEADER_BYTES);
  return record;
}

/**
 * A copy of the session of a record that is not over; `'malformed'` for what cannot have been written by us.
 *
 * @param record may be what the next read overwrites (`getBinaryFast`): its `length` is right, its `byteLength` not
 */
export function decodeSession(record: Uint8Array, now: number): Buffer | undefined | 'malformed' {
  const bytes = viewOf(record);
  if (bytes.length <= HEADER_BYTES) return 'malformed';
  const endsAt = bytes.readUIntBE(TIME_BYTES, TIME_BYTES);
  if (endsAt > now + FARTHEST_END) return 'malformed';
  return now > endsAt ? undefined : Buffer.from(bytes.subarray(HEADER_BYTES));
}

/** Where a record is in `order`. */
export function placeOf(record: Uint8Array, version: number): Buffer {
  const place = Buffer.alloc(ORDER_KEY_BYTES);
  place.set(record.subarray(0, TIME_BYTES));
  place.writeDoubleBE(version, TIME_BYTES);
  return place;
}

export function encodeOrder(record: Uint8Array, key: Uint8Array): Buffer {
  const entry = Buffer.allocUnsafe(TIME_BYTES + KEY_BYTES);
  entry.set(record.subarray(TIME_BYTES, HEADER_BYTES));
  entry.set(key, TIME_BYTES);
  return entry;
}

/** What stands at a place of `order`; `undefined` for what cannot have been written by us. */
export function decodeOrder(place: Uint8Array, entry: Uint8Array): OrderEntry | undefined {
  if (place.length !== ORDER_KEY_BYTES || entry.length !== TIME_BYTES + KEY_BYTES) return undefined;
  const bytes = viewOf(entry);
  return {
    key: bytes.subarray(TIME_BYTES),
    version: viewOf(place).readDoubleBE(TIME_BYTES),
    endsAt: bytes.readUIntBE(0, TIME_BYTES),
  };
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function timeOf(time: number): number {
  return Math.min(Math.max(Math.floor(time), 0), LAST_TIME);
}
