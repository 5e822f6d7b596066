/**
 * What a server says in clear at the beginning of a connection, read as it passes by.
 */

import { uint8, uint16, uint24 } from './bytes.js';
import {
  HANDSHAKE_RECORD,
  MAX_RECORD_PAYLOAD,
  MESSAGE_HEADER,
  NEW_SESSION_TICKET,
  RECORD_HEADER,
  SERVER_HELLO,
} from './handshake-records.js';
import { type NewSessionTicket, readNewSessionTicket, readServerHello, type ServerHello } from './server-hello.js';

/**
 * `complete`: the server has said all that it says in clear. In TLS 1.2 its ChangeCipherSpec has come, which after a full
 * handshake means that it has checked the client's Finished; in TLS 1.3 its ServerHello. `unreadable`: it is no TLS
 * server, or there is too much of it. Both are final.
 */
export type ServerFlightState = 'reading' | 'complete' | 'unreadable';

const CHANGE_CIPHER_SPEC = 0x14;
const ALERT = 0x15;
const TLS13 = 0x0304;
/** With a chain of certificates, a list of CAs and all, servers stay far below. */
const MAX_BYTES = 262_144;

/** Reads chunk by chunk, in linear time. Holds at most one message of 16 384 bytes: others are skipped, not kept. */
export class ServerFlight {
  /** The last one, once it has come. */
  serverHello: ServerHello | undefined;
  /** TLS 1.2. */
  ticket: NewSessionTicket | undefined;
  #state: ServerFlightState = 'reading';
  #bytes = 0;

  readonly #recordHeader = Buffer.alloc(RECORD_HEADER);
  #recordHeaderBytes = 0;
  #payloadLeft = 0;

  readonly #messageHeader = Buffer.alloc(MESSAGE_HEADER);
  #messageHeaderBytes = 0;
  #messageLeft = 0;
  /** The message at hand, if it is one to keep. */
  #message: Buffer | undefined;

  get state(): ServerFlightState {
    return this.#state;
  }

  /** Takes what the server sent; keeps nothing of the chunk itself. */
  push(chunk: Uint8Array): ServerFlightState {
    for (let at = 0; at < chunk.length && this.#state === 'reading'; ) {
      at = this.#payloadLeft === 0 ? this.#takeRecordHeader(chunk, at) : this.#takePayload(chunk, at);
    }
    this.#bytes += chunk.length;
    if (this.#state === 'reading' && this.#bytes > MAX_BYTES) this.#state = 'unreadable';
    return this.#state;
  }

  #takeRecordHeader(chunk: Uint8Array, at: number): number {
    this.#recordHeader[this.#recordHeaderBytes++] = uint8(chunk, at);
    if (this.#recordHeaderBytes < RECORD_HEADER) return at + 1;
    this.#recordHeaderBytes = 0;
    this.#payloadLeft = uint16(this.#recordHeader, 3);
    if (this.#recordHeader[1] !== 3 || this.#payloadLeft === 0 || this.#payloadLeft > MAX_RECORD_PAYLOAD) {
      this.#state = 'unreadable';
    } else if (this.#recordHeader[0] === CHANGE_CIPHER_SPEC) {
      this.#endsClear();
    } else if (this.#recordHeader[0] !== HANDSHAKE_RECORD && this.#recordHeader[0] !== ALERT) {
      this.#state = 'unreadable';
    }
    return at + 1;
  }

  /** After a HelloRetryRequest it means nothing: servers send it for the sake of middleboxes (RFC 8446 §D.4). */
  #endsClear(): void {
    if (this.serverHello?.helloRetryRequest) return;
    const between = this.#messageHeaderBytes === 0;
    this.#state = between && this.serverHello !== undefined ? 'complete' : 'unreadable';
  }

  #takePayload(chunk: Uint8Array, at: number): number {
    const end = Math.min(chunk.length, at + this.#payloadLeft);
    const next = this.#recordHeader[0] === HANDSHAKE_RECORD ? this.#takeHandshake(chunk, at, end) : end;
    this.#payloadLeft -= next - at;
    return next;
  }

  #takeHandshake(chunk: Uint8Array, at: number, end: number): number {
    if (this.#messageHeaderBytes < MESSAGE_HEADER) {
      this.#messageHeader[this.#messageHeaderBytes++] = uint8(chunk, at);
      if (this.#messageHeaderBytes === MESSAGE_HEADER) this.#beginMessage();
      return at + 1;
    }
    const taken = Math.min(end - at, this.#messageLeft);
    this.#message?.set(chunk.subarray(at, at + taken), this.#message.length - this.#messageLeft);
    this.#messageLeft -= taken;
    if (this.#messageLeft === 0) this.#endMessage();
    return at + taken;
  }

  #beginMessage(): void {
    const type = uint8(this.#messageHeader, 0);
    this.#messageLeft = uint24(this.#messageHeader, 1);
    const length = MESSAGE_HEADER + this.#messageLeft;
    if (this.serverHello === undefined && type !== SERVER_HELLO) {
      this.#state = 'unreadable';
    } else if ((type === SERVER_HELLO || type === NEW_SESSION_TICKET) && length <= MAX_RECORD_PAYLOAD) {
      this.#message = Buffer.allocUnsafeSlow(length);
      this.#message.set(this.#messageHeader);
    }
    if (this.#messageLeft === 0) this.#endMessage();
  }

  #endMessage(): void {
    this.#messageHeaderBytes = 0;
    const message = this.#message;
    this.#message = undefined;
    if (message === undefined) return;
    if (message[0] === NEW_SESSION_TICKET) this.ticket = readNewSessionTicket(message);
    else this.#takeServerHello(readServerHello(message));
  }

  #takeServerHello(hello: ServerHello | undefined): void {
    // A second one may follow a HelloRetryRequest, and nothing else.
    if (hello === undefined || (this.serverHello !== undefined && !this.serverHello.helloRetryRequest)) {
      this.#state = 'unreadable';
      return;
    }
    const again = this.serverHello !== undefined;
    this.serverHello = hello;
    if (hello.helloRetryRequest) {
      if (again) this.#state = 'unreadable';
    } else if (hello.version >= TLS13) this.#state = 'complete';
  }
}
