/** What is configured for a connection, as 32 bytes: equal settings give equal digests, in any process. */

import { createHash } from 'node:crypto';

/** PEM text or bytes, one or several: as Node's `cert`, `ca` and `crl` take them. */
export type PemInput =
  | string
  | Uint8Array
  | readonly (string | Uint8Array | { readonly pem?: unknown; readonly buf?: unknown })[];

/** The settings of a TLS endpoint that a session depends on, named as in Node's `tls` options. */
export interface PolicyParameters {
  readonly cert?: PemInput | undefined;
  readonly pfx?: PemInput | undefined;
  readonly ca?: PemInput | undefined;
  readonly crl?: PemInput | undefined;
  readonly allowPartialTrustChain?: boolean | undefined;
  readonly minVersion?: string | undefined;
  readonly maxVersion?: string | undefined;
  readonly secureProtocol?: string | undefined;
  readonly secureOptions?: number | undefined;
  readonly ciphers?: string | undefined;
  readonly honorCipherOrder?: boolean | undefined;
  readonly ecdhCurve?: string | undefined;
  readonly sigalgs?: string | undefined;
  readonly dhparam?: string | Uint8Array | undefined;
  readonly requestCert?: boolean | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
  /** In wire format: each protocol's name behind one byte of length. */
  readonly ALPNProtocols?: Uint8Array | undefined;
}

const PEM_BLOCK = /-----BEGIN ([^-]+)-----([^-]*)-----END \1-----/g;

function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A digest a PEM block, so that line ends and text between blocks do not count; of the whole where there is none. */
function blockDigests(input: string | Uint8Array): string[] {
  const text = typeof input === 'string' ? input : Buffer.from(input).toString('latin1');
  const digests: string[] = [];
  for (const [, label, body] of text.matchAll(PEM_BLOCK)) {
    digests.push(`${label}:${sha256(Buffer.from(body as string, 'base64'))}`);
  }
  return digests.length > 0 ? digests : [sha256(input)];
}

function digestsOf(input: PemInput | undefined): string[] | null {
  if (input === undefined || input === null) return null;
  if (typeof input === 'string' || input instanceof Uint8Array) return blockDigests(input);
  return input.flatMap((entry) => {
    if (typeof entry === 'string' || entry instanceof Uint8Array) return blockDigests(entry);
    const wrapped = entry.pem ?? entry.buf;
    return typeof wrapped === 'string' || wrapped instanceof Uint8Array ? blockDigests(wrapped) : [];
  });
}

/**
 * The digest of the settings that a session depends on: certificate chain, client-certificate policy, CA set and
 * CRLs, versions, cipher list and its order, curves, signature algorithms, DH parameters and ALPN.
 *
 * PEM is compared block by block, CAs and CRLs as sets. An absent setting differs from every present one.
 *
 * @returns 32 bytes; holds nothing that could be turned back into the settings.
 */
export function digestParameters(parameters: PolicyParameters): Buffer {
  const canonical = JSON.stringify([
    'tls-resumption parameters v1',
    digestsOf(parameters.cert),
    digestsOf(parameters.pfx),
    digestsOf(parameters.ca)?.sort() ?? null,
    digestsOf(parameters.crl)?.sort() ?? null,
    parameters.allowPartialTrustChain ?? null,
    parameters.minVersion ?? null,
    parameters.maxVersion ?? null,
    parameters.secureProtocol ?? null,
    parameters.secureOptions ?? 0,
    parameters.ciphers ?? null,
    parameters.honorCipherOrder ?? null,
    parameters.ecdhCurve ?? null,
    parameters.sigalgs ?? null,
    parameters.dhparam === undefined ? null : blockDigests(parameters.dhparam),
    parameters.requestCert === true,
    parameters.rejectUnauthorized !== false,
    parameters.ALPNProtocols === undefined ? null : Buffer.from(parameters.ALPNProtocols).toString('hex'),
  ]);
  return createHash('sha256').update(canonical).digest();
}
