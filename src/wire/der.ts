/**
 * The little of DER (X.690) that reading a session takes: single-byte tags, definite lengths in their shortest form.
 *
 * @module
 */

import { uint8 } from './bytes.js';

export const INTEGER = 0x02;
export const OCTET_STRING = 0x04;
export const SEQUENCE = 0x30;

/** Longest form of a length: 3 bytes of it, 16 MB. */
const MAX_LENGTH_BYTES = 3;

/**
 * A cursor over the elements of one level. It never reads past its end, allocates nothing, and goes deeper only when
 * told to, one level at a time: what the bytes say decides neither depth nor memory.
 */
export class DerReader {
  /** Identifier byte of the element at hand. */
  tag = -1;
  /** Where the contents of the element at hand begin. */
  start = 0;
  /** Where they end, exclusive. */
  end = 0;

  readonly #bytes: Uint8Array;
  #next: number;
  #limit: number;

  constructor(bytes: Uint8Array, from = 0) {
    this.#bytes = bytes;
    this.#next = from;
    this.#limit = bytes.length;
  }

  /** Whether the element at hand is the last one: after {@link next} answered `false`, whether all was well-formed. */
  get done(): boolean {
    return this.#next === this.#limit;
  }

  /** Steps to the next element. `false` at the end, and for what is no DER: then nothing has moved. */
  next(): boolean {
    return this.#read(this.#next, this.#limit);
  }

  /** Steps to the next element; `false` as well when its tag is another one. */
  nextOf(tag: number): boolean {
    return this.next() && this.tag === tag;
  }

  /** Goes on with the elements inside the one at hand instead of those after it. */
  descend(): void {
    this.#next = this.start;
    this.#limit = this.end;
  }

  /** From the explicit tag at hand to the one element of this `tag` in it, which must fill it. */
  unwrap(tag: number): boolean {
    const { end } = this;
    return this.#read(this.start, end) && this.tag === tag && this.end === end;
  }

  /** Value of the INTEGER at hand, -1 when it is no INTEGER in shortest form between 0 and `max` (a safe integer). */
  unsigned(max: number): number {
    const { start, end } = this;
    if (this.tag !== INTEGER || start === end) return -1;
    const first = uint8(this.#bytes, start);
    if (first >= 0x80) return -1;
    if (first === 0 && end - start > 1 && uint8(this.#bytes, start + 1) < 0x80) return -1;
    let value = 0;
    for (let at = start; at < end; at++) {
      value = value * 0x100 + uint8(this.#bytes, at);
      if (value > max) return -1;
    }
    return value;
  }

  #read(from: number, limit: number): boolean {
    if (from + 2 > limit) return false;
    const tag = uint8(this.#bytes, from);
    if ((tag & 0x1f) === 0x1f) return false;
    let start = from + 2;
    let length = uint8(this.#bytes, from + 1);
    if (length >= 0x80) {
      const count = length & 0x7f;
      if (count === 0 || count > MAX_LENGTH_BYTES || start + count > limit) return false;
      length = 0;
      for (let i = 0; i < count; i++) length = (length << 8) | uint8(this.#bytes, start++);
      if (length < 0x80 || length >> (8 * (count - 1)) === 0) return false;
    }
    if (length > limit - start) return false;
    this.tag = tag;
    this.start = start;
    this.end = start + length;
    this.#next = this.end;
    return true;
  }
}
