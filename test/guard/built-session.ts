/** Builds sessions as OpenSSL writes them (SSL_SESSION_ASN1), from what should be in them. */

import { element, integer, octets, sequence } from '../../src/testing/der-writer.js';
import { decodeSslSession, type SslSession } from '../../src/wire/ssl-session.js';

export interface SessionSpec {
  /** Default: TLS 1.3. */
  protocolVersion?: number;
  /** Default: TLS_AES_128_GCM_SHA256. */
  cipherSuite?: number;
  /** Seconds since 1970. */
  time?: number;
  extendedMasterSecret?: boolean;
  /** DER of the client's certificate. */
  peerCertificate?: Uint8Array;
  /** X509_V_*; 0 is X509_V_OK. */
  verifyResult?: number;
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return integer(bytes);
}

const field = (tag: number, content: Uint8Array): Buffer => element(0xa0 + tag, content);

export function buildSession(spec: SessionSpec = {}): Buffer {
  const { protocolVersion = 0x0304, cipherSuite = 0x1301, time = 0, peerCertificate, verifyResult = 0 } = spec;
  return sequence(
    number(1),
    number(protocolVersion),
    octets(Buffer.from([cipherSuite >> 8, cipherSuite & 0xff])),
    octets(Buffer.alloc(32, 0x1d)),
    octets(Buffer.alloc(48, 0x5e)),
    field(1, number(time)),
    ...(peerCertificate === undefined ? [] : [field(3, peerCertificate)]),
    field(5, number(verifyResult)),
    field(13, number(spec.extendedMasterSecret ? 1 : 0)),
  );
}

export function builtSession(spec?: SessionSpec): SslSession {
  const session = decodeSslSession(buildSession(spec));
  if (session === undefined) throw new Error('The session was not decoded');
  return session;
}
