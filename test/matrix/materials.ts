/** Certificates of the matrix: two authorities, virtual hosts, clients of either authority, and a list of revoked ones. */

import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';

const HOUR = 3_600_000;

export interface Materials {
  readonly authority: IssuedCertificate;
  readonly otherAuthority: IssuedCertificate;
  /** Of the server's own context, and the one that replaces it. */
  readonly own: IssuedCertificate;
  readonly renewed: IssuedCertificate;
  readonly hostA: IssuedCertificate;
  readonly hostB: IssuedCertificate;
  readonly client: IssuedCertificate;
  /** Of the other authority. */
  readonly stranger: IssuedCertificate;
  /** PEM: nobody, and the client. */
  readonly emptyCrl: string;
  readonly crl: string;
}

export async function makeMaterials(): Promise<Materials> {
  const authority = await makeCertificate({ isAuthority: true, commonName: 'first CA' });
  const otherAuthority = await makeCertificate({ isAuthority: true, commonName: 'second CA' });
  const client = await makeCertificate({ commonName: 'client', issuer: authority });
  return {
    authority,
    otherAuthority,
    client,
    own: await makeCertificate({ names: ['own.test'] }),
    renewed: await makeCertificate({ names: ['own.test'] }),
    hostA: await makeCertificate({ names: ['a.test'] }),
    hostB: await makeCertificate({ names: ['b.test'] }),
    stranger: await makeCertificate({ commonName: 'stranger', issuer: otherAuthority }),
    emptyCrl: await revocationList(authority, []),
    crl: await revocationList(authority, [client]),
  };
}

async function revocationList(issuer: IssuedCertificate, revoked: readonly IssuedCertificate[]): Promise<string> {
  const list = await x509.X509CrlGenerator.create({
    issuer: issuer.x509.subject,
    thisUpdate: new Date(Date.now() - HOUR),
    nextUpdate: new Date(Date.now() + HOUR),
    entries: revoked.map((each) => ({ serialNumber: each.x509.serialNumber, revocationDate: new Date() })),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    signingKey: issuer.privateKey as webcrypto.CryptoKey as never,
  });
  return x509.PemConverter.encode(list.rawData, 'X509 CRL');
}
