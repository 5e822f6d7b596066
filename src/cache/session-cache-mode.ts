/**
 * Which sessions are cached, and where: the modes and modifiers of SSL_CTX_set_session_cache_mode(3).
 *
 * @module
 */

import { outOfRange, wrongType } from '../arguments.js';

/**
 * Flags of a {@link SessionCache}, with OpenSSL's values (`SSL_SESS_CACHE_*`); combine them with `|`.
 *
 * @example
 * ```ts
 * new SessionCache({ mode: SessionCacheMode.Server | SessionCacheMode.NoAutoClear });
 * ```
 */
export const SessionCacheMode = {
  /** Handshakes leave nothing in the cache. What `add` puts there by hand is still found. */
  Off: 0x000,
  /** Sessions of the client side are kept. */
  Client: 0x001,
  /** Sessions of the server side are kept: the default, as in OpenSSL. */
  Server: 0x002,
  /** Sessions of both sides are kept. */
  Both: 0x003,
  /** Expired sessions are not cleared at every 255th session: flushing is the application's job. */
  NoAutoClear: 0x080,
  /** Servers look only outside. No effect on clients. */
  NoInternalLookup: 0x100,
  /** Nothing is kept inside by itself, neither after handshakes nor from outside; `add` still works. */
  NoInternalStore: 0x200,
  /** `NoInternalLookup | NoInternalStore`. */
  NoInternal: 0x300,
} as const;

/** Any combination of the flags of {@link SessionCacheMode}. */
export type SessionCacheMode = number;

const ALL = SessionCacheMode.Both | SessionCacheMode.NoAutoClear | SessionCacheMode.NoInternal;

/**
 * Checks a mode.
 *
 * @param mode what the caller gave
 * @returns the same, if it is a combination of flags
 * @throws TypeError if it is not an integer
 * @throws RangeError if it has bits that are no flag
 */
export function requireMode(mode: unknown): SessionCacheMode {
  if (typeof mode !== 'number' || !Number.isInteger(mode)) {
    throw wrongType('mode', 'an integer of SessionCacheMode flags', mode);
  }
  if (mode < 0 || mode > ALL || (mode & ~ALL) !== 0) throw outOfRange('mode', 'only SessionCacheMode flags', mode);
  return mode;
}
