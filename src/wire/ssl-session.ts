/**
 * OpenSSL's SSL_SESSION, as i2d_SSL_SESSION(3) writes it: what Node hands to `newSession` and `getSession()` returns.
 * On the client's side, Node 22.23, 24.21 and 26 put the name that the server was checked for before it, and give such
 * a session back to OpenSSL only when connecting to that name again.
 *
 * @module
 */

import { wrongType } from '../arguments.js';
import { uint16, viewOf } from './bytes.js';
import { type DerReader, INTEGER, OCTET_STRING, SEQUENCE } from './der.js';
import {
  ALPN,
  FLAG_EXTENDED_MASTER_SECRET,
  FLAGS,
  fieldsOf,
  HOSTNAME,
  largest,
  MAX_EARLY_DATA,
  numberAfter,
  PEER,
  SESSION_ID_CONTEXT,
  STRUCTURE_VERSION,
  TICKET,
  TICKET_AGE_ADD,
  TICKET_LIFETIME_HINT,
  TIME,
  TIMEOUT,
  UINT32,
  unwrapField,
  VERIFY_RESULT,
} from './ssl-session-fields.js';

/**
 * A decoded session. Byte fields are views of the bytes that were decoded: no copy of a secret is made, and they mean
 * nothing once those bytes are overwritten. `util.inspect` and `JSON.stringify` show the lengths of session ID and
 * ticket only, and nothing of the master secret.
 */
export interface SslSession {
  /** 0x0303 is TLS 1.2, 0x0304 TLS 1.3. */
  readonly protocolVersion: number;
  /** As in a ClientHello: 0x1301 is TLS_AES_128_GCM_SHA256. */
  readonly cipherSuite: number;
  /** 0 to 32 bytes. */
  readonly sessionId: Buffer;
  /** 0 to 32 bytes: SSL_CTX_set_session_id_context(3). */
  readonly sessionIdContext: Buffer;
  /** When the session was made, in seconds since 1970; 0 when it does not say. */
  readonly time: number;
  /** How long it is good from then on, in seconds; 0 when it does not say. */
  readonly timeout: number;
  /** What verifying the peer's certificate gave: SSL_get_verify_result(3). 0, X509_V_OK, also without a certificate. */
  readonly verifyResult: number;
  /** The server name of the session, one character a byte, if the server acknowledged it: Node's never does. */
  readonly hostname: string | undefined;
  /** In seconds, from the server's NewSessionTicket. */
  readonly ticketLifetimeHint: number | undefined;
  /** The ticket that the server sent: on the client's side only. */
  readonly ticket: Buffer | undefined;
  /** `ticket_age_add` (RFC 8446 §4.6.1). */
  readonly ticketAgeAdd: number | undefined;
  /** OpenSSL's SSL_SESS_FLAG_*. */
  readonly flags: number;
  /** Whether the session has an extended master secret (RFC 7627), SSL_SESS_FLAG_EXTMS; never set in TLS 1.3. */
  readonly extendedMasterSecret: boolean;
  /** DER, of the peer: a server's session has the client's certificate here. */
  readonly peerCertificate: Buffer | undefined;
  /** Bytes. */
  readonly maxEarlyData: number | undefined;
  /** What ALPN settled on, one character a byte. */
  readonly alpnProtocol: string | undefined;
  /** The name that a client's Node put before the session; `undefined` for a server's, and before Node 22.23. */
  readonly checkedServername: string | undefined;
  /** `undefined` unless {@link DecodeOptions.masterSecret} asked for it. Not enumerable. */
  readonly masterSecret: Buffer | undefined;
}

/** Options of {@link decodeSslSession}. */
export interface DecodeOptions {
  /** Whether to let the master secret (in TLS 1.3 the resumption secret) out. Default: `false`. */
  readonly masterSecret?: boolean;
}

const MAX_SESSION_ID = 32;
const MAX_MASTER_SECRET = 512;

/** What the fields without a tag are, in their order: versions of structure and protocol, cipher, ID, master secret. */
const UNTAGGED = [INTEGER, INTEGER, OCTET_STRING, OCTET_STRING, OCTET_STRING];

/** What stands inside each explicit tag. */
const INSIDE: Readonly<Record<number, number | undefined>> = {
  [TIME]: INTEGER,
  [TIMEOUT]: INTEGER,
  [PEER]: SEQUENCE,
  [SESSION_ID_CONTEXT]: OCTET_STRING,
  [VERIFY_RESULT]: INTEGER,
  [HOSTNAME]: OCTET_STRING,
  [TICKET_LIFETIME_HINT]: INTEGER,
  [TICKET]: OCTET_STRING,
  [FLAGS]: INTEGER,
  [TICKET_AGE_ADD]: INTEGER,
  [MAX_EARLY_DATA]: INTEGER,
  [ALPN]: OCTET_STRING,
};

const NODE_PREFIX = Buffer.from('\0nodejs:tls:session:1\0');

class DecodedSslSession implements SslSession {
  protocolVersion = 0;
  cipherSuite = 0;
  time = 0;
  timeout = 0;
  verifyResult = 0;
  ticketLifetimeHint: number | undefined;
  ticketAgeAdd: number | undefined;
  flags = 0;
  maxEarlyData: number | undefined;

  readonly #der: Uint8Array;
  /** Where each byte field begins and ends; -1 when it is not there. Buffers are made of them when asked for. */
  #sessionIdStart = 0;
  #sessionIdEnd = 0;
  #contextStart = 0;
  #contextEnd = 0;
  #secretStart = -1;
  #secretEnd = -1;
  #hostnameStart = -1;
  #hostnameEnd = -1;
  #ticketStart = -1;
  #ticketEnd = -1;
  #peerStart = -1;
  #peerEnd = -1;
  #alpnStart = -1;
  #alpnEnd = -1;
  readonly #checkedNameEnd: number;

  constructor(der: Uint8Array, checkedNameEnd: number) {
    this.#der = der;
    this.#checkedNameEnd = checkedNameEnd;
  }

  get checkedServername(): string | undefined {
    if (this.#checkedNameEnd === 0) return undefined;
    const start = NODE_PREFIX.length + 2;
    return viewOf(this.#der, start, this.#checkedNameEnd).toString('utf8');
  }

  get extendedMasterSecret(): boolean {
    return (this.flags & FLAG_EXTENDED_MASTER_SECRET) !== 0;
  }

  get sessionId(): Buffer {
    return viewOf(this.#der, this.#sessionIdStart, this.#sessionIdEnd);
  }

  get sessionIdContext(): Buffer {
    return viewOf(this.#der, this.#contextStart, this.#contextEnd);
  }

  get hostname(): string | undefined {
    return text(this.#der, this.#hostnameStart, this.#hostnameEnd);
  }

  get ticket(): Buffer | undefined {
    return this.#ticketStart < 0 ? undefined : viewOf(this.#der, this.#ticketStart, this.#ticketEnd);
  }

  get peerCertificate(): Buffer | undefined {
    return this.#peerStart < 0 ? undefined : viewOf(this.#der, this.#peerStart, this.#peerEnd);
  }

  get alpnProtocol(): string | undefined {
    return text(this.#der, this.#alpnStart, this.#alpnEnd);
  }

  get masterSecret(): Buffer | undefined {
    return this.#secretStart < 0 ? undefined : viewOf(this.#der, this.#secretStart, this.#secretEnd);
  }

  /** Takes the contents of SSL_SESSION_ASN1; `false` when they are not such. */
  read(fields: DerReader, masterSecret: boolean): boolean {
    for (let position = 0; position < UNTAGGED.length; position++) {
      if (!fields.nextOf(UNTAGGED[position] as number) || !this.#readUntagged(position, fields)) return false;
    }
    if (!masterSecret) this.#secretStart = -1;
    let last = -1;
    while (fields.next()) {
      last = numberAfter(last, fields.tag);
      if (last < 0) return false;
      const inside = INSIDE[last];
      if (inside !== undefined && !this.#readTagged(last, inside, fields)) return false;
    }
    return fields.done;
  }

  #readUntagged(position: number, fields: DerReader): boolean {
    const { start, end } = fields;
    switch (position) {
      case 0:
        return fields.unsigned(UINT32) === STRUCTURE_VERSION;
      case 1:
        this.protocolVersion = fields.unsigned(UINT32);
        return this.protocolVersion >= 0x0300 && this.protocolVersion <= 0x0304;
      case 2:
        if (end - start !== 2) return false;
        this.cipherSuite = uint16(this.#der, start);
        return true;
      case 3:
        this.#sessionIdStart = start;
        this.#sessionIdEnd = end;
        return end - start <= MAX_SESSION_ID;
      default:
        this.#secretStart = start;
        this.#secretEnd = end;
        return end - start <= MAX_MASTER_SECRET;
    }
  }

  #readTagged(number: number, inside: number, fields: DerReader): boolean {
    const { start, end } = fields;
    if (!unwrapField(fields, inside)) return false;
    if (inside === INTEGER) return this.#readNumber(number, fields.unsigned(largest(number)));
    if (inside === OCTET_STRING) return this.#readBytes(number, fields);
    this.#peerStart = start;
    this.#peerEnd = end;
    return true;
  }

  #readNumber(number: number, value: number): boolean {
    switch (number) {
      case TIME:
        this.time = value;
        break;
      case TIMEOUT:
        this.timeout = value;
        break;
      case VERIFY_RESULT:
        this.verifyResult = value;
        break;
      case TICKET_LIFETIME_HINT:
        this.ticketLifetimeHint = value;
        break;
      case FLAGS:
        this.flags = value;
        break;
      case TICKET_AGE_ADD:
        this.ticketAgeAdd = value;
        break;
      default:
        this.maxEarlyData = value;
    }
    return value >= 0;
  }

  #readBytes(number: number, fields: DerReader): boolean {
    const { start, end } = fields;
    switch (number) {
      case SESSION_ID_CONTEXT:
        this.#contextStart = start;
        this.#contextEnd = end;
        return end - start <= MAX_SESSION_ID;
      case HOSTNAME:
        this.#hostnameStart = start;
        this.#hostnameEnd = end;
        return true;
      case TICKET:
        this.#ticketStart = start;
        this.#ticketEnd = end;
        return true;
      default:
        this.#alpnStart = start;
        this.#alpnEnd = end;
        return true;
    }
  }

  toJSON(): object {
    return {
      ...this,
      sessionId: `<${this.sessionId.length} bytes>`,
      sessionIdContext: this.sessionIdContext.toString('hex'),
      hostname: this.hostname,
      ticket: this.ticket && `<${this.ticket.length} bytes>`,
      extendedMasterSecret: this.extendedMasterSecret,
      peerCertificate: this.peerCertificate && `<${this.peerCertificate.length} bytes>`,
      alpnProtocol: this.alpnProtocol,
      checkedServername: this.checkedServername,
    };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return this.toJSON();
  }
}

function text(der: Uint8Array, start: number, end: number): string | undefined {
  return start < 0 ? undefined : viewOf(der, start, end).toString('latin1');
}

/** Where Node's prefix ends; 0 when there is none, -1 when it is cut off. */
function prefixEnd(bytes: Uint8Array): number {
  if (bytes[0] !== 0) return 0;
  const nameStart = NODE_PREFIX.length + 2;
  if (bytes.length < nameStart || NODE_PREFIX.compare(bytes, 0, NODE_PREFIX.length) !== 0) return -1;
  const end = nameStart + uint16(bytes, nameStart - 2);
  return end <= bytes.length ? end : -1;
}

/**
 * Decodes a session of OpenSSL 1.1.1 or later (Node 12 to 26): the `data` of a `newSession` event, what a
 * `resumeSession` listener answers with, `tlsSocket.getSession()`, or a decrypted RFC 5077 ticket. Fields of newer
 * versions that it does not know are skipped. Numbers are read at once, byte fields when asked for: cheap enough to
 * call for every handshake.
 *
 * @param der the whole session and nothing after it, with or without the prefix of a client's Node.
 * @returns `undefined` for anything else, or what is not DER.
 * @throws {TypeError} when `der` is no `Uint8Array`; on bytes, never.
 */
export function decodeSslSession(der: Uint8Array, options?: DecodeOptions): SslSession | undefined {
  if (!(der instanceof Uint8Array)) throw wrongType('der', 'a Uint8Array', der);
  const from = prefixEnd(der);
  if (from < 0) return undefined;
  const fields = fieldsOf(der, from);
  if (fields === undefined) return undefined;
  const session = new DecodedSslSession(der, from);
  return session.read(fields, options?.masterSecret === true) ? session : undefined;
}
