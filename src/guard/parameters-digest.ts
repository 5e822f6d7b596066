/** What is configured for a connection, as 32 bytes: equal settings give equal digests, in any process. */

import { createHash } from 'node:crypto';
import { requireObject, wrongType } from '../arguments.js';

/** A certificate, a CRL or a PFX inside an object, as Node's `key`, `cert` and `pfx` allow. */
export interface WrappedPem {
  /** PEM text or its bytes. */
  readonly pem?: unknown;
  /** The bytes of a PFX. */
  readonly buf?: unknown;
}

/** PEM text or bytes, one or several: as Node's `cert`, `ca`, `crl` and `pfx` take them. */
export type PemInput = string | Uint8Array | readonly (string | Uint8Array | WrappedPem)[];

/** The settings of a TLS endpoint that a session depends on, named as in Node's `tls` options. */
export interface PolicyParameters {
  /** The certificate chain served; its order counts. */
  readonly cert?: PemInput | undefined;
  /** The same as PFX, compared as bytes. */
  readonly pfx?: PemInput | undefined;
  /** Who may issue client certificates; a set. */
  readonly ca?: PemInput | undefined;
  /** Revoked client certificates; a set. */
  readonly crl?: PemInput | undefined;
  /** Whether a chain may end at an intermediate of `ca`. */
  readonly allowPartialTrustChain?: boolean | undefined;
  /** `TLSv1.2`, `TLSv1.3`, … */
  readonly minVersion?: string | undefined;
  /** `TLSv1.2`, `TLSv1.3`, … */
  readonly maxVersion?: string | undefined;
  /** OpenSSL's name of a method, in place of the versions. */
  readonly secureProtocol?: string | undefined;
  /** SSL_OP_* bits. */
  readonly secureOptions?: number | undefined;
  /** OpenSSL's cipher list; its order counts. */
  readonly ciphers?: string | undefined;
  /** Whether the server's order decides. */
  readonly honorCipherOrder?: boolean | undefined;
  /** Groups, in order. */
  readonly ecdhCurve?: string | undefined;
  /** Signature algorithms, in order. */
  readonly sigalgs?: string | undefined;
  /** `auto`, or parameters as PEM. */
  readonly dhparam?: string | Uint8Array | undefined;
  /** Whether clients are asked for a certificate. Default: false. */
  readonly requestCert?: boolean | undefined;
  /** Whether clients without a verified one are rejected. Default: true. */
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
  const text = Buffer.from(input).toString('latin1');
  const digests: string[] = [];
  for (const [, label, body] of text.matchAll(PEM_BLOCK)) {
    digests.push(`${label}:${sha256(Buffer.from(body as string, 'base64'))}`);
  }
  return digests.length > 0 ? digests : [sha256(input)];
}

/** Text or bytes in any view, as Node takes them; `undefined` for what it takes as absent. */
function textOrBytes(name: string, input: unknown): string | Uint8Array | undefined {
  if (input === undefined || input === null || input === false || input === '') return undefined;
  if (typeof input === 'string') return input;
  if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  throw wrongType(name, 'PEM text or bytes', input);
}

/** A digest for each PEM block of a setting, or of the whole where there is none; `null` for an absent one. */
export function digestsOf(name: string, input: unknown): string[] | null {
  if (!Array.isArray(input)) {
    const bytes = textOrBytes(name, input);
    return bytes === undefined ? null : blockDigests(bytes);
  }
  return input.flatMap((entry) => {
    const wrapped = entry as WrappedPem | undefined;
    const bytes = textOrBytes(name, wrapped?.pem ?? wrapped?.buf ?? entry);
    return bytes === undefined ? [] : blockDigests(bytes);
  });
}

/**
 * The digest of the settings that a session depends on: certificate chain, client-certificate policy, CA set and
 * CRLs, versions, cipher list and its order, curves, signature algorithms, DH parameters and ALPN.
 *
 * PEM is compared block by block, CAs and CRLs as sets. An absent setting differs from every present one.
 *
 * @returns 32 bytes; holds nothing that could be turned back into the settings.
 * @throws TypeError for a certificate, CA, CRL, PFX or DH parameters that are neither text nor bytes
 */
export function digestParameters(parameters: PolicyParameters): Buffer {
  requireObject('parameters', parameters);
  const canonical = JSON.stringify([
    'tls-resumption parameters v1',
    digestsOf('cert', parameters.cert),
    digestsOf('pfx', parameters.pfx),
    digestsOf('ca', parameters.ca)?.sort() ?? null,
    digestsOf('crl', parameters.crl)?.sort() ?? null,
    parameters.allowPartialTrustChain ?? null,
    parameters.minVersion ?? null,
    parameters.maxVersion ?? null,
    parameters.secureProtocol ?? null,
    parameters.secureOptions ?? 0,
    parameters.ciphers ?? null,
    parameters.honorCipherOrder ?? null,
    parameters.ecdhCurve ?? null,
    parameters.sigalgs ?? null,
    digestsOf('dhparam', parameters.dhparam),
    parameters.requestCert === true,
    parameters.rejectUnauthorized !== false,
    parameters.ALPNProtocols === undefined ? null : Buffer.from(parameters.ALPNProtocols).toString('hex'),
  ]);
  return createHash('sha256').update(canonical).digest();
}
