/**
 * Puts a ClientHello together from what a socket gives, chunk by chunk.
 *
 * @module
 */

import { requireInteger } from '../arguments.js';
import { uint8 } from './bytes.js';
import {
  CLIENT_HELLO,
  HANDSHAKE_RECORD,
  MAX_RECORD_PAYLOAD,
  MESSAGE_HEADER,
  RECORD_HEADER,
} from './handshake-records.js';

/** What a {@link ClientHelloAssembler} knows; all but `incomplete` are final. */
export type ClientHelloState = 'incomplete' | 'complete' | 'not-a-hello' | 'too-large';

/** Clients need one or two. What framing adds to the bytes held is bounded with it: 20 KiB. */
const MAX_RECORDS = 4096;
const EMPTY = Buffer.alloc(0);

/**
 * Assembles the first handshake message of a connection, out of any number of chunks and records, in linear time.
 *
 * A hello that came in one chunk and one record is never copied: `handedOn()` is that chunk. Until the hello is
 * complete, the bytes held are at most `maxBytes` and 5 for each of at most 4096 records.
 */
export class ClientHelloAssembler {
  readonly #maxBytes: number;
  #state: ClientHelloState = 'incomplete';
  /** All that was received: the only chunk itself, or `#held` bytes at the beginning of a buffer of our own. */
  #buffer: Buffer = EMPTY;
  #held = 0;
  #own = false;

  /** How far into the received bytes we have looked. */
  #scanned = 0;
  #records = 0;
  /** Of the record header at hand; its payload begins at 5. */
  #headerBytes = 0;
  #recordLength = 0;
  #payloadLeft = 0;
  /** Bytes of the message seen so far, and in all once its header is known. */
  #messageBytes = 0;
  #messageLength = MESSAGE_HEADER;
  #message: Buffer | undefined;

  /**
   * @param maxBytes the longest message to take, its 4-byte header included: 4 to 16 384 (which is what fits in one
   * record), the default.
   * @throws {TypeError | RangeError} for any other `maxBytes`.
   */
  constructor(maxBytes: number = MAX_RECORD_PAYLOAD) {
    this.#maxBytes = requireInteger('maxBytes', maxBytes, MESSAGE_HEADER, MAX_RECORD_PAYLOAD, 'bytes');
  }

  /** What the last {@link push} answered; `incomplete` before the first. */
  get state(): ClientHelloState {
    return this.#state;
  }

  /** The bytes received and not given away: what this assembler is worth in memory, but for what doubling sets aside. */
  get bytesHeld(): number {
    return this.#held;
  }

  /**
   * Takes what the socket gave, which must not change afterwards.
   *
   * @returns `complete`: all of the message is here. `not-a-hello`: a byte was wrong (HTTP, a PROXY protocol line, an
   * alert, an SSLv2 hello, an empty record, another message). `too-large`: more than `maxBytes`, or than 4096 records.
   * Once final, the answer stays, and chunks are only kept to be handed on.
   */
  push(chunk: Buffer): ClientHelloState {
    this.#append(chunk);
    if (this.#state === 'incomplete') this.#state = this.#scan();
    return this.#state;
  }

  /**
   * The handshake message with its 4-byte header.
   *
   * @throws {Error} unless the state is `complete`.
   */
  get message(): Buffer {
    if (this.#state !== 'complete') throw new Error(`There is no message while the state is ${this.#state}`);
    this.#message ??=
      this.#records === 1
        ? this.#buffer.subarray(RECORD_HEADER, RECORD_HEADER + this.#messageLength)
        : this.#inOneRecord(0).subarray(RECORD_HEADER);
    return this.#message;
  }

  /**
   * All the bytes received, for whoever reads the connection next. A hello that came in several records is put into one
   * (record framing is no part of the transcript, RFC 8446 §4.4.1, and Node's own parser reads one record only), what
   * came after it follows. In every other state, and when the hello's last record holds more than the hello, which
   * OpenSSL judges by the framing: the bytes as they came.
   */
  handedOn(): Buffer {
    const received = this.#held === this.#buffer.length ? this.#buffer : this.#buffer.subarray(0, this.#held);
    if (this.#state !== 'complete' || this.#records === 1 || this.#payloadLeft > 0) return received;
    const rest = this.#held - this.#scanned;
    const joined = this.#inOneRecord(rest);
    this.#buffer.copy(joined, joined.length - rest, this.#scanned, this.#held);
    return joined;
  }

  #append(chunk: Buffer): void {
    const held = this.#held + chunk.length;
    if (this.#held === 0) {
      this.#buffer = chunk;
    } else if (chunk.length > 0) {
      if (!this.#own || held > this.#buffer.length) {
        const known = RECORD_HEADER + this.#messageLength;
        const buffer = Buffer.allocUnsafeSlow(Math.max(held, known, 2 * this.#held, 256));
        this.#buffer.copy(buffer, 0, 0, this.#held);
        this.#buffer = buffer;
        this.#own = true;
      }
      chunk.copy(this.#buffer, this.#held);
    }
    this.#held = held;
  }

  #scan(): ClientHelloState {
    const bytes = this.#buffer;
    while (this.#scanned < this.#held) {
      if (this.#payloadLeft === 0) {
        if (this.#headerBytes === RECORD_HEADER) this.#headerBytes = 0;
        const state = this.#takeHeaderByte(uint8(bytes, this.#scanned++));
        if (state !== undefined) return state;
        continue;
      }
      if (this.#messageBytes < MESSAGE_HEADER) {
        const state = this.#takeMessageHeaderByte(uint8(bytes, this.#scanned++));
        if (state !== undefined) return state;
      } else {
        const taken = Math.min(this.#payloadLeft, this.#held - this.#scanned, this.#messageLength - this.#messageBytes);
        this.#scanned += taken;
        this.#payloadLeft -= taken;
        this.#messageBytes += taken;
      }
      if (this.#messageBytes >= MESSAGE_HEADER && this.#messageBytes === this.#messageLength) return 'complete';
    }
    return 'incomplete';
  }

  #takeHeaderByte(byte: number): ClientHelloState | undefined {
    switch (this.#headerBytes++) {
      case 0:
        if (byte !== HANDSHAKE_RECORD) return 'not-a-hello';
        return ++this.#records > MAX_RECORDS ? 'too-large' : undefined;
      case 1:
        return byte === 3 ? undefined : 'not-a-hello';
      case 2:
        return undefined;
      case 3:
        if (byte > MAX_RECORD_PAYLOAD >> 8) return 'not-a-hello';
        this.#recordLength = byte << 8;
        return undefined;
      default:
        this.#recordLength |= byte;
        if (this.#recordLength === 0 || this.#recordLength > MAX_RECORD_PAYLOAD) return 'not-a-hello';
        this.#payloadLeft = this.#recordLength;
        return undefined;
    }
  }

  #takeMessageHeaderByte(byte: number): ClientHelloState | undefined {
    this.#payloadLeft--;
    switch (this.#messageBytes++) {
      case 0:
        return byte === CLIENT_HELLO ? undefined : 'not-a-hello';
      case 1:
        return byte === 0 ? undefined : 'too-large';
      case 2:
        this.#messageLength = MESSAGE_HEADER + (byte << 8);
        break;
      default:
        this.#messageLength += byte;
    }
    return this.#messageLength > this.#maxBytes ? 'too-large' : undefined;
  }

  /** The message in one record, with room for `rest` bytes after it. */
  #inOneRecord(rest: number): Buffer {
    const joined = Buffer.allocUnsafeSlow(RECORD_HEADER + this.#messageLength + rest);
    this.#buffer.copy(joined, 0, 0, 3);
    joined.writeUInt16BE(this.#messageLength, 3);
    const end = RECORD_HEADER + this.#messageLength;
    for (let at = 0, to = RECORD_HEADER; to < end; ) {
      const payload = this.#buffer.readUInt16BE(at + 3);
      const from = at + RECORD_HEADER;
      to += this.#buffer.copy(joined, to, from, Math.min(from + payload, from + end - to));
      at = from + payload;
    }
    return joined;
  }
}
