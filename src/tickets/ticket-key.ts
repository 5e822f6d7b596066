/**
 * One session ticket key: a name that travels in clear with each ticket, and two secrets (RFC 5077 §4).
 *
 * @module
 */

import { inspect } from 'node:util';
import { outOfRange, requireBytes, wrongType } from '../arguments.js';

/** Bytes of a key's name, RFC 5077 §4. */
export const KEY_NAME_BYTES = 16;

/** The parts of a key, each a copy or a source of copies: a `TicketKey` keeps its own. */
export interface TicketKeyParts {
  /** 16 bytes. */
  readonly name: Uint8Array;
  /** 16 or 32 bytes, as long as the AES key. */
  readonly hmacKey: Uint8Array;
  /** 16 bytes (AES-128) or 32 (AES-256). */
  readonly aesKey: Uint8Array;
}

/** What `JSON.stringify` shows of a key. */
export interface TicketKeyJson {
  /** In hexadecimal. */
  readonly name: string;
  /** 48 or 80. */
  readonly length: number;
}

/** What stands for a key: a key, its parts, or 48 or 80 bytes in Node's order (name, HMAC key, AES key). */
export type TicketKeyInput = TicketKey | TicketKeyParts | Uint8Array;

/** A session ticket key. Its secrets do not show in `util.inspect` or JSON, and can be overwritten. */
export class TicketKey implements TicketKeyParts {
  readonly #name: Buffer;
  readonly #hmacKey: Buffer;
  readonly #aesKey: Buffer;
  readonly #onDestroy: (() => void)[] = [];
  #destroyed = false;

  /**
   * @throws TypeError or RangeError when a part is of the wrong type or length, when the secrets are of two lengths, or
   *   when the name or a secret is all zero or a secret repeats the other
   */
  constructor(parts: TicketKeyParts) {
    this.#name = Buffer.from(requireBytes('name', parts.name, KEY_NAME_BYTES, KEY_NAME_BYTES));
    this.#hmacKey = Buffer.from(requireSecret('hmacKey', parts.hmacKey));
    this.#aesKey = Buffer.from(requireSecret('aesKey', parts.aesKey));
    if (this.#hmacKey.length !== this.#aesKey.length) {
      throw outOfRange('aesKey', `as many bytes as "hmacKey" (${this.#hmacKey.length})`, parts.aesKey);
    }
    if (isZero(this.#name)) throw outOfRange('name', 'bytes that are not all zero', parts.name);
    if (this.#hmacKey.equals(this.#aesKey)) throw outOfRange('aesKey', 'other bytes than "hmacKey"', parts.aesKey);
  }

  /** A key as it is; parts or bytes become one. */
  static from(input: TicketKeyInput): TicketKey {
    if (input instanceof TicketKey) return input;
    if (input instanceof Uint8Array) return TicketKey.#fromBytes(input);
    if (typeof input !== 'object' || input === null) {
      throw wrongType('key', 'a TicketKey, its parts, or 48 or 80 bytes', input);
    }
    return new TicketKey(input);
  }

  static #fromBytes(bytes: Uint8Array): TicketKey {
    if (bytes.length !== 48 && bytes.length !== 80) throw outOfRange('key', '48 or 80 bytes', bytes);
    const middle = (bytes.length + KEY_NAME_BYTES) / 2;
    return new TicketKey({
      name: bytes.subarray(0, KEY_NAME_BYTES),
      hmacKey: bytes.subarray(KEY_NAME_BYTES, middle),
      aesKey: bytes.subarray(middle),
    });
  }

  /** 16 bytes, no secret. Not a copy: do not write to it. */
  get name(): Buffer {
    return this.#name;
  }

  /** 16 or 32 bytes; all zero once the key is destroyed. Not a copy: do not write to it. */
  get hmacKey(): Buffer {
    return this.#hmacKey;
  }

  /** 16 or 32 bytes; all zero once the key is destroyed. Not a copy: do not write to it. */
  get aesKey(): Buffer {
    return this.#aesKey;
  }

  /** Bytes of name and secrets: 48 (AES-128) or 80 (AES-256). */
  get length(): 48 | 80 {
    return this.#aesKey.length === 16 ? 48 : 80;
  }

  /** Whether the secrets were overwritten. */
  get destroyed(): boolean {
    return this.#destroyed;
  }

  /** Overwrites the secrets. */
  destroy(): void {
    this.#destroyed = true;
    this.#hmacKey.fill(0);
    this.#aesKey.fill(0);
    for (const forget of this.#onDestroy.splice(0)) forget();
  }

  /**
   * For whoever keeps what was derived from the secrets, and overwrites it with them.
   *
   * @internal
   */
  onDestroy(forget: () => void): void {
    this.#onDestroy.push(forget);
  }

  /** No secret. */
  toJSON(): TicketKeyJson {
    return { name: this.#name.toString('hex'), length: this.length };
  }

  /** What `util.inspect` shows: no secret. */
  [inspect.custom](): string {
    return `TicketKey { name: ${this.#name.toString('hex')}, length: ${this.length} }`;
  }
}

function requireSecret(name: string, value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrongType(name, 'a Uint8Array', value);
  if (value.length !== 16 && value.length !== 32) throw outOfRange(name, '16 or 32 bytes', value);
  if (isZero(value)) throw outOfRange(name, 'bytes that are not all zero', value);
  return value;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
