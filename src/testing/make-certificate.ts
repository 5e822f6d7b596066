/**
 * Certificates made on the spot (RFC 5280), P-256 all of them: for tests, not for the world.
 *
 * @module
 */

import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP, isIPv6 } from 'node:net';
import { outOfRange, requireBoolean, requireObject, requireString, wrongType } from '../arguments.js';
import * as der from './der-writer.js';

/** Options of {@link makeCertificate}. */
export interface CertificateOptions {
  /** The subject's common name. Default: the first of `names`. */
  readonly commonName?: string | undefined;
  /** DNS names and IP addresses that it is good for; none for a client's or an authority's. Default: those of loopback. */
  readonly names?: readonly string[] | undefined;
  /** Whether it may sign others. Default: false. */
  readonly authority?: boolean | undefined;
  /** Signs it: an authority that was made before. Default: it signs itself. */
  readonly issuer?: TestCertificate | undefined;
  /** Default: a day ago. */
  readonly notBefore?: Date | undefined;
  /** Default: in 30 days. */
  readonly notAfter?: Date | undefined;
}

/** PEM text, as the options of `tls` have it. */
export interface TestCertificate {
  /** The private key: PKCS #8. */
  readonly key: string;
  /** The certificate alone: one that was signed needs its issuer's as `ca` on the other side. */
  readonly cert: string;
  /** The subject's common name. */
  readonly commonName: string;
}

const DAY = 86_400_000;
const LOOPBACK = ['localhost', '127.0.0.1', '::1'];

const COMMON_NAME = der.objectIdentifier('2.5.4.3');
const ECDSA_WITH_SHA256 = der.sequence(der.objectIdentifier('1.2.840.10045.4.3.2'));
const SUBJECT_KEY_IDENTIFIER = '2.5.29.14';
const KEY_USAGE = '2.5.29.15';
const SUBJECT_ALT_NAME = '2.5.29.17';
const BASIC_CONSTRAINTS = '2.5.29.19';
/** The only bit of a leaf; those of an authority, for certificates and revocation lists (RFC 5280 §4.2.1.3). */
const DIGITAL_SIGNATURE = der.bits(Buffer.from([0x80]), 7);
const KEY_CERT_SIGN_AND_CRL_SIGN = der.bits(Buffer.from([0x06]), 1);
/** Context-specific tags of a certificate and of a GeneralName. */
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;
const X509_V3 = 2;

/**
 * Makes a key (ECDSA, P-256) and a certificate, without any other program. Give `authority`'s to clients as `ca`.
 *
 * @throws {TypeError} when an option is of the wrong type
 * @throws {RangeError} when a name is empty or no ASCII, or the times are out of order
 *
 * @example
 * ```ts
 * const ca = makeCertificate({ commonName: 'test authority', authority: true, names: [] });
 * const server = tls.createServer({ ...makeCertificate({ issuer: ca, names: ['a.test'] }), ca: ca.cert, requestCert: true });
 * const client = makeCertificate({ issuer: ca, commonName: 'ann', names: [] });
 * await visit(server, { servername: 'a.test', ca: ca.cert, key: client.key, cert: client.cert });
 * ```
 */
export function makeCertificate(options: CertificateOptions = {}): TestCertificate {
  requireObject('options', options);
  const { names = LOOPBACK, authority = false, issuer, notBefore, notAfter } = options;
  if (!Array.isArray(names)) throw wrongType('names', 'an array', names);
  for (const name of names) requireName('names', name);
  requireBoolean('authority', authority);
  const commonName = requireString('commonName', options.commonName ?? names[0] ?? 'tls-resumption test');
  if (commonName === '') throw outOfRange('commonName', 'a name', commonName);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const signer = issuer === undefined ? privateKey : issuerKey(issuer);
  const toBeSigned = der.sequence(
    der.element(VERSION, der.integer(Buffer.from([X509_V3]))),
    der.integer(serialNumber()),
    ECDSA_WITH_SHA256,
    distinguishedName(issuer?.commonName ?? commonName),
    validity(notBefore, notAfter),
    distinguishedName(commonName),
    publicKey.export({ type: 'spki', format: 'der' }),
    der.element(EXTENSIONS, der.sequence(...extensionsOf(publicKey, authority, names))),
  );
  const signature = der.bits(sign('sha256', toBeSigned, signer));
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: pem('CERTIFICATE', der.sequence(toBeSigned, ECDSA_WITH_SHA256, signature)),
    commonName,
  };
}

function requireName(what: string, name: unknown): void {
  // RFC 5280 §4.2.1.6: an IA5String; other names go in their ASCII form (xn--).
  if (!/^[!-~]+$/.test(requireString(what, name))) throw outOfRange(what, 'names in ASCII', name);
}

function issuerKey({ key }: TestCertificate): KeyObject {
  return createPrivateKey(requireString('issuer.key', key));
}

/** Positive, and of full length. */
function serialNumber(): Buffer {
  const serial = randomBytes(16);
  serial[0] = 0x40 | ((serial[0] as number) & 0x3f);
  return serial;
}

function distinguishedName(commonName: string): Buffer {
  return der.sequence(der.set(der.sequence(COMMON_NAME, der.utf8(commonName))));
}

function validity(from = new Date(Date.now() - DAY), to = new Date(Date.now() + 30 * DAY)): Buffer {
  for (const [name, date] of Object.entries({ notBefore: from, notAfter: to })) {
    if (!(date instanceof Date) || Number.isNaN(date.getTime())) throw wrongType(name, 'a valid Date', date);
  }
  if (from >= to) throw outOfRange('notAfter', 'a time after "notBefore"', to);
  return der.sequence(der.time(from), der.time(to));
}

function extensionsOf(publicKey: KeyObject, authority: boolean, names: readonly string[]): Buffer[] {
  const point = publicKey.export({ type: 'spki', format: 'der' }).subarray(-65);
  const extensions = [
    extension(BASIC_CONSTRAINTS, true, authority ? der.sequence(der.boolean(true)) : der.sequence()),
    extension(KEY_USAGE, true, authority ? KEY_CERT_SIGN_AND_CRL_SIGN : DIGITAL_SIGNATURE),
    extension(SUBJECT_KEY_IDENTIFIER, false, der.octets(createHash('sha1').update(point).digest())),
  ];
  if (names.length > 0) extensions.push(extension(SUBJECT_ALT_NAME, false, der.sequence(...names.map(generalName))));
  return extensions;
}

function extension(id: string, critical: boolean, value: Uint8Array): Buffer {
  const marked = critical ? [der.boolean(true)] : [];
  return der.sequence(der.objectIdentifier(id), ...marked, der.octets(value));
}

function generalName(name: string): Buffer {
  return isIP(name) === 0 ? der.element(DNS_NAME, Buffer.from(name)) : der.element(IP_ADDRESS, addressBytes(name));
}

/** RFC 4291 §2.2: `::` stands for as many zeros as are missing, and the last 4 bytes may be written as in IPv4. */
function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const bytesOf = (part: string): number[] =>
    part
      .split(':')
      .filter(Boolean)
      .flatMap((group) => {
        if (group.includes('.')) return group.split('.').map(Number);
        const value = Number.parseInt(group, 16);
        return [value >> 8, value & 0xff];
      });
  const [head = '', tail = ''] = address.replace(/%.*$/, '').split('::');
  const [before, after] = [bytesOf(head), bytesOf(tail)];
  return Buffer.from([...before, ...new Array(16 - before.length - after.length).fill(0), ...after]);
}

function pem(label: string, content: Buffer): string {
  const lines = content.toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
