/** What a client's session depends on, as 32 bytes: two connections share sessions only if all of it is equal. */

import { createHash, randomBytes } from 'node:crypto';
// The default export shows tls.DEFAULT_MIN_VERSION and its like as they are now, not as they were at first.
import tls from 'node:tls';
import { wrongType } from '../arguments.js';

/** Options of `tls.connect`; those of `https.request` and of agents extend them. */
export type ClientTlsOptions = tls.ConnectionOptions & {
  /** As `tls.createSecureContext` has it. */
  readonly allowPartialTrustChain?: boolean | undefined;
  /** The address to connect from. */
  readonly localAddress?: string | undefined;
};

/** Functions and contexts cannot be compared but by being the same; a number of one process means nothing in another. */
let processName: string | undefined;
const DEFAULT_IDENTITY_CHECK = tls.checkServerIdentity;
const identities = new WeakMap<object, string>();
let lastIdentity = 0;

function identityOf(value: unknown): string | null {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return null;
  let identity = identities.get(value);
  if (identity === undefined) {
    processName ??= randomBytes(16).toString('hex');
    identity = `${processName}:${++lastIdentity}`;
    identities.set(value, identity);
  }
  return identity;
}

/** What is trusted when no `ca` is given: an application can change it, and so can the environment of the next run. */
const authorities = new WeakMap<object, string>();

function defaultAuthorities(): string {
  const { getCACertificates } = tls as unknown as { getCACertificates?: (type: string) => readonly string[] };
  if (getCACertificates === undefined) {
    const { NODE_EXTRA_CA_CERTS, SSL_CERT_FILE, SSL_CERT_DIR, NODE_OPTIONS = '' } = process.env;
    const flags = `${NODE_OPTIONS} ${process.execArgv.join(' ')}`.match(/--use-\S*ca\b/g);
    return JSON.stringify([NODE_EXTRA_CA_CERTS, SSL_CERT_FILE, SSL_CERT_DIR, flags]);
  }
  const certificates = getCACertificates('default');
  let digest = authorities.get(certificates);
  if (digest === undefined) {
    const each = new Set(certificates.map((pem) => pem.replaceAll(/\s/g, '')));
    digest = createHash('sha256')
      .update([...each].sort().join('\n'))
      .digest('hex');
    authorities.set(certificates, digest);
  }
  return digest;
}

/** As tls.connect decides: only an option that is not there at all leaves it to the environment. */
function rejectsUnauthorized(options: ClientTlsOptions): boolean {
  if ('rejectUnauthorized' in options) return options.rejectUnauthorized !== false;
  return process.env['NODE_TLS_REJECT_UNAUTHORIZED'] !== '0';
}

function alpn(protocols: unknown): string | null {
  if (protocols === undefined || protocols === null) return null;
  if (ArrayBuffer.isView(protocols)) {
    return Buffer.from(protocols.buffer, protocols.byteOffset, protocols.byteLength).toString('hex');
  }
  if (!Array.isArray(protocols)) throw wrongType('ALPNProtocols', 'names or bytes', protocols);
  return JSON.stringify(protocols.map((name: string | Uint8Array) => Buffer.from(name).toString('hex')));
}

/** Text or bytes, one or several, bare or as `pem` or `buf`: `null` for what Node takes as absent. */
function contentsOf(name: string, input: unknown): string | null {
  if (!input) return null;
  const hash = createHash('sha256');
  for (const entry of Array.isArray(input) ? input : [input]) {
    const wrapped = entry as { readonly pem?: unknown; readonly buf?: unknown } | null | undefined;
    const contents: unknown = wrapped?.pem ?? wrapped?.buf ?? entry;
    if (typeof contents !== 'string' && !ArrayBuffer.isView(contents)) throw wrongType(name, 'text or bytes', contents);
    hash.update(
      createHash('sha256')
        .update(contents as string)
        .digest(),
    );
  }
  return hash.digest('hex');
}

type Ingredient = (options: ClientTlsOptions) => unknown;

const plain =
  (name: string): Ingredient =>
  (options) =>
    (options as Readonly<Record<string, unknown>>)[name];
const contents =
  (name: string): Ingredient =>
  (options) =>
    contentsOf(name, plain(name)(options));

/** The options that a session depends on, and what stands for each; all others are without effect on it. */
const INGREDIENTS = {
  host: (options) => (options.path ? null : (options.host ?? 'localhost')),
  port: (options) => (options.path ? null : Number(options.port)),
  path: plain('path'),
  // Where a tunnel goes to is not where a socket of ours would.
  socket: (options) => (options.socket ? 'given' : null),
  localAddress: plain('localAddress'),
  servername: plain('servername'),
  ALPNProtocols: (options) => alpn(options.ALPNProtocols),
  rejectUnauthorized: rejectsUnauthorized,
  checkServerIdentity: ({ checkServerIdentity: check }) =>
    check === DEFAULT_IDENTITY_CHECK ? null : identityOf(check),
  secureContext: (options) => identityOf(options.secureContext),
  pskCallback: (options) => identityOf(options.pskCallback),
  ca: (options) => contentsOf('ca', options.ca) ?? (options.secureContext ? null : defaultAuthorities()),
  crl: contents('crl'),
  allowPartialTrustChain: plain('allowPartialTrustChain'),
  cert: contents('cert'),
  key: contents('key'),
  pfx: contents('pfx'),
  clientCertEngine: plain('clientCertEngine'),
  privateKeyEngine: plain('privateKeyEngine'),
  privateKeyIdentifier: plain('privateKeyIdentifier'),
  minVersion: (options) => (options.secureProtocol ? null : (options.minVersion ?? tls.DEFAULT_MIN_VERSION)),
  maxVersion: (options) => (options.secureProtocol ? null : (options.maxVersion ?? tls.DEFAULT_MAX_VERSION)),
  secureProtocol: plain('secureProtocol'),
  secureOptions: (options) => options.secureOptions ?? 0,
  ciphers: (options) => options.ciphers ?? tls.DEFAULT_CIPHERS,
  ecdhCurve: (options) => options.ecdhCurve ?? tls.DEFAULT_ECDH_CURVE,
  sigalgs: plain('sigalgs'),
  dhparam: contents('dhparam'),
  minDHSize: (options) => options.minDHSize ?? 1024,
  requestOCSP: (options) => plain('requestOCSP')(options) === true,
  certificateCompression: plain('certificateCompression'),
} satisfies Record<string, Ingredient>;

/** The name of an option that a session depends on. */
export type PolicyOption = keyof typeof INGREDIENTS;

export const POLICY_OPTIONS = Object.keys(INGREDIENTS) as readonly PolicyOption[];

/** What stands for an option: equal text, equal setting. */
export function ingredientOf(options: ClientTlsOptions, name: PolicyOption): string {
  return JSON.stringify(INGREDIENTS[name](options) ?? null);
}

/** What Node's agents do not tell connections apart by, or (a server name that is the host's or none) not always. */
const NOT_IN_NODES_NAME: readonly PolicyOption[] = [
  'servername',
  'checkServerIdentity',
  'secureContext',
  'pskCallback',
  'ALPNProtocols',
  'allowPartialTrustChain',
  'minDHSize',
  'requestOCSP',
  'certificateCompression',
  'rejectUnauthorized',
];
/** What they do not tell apart by its contents, unless it is text. */
const NOT_AS_CONTENTS = ['ca', 'crl', 'cert', 'key', 'pfx', 'dhparam'] as const;

/** What to add to the name by which Node's agents tell connections apart. */
export function poolIngredients(options: ClientTlsOptions): string {
  return JSON.stringify([
    NOT_IN_NODES_NAME.map((name) => INGREDIENTS[name](options) ?? null),
    NOT_AS_CONTENTS.map((name) => (typeof options[name] === 'object' ? contentsOf(name, options[name]) : null)),
  ]);
}

/**
 * The policy of a connection, 32 bytes.
 *
 * @returns `undefined` for a connection over a `socket` of the caller's that says neither `host` nor `servername`: two
 *   such may lead to different servers
 * @throws TypeError for options that Node would not take either
 */
export function clientPolicy(options: ClientTlsOptions): Buffer | undefined {
  if (options.socket && !options.host && !options.servername) return undefined;
  // Node gives a session in a form of its own, which other versions of it cannot read.
  const ingredients = POLICY_OPTIONS.map((name) => ingredientOf(options, name));
  const parts = ['tls-resumption client v1', process.version, ingredients];
  return createHash('sha256').update(JSON.stringify(parts)).digest();
}

/** The options that a policy is made of, without the rest. */
export function policyOptions(options: ClientTlsOptions): ClientTlsOptions {
  const picked: Record<string, unknown> = {};
  for (const name of POLICY_OPTIONS) {
    if (name in options) picked[name] = (options as Record<string, unknown>)[name];
  }
  // Enough to know that there is one, and nothing to keep a connection alive with.
  if (picked['socket']) picked['socket'] = true;
  return picked as ClientTlsOptions;
}

/** Options with others over them; `undefined` takes one away. */
export function withChanges(options: ClientTlsOptions, changes: ClientTlsOptions): ClientTlsOptions {
  const merged = { ...options, ...changes };
  for (const name of Object.keys(changes) as (keyof ClientTlsOptions)[]) {
    if (changes[name] === undefined) Reflect.deleteProperty(merged, name);
  }
  return merged;
}
