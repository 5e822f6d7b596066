/**
 * Keeps a session where it was made (SSL_CTX_set_session_id_context(3), RFC 6066 §3).
 *
 * @module
 */

import { Buffer } from 'node:buffer';
import { createHash, hash as hashOnce, randomBytes } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import { outOfRange, requireBytes, requireNumber, requireObject, requireString, wrongType } from '../arguments.js';

/** OpenSSL's SSL_MAX_SID_CTX_LENGTH, in bytes. */
const MAX_SESSION_ID_CONTEXT_LENGTH = 32;

const DEFAULT_MAX_CHAIN_AGE = 24 * 60 * 60;
/** RFC 8446 §4.6.1, in seconds. */
const SEVEN_DAYS = 7 * 24 * 60 * 60;
const DIGEST_LENGTH = 32;
const MAX_SESSION_ID = 65_535;
const FIRST_EPOCH = Buffer.alloc(DIGEST_LENGTH);

const rotated = channel('tls-resumption:rotated');

/** Through a string: a Buffer from OpenSSL is an allocation of its own, and costs several times as much. */
function sha256(bytes: Uint8Array): Buffer {
  const text = hashOnce('sha256', bytes, 'binary');
  const digest = Buffer.allocUnsafe(DIGEST_LENGTH);
  for (let i = 0; i < DIGEST_LENGTH; i++) digest[i] = text.charCodeAt(i);
  return digest;
}

/** What a connection was asked for and how the server was configured when it answered. */
export interface SessionPolicy {
  /** The name in the ClientHello, exactly as sent; `undefined` when none was. */
  readonly servername?: string | undefined;
  /** What {@link digestParameters} gives for the settings in force: 32 bytes. */
  readonly parameters: Uint8Array;
}

/** Options of {@link SessionIdContextGuard}. */
export interface SessionIdContextGuardOptions {
  /**
   * Separates services: sessions of one name are never resumed under another. It is also OpenSSL's session ID context,
   * so 1 to 32 bytes of UTF-8.
   */
  readonly name: string;
  /**
   * Server names whose sessions may be resumed under each other, exactly as clients send them; a list of lists for
   * several such groups. Everything else in the context must be equal still. Default: none.
   */
  readonly shareAcross?: readonly string[] | readonly (readonly string[])[] | undefined;
  /**
   * Seconds after a full handshake in which the sessions that descend from it may be resumed, however often they were
   * renewed; 1 to 604 800. Default: 86 400.
   */
  readonly maxChainAge?: number | undefined;
}

function nameGroups(shareAcross: SessionIdContextGuardOptions['shareAcross']): Map<string, Buffer> {
  const groups = new Map<string, Buffer>();
  if (shareAcross === undefined) return groups;
  if (!Array.isArray(shareAcross)) throw wrongType('shareAcross', 'an array of server names', shareAcross);
  const lists = shareAcross.some(Array.isArray) ? shareAcross : [shareAcross];
  for (const list of lists) {
    if (!Array.isArray(list)) throw wrongType('shareAcross', 'only arrays beside an array', list);
    const names = [...new Set(list.map((name) => requireString('shareAcross', name)))].sort();
    const digest = createHash('sha256').update(JSON.stringify(names)).digest();
    for (const name of names) {
      if (groups.has(name))
        throw new RangeError(`"shareAcross" expected each name in one group, got ${JSON.stringify(name)} twice`);
      groups.set(name, digest);
    }
  }
  return groups;
}

/**
 * Computes the context that a session belongs to and the key that it is kept under.
 *
 * The context is part of the key: a session asked for under another context is not refused, it is not found.
 *
 * @example
 * ```ts
 * const guard = new SessionIdContextGuard({ name: 'shop', shareAcross: ['shop.test', 'www.shop.test'] });
 * const resumption = new ServerResumption({ guard });
 * ```
 */
export class SessionIdContextGuard {
  /** The service's name, and OpenSSL's session ID context. */
  readonly name: string;
  /** Seconds after which a chain of resumptions ends with a full handshake. */
  readonly maxChainAge: number;
  readonly #label: Buffer;
  readonly #groups: ReadonlyMap<string, Buffer>;
  #epoch = FIRST_EPOCH;
  #rotations = 0;
  #rotatedAt = Number.NEGATIVE_INFINITY;

  /**
   * @throws TypeError for an option of another type
   * @throws RangeError for a name of 0 or more than 32 bytes, a name in two groups, a `maxChainAge` out of range
   */
  constructor(options: SessionIdContextGuardOptions) {
    const name = requireString('name', options?.name);
    const bytes = Buffer.byteLength(name);
    if (bytes < 1 || bytes > MAX_SESSION_ID_CONTEXT_LENGTH || name.includes('\0')) {
      throw outOfRange('name', `1 to ${MAX_SESSION_ID_CONTEXT_LENGTH} bytes of UTF-8 without NUL`, name);
    }
    this.name = name;
    this.maxChainAge = requireNumber(
      'maxChainAge',
      options.maxChainAge ?? DEFAULT_MAX_CHAIN_AGE,
      1,
      SEVEN_DAYS,
      'seconds',
    );
    this.#groups = nameGroups(options.shareAcross);
    this.#label = createHash('sha256').update('tls-resumption context v1\0').update(name).digest();
  }

  /**
   * How often it was rotated: contexts computed before the last time are not of now.
   *
   * @internal
   */
  get rotations(): number {
    return this.#rotations;
  }

  /**
   * Milliseconds since 1970 when it was rotated last.
   *
   * @internal
   */
  get rotatedAt(): number {
    return this.#rotatedAt;
  }

  /**
   * The context of a connection: SHA-256 over the guard's name, its epoch, the settings in force and the server name
   * asked for, exactly as sent (`b.test.` and `B.test` are not `b.test`).
   *
   * @param connection what `ServerResumption.connection(socket)` gives, or a policy made by hand
   * @returns 32 bytes
   * @throws TypeError or RangeError when `parameters` is not 32 bytes or `servername` no string
   */
  contextFor(connection: SessionPolicy | { readonly policy: SessionPolicy }): Buffer {
    requireObject('connection', connection);
    const policy = 'policy' in connection ? connection.policy : connection;
    requireObject('policy', policy);
    requireBytes('parameters', policy.parameters, DIGEST_LENGTH, DIGEST_LENGTH);
    const { servername } = policy;
    if (servername !== undefined) requireString('servername', servername);
    const group = servername === undefined ? undefined : this.#groups.get(servername);
    const kind = servername === undefined ? 0 : group === undefined ? 1 : 2;
    const named = kind === 1 ? Buffer.from(servername as string) : (group ?? EMPTY);
    const bytes = Buffer.allocUnsafe(3 * DIGEST_LENGTH + 1 + named.length);
    bytes.set(this.#label, 0);
    bytes.set(this.#epoch, DIGEST_LENGTH);
    bytes.set(policy.parameters, 2 * DIGEST_LENGTH);
    bytes[3 * DIGEST_LENGTH] = kind;
    bytes.set(named, 3 * DIGEST_LENGTH + 1);
    return sha256(bytes);
  }

  /**
   * The key that a session is kept under: SHA-256(context ‖ session ID). Stores never see the session ID.
   *
   * @param context 32 bytes, from {@link contextFor}
   * @param sessionId the TLS 1.2 session ID or the TLS 1.3 PSK identity
   * @returns 32 bytes
   * @throws TypeError or RangeError for other bytes
   */
  keyFor(context: Uint8Array, sessionId: Uint8Array): Buffer {
    requireBytes('context', context, DIGEST_LENGTH, DIGEST_LENGTH);
    requireBytes('sessionId', sessionId, 0, MAX_SESSION_ID);
    const bytes = Buffer.allocUnsafe(context.length + sessionId.length);
    bytes.set(context, 0);
    bytes.set(sessionId, context.length);
    return sha256(bytes);
  }

  /**
   * Whether sessions that descend from a full handshake may still be resumed.
   *
   * @param fullHandshakeTime milliseconds since 1970
   * @param now milliseconds since 1970
   */
  withinChainAge(fullHandshakeTime: number, now: number): boolean {
    return now - fullHandshakeTime <= this.maxChainAge * 1000;
  }

  /**
   * Forgets everything that was made before: the epoch becomes a new random one, so no earlier context comes back.
   * The bytes of the sessions stay in their caches until they expire or go for newer ones.
   *
   * This guard forgets, in this process: another one, also after a restart, begins with the epoch that all guards of
   * the name begin with, and finds in a shared external cache what was stored under it.
   *
   * Published on the diagnostics channel `tls-resumption:rotated` as `{ guard, reason }`.
   *
   * @param reason for people and logs
   */
  rotate(reason: string): void {
    requireString('reason', reason);
    this.#epoch = randomBytes(DIGEST_LENGTH);
    this.#rotations++;
    this.#rotatedAt = Date.now();
    if (rotated.hasSubscribers) rotated.publish({ guard: this.name, reason });
  }
}

const EMPTY = Buffer.alloc(0);
