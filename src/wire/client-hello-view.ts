/**
 * A ClientHello as the bytes have it: checked whole, but what a handshake does not need stays where it stands until it
 * is asked for. RFC 8446 §4.1.2, RFC 5246 §7.4.1.2.
 *
 * What OpenSSL would read differently from us, or refuse, is `undefined` here: to take a hello for one without a
 * server name when the handshake then runs under a name would resume sessions under the wrong one.
 *
 * @module
 */

import { uint8, uint16 } from './bytes.js';
import { MESSAGE_HEADER } from './handshake-records.js';

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

/** Where the fields before the session ID stand in the message; the ID's own length byte comes first. */
const LEGACY_VERSION = MESSAGE_HEADER;
const RANDOM = LEGACY_VERSION + 2;
const SESSION_ID = RANDOM + 32;

/** Which extensions the hello at hand has shown: the number of that hello, by extension type. */
const seenIn = new Uint32Array(0x10000);
let helloNumber = 0;

/** Lists are made anew at every call of a getter; the `offers` methods and `pskIdentityOf` look for one in place. */
export class ClientHelloView implements ClientHello {
  servername: string | undefined = undefined;
  extendedMasterSecret = false;
  earlyData = false;

  readonly message: Buffer;
  /** Where the contents of each vector begin, right behind its 2-byte length; 0 when it is not there. */
  cipherSuitesAt = 0;
  alpnAt = 0;
  sessionTicketAt = 0;
  pskIdentitiesAt = 0;
  pskKeyExchangeModesAt = 0;
  supportedVersionsAt = 0;
  supportedGroupsAt = 0;
  keyShareAt = 0;

  constructor(message: Buffer) {
    this.message = message;
  }

  get legacyVersion(): number {
    return uint16(this.message, LEGACY_VERSION);
  }

  get random(): Buffer {
    return this.message.subarray(RANDOM, SESSION_ID);
  }

  get sessionIdLength(): number {
    return uint8(this.message, SESSION_ID);
  }

  get sessionId(): Buffer {
    const start = SESSION_ID + 1;
    return this.sessionIdLength === 0 ? EMPTY : this.message.subarray(start, start + this.sessionIdLength);
  }

  get cipherSuites(): readonly number[] {
    return numbers16(this.message, this.cipherSuitesAt, endFrom(this.message, this.cipherSuitesAt));
  }

  get alpnProtocols(): readonly string[] {
    if (this.alpnAt === 0) return NONE;
    const end = endFrom(this.message, this.alpnAt);
    const protocols: string[] = [];
    for (let at = this.alpnAt; at < end; ) {
      const next = end8(this.message, at, end);
      protocols.push(this.message.toString('latin1', at + 1, next));
      at = next;
    }
    return protocols;
  }

  get sessionTicket(): Buffer | undefined {
    if (this.sessionTicketAt === 0) return undefined;
    const end = endFrom(this.message, this.sessionTicketAt);
    return end === this.sessionTicketAt ? EMPTY : this.message.subarray(this.sessionTicketAt, end);
  }

  get pskIdentities(): readonly PskIdentity[] {
    if (this.pskIdentitiesAt === 0) return NONE;
    const end = endFrom(this.message, this.pskIdentitiesAt);
    const identities: PskIdentity[] = [];
    for (let at = this.pskIdentitiesAt; at < end; ) {
      const age = end16(this.message, at, end);
      identities.push({
        identity: this.message.subarray(at + 2, age),
        obfuscatedTicketAge: this.message.readUInt32BE(age),
      });
      at = age + 4;
    }
    return identities;
  }

  get pskKeyExchangeModes(): readonly number[] {
    const start = this.pskKeyExchangeModesAt;
    return start === 0 ? NONE : Array.from(this.message.subarray(start + 1, endFrom(this.message, start)));
  }

  get supportedVersions(): readonly number[] {
    const start = this.supportedVersionsAt;
    return start === 0 ? NONE : numbers16(this.message, start + 1, endFrom(this.message, start));
  }

  get supportedGroups(): readonly number[] {
    const start = this.supportedGroupsAt;
    return start === 0 ? NONE : numbers16(this.message, start, endFrom(this.message, start));
  }

  get keyShareGroups(): readonly number[] {
    if (this.keyShareAt === 0) return NONE;
    const end = endFrom(this.message, this.keyShareAt);
    const groups: number[] = [];
    for (let at = this.keyShareAt; at < end; at = end16(this.message, at + 2, end)) {
      groups.push(uint16(this.message, at));
    }
    return groups;
  }

  offersCipherSuite(suite: number): boolean {
    return holds16(this.message, this.cipherSuitesAt, endFrom(this.message, this.cipherSuitesAt), suite);
  }

  offersVersion(version: number): boolean {
    const start = this.supportedVersionsAt;
    return start !== 0 && holds16(this.message, start + 1, endFrom(this.message, start), version);
  }

  offersPskKeyExchangeMode(mode: number): boolean {
    const start = this.pskKeyExchangeModesAt;
    if (start === 0) return false;
    const end = endFrom(this.message, start);
    for (let at = start + 1; at < end; at++) if (uint8(this.message, at) === mode) return true;
    return false;
  }

  /** The first identity of so many bytes. */
  pskIdentityOf(length: number): Buffer | undefined {
    if (this.pskIdentitiesAt === 0) return undefined;
    const end = endFrom(this.message, this.pskIdentitiesAt);
    for (let at = this.pskIdentitiesAt; at < end; ) {
      const age = end16(this.message, at, end);
      if (age - at === 2 + length) return this.message.subarray(at + 2, age);
      at = age + 4;
    }
    return undefined;
  }
}

/** Checks the bytes of one ClientHello message, of which the view becomes the owner. */
export function viewClientHello(message: Buffer): ClientHelloView | undefined {
  const hello = new ClientHelloView(message);
  return readBody(message, message.length, hello) ? hello : undefined;
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

/** Where the vector ends whose contents begin at `start`, right behind its 2-byte length: for one that was checked. */
function endFrom(b: Buffer, start: number): number {
  return start + uint16(b, start - 2);
}

/** Whether 2-byte numbers fill the bytes exactly, at least one. */
function areNumbers16(from: number, to: number): boolean {
  return to > from && (to - from) % 2 === 0;
}

function numbers16(b: Buffer, from: number, to: number): number[] {
  const numbers: number[] = [];
  for (let at = from; at < to; at += 2) numbers.push(uint16(b, at));
  return numbers;
}

function holds16(b: Buffer, from: number, to: number, number: number): boolean {
  for (let at = from; at < to; at += 2) if (uint16(b, at) === number) return true;
  return false;
}

function readBody(b: Buffer, end: number, hello: ClientHelloView): boolean {
  const cipherSuites = end8(b, SESSION_ID, end);
  if (cipherSuites < 0 || cipherSuites - SESSION_ID > 33) return false;
  const compression = end16(b, cipherSuites, end);
  if (compression < 0 || !areNumbers16(cipherSuites + 2, compression)) return false;
  const extensions = end8(b, compression, end);
  if (extensions < 0 || extensions === compression + 1) return false;
  hello.cipherSuitesAt = cipherSuites + 2;
  // TLS 1.2 clients may leave the extensions out altogether (RFC 5246 §7.4.1.2).
  return extensions === end || (end16(b, extensions, end) === end && readExtensions(b, extensions + 2, end, hello));
}

function readExtensions(b: Buffer, start: number, end: number, hello: ClientHelloView): boolean {
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

function readExtension(type: number, b: Buffer, from: number, to: number, hello: ClientHelloView): boolean {
  switch (type) {
    case SERVER_NAME:
      hello.servername = readServerName(b, from, to);
      return hello.servername !== undefined;
    case SUPPORTED_GROUPS:
      hello.supportedGroupsAt = from + 2;
      return end16(b, from, to) === to && areNumbers16(from + 2, to);
    case ALPN:
      return readAlpn(b, from, to, hello);
    case EXTENDED_MASTER_SECRET:
      hello.extendedMasterSecret = true;
      return from === to;
    case SESSION_TICKET:
      hello.sessionTicketAt = from;
      return true;
    case PRE_SHARED_KEY:
      return readPreSharedKey(b, from, to, hello);
    case EARLY_DATA:
      hello.earlyData = true;
      return from === to;
    case SUPPORTED_VERSIONS:
      hello.supportedVersionsAt = from;
      return end8(b, from, to) === to && areNumbers16(from + 1, to);
    case PSK_KEY_EXCHANGE_MODES:
      hello.pskKeyExchangeModesAt = from;
      return end8(b, from, to) === to && to > from + 1;
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

function readAlpn(b: Buffer, from: number, to: number, hello: ClientHelloView): boolean {
  if (end16(b, from, to) !== to || from + 2 === to) return false;
  for (let at = from + 2; at < to; ) {
    const next = end8(b, at, to);
    if (next < 0 || next === at + 1) return false;
    at = next;
  }
  hello.alpnAt = from + 2;
  return true;
}

function readKeyShare(b: Buffer, from: number, to: number, hello: ClientHelloView): boolean {
  if (end16(b, from, to) !== to) return false;
  for (let at = from + 2; at < to; ) {
    const next = end16(b, at + 2, to);
    if (next < 0 || next === at + 4) return false;
    at = next;
  }
  hello.keyShareAt = from + 2;
  return true;
}

function readPreSharedKey(b: Buffer, from: number, to: number, hello: ClientHelloView): boolean {
  const binders = end16(b, from, to);
  if (binders < 0 || end16(b, binders, to) !== to) return false;
  let identities = 0;
  for (let at = from + 2; at < binders; identities++) {
    const age = end16(b, at, binders);
    if (age < 0 || age === at + 2 || age + 4 > binders) return false;
    at = age + 4;
  }
  let count = 0;
  for (let at = binders + 2; at < to; count++) {
    const next = end8(b, at, to);
    if (next < 0 || next - at < 33) return false;
    at = next;
  }
  hello.pskIdentitiesAt = from + 2;
  return count > 0 && count === identities;
}
