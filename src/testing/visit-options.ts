/**
 * What a visit is told.
 *
 * @module
 */

import { constants } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import { outOfRange, requireBoolean, requireNumber, requireObject, wrongType } from '../arguments.js';
import { asBuffer } from '../wire/bytes.js';
import { bareSession, wayOfSession } from './client-session.js';

/** The versions that sessions are resumed in, as Node names them. */
export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

export const TLS_VERSIONS: readonly TlsVersion[] = ['TLSv1.2', 'TLSv1.3'];

/**
 * Options of `visit`: those of `tls.connect` (`servername`, `ca`, `key`, `cert`, `ALPNProtocols`, …) and these. The
 * server's certificate is verified when a `ca` is given or `rejectUnauthorized` is `true`.
 */
export type VisitOptions = Omit<
  ConnectionOptions,
  // Where a visit goes and how long it takes is said otherwise.
  'host' | 'port' | 'path' | 'socket' | 'session' | 'timeout' | 'minVersion' | 'maxVersion'
> & {
  /** The only version that the client speaks. Default: both. */
  readonly version?: TlsVersion | undefined;
  /** What to come back with: the `session` of a visit, shown under whatever name is visited. Default: none. */
  readonly session?: Buffer | undefined;
  /** Whether the client takes TLS 1.2 tickets; without them a server can give it session IDs only. Default: true. */
  readonly tickets?: boolean | undefined;
  /** What to send after the handshake: a request, so that the visit lasts until it is answered. Default: nothing. */
  readonly send?: string | Uint8Array | undefined;
  /**
   * Milliseconds to wait for the first ticket (TLS 1.3) or answer. Those that are on their way when it is over are
   * taken still: the client says that it leaves, and reads until the server has left too. Default: 200.
   */
  readonly patience?: number | undefined;
  /** Milliseconds for the whole visit. Default: 10 000. */
  readonly timeout?: number | undefined;
};

/** How a visit goes on after the handshake. */
export interface Stay {
  readonly send: string | Uint8Array | undefined;
  readonly patience: number;
  readonly timeout: number;
}

const PATIENCE = 200;
const TIMEOUT = 10_000;
const MAX_TIMEOUT = 600_000;

/** @throws TypeError | RangeError for options that are wrong */
export function readVisitOptions(options: VisitOptions): { connection: ConnectionOptions; stay: Stay } {
  requireObject('options', options);
  const { version, session, tickets = true, send, patience = PATIENCE, timeout = TIMEOUT, ...rest } = options;
  if (version !== undefined) requireVersion('version', version);
  if (send !== undefined && typeof send !== 'string' && !(send instanceof Uint8Array)) {
    throw wrongType('send', 'a string or a Uint8Array', send);
  }
  requireNumber('patience', patience, 0, MAX_TIMEOUT, 'ms');
  requireNumber('timeout', timeout, 1, MAX_TIMEOUT, 'ms');
  const connection: ConnectionOptions = { rejectUnauthorized: rest.ca !== undefined, ...rest };
  if (version !== undefined) Object.assign(connection, { minVersion: version, maxVersion: version });
  if (session !== undefined) connection.session = bareSession(requireSession(session));
  if (!requireBoolean('tickets', tickets)) {
    connection.secureOptions = (rest.secureOptions ?? 0) | constants.SSL_OP_NO_TICKET;
  }
  return { connection, stay: { send, patience, timeout } };
}

export function requireVersion(name: string, version: unknown): TlsVersion {
  if (typeof version !== 'string') throw wrongType(name, "'TLSv1.2' or 'TLSv1.3'", version);
  const known = TLS_VERSIONS.find((each) => each === version);
  if (known === undefined) throw outOfRange(name, "'TLSv1.2' or 'TLSv1.3'", version);
  return known;
}

function requireSession(session: unknown): Buffer {
  if (!(session instanceof Uint8Array)) throw wrongType('session', 'a Buffer', session);
  if (wayOfSession(session) === undefined) throw outOfRange('session', 'a session that can come back', session);
  return asBuffer(session);
}
