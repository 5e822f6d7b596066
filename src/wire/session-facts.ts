/**
 * What decides whether a server may answer with a session: `decodeSslSession` without the rest, for every resumption.
 *
 * @module
 */

import { uint16, viewOf } from './bytes.js';
import { type DerReader, INTEGER, OCTET_STRING, SEQUENCE } from './der.js';
import {
  FLAG_EXTENDED_MASTER_SECRET,
  FLAGS,
  fieldsOf,
  largest,
  numberAfter,
  PEER,
  STRUCTURE_VERSION,
  UINT32,
  unwrapField,
  VERIFY_RESULT,
} from './ssl-session-fields.js';

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
    return this.#peerEnd === 0 ? undefined : viewOf(this.#der, this.#peerStart, this.#peerEnd);
  }

  /** @returns whether it is a session as far as it was looked at */
  read(fields: DerReader): boolean {
    if (!fields.nextOf(INTEGER) || fields.unsigned(UINT32) !== STRUCTURE_VERSION) return false;
    if (!fields.nextOf(INTEGER)) return false;
    this.protocolVersion = fields.unsigned(UINT32);
    if (!fields.nextOf(OCTET_STRING) || fields.end - fields.start !== 2) return false;
    this.cipherSuite = uint16(this.#der, fields.start);
    // The session ID and the master secret.
    if (!fields.nextOf(OCTET_STRING) || !fields.nextOf(OCTET_STRING)) return false;
    for (let last = -1; fields.next(); ) {
      last = numberAfter(last, fields.tag);
      if (last < 0 || !this.#take(last, fields)) return false;
    }
    return fields.done;
  }

  #take(number: number, field: DerReader): boolean {
    if (number === PEER) {
      this.#peerStart = field.start;
      this.#peerEnd = field.end;
      return unwrapField(field, SEQUENCE);
    }
    if (number !== VERIFY_RESULT && number !== FLAGS) return true;
    const value = unwrapField(field, INTEGER) ? field.unsigned(largest(number)) : -1;
    if (number === VERIFY_RESULT) this.verifyResult = value;
    else this.extendedMasterSecret = (value & FLAG_EXTENDED_MASTER_SECRET) !== 0;
    return value >= 0;
  }
}

/**
 * @param der a session as a server's Node gives it
 * @returns `undefined` for what is none. Fields that are not asked for are looked at no closer than to find the next.
 */
export function factsOf(der: Uint8Array): SessionFacts | undefined {
  const fields = fieldsOf(der, 0);
  if (fields === undefined) return undefined;
  const facts = new SessionFacts(der);
  return facts.read(fields) ? facts : undefined;
}
