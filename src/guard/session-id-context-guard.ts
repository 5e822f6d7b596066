/**
 * Keeps a session where it was made (SSL_CTX_set_session_id_context(3), RFC 6066 §3).
 *
 * @module
 */

import { Buffer } from 'node:buffer';
import { createHash, hash as hashOnce } from 'node:crypto';
import {
  outOfRange,
  requireBytes,
  requireFunction,
  requireNumber,
  requireObject,
  requireString,
  wrongType,
} from '../arguments.js';
import type { MaybePromise } from '../stores/session-store.js';
import type { SharedState } from '../stores/shared-state.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import { GuardFacts } from './guard-facts.js';
import { keyOfRevocation, type RevocableConnection, type Revocation } from './revocations.js';

export type { RevocableConnection, Revocation };

/** OpenSSL's SSL_MAX_SID_CTX_LENGTH, in bytes. */
const MAX_SESSION_ID_CONTEXT_LENGTH = 32;

const DEFAULT_MAX_CHAIN_AGE = 24 * 60 * 60;
const DIGEST_LENGTH = 32;
const MAX_SESSION_ID = 65_535;
const DEFAULT_INTERVAL = 1;

/** Context and session ID of 32 bytes, as OpenSSL makes them, on their way into a hash. */
const forShortId = Buffer.allocUnsafeSlow(2 * DIGEST_LENGTH);

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
  /**
   * What several processes or hosts agree on: with it, what is rotated, retired or revoked at one guard is so at all
   * guards of the name, and stays so after a restart. Default: none, this guard alone.
   */
  readonly state?: SharedState | undefined;
  /**
   * Seconds in which what others rotate, retire or revoke is known here, 0.02 to 3600; sooner where the state has a
   * `watch`. It is asked twice as often. Default: 1.
   */
  readonly interval?: number | undefined;
  /**
   * What happens when the state did not answer for an interval, or not at all yet: `refuse` resumes nothing, as something
   * may have been revoked; `resume` goes on with what is known. Connections are never refused. Default: `refuse`.
   */
  readonly withoutState?: 'refuse' | 'resume' | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

/** What {@link SessionIdContextGuard} says of a session that a client shows. */
export type GuardRefusal = 'state-unavailable' | 'revoked';

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
  readonly #facts: GuardFacts;
  readonly #refusesWithoutState: boolean;

  /**
   * @throws TypeError for an option of another type
   * @throws RangeError for a name of 0 or more than 32 bytes, a name in two groups, a number out of range
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
      MAX_TICKET_LIFETIME,
      'seconds',
    );
    this.#groups = nameGroups(options.shareAcross);
    this.#label = createHash('sha256').update('tls-resumption context v1\0').update(name).digest();
    const { state, interval = DEFAULT_INTERVAL, withoutState = 'refuse', clock = Date.now } = options;
    if (state !== undefined) requireState(state);
    requireNumber('interval', interval, 0.02, 3600, 'seconds');
    if (withoutState !== 'refuse' && withoutState !== 'resume') {
      requireString('withoutState', withoutState);
      throw outOfRange('withoutState', "'refuse' or 'resume'", withoutState);
    }
    requireFunction('clock', clock);
    this.#refusesWithoutState = withoutState === 'refuse';
    this.#facts = new GuardFacts({ name, maxChainAge: this.maxChainAge, clock, state, interval });
  }

  /**
   * A number that changes when what was made under the settings is forgotten: contexts computed before are not of now.
   *
   * @internal
   */
  generationOf(parameters: Uint8Array): number {
    return this.#facts.epochs.generationOf(parameters);
  }

  /**
   * Milliseconds since 1970: what was made under the settings by then is forgotten.
   *
   * @internal
   */
  forgottenAt(parameters: Uint8Array): number {
    return this.#facts.epochs.forgottenAt(parameters) + this.#facts.margin;
  }

  /**
   * Whether a session that a client shows must not be resumed, whatever was made of it.
   *
   * @param id what it is shown as
   * @param fullHandshakeTime milliseconds since 1970
   * @internal
   */
  refusalOf(
    servername: string | undefined,
    id: Uint8Array,
    fullHandshakeTime: number,
    session: { readonly peerCertificate: Uint8Array | undefined } | undefined,
  ): GuardRefusal | undefined {
    const { revocations, margin } = this.#facts;
    if (this.#refusesWithoutState && !this.#facts.current) return 'state-unavailable';
    if (revocations.size === 0) return undefined;
    const place = servername === undefined ? undefined : this.#placeOf(servername);
    const shown = { id, place, fullHandshakeTime, peerCertificate: session?.peerCertificate };
    return revocations.holds(shown, margin) ? 'revoked' : undefined;
  }

  /** Where sessions of a name are: with those of its group, or by themselves. */
  #placeOf(servername: string): string | Buffer {
    return this.#groups.get(servername) ?? servername;
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
    bytes.set(this.#facts.epochs.of(policy.parameters), DIGEST_LENGTH);
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
    const length = DIGEST_LENGTH + sessionId.length;
    const bytes = length === forShortId.length ? forShortId : Buffer.allocUnsafe(length);
    bytes.set(context, 0);
    bytes.set(sessionId, DIGEST_LENGTH);
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
   * It takes effect here at once, and with a `state` at all guards of the name within their `interval`; without one, at
   * this guard alone and until a restart. Published on the diagnostics channel `tls-resumption:rotated`, here and there.
   *
   * @param reason for people and logs; others are told its first 256 bytes
   * @returns a promise only if the state answered with one; it is fulfilled once the state has it, however often it
   *   failed before (`tls-resumption:store-error`), and rejects if the guard is disposed of first
   */
  rotate(reason: string): MaybePromise<void> {
    return this.#facts.rotate(requireString('reason', reason));
  }

  /**
   * Forgets everything that was made under some settings, and nothing else: {@link rotate} for these. Of more than 4096
   * settings within `maxChainAge`, all are forgotten.
   *
   * @param parameters what {@link digestParameters} gives for them: 32 bytes
   * @param reason as for {@link rotate}
   * @returns as {@link rotate}
   */
  retire(parameters: Uint8Array, reason: string): MaybePromise<void> {
    requireBytes('parameters', parameters, DIGEST_LENGTH, DIGEST_LENGTH);
    return this.#facts.retire(parameters, requireString('reason', reason));
  }

  /**
   * Ends sessions: what is revoked is refused wherever it is found, in memory too, in a store or in a ticket, here at
   * once and with a `state` at all guards of the name within their `interval`. The connection goes on in full, and
   * what a client then makes is good again. No cache is searched.
   *
   * - `peerFingerprint` and `servername` refuse what descends from a full handshake up to now: with a `state` up to 5
   *   seconds later, as clocks of hosts differ. A ticket of TLS 1.2 is judged by the name that it is shown under.
   * - `connection`, what `ServerResumption.connection(socket)` gives, refuses every session of the full handshake that
   *   its sessions descend from, of before and after: it logs a client out.
   * - `id` refuses one session, not what was made beside it or renewed from it: a full handshake in TLS 1.3 makes two,
   *   and each return another.
   *
   * It is remembered until nothing from before can come back (`maxChainAge` and an hour). Of more than 10 000 at once,
   * everything is forgotten instead, as by {@link rotate}.
   *
   * @returns as {@link rotate}
   * @throws TypeError | RangeError for anything but one of the four
   */
  revoke(revocation: Revocation): MaybePromise<void> {
    const key = keyOfRevocation(revocation, (servername) => this.#placeOf(servername));
    return key === undefined ? undefined : this.#facts.revoke(key);
  }

  /** Resolves once the state was read for the first time: until then nothing resumes. At once without a state. */
  ready(): Promise<void> {
    return this.#facts.shared?.ready ?? Promise.resolve();
  }

  /** Ends the following of the state, which stays open. From then on nothing resumes that needs it. */
  [Symbol.dispose](): void {
    this.#facts.shared?.[Symbol.dispose]();
  }
}

function requireState(state: SharedState): void {
  requireObject('state', state);
  for (const method of ['set', 'setIfAbsent', 'entries'] as const) requireFunction(`state.${method}`, state[method]);
}

const EMPTY = Buffer.alloc(0);
