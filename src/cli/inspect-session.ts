/** A session in words: the fields and the form of `openssl sess_id -text`. */

import { X509Certificate } from 'node:crypto';
import type { SslSession } from '../wire/ssl-session.js';
import { cipherName } from './cipher-names.js';
import { printable } from './io.js';

const TLS_1_3 = 0x0304;
const VERSIONS: Readonly<Record<number, string>> = {
  768: 'SSLv3',
  769: 'TLSv1',
  770: 'TLSv1.1',
  771: 'TLSv1.2',
  772: 'TLSv1.3',
};

/** X509_verify_cert_error_string(3), of those that are met. */
export const VERIFY_RESULTS: Readonly<Record<number, string>> = {
  0: 'ok',
  2: 'unable to get issuer certificate',
  3: 'unable to get certificate CRL',
  7: 'certificate signature failure',
  9: 'certificate is not yet valid',
  10: 'certificate has expired',
  12: 'CRL has expired',
  18: 'self-signed certificate',
  19: 'self-signed certificate in certificate chain',
  20: 'unable to get local issuer certificate',
  21: 'unable to verify the first certificate',
  22: 'certificate chain too long',
  23: 'certificate revoked',
  24: "issuer certificate doesn't have a public key",
  25: 'path length constraint exceeded',
  26: 'unsuitable certificate purpose',
  27: 'certificate not trusted',
  28: 'certificate rejected',
  32: 'key usage does not include certificate signing',
  34: 'unhandled critical extension',
  37: 'invalid non-CA certificate (has CA markings)',
  62: 'hostname mismatch',
  66: 'EE certificate key too weak',
  67: 'CA certificate key too weak',
  68: 'CA signature digest algorithm too weak',
  79: 'invalid CA certificate',
};

const HIDDEN = '(hidden: --show-secrets)';

const hex = (bytes: Buffer): string => bytes.toString('hex').toUpperCase();
const yesOrNo = (value: boolean): string => (value ? 'yes' : 'no');

/** @param secrets whether the session was decoded with its master secret, to be shown */
export function describeSession(session: SslSession, secrets: boolean): string {
  const { protocolVersion, verifyResult, ticket, ticketLifetimeHint, masterSecret, time, timeout } = session;
  const secret = secrets && masterSecret ? hex(masterSecret) : HIDDEN;
  const verdict = VERIFY_RESULTS[verifyResult];
  const lines = [
    `Protocol  : ${VERSIONS[protocolVersion] ?? protocolVersion}`,
    `Cipher    : ${cipherName(session.cipherSuite)}`,
    `Session-ID: ${hex(session.sessionId)}`,
    `Session-ID-ctx: ${hex(session.sessionIdContext)}`,
    `${protocolVersion === TLS_1_3 ? 'Resumption PSK' : 'Master-Key'}: ${secret}`,
    ...(ticketLifetimeHint ? [`TLS session ticket lifetime hint: ${ticketLifetimeHint} (seconds)`] : []),
    ...(ticket ? ['TLS session ticket:', ...dump(ticket), ''] : []),
    ...(time === 0 ? [] : [`Start Time: ${time} (${iso(time)})`]),
    ...(timeout === 0 ? [] : [`Timeout   : ${timeout} (sec)`]),
    `Verify return code: ${verifyResult}${verdict === undefined ? '' : ` (${verdict})`}`,
    `Extended master secret: ${yesOrNo(session.extendedMasterSecret)}`,
    ...(protocolVersion === TLS_1_3 ? [`Max Early Data: ${session.maxEarlyData ?? 0}`] : []),
    ...moreOf(session),
  ];
  return `SSL-Session:\n${lines.map((line) => `${line === '' ? '' : '    '}${line}\n`).join('')}`;
}

/** What `sess_id` does not print. */
function moreOf({ hostname, checkedServername, alpnProtocol, peerCertificate }: SslSession): string[] {
  const certificate = peerCertificate && certificateOf(peerCertificate);
  return [
    ...(hostname === undefined ? [] : [`Server name: ${printable(hostname)}`]),
    ...(checkedServername === undefined ? [] : [`Checked for name: ${printable(checkedServername)}`]),
    ...(alpnProtocol === undefined ? [] : [`ALPN: ${printable(alpnProtocol)}`]),
    ...(certificate === undefined
      ? []
      : [
          `Peer certificate: ${printable(certificate.subject)}`,
          `Peer certificate expires: ${printable(certificate.expires)}`,
          `Peer certificate SHA-256: ${certificate.fingerprint}`,
        ]),
  ];
}

/** As BIO_dump_indent(3): 16 bytes a line, and what of them is ASCII. */
function dump(bytes: Buffer): string[] {
  return Array.from({ length: Math.ceil(bytes.length / 16) }, (_, i) => {
    const row = bytes.subarray(16 * i, 16 * i + 16);
    const cells = Array.from(
      { length: 16 },
      (_, at) => `${row[at]?.toString(16).padStart(2, '0') ?? '  '}${at === 7 && row.length > 7 ? '-' : ' '}`,
    );
    const text = row.toString('latin1').replace(/[^ -~]/g, '.');
    return `${(16 * i).toString(16).padStart(4, '0')} - ${cells.join('')}  ${text}`;
  });
}

function certificateOf(der: Buffer): { subject: string; expires: string; fingerprint: string } | undefined {
  try {
    const { subject, validTo, fingerprint256 } = new X509Certificate(der);
    return { subject: (subject ?? '').split('\n').join(', '), expires: validTo, fingerprint: fingerprint256 };
  } catch {
    return undefined;
  }
}

function iso(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? 'no time' : date.toISOString();
}

/** The master secret is there if the session was decoded with it. */
export function sessionJson(session: SslSession): object {
  const { protocolVersion, cipherSuite, masterSecret, peerCertificate, time } = session;
  return {
    protocol: VERSIONS[protocolVersion],
    cipher: cipherName(cipherSuite),
    sessionId: session.sessionId.toString('hex'),
    sessionIdContext: session.sessionIdContext.toString('hex'),
    masterSecret: masterSecret?.toString('hex'),
    ticketLifetimeHint: session.ticketLifetimeHint,
    ticket: session.ticket?.toString('hex'),
    ticketAgeAdd: session.ticketAgeAdd,
    time: time === 0 ? undefined : iso(time),
    timeout: session.timeout,
    verifyResult: session.verifyResult,
    extendedMasterSecret: session.extendedMasterSecret,
    maxEarlyData: session.maxEarlyData,
    hostname: session.hostname,
    checkedServername: session.checkedServername,
    alpnProtocol: session.alpnProtocol,
    peerCertificate: peerCertificate && certificateOf(peerCertificate),
  };
}
