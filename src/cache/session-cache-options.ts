/** What a session cache is given: its options, IDs and sides. */

import { outOfRange, requireBytes, requireNumber, requireObject, wrongType } from '../arguments.js';
import type { DeadlineStoreOptions } from '../stores/deadline-store.js';
import type { SessionStore } from '../stores/session-store.js';
import { SessionCacheMode } from './session-cache-mode.js';

const MAX_ID_BYTES = 1024;
const LAST_TIME = 8_640_000_000_000_000;

/** Which side of a connection a session belongs to. */
export type SessionSide = 'server' | 'client';

/** Options of a {@link SessionCache}. */
export interface SessionCacheOptions {
  /** {@link SessionCacheMode} flags. Default: `Server`. */
  readonly mode?: SessionCacheMode | undefined;
  /** Sessions held at most, 1 to 16 777 216. Default: 20 480, as SSL_CTX_sess_set_cache_size(3). */
  readonly maxSessions?: number | undefined;
  /** Session bytes held at most, 1 to 2⁴⁰. Default: 64 MiB. */
  readonly maxBytes?: number | undefined;
  /** Seconds that a session lives, 1 to 604 800 (RFC 8446 §4.6.1). Default: 300, as SSL_CTX_set_timeout(3). */
  readonly timeout?: number | undefined;
  /** The external cache. It is the caller's: the session cache never closes it. */
  readonly external?: SessionStore | undefined;
  /**
   * How the external cache is kept from holding anything up: options of the {@link DeadlineStore} that it is put into.
   * `false` calls it as it is. Without effect on an external cache that is a `DeadlineStore` itself. Default: `{}`.
   */
  readonly externalDeadline?: DeadlineStoreOptions | false | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

/** Times of a session that is not simply made now to live as long as the cache says. */
export interface SessionLifetime {
  /** When the full handshake took place that the session descends from: milliseconds since 1970. Default: now. */
  readonly fullHandshakeTime?: number | undefined;
  /** An earlier end than the cache's `timeout` sets: milliseconds since 1970. */
  readonly expiresAt?: number | undefined;
}

export function requireId(id: Uint8Array): Uint8Array {
  return requireBytes('id', id, 0, MAX_ID_BYTES);
}

export function requireLifetime(lifetime: SessionLifetime): SessionLifetime {
  requireObject('lifetime', lifetime);
  const { fullHandshakeTime, expiresAt } = lifetime;
  if (fullHandshakeTime !== undefined) requireNumber('fullHandshakeTime', fullHandshakeTime, 0, LAST_TIME, 'ms');
  if (expiresAt !== undefined) requireNumber('expiresAt', expiresAt, 0, Number.POSITIVE_INFINITY, 'ms');
  return lifetime;
}

export function sideFlag(side: unknown): SessionCacheMode {
  if (side === 'server') return SessionCacheMode.Server;
  if (side === 'client') return SessionCacheMode.Client;
  if (typeof side !== 'string') throw wrongType('side', "'server' or 'client'", side);
  throw outOfRange('side', "'server' or 'client'", side);
}
