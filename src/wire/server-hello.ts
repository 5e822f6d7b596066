/**
 * The ServerHello and the TLS 1.2 NewSessionTicket, from bytes to values: what a server answers in clear.
 *
 * @module
 */

import { wrongType } from '../arguments.js';
import { uint16, viewOf } from './bytes.js';
import { findMessage, MESSAGE_HEADER, NEW_SESSION_TICKET, SERVER_HELLO } from './handshake-records.js';

/**
 * A parsed ServerHello (RFC 8446 §4.1.3, RFC 5246 §7.4.1.3). Byte fields are copies. `util.inspect` and
 * `JSON.stringify` show the length of the session ID only.
 */
export interface ServerHello {
  /** `legacy_version`: 0x0303 in TLS 1.2 and 1.3. */
  readonly legacyVersion: number;
  /** The version agreed on: 0x0303 is TLS 1.2, 0x0304 TLS 1.3. */
  readonly version: number;
  /** 32 bytes. */
  readonly random: Buffer;
  /**
   * 0 to 32 bytes. In TLS 1.2 the ID of the session, new or resumed, empty when it has none; in TLS 1.3, and in TLS 1.2
   * when a ticket resumed, what the client sent.
   */
  readonly sessionId: Buffer;
  /** 0x1301 is TLS_AES_128_GCM_SHA256. */
  readonly cipherSuite: number;
  /** Whether this is a HelloRetryRequest: the client says hello again, and another ServerHello follows. */
  readonly helloRetryRequest: boolean;
  /** Whether a NewSessionTicket will follow (RFC 5077 §3.2): TLS 1.2. */
  readonly sessionTicket: boolean;
  /** Which of the client's PSK identities was accepted, from 0; `undefined` when none was (RFC 8446 §4.2.11): TLS 1.3. */
  readonly selectedIdentity: number | undefined;
  /** RFC 7627. */
  readonly extendedMasterSecret: boolean;
  /** What was agreed on, one character a byte, in TLS 1.2; TLS 1.3 encrypts it. */
  readonly alpnProtocol: string | undefined;
}

/** A TLS 1.2 NewSessionTicket (RFC 5077 §3.3). `util.inspect` and `JSON.stringify` show the length of the ticket only. */
export interface NewSessionTicket {
  /** Seconds; 0 when the server does not say. */
  readonly lifetimeHint: number;
  /** A copy; empty when the server has changed its mind. */
  readonly ticket: Buffer;
}

const ALPN = 16;
const EXTENDED_MASTER_SECRET = 23;
const SESSION_TICKET = 35;
const PRE_SHARED_KEY = 41;
const SUPPORTED_VERSIONS = 43;

const RANDOM = MESSAGE_HEADER + 2;
const SESSION_ID = RANDOM + 32;
/** RFC 8446 §4.1.3: SHA-256 of "HelloRetryRequest". */
const RETRY_RANDOM = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');

class ParsedServerHello implements ServerHello {
  readonly legacyVersion: number;
  version: number;
  readonly random: Buffer;
  readonly sessionId: Buffer;
  readonly cipherSuite: number;
  readonly helloRetryRequest: boolean;
  sessionTicket = false;
  selectedIdentity: number | undefined = undefined;
  extendedMasterSecret = false;
  alpnProtocol: string | undefined = undefined;

  constructor(b: Buffer, sessionIdEnd: number) {
    this.legacyVersion = uint16(b, MESSAGE_HEADER);
    this.version = this.legacyVersion;
    this.random = copyOf(b.subarray(RANDOM, SESSION_ID));
    this.sessionId = copyOf(b.subarray(SESSION_ID + 1, sessionIdEnd));
    this.cipherSuite = uint16(b, sessionIdEnd);
    this.helloRetryRequest = this.random.equals(RETRY_RANDOM);
  }

  /** Takes an extension; `false` when its contents are malformed. */
  take(type: number, contents: Buffer): boolean {
    switch (type) {
      case SESSION_TICKET:
        this.sessionTicket = true;
        return contents.length === 0;
      case EXTENDED_MASTER_SECRET:
        this.extendedMasterSecret = true;
        return contents.length === 0;
      case SUPPORTED_VERSIONS:
        this.version = contents.length === 2 ? uint16(contents, 0) : 0;
        return contents.length === 2;
      case PRE_SHARED_KEY:
        this.selectedIdentity = contents.length === 2 ? uint16(contents, 0) : undefined;
        return contents.length === 2;
      case ALPN:
        this.alpnProtocol = contents.toString('latin1', 3);
        return (
          contents.length > 3 && uint16(contents, 0) === contents.length - 2 && contents[2] === contents.length - 3
        );
      default:
        return true;
    }
  }

  toJSON(): object {
    return { ...this, random: this.random.toString('hex'), sessionId: lengthOf(this.sessionId) };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return this.toJSON();
  }
}

class ParsedNewSessionTicket implements NewSessionTicket {
  readonly lifetimeHint: number;
  readonly ticket: Buffer;

  constructor(lifetimeHint: number, ticket: Buffer) {
    this.lifetimeHint = lifetimeHint;
    this.ticket = ticket;
  }

  toJSON(): object {
    return { ...this, ticket: lengthOf(this.ticket) };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return this.toJSON();
  }
}

/**
 * Parses a ServerHello.
 *
 * @param bytes TLS records (the message may span several of them) or a bare handshake message, from the first byte on.
 * What follows the message is not looked at.
 * @returns `undefined` for what is no ServerHello, not all of it, or malformed: a length that does not fit exactly, an
 * extension sent twice.
 * @throws {TypeError} when `bytes` is no `Uint8Array`; on bytes, never.
 *
 * @example
 * backend.once('data', (chunk) => console.log(parseServerHello(chunk)?.version));
 */
export function parseServerHello(bytes: Uint8Array): ServerHello | undefined {
  const message = messageIn(bytes, SERVER_HELLO);
  return message && readServerHello(message);
}

/**
 * Parses a NewSessionTicket of TLS 1.2. (TLS 1.3 encrypts its own, which are of another form.)
 *
 * @param bytes as for {@link parseServerHello}, beginning with the message.
 * @returns `undefined` for what is no NewSessionTicket, not all of it, or malformed.
 * @throws {TypeError} when `bytes` is no `Uint8Array`; on bytes, never.
 */
export function parseNewSessionTicket(bytes: Uint8Array): NewSessionTicket | undefined {
  const message = messageIn(bytes, NEW_SESSION_TICKET);
  return message && readNewSessionTicket(message);
}

/** Reads one whole ServerHello message with its header. */
export function readServerHello(b: Buffer): ServerHello | undefined {
  const sessionIdLength = b[SESSION_ID] ?? 255;
  const sessionIdEnd = SESSION_ID + 1 + sessionIdLength;
  // The cipher suite and the compression method.
  const extensions = sessionIdEnd + 3;
  if (sessionIdLength > 32 || extensions > b.length) return undefined;
  const hello = new ParsedServerHello(b, sessionIdEnd);
  // TLS 1.2 servers may leave the extensions out altogether.
  return extensions === b.length || readExtensions(b, extensions, hello) ? hello : undefined;
}

/** Reads one whole NewSessionTicket message with its header. */
export function readNewSessionTicket(b: Buffer): NewSessionTicket | undefined {
  const start = MESSAGE_HEADER + 6;
  if (b.length < start || start + uint16(b, start - 2) !== b.length) return undefined;
  return new ParsedNewSessionTicket(b.readUInt32BE(MESSAGE_HEADER), copyOf(b.subarray(start)));
}

function readExtensions(b: Buffer, from: number, hello: ParsedServerHello): boolean {
  if (from + 2 > b.length || from + 2 + uint16(b, from) !== b.length) return false;
  const seen = new Set<number>();
  for (let at = from + 2; at < b.length; ) {
    if (at + 4 > b.length) return false;
    const type = uint16(b, at);
    const start = at + 4;
    at = start + uint16(b, at + 2);
    if (at > b.length || seen.has(type) || !hello.take(type, b.subarray(start, at))) return false;
    seen.add(type);
  }
  return true;
}

function messageIn(bytes: Uint8Array, type: number): Buffer | undefined {
  if (!(bytes instanceof Uint8Array)) throw wrongType('bytes', 'a Uint8Array', bytes);
  const found = findMessage(bytes, type);
  if (found === undefined) return undefined;
  return viewOf(found.bytes, found.start, found.end);
}

/** A copy, which shares its memory with nothing (Buffer.from's would keep a whole pool alive). */
function copyOf(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

function lengthOf(bytes: Uint8Array): string {
  return `<${bytes.length} bytes>`;
}
