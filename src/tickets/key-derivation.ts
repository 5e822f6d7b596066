/** Keys of periods, from a secret: HKDF with SHA-256 (RFC 5869). */

import { createHmac } from 'node:crypto';

const SALT = 'tls-resumption ticket keys';
const LABEL = Buffer.from('tls-resumption ticket key v1\0');

/** RFC 5869 §2.2. */
export function hkdfExtract(salt: Uint8Array | string, secret: Uint8Array): Buffer {
  return createHmac('sha256', salt).update(secret).digest();
}

/** RFC 5869 §2.3, for at most 255 × 32 bytes. */
export function hkdfExpand(pseudorandomKey: Uint8Array, info: Uint8Array, length: number): Buffer {
  const output = Buffer.allocUnsafeSlow(length);
  let block = Buffer.alloc(0);
  for (let at = 0, counter = 1; at < length; at += 32, counter++) {
    const hmac = createHmac('sha256', pseudorandomKey).update(block).update(info);
    block.fill(0);
    block = hmac.update(Uint8Array.of(counter)).digest();
    block.copy(output, at);
  }
  block.fill(0);
  return output;
}

/** Keeps what is needed of the secret: the caller may overwrite it. */
export class PeriodKeys {
  readonly #pseudorandomKey: Buffer;
  readonly #info: Buffer;
  readonly #keyLength: number;

  /** @param interval milliseconds of a period, a whole number */
  constructor(secret: Uint8Array, interval: number, keyLength: 48 | 80) {
    this.#pseudorandomKey = hkdfExtract(SALT, secret);
    this.#keyLength = keyLength;
    this.#info = Buffer.alloc(LABEL.length + 8 + 1 + 8);
    let at = LABEL.copy(this.#info);
    at = this.#info.writeBigUInt64BE(BigInt(interval), at);
    this.#info.writeUInt8(keyLength, at);
  }

  /**
   * Name, HMAC key and AES key of a period.
   *
   * @param period periods since 1970, a whole number
   * @returns bytes that are the caller's to overwrite
   */
  derive(period: number): Buffer {
    this.#info.writeBigUInt64BE(BigInt(period), this.#info.length - 8);
    return hkdfExpand(this.#pseudorandomKey, this.#info, this.#keyLength);
  }

  destroy(): void {
    this.#pseudorandomKey.fill(0);
  }
}
