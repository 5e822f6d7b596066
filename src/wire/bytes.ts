/**
 * Bytes as Buffers and strings, and big-endian numbers out of them. Callers have checked the bounds: past the end, the answers mean
 * nothing.
 *
 * @module
 */

// The global of that name is an accessor.
import { Buffer } from 'node:buffer';

/** The byte at `at`. */
export function uint8(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

/** The 2-byte number at `at`. */
export function uint16(bytes: Uint8Array, at: number): number {
  return (uint8(bytes, at) << 8) | uint8(bytes, at + 1);
}

/** The 3-byte number at `at`. */
export function uint24(bytes: Uint8Array, at: number): number {
  return (uint8(bytes, at) << 16) | uint16(bytes, at + 1);
}

/** Of so few bytes, a view costs more than a copy of them. */
const FEW_BYTES = 256;

/** A copy of the bytes from `start` to `end`. */
export function copyOf(bytes: Uint8Array, start: number, end: number): Buffer {
  const length = end - start;
  const copy = Buffer.allocUnsafe(length);
  if (length > FEW_BYTES) copy.set(bytes.subarray(start, end));
  else for (let i = 0; i < length; i++) copy[i] = uint8(bytes, start + i);
  return copy;
}

/** The bytes from `start` to `end`, not a copy. */
export function viewOf(bytes: Uint8Array, start: number, end: number): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);
}

/** Whether `expected` stands at `at`, and not past the end. Not in constant time: for no secrets. */
export function holdsAt(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  for (let i = 0; i < expected.length; i++) if (bytes[at + i] !== expected[i]) return false;
  return true;
}

/** One character a byte. */
export function latin1(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1');
}

/** The same bytes, not a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : viewOf(bytes, 0, bytes.length);
}
