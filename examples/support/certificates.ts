/** Certificates made on the spot, for the examples and tests: no openssl program is needed. */

import 'reflect-metadata';
import { webcrypto as crypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(crypto as never);

const DAY = 24 * 60 * 60 * 1000;

export type KeyType = 'ecdsa' | 'rsa';

export interface CertificateRequest {
  /** Subject common name. Default: the first of `names`, or `tls-resumption`. */
  readonly commonName?: string;
  /** DNS names and IP addresses of a server. */
  readonly names?: readonly string[];
  readonly keyType?: KeyType;
  readonly isAuthority?: boolean;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Signs the certificate; without it, it signs itself. */
  readonly issuer?: IssuedCertificate;
}

/** PEM text for `tls`, and what is needed to issue further certificates with it. */
export interface IssuedCertificate {
  readonly key: string;
  readonly cert: string;
  readonly x509: x509.X509Certificate;
  readonly privateKey: crypto.CryptoKey;
}

const ALGORITHMS = {
  ecdsa: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  rsa: { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1), hash: 'SHA-256' },
} as const;

const isAddress = (name: string): boolean => /^[\d.]+$|:/.test(name);

export async function makeCertificate(request: CertificateRequest = {}): Promise<IssuedCertificate> {
  const { names = [], keyType = 'ecdsa', isAuthority = false, issuer } = request;
  const algorithm = ALGORITHMS[keyType];
  const keys = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as crypto.CryptoKeyPair;
  const subject = `CN=${request.commonName ?? names[0] ?? 'tls-resumption'}`;
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(isAuthority, undefined, true),
    new x509.KeyUsagesExtension(
      isAuthority ? x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign : x509.KeyUsageFlags.digitalSignature,
      true,
    ),
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
  ];
  if (names.length > 0) {
    extensions.push(
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isAddress(value) ? ('ip' as const) : ('dns' as const), value })),
      ),
    );
  }
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(crypto.getRandomValues(new Uint8Array(8)))
      .toString('hex')
      .replace(/^./, '1'),
    subject,
    issuer: issuer?.x509.subject ?? subject,
    notBefore: request.notBefore ?? new Date(Date.now() - DAY),
    notAfter: request.notAfter ?? new Date(Date.now() + 30 * DAY),
    signingAlgorithm:
      issuer?.privateKey.algorithm.name === 'ECDSA' || (!issuer && keyType === 'ecdsa')
        ? ALGORITHMS.ecdsa
        : ALGORITHMS.rsa,
    publicKey: keys.publicKey,
    signingKey: issuer?.privateKey ?? keys.privateKey,
    extensions,
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
  return {
    key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY'),
    cert: certificate.toString('pem'),
    x509: certificate,
    privateKey: keys.privateKey,
  };
}
