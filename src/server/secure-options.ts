/** Prepares the options of servers and contexts, and remembers what each was made of. */

import { constants, randomBytes } from 'node:crypto';
// The default export shows tls.DEFAULT_MIN_VERSION and its like as they are now, not as they were at first.
import tls from 'node:tls';
import { outOfRange, requireFunction, requireInteger, requireObject, wrongType } from '../arguments.js';
import { digestParameters, type PolicyParameters } from '../guard/parameters-digest.js';
import { isContextOption } from './node-tls-server.js';

/** Options of `tls.createServer`; those of `https` and `http2` extend them. */
export type ServerTlsOptions = tls.TlsOptions;

/** What `secure()` adds to the options of a server, or puts in their place. */
export interface SecuredTlsOptions {
  /** With SSL_OP_NO_TICKET unless there are `tickets`, and SSL_OP_NO_RENEGOTIATION unless that is left out. */
  secureOptions: number;
  /** The guard's name. */
  sessionIdContext: string;
  /** Seconds. */
  sessionTimeout: number;
  /** 48 bytes that encrypt nothing while the server is attached; by them `attach` knows the options again. */
  ticketKeys: Buffer;
}

/** Answers a server name with a context (Node's `SNICallback`). */
export type ServerNameCallback = NonNullable<tls.TlsOptions['SNICallback']>;

const DEFAULT_HANDSHAKE_TIMEOUT = 120_000;

/** What a server's or a context's settings say once Node's defaults are filled in. */
export interface SecureSettings {
  readonly parameters: PolicyParameters;
  /** Whether TLS 1.3 can be agreed. */
  readonly tls13: boolean;
}

/** What was given to `secure()`, found again through the `ticketKeys` that the server keeps. */
export interface SecuredOptions {
  readonly owner: object;
  readonly handshakeTimeout: number;
  /** The application's own. */
  readonly serverNameCallback: ServerNameCallback | undefined;
  /** The one that Node was given in its place. */
  readonly installedCallback: ServerNameCallback | undefined;
  /** All that Node reads only once: what no context has. */
  readonly fixed: Readonly<Record<string, unknown>>;
}

/** What OpenSSL takes from the server's own context whichever context a name chooses (measured, Node 20 to 26). */
export const COMMON_SETTINGS = [
  'minVersion',
  'maxVersion',
  'secureProtocol',
  'secureOptions',
  'ciphers',
  'honorCipherOrder',
  'ecdhCurve',
  'sigalgs',
  'dhparam',
] as const;

const CONTEXT_SETTINGS = ['cert', 'pfx', 'ca', 'crl', ...COMMON_SETTINGS] as const;

/** The settings of a context, from options or from a server (which keeps them under the same names). */
export function settingsOf(options: object): SecureSettings {
  const given = options as PolicyParameters;
  const parameters: Record<string, unknown> = { allowPartialTrustChain: given.allowPartialTrustChain };
  for (const name of CONTEXT_SETTINGS) parameters[name] = given[name] ?? undefined;
  parameters['ciphers'] ??= tls.DEFAULT_CIPHERS;
  parameters['ecdhCurve'] ??= tls.DEFAULT_ECDH_CURVE;
  parameters['honorCipherOrder'] = given.honorCipherOrder !== false;
  if (given.secureProtocol === undefined) {
    parameters['minVersion'] ??= tls.DEFAULT_MIN_VERSION;
    parameters['maxVersion'] ??= tls.DEFAULT_MAX_VERSION;
  }
  const settings = parameters as PolicyParameters;
  const highest =
    settings.secureProtocol === undefined
      ? settings.maxVersion === 'TLSv1.3'
      : /^(TLS|SSLv23)_(server_)?method$/.test(settings.secureProtocol);
  return {
    parameters: settings,
    tls13: highest && ((settings.secureOptions ?? 0) & constants.SSL_OP_NO_TLSv1_3) === 0,
  };
}

/** The 32 bytes of a context under the policy of the endpoint that it answers for. */
export function digestSettings(settings: SecureSettings, endpoint: PolicyParameters): Buffer {
  return digestParameters({ ...settings.parameters, ...endpoint });
}

/** What `secure()` takes from its ServerResumption. */
export interface SecureDefaults {
  readonly guardName: string;
  /** Seconds. */
  readonly timeout: number;
  /** Seconds. */
  readonly maxTimeout: number;
  readonly renegotiation: boolean;
  /** Whether sessions live with the clients. */
  readonly tickets: boolean;
}

/** The checked parts of server options that the library sets itself, and the bits that it adds. */
export function resumable(
  options: ServerTlsOptions,
  defaults: SecureDefaults,
): {
  readonly secureOptions: number;
  readonly sessionIdContext: string;
  readonly sessionTimeout: number;
} {
  requireObject('options', options);
  const { sessionIdContext, sessionTimeout } = options;
  if (sessionIdContext !== undefined && sessionIdContext !== defaults.guardName) {
    throw outOfRange(
      'sessionIdContext',
      `to be absent or the guard's name (${JSON.stringify(defaults.guardName)})`,
      sessionIdContext,
    );
  }
  return {
    secureOptions: secureOptionsOf(options, defaults),
    sessionIdContext: defaults.guardName,
    sessionTimeout: requireInteger(
      'sessionTimeout',
      sessionTimeout ?? defaults.timeout,
      1,
      defaults.maxTimeout,
      'seconds',
    ),
  };
}

function secureOptionsOf({ secureOptions = 0 }: ServerTlsOptions, { renegotiation, tickets }: SecureDefaults): number {
  requireInteger('secureOptions', secureOptions, 0, 2 ** 32 - 1);
  if (tickets && (secureOptions & constants.SSL_OP_NO_TICKET) !== 0) {
    throw outOfRange('secureOptions', 'no SSL_OP_NO_TICKET beside "tickets"', secureOptions);
  }
  const noTicket = tickets ? 0 : constants.SSL_OP_NO_TICKET;
  const noRenegotiation = renegotiation ? 0 : constants.SSL_OP_NO_RENEGOTIATION;
  return (secureOptions | noTicket | noRenegotiation) >>> 0;
}

export function handshakeTimeoutOf(options: ServerTlsOptions): number {
  return requireInteger(
    'handshakeTimeout',
    options.handshakeTimeout || DEFAULT_HANDSHAKE_TIMEOUT,
    1,
    2 ** 31 - 1,
    'milliseconds',
  );
}

/** The options that a live server cannot be given other values of. */
export function fixedOptionsOf(options: ServerTlsOptions): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !isContextOption(name)));
}

export function serverNameCallbackOf(options: ServerTlsOptions): ServerNameCallback | undefined {
  return options.SNICallback ? requireFunction('SNICallback', options.SNICallback) : undefined;
}

/** A 48-byte object to be found again on the server; as long as it is attached its bytes encrypt nothing. */
export function ticketKeysFor(options: ServerTlsOptions, tickets: boolean): Buffer {
  const given = options.ticketKeys as unknown;
  if (given === undefined) return randomBytes(48);
  if (tickets) throw wrongType('ticketKeys', 'to be absent beside "tickets", which has the keys', given);
  if (!(given instanceof Uint8Array)) throw wrongType('ticketKeys', 'a Buffer of 48 bytes', given);
  if (given.length !== 48) throw outOfRange('ticketKeys', '48 bytes', given);
  return Buffer.from(given);
}
