/** When a session that was found must not be answered, so that a handshake goes on in full instead of failing. */

import type { ClientHelloView } from '../wire/client-hello-view.js';
import type { SslSession } from '../wire/ssl-session.js';

/** Why a connection did not resume. */
export type NotResumedReason =
  /** The client offered neither a session ID nor a 32-byte PSK identity. */
  | 'not-offered'
  /** A TLS 1.3 client without a legacy session ID: Node asks for no session then. */
  | 'no-legacy-session-id'
  /** The gate could not read the ClientHello. */
  | 'unreadable-hello'
  /** No such session under this context: never made, evicted, forgotten, or made elsewhere. */
  | 'unknown'
  /** Found, but its time was over: the cache's `timeout`, or the end of the client's certificate. */
  | 'expired'
  /** The full handshake it descends from is longer ago than the guard's `maxChainAge`. */
  | 'chain-too-old'
  /** Bytes that are no SSL_SESSION. */
  | 'unreadable-session'
  /** Made under another protocol version. */
  | 'protocol-version'
  /** Its cipher suite is not offered. */
  | 'cipher-suite'
  /** With extended master secret where the hello has none, or the reverse (RFC 7627 §5.3). */
  | 'extended-master-secret'
  /** The client offers PSK without Diffie-Hellman only (RFC 8446 §4.2.9). */
  | 'no-psk-dhe-ke'
  /** Certificates are asked for and the session holds none that verified and is still good. */
  | 'client-certificate'
  /** No key of the ring has the ticket's name: sealed elsewhere, or with a key whose lifetime ended. */
  | 'ticket-key-unknown'
  /** The ticket was made under another server name, configuration or service, or before a rotation of the guard. */
  | 'other-context'
  /** Revoked at the guard: {@link SessionIdContextGuard.revoke}. */
  | 'revoked'
  /** The state that the guard shares with others did not answer lately, so that it may be revoked or forgotten. */
  | 'state-unavailable'
  /**
   * Answered, and the client had to be asked for another key share (RFC 8446 §4.1.4), which uses the session up. Servers
   * prefer groups that many clients send no share of: see `ecdhCurve`.
   */
  | 'hello-retry-request'
  /** Resumed under a name that is not the first hello's, which a HelloRetryRequest allows: the connection was ended. */
  | 'servername-changed'
  /** Answered, but OpenSSL went on in full by a policy of its own. */
  | 'not-taken'
  /** The external cache did not answer in time. */
  | 'store-timeout'
  /** The cache, its clock or its store threw. */
  | 'lookup-failed';

/** What is judged of a session. */
type JudgedSession = Pick<
  SslSession,
  'protocolVersion' | 'cipherSuite' | 'extendedMasterSecret' | 'peerCertificate' | 'verifyResult'
>;

const TLS_1_2 = 0x0303;
export const TLS_1_3 = 0x0304;
/** PskKeyExchangeMode psk_dhe_ke, RFC 8446 §4.2.9. */
const PSK_DHE_KE = 1;
/** OpenSSL's X509_V_OK. */
const VERIFIED = 0;

/** How a hello can resume, when the server speaks TLS 1.3 or not: the version that will be agreed, and the ID shown. */
export interface ResumptionOffer {
  readonly protocolVersion: number;
  readonly sessionId: Buffer;
}

/** Whether a server that speaks TLS 1.3, or does not, answers a hello with it. */
export function agreesOnTls13(hello: ClientHelloView, tls13: boolean): boolean {
  return tls13 && hello.offersVersion(TLS_1_3);
}

/**
 * What the client offers to resume. In TLS 1.3 that is its first 32-byte PSK identity only: OpenSSL asks for each
 * such identity in turn and takes whatever it is given for it.
 */
export function findOffer(hello: ClientHelloView, tls13: boolean): ResumptionOffer | NotResumedReason {
  if (agreesOnTls13(hello, tls13)) {
    const sessionId = hello.pskIdentityOf(32);
    if (sessionId === undefined) return 'not-offered';
    if (!hello.offersPskKeyExchangeMode(PSK_DHE_KE)) return 'no-psk-dhe-ke';
    if (hello.sessionIdLength === 0) return 'no-legacy-session-id';
    return { protocolVersion: TLS_1_3, sessionId };
  }
  if (hello.sessionIdLength === 0) return 'not-offered';
  return { protocolVersion: TLS_1_2, sessionId: hello.sessionId };
}

/**
 * Whether answering with a session could make OpenSSL abort a handshake that would succeed in full, or skip a check
 * of the client's certificate that was never made.
 *
 * @returns `undefined` when the session may be answered
 */
export function refusal(
  hello: ClientHelloView,
  session: JudgedSession | undefined,
  offer: ResumptionOffer,
  requestCert: boolean,
): NotResumedReason | undefined {
  if (session === undefined) return 'unreadable-session';
  if (session.protocolVersion !== offer.protocolVersion) return 'protocol-version';
  if (!hello.offersCipherSuite(session.cipherSuite)) return 'cipher-suite';
  if (offer.protocolVersion === TLS_1_2 && session.extendedMasterSecret !== hello.extendedMasterSecret) {
    return 'extended-master-secret';
  }
  if (requestCert && !holdsVerifiedCertificate(session)) return 'client-certificate';
  return undefined;
}

/** Measured: a TLS 1.3 session of a client without a certificate says X509_V_OK too, so both are asked. */
export function holdsVerifiedCertificate(session: JudgedSession): boolean {
  return session.peerCertificate !== undefined && session.verifyResult === VERIFIED;
}
