/**
 * The ClientHello, from bytes to values: RFC 8446 §4.1.2, RFC 5246 §7.4.1.2.
 *
 * What OpenSSL would read differently from us, or refuse, is `undefined` here: to take a hello for one without a
 * server name when the handshake then runs under a name would resume sessions under the wrong one.
 *
 * @module
 */

import { wrongType } from '../arguments.js';
import { uint8, uint16 } from './bytes.js';
import { findClientHello, MESSAGE_HEADER } from './handshake-records.js';

export { ClientHelloAssembler, type ClientHelloState } from './client-hello-assembler.js';

/** One identity of the `pre_shared_key` extension (RFC 8446 §4.2.11): a ticket, or the ID of a stateful session. */
export interface PskIdentity {
  /** 1 to 65 535 bytes: a copy. 32 bytes from a client of a stateful OpenSSL server: the session ID. */
  readonly identity: Buffer;
  /** Milliseconds since the ticket came, plus its `ticket_age_add`, modulo 2³². */
  readonly obfuscatedTicketAge: number;
}

/**
 * A parsed ClientHello. Names are those of RFC 8446 and its extensions; everything is a copy, so that holding a hello
 * holds nothing else. `util.inspect` and `JSON.stringify` show the lengths of session ID, ticket and identities only.
 */
export interface ClientHello {
  /** `legacy_version`: 0x0303 from every client that can do TLS 1.2 or 1.3; see {@link supportedVersions}. */
  readonly legacyVersion: number;
  /** 32 bytes. */
  readonly random: Buffer;
  /** `legacy_session_id`: 0 to 32 bytes. In TLS 1.3 it is random and names no session. */
  readonly sessionId: Buffer;
  /** As sent, in the client's order: GREASE (RFC 8701) and signalling values included. */
  readonly cipherSuites: readonly number[];
  /** The host name exactly as sent, one character a byte; `undefined` without the extension (RFC 6066 §3). */
  readonly servername: string | undefined;
  /** As sent, one character a byte (RFC 7301); empty without the extension. */
  readonly alpnProtocols: readonly string[];
  /** RFC 5077 §3.2. `undefined` without the extension; empty when the client only says that it takes tickets. */
  readonly sessionTicket: Buffer | undefined;
  /** All of them, in the client's order; empty without the extension. */
  readonly pskIdentities: readonly PskIdentity[];
  /** 0 is psk_ke, 1 is psk_dhe_ke (RFC 8446 §4.2.9); empty without the extension. */
  readonly pskKeyExchangeModes: readonly number[];
  /** In the client's order, GREASE included; empty without the extension, as TLS 1.2 clients send none. */
  readonly supportedVersions: readonly number[];
  /** RFC 8446 §4.2.7; empty without the extension. */
  readonly supportedGroups: readonly number[];
  /** The groups of the key shares (RFC 8446 §4.2.8); empty without the extension, or when the client waits to be asked. */
  readonly keyShareGroups: readonly number[];
  /** RFC 7627. */
  readonly extendedMasterSecret: boolean;
  /** RFC 8446 §4.2.10. */
  readonly earlyData: boolean;
}

const SERVER_NAME = 0;
const SUPPORTED_GROUPS = 10;
const ALPN = 16;
const EXTENDED_MASTER_SECRET = 23;
const SESSION_TICKET = 35;
const PRE_SHARED_KEY = 41;
const EARLY_DATA = 42;
const SUPPORTED_VERSIONS = 43;
const PSK_KEY_EXCHANGE_MODES = 45;
const KEY_SHARE = 51;

const EMPTY = Buffer.alloc(0);
const NONE: readonly never[] = Object.freeze([]);

/** Which extensions the hello at hand has shown: the number of that hello, by extension type. */
const seenIn = new Uint32Array(0x10000);
let helloNumber = 0;

class ParsedClientHello implements ClientHello {
  legacyVersion = 0;
  random: Buffer = EMPTY;
  sessionId: Buffer = EMPTY;
  cipherSuites: readonly number[] = NONE;
  servername: string | undefined = undefined;
  alpnProtocols: readonly string[] = NONE;
  sessionTicket: Buffer | undefined = undefined;
  pskIdentities: readonly PskIdentity[] = NONE;
  pskKeyExchangeModes: readonly number[] = NONE;
  supportedVersions: readonly number[] = NONE;
  supportedGroups: readonly number[] = NONE;
  keyShareGroups: readonly number[] = NONE;
  extendedMasterSecret = false;
  earlyData = false;

  toJSON(): object {
    return {
      ...this,
      random: this.random.toString('hex'),
      sessionId: lengthOf(this.sessionId),
      sessionTicket: this.sessionTicket && lengthOf(this.sessionTicket),
      pskIdentities: this.pskIdentities.map((psk) => ({ ...psk, identity: lengthOf(psk.identity) })),
    };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return this.toJSON();
  }
}

function lengthOf(bytes: Uint8Array): string {
  return `<${bytes.length} bytes>`;
}

/**
 * Parses a ClientHello.
 *
 * @param bytes TLS records (the hello may span several of them) or a bare handshake message, from the first byte on.
 * What follows the hello is not looked at.
 * @returns `undefined` for what is no ClientHello, not all of it, or malformed: a length that does not fit exactly, an
 * extension sent twice, a `pre_shared_key` that is not the last one (RFC 8446 §4.2, §4.2.11), a host name that is empty,
 * longer than 255 bytes or holds a NUL.
 * @throws {TypeError} when `bytes` is no `Uint8Array`; on bytes, never.
 */
export function parseClientHello(bytes: Uint8Array): ClientHello | undefined {
  if (!(bytes instanceof Uint8Array)) throw wrongType('bytes', 'a Uint8Array', bytes);
  const message = findClientHello(bytes);
  return message && parseOwnMessage(copy(asBuffer(message.bytes), message.start, message.end));
}

/**
 * Parses the bytes of one ClientHello message, of which the hello becomes the owner: its byte fields are views.
 *
 * @internal
 */
export function parseOwnMessage(message: Buffer): ClientHello | undefined {
  const hello = new ParsedClientHello();
  return readBody(message, MESSAGE_HEADER, message.length, hello) ? hello : undefined;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** An exact copy, which shares its memory with nothing (Buffer.from's would keep a whole pool alive). */
function copy(b: Buffer, from: number, to: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(to - from);
  b.copy(bytes, 0, from, to);
  return bytes;
}

/** Where the vector ends whose 1-byte length stands at `at`; -1 when that is past `end`. */
function end8(b: Buffer, at: number, end: number): number {
  if (at >= end) return -1;
  const stop = at + 1 + uint8(b, at);
  return stop <= end ? stop : -1;
}

/** Where the vector ends whose 2-byte length stands at `at`; -1 when that is past `end`. */
function end16(b: Buffer, at: number, end: number): number {
  if (at + 2 > end) return -1;
  const stop = at + 2 + uint16(b, at);
  return stop <= end ? stop : -1;
}

/** The 2-byte numbers that fill the bytes exactly, at least one. */
function numbers16(b: Buffer, from: number, to: number): number[] | undefined {
  const count = (to - from) >> 1;
  if (count === 0 || from + 2 * count !== to) return undefined;
  const numbers: number[] = [];
  for (let at = from; at < to; at += 2) numbers.push(uint16(b, at));
  return numbers;
}

function readBody(b: Buffer, start: number, end: number, hello: ParsedClientHello): boolean {
  const sessionId = start + 34;
  const cipherSuites = end8(b, sessionId, end);
  if (cipherSuites < 0 || cipherSuites - sessionId > 33) return false;
  const compression = end16(b, cipherSuites, end);
  if (compression < 0) return false;
  const extensions = end8(b, compression, end);
  if (extensions < 0 || extensions === compression + 1) return false;
  const suites = numbers16(b, cipherSuites + 2, compression);
  if (suites === undefined) return false;

  hello.legacyVersion = uint16(b, start);
  hello.random = b.subarray(start + 2, sessionId);
  if (cipherSuites > sessionId + 1) hello.sessionId = b.subarray(sessionId + 1, cipherSuites);
  hello.cipherSuites = suites;
  // TLS 1.2 clients may leave the extensions out altogether (RFC 5246 §7.4.1.2).
  return extensions === end || (end16(b, extensions, end) === end && readExtensions(b, extensions + 2, end, hello));
}

function readExtensions(b: Buffer, start: number, end: number, hello: ParsedClientHello): boolean {
  if (helloNumber === 0xffff_ffff) {
    seenIn.fill(0);
    helloNumber = 0;
  }
  const thisHello = ++helloNumber;
  for (let at = start; at < end; ) {
    const next = end16(b, at + 2, end);
    if (next < 0) return false;
    const type = uint16(b, at);
    if (seenIn[type] === thisHello) return false;
    seenIn[type] = thisHello;
    if (type === PRE_SHARED_KEY && next !== end) return false;
    if (!readExtension(type, b, at + 4, next, hello)) return false;
    at = next;
  }
  return true;
}

function readExtension(type: number, b: Buffer, from: number, to: number, hello: ParsedClientHello): boolean {
  switch (type) {
    case SERVER_NAME:
      hello.servername = readServerName(b, from, to);
      return hello.servername !== undefined;
    case SUPPORTED_GROUPS: {
      const groups = end16(b, from, to) === to ? numbers16(b, from + 2, to) : undefined;
      if (groups === undefined) return false;
      hello.supportedGroups = groups;
      return true;
    }
    case ALPN:
      return readAlpn(b, from, to, hello);
    case EXTENDED_MASTER_SECRET:
      hello.extendedMasterSecret = true;
      return from === to;
    case SESSION_TICKET:
      hello.sessionTicket = from === to ? EMPTY : b.subarray(from, to);
      return true;
    case PRE_SHARED_KEY:
      return readPreSharedKey(b, from, to, hello);
    case EARLY_DATA:
      hello.earlyData = true;
      return from === to;
    case SUPPORTED_VERSIONS: {
      const versions = end8(b, from, to) === to ? numbers16(b, from + 1, to) : undefined;
      if (versions === undefined) return false;
      hello.supportedVersions = versions;
      return true;
    }
    case PSK_KEY_EXCHANGE_MODES:
      if (end8(b, from, to) !== to || to === from + 1) return false;
      hello.pskKeyExchangeModes = Array.from(b.subarray(from + 1, to));
      return true;
    case KEY_SHARE:
      return readKeyShare(b, from, to, hello);
    default:
      return true;
  }
}

/** OpenSSL takes a list of one host_name and nothing else, whatever RFC 6066 §3 leaves room for. */
function readServerName(b: Buffer, from: number, to: number): string | undefined {
  if (end16(b, from, to) !== to || from + 2 === to || b[from + 2] !== 0) return undefined;
  if (end16(b, from + 3, to) !== to) return undefined;
  const start = from + 5;
  if (to === start || to - start > 255) return undefined;
  for (let at = start; at < to; at++) if (b[at] === 0) return undefined;
  return b.toString('latin1', start, to);
}

function readAlpn(b: Buffer, from: number, to: number, hello: ParsedClientHello): boolean {
  if (end16(b, from, to) !== to || from + 2 === to) return false;
  const protocols: string[] = [];
  for (let at = from + 2; at < to; ) {
    const next = end8(b, at, to);
    if (next < 0 || next === at + 1) return false;
    protocols.push(b.toString('latin1', at + 1, next));
    at = next;
  }
  hello.alpnProtocols = protocols;
  return true;
}

function readKeyShare(b: Buffer, from: number, to: number, hello: ParsedClientHello): boolean {
  if (end16(b, from, to) !== to) return false;
  const groups: number[] = [];
  for (let at = from + 2; at < to; ) {
    const next = end16(b, at + 2, to);
    if (next < 0 || next === at + 4) return false;
    groups.push(uint16(b, at));
    at = next;
  }
  hello.keyShareGroups = groups;
  return true;
}

function readPreSharedKey(b: Buffer, from: number, to: number, hello: ParsedClientHello): boolean {
  const binders = end16(b, from, to);
  if (binders < 0 || end16(b, binders, to) !== to) return false;
  const identities: PskIdentity[] = [];
  for (let at = from + 2; at < binders; ) {
    const age = end16(b, at, binders);
    if (age < 0 || age === at + 2 || age + 4 > binders) return false;
    identities.push({ identity: b.subarray(at + 2, age), obfuscatedTicketAge: b.readUInt32BE(age) });
    at = age + 4;
  }
  let count = 0;
  for (let at = binders + 2; at < to; count++) {
    const next = end8(b, at, to);
    if (next < 0 || next - at < 33) return false;
    at = next;
  }
  hello.pskIdentities = identities;
  return count > 0 && count === identities.length;
}
