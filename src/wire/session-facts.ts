/**
 * What decides whether a server may answer with a session: `decodeSslSession` without the rest, for every resumption.
 *
 * @module
 */

import { asBuffer, uint16 } from './bytes.js';
import { DerReader, INTEGER, OCTET_STRING, SEQUENCE } from './der.js';

const STRUCTURE_VERSION = 1;
const FLAG_EXTENDED_MASTER_SECRET = 0x1;
const UINT32 = 0xffff_ffff;

/** The explicit tags of SSL_SESSION_ASN1 that matter here. */
const PEER = 0xa3;
const VERIFY_RESULT = 0xa5;
const FLAGS = 0xad;

/** Named as in `SslSession`. */
export class SessionFacts {
  protocolVersion = 0;
  cipherSuite = 0;
  verifyResult = 0;
  extendedMasterSecret = false;
  readonly #der: Uint8Array;
  #peerStart = 0;
  #peerEnd = 0;

  constructor(der: Uint8Array) {
    this.#der = der;
  }

  /** A view. */
  get peerCertificate(): Buffer | undefined {
    return this.#peerEnd === 0 ? undefined : asBuffer(this.#der.subarray(this.#peerStart, this.#peerEnd));
  }

  /** @returns whether it is a session as far as it was looked at */
  read(): boolean {
    const fields = new DerReader(this.#der);
    if (!fields.nextOf(SEQUENCE) || !fields.done) return false;
    fields.descend();
    if (!fields.nextOf(INTEGER) || fields.unsigned(STRUCTURE_VERSION) !== STRUCTURE_VERSION) return false;
    if (!fields.nextOf(INTEGER)) return false;
    this.protocolVersion = fields.unsigned(UINT32);
    if (!fields.nextOf(OCTET_STRING) || fields.end - fields.start !== 2) return false;
    this.cipherSuite = uint16(this.#der, fields.start);
    // The session ID and the master secret.
    if (!fields.nextOf(OCTET_STRING) || !fields.nextOf(OCTET_STRING)) return false;
    for (let last = -1; fields.next(); ) {
      const number = fields.tag & 0x1f;
      // Of two that say different things OpenSSL would go by none.
      if ((fields.tag & 0xc0) !== 0x80 || number <= last || !this.#take(fields)) return false;
      last = number;
    }
    return fields.done;
  }

  #take(field: DerReader): boolean {
    if (field.tag === PEER) {
      this.#peerStart = field.start;
      this.#peerEnd = field.end;
      return field.unwrap(SEQUENCE);
    }
    if (field.tag !== VERIFY_RESULT && field.tag !== FLAGS) return true;
    const { tag } = field;
    const value = field.unwrap(INTEGER) ? field.unsigned(UINT32) : -1;
    if (tag === VERIFY_RESULT) this.verifyResult = value;
    else this.extendedMasterSecret = (value & FLAG_EXTENDED_MASTER_SECRET) !== 0;
    return value >= 0;
  }
}

/**
 * @param der a session as a server's Node gives it
 * @returns `undefined` for what is none. Fields that are not asked for are looked at no closer than to find the next.
 */
export function factsOf(der: Uint8Array): SessionFacts | undefined {
  const facts = new SessionFacts(der);
  return facts.read() ? facts : undefined;
}
