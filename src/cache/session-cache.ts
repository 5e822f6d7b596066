/**
 * The cache of sessions, with the modes, modifiers and statistics of OpenSSL's.
 *
 * @module
 */

import { inspect } from 'node:util';
import { requireBytes, requireFunction, requireInteger, requireNumber, requireObject } from '../arguments.js';
import type { SessionEntry } from '../stores/session-envelope.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import { tellFlushed, tellStored } from './cache-events.js';
import { ExternalSessions, externalKey, sessionOf } from './external-sessions.js';
import { type Flight, Flights, type Loan } from './flights.js';
import { NO_SLOT } from './session-arena.js';
import { requireMode, SessionCacheMode } from './session-cache-mode.js';
import {
  requireId,
  requireLifetime,
  type SessionCacheOptions,
  type SessionLifetime,
  type SessionSide,
  sideFlag,
} from './session-cache-options.js';
import { countEvent, makeCounters, type SessionCacheEvent, type SessionCacheStatistics } from './session-statistics.js';
import { SessionTable } from './session-table.js';

export type {
  SessionCacheEvent,
  SessionCacheOptions,
  SessionCacheStatistics,
  SessionEntry,
  SessionLifetime,
  SessionSide,
};

const AUTO_CLEAR_EVERY = 255;
/**
 * Sessions that one automatic clearing removes at most; the next stores go on with the rest. A cache of the default
 * size is always cleared whole, as OpenSSL does, and a large one does not stop the event loop.
 */
const AUTO_CLEAR_LIMIT = 20_480;

/**
 * A bounded cache of TLS sessions by session ID, in memory, with an external cache behind or instead of it.
 *
 * Session bytes are copied in and out, and overwritten when a session is removed, replaced, evicted or expired. When it
 * is full the oldest session goes: a hit neither renews a session's place nor its lifetime, which ends `timeout` seconds
 * after it was stored (at that moment it is still good, as in OpenSSL).
 *
 * IDs are `Uint8Array` of at most 1024 bytes: any other type is a `TypeError`, a longer one a `RangeError`. A session
 * with an empty ID, an empty session, and one longer than `maxBytes` (or 16 MiB) are not kept. No fault of the external
 * cache is ever thrown or rejected with: it is counted, and the session is a miss.
 *
 * @example
 * ```ts
 * const cache = new SessionCache({ timeout: 7200, maxSessions: 100_000 });
 * server.on('newSession', (id, session, done) => { cache.store(id, session); done(); });
 * server.on('resumeSession', async (id, done) => done(null, (await cache.lookup(id)) ?? null));
 * ```
 */
export class SessionCache {
  readonly #maxSessions: number;
  readonly #maxBytes: number;
  readonly #timeout: number;
  readonly #clock: () => number;
  readonly #external: ExternalSessions | undefined;
  readonly #table: SessionTable;
  readonly #counters = makeCounters();
  readonly #flights = new Flights();
  readonly #loans = new Flights();
  readonly #stored = { server: 0, client: 0 };
  #mode: SessionCacheMode;
  #clearing = false;
  #closed = false;

  /**
   * @throws TypeError if an option is of the wrong type
   * @throws RangeError if a number is out of range, or `mode` has bits that are no flag
   */
  constructor(options: SessionCacheOptions = {}) {
    requireObject('options', options);
    const { mode = SessionCacheMode.Server, maxSessions = 20_480, maxBytes = 64 * 1024 * 1024 } = options;
    const { timeout = 300, external, externalDeadline, clock = Date.now } = options;
    this.#mode = requireMode(mode);
    this.#maxSessions = requireInteger('maxSessions', maxSessions, 1, 2 ** 24);
    this.#maxBytes = requireInteger('maxBytes', maxBytes, 1, 2 ** 40, 'bytes');
    this.#timeout = requireInteger('timeout', timeout, 1, MAX_TICKET_LIFETIME, 'seconds');
    this.#clock = requireFunction('clock', clock);
    if (external !== undefined) {
      this.#external = new ExternalSessions(external, clock, this.#counters, externalDeadline);
    }
    this.#table = new SessionTable(this.#maxSessions, this.#maxBytes, (bytes) => {
      this.#counters.cacheFull++;
      this.#counters.evictedBytes += bytes;
    });
  }

  /** The mode in force: SSL_CTX_get_session_cache_mode(3). */
  get mode(): SessionCacheMode {
    return this.#mode;
  }

  /** Seconds that a session lives: SSL_CTX_get_timeout(3). */
  get timeout(): number {
    return this.#timeout;
  }

  /**
   * Changes the mode: SSL_CTX_set_session_cache_mode(3). Sessions held stay.
   *
   * @returns the mode before
   * @throws TypeError if it is not an integer
   * @throws RangeError if it has bits that are no flag
   */
  setMode(mode: SessionCacheMode): SessionCacheMode {
    const previous = this.#mode;
    this.#mode = requireMode(mode);
    return previous;
  }

  /** Sessions in the internal cache, expired ones that were not removed yet included. */
  get size(): number {
    return this.#table.size;
  }

  /** Bytes of the sessions in the internal cache. */
  get bytes(): number {
    return this.#table.bytes;
  }

  /** @internal Lookups that found a session whose time was over. */
  get timeouts(): number {
    return this.#counters.timeouts;
  }

  /** The counters, as they are now: SSL_CTX_sess_number(3) and its family. */
  get statistics(): SessionCacheStatistics {
    return Object.freeze({ number: this.#table.size, ...this.#counters });
  }

  /**
   * Adds a session to the internal cache by hand, whatever the mode says: SSL_CTX_add_session(3).
   *
   * @returns false if it was not kept, or was held already with the same bytes
   */
  add(id: Uint8Array, session: Uint8Array): boolean {
    requireId(id);
    requireBytes('session', session, 0, Number.MAX_SAFE_INTEGER);
    if (id.length === 0 || this.#closed) return false;
    const now = this.#clock();
    this.#flights.supersede(id);
    return this.#table.put(id, session, now, now + this.#timeout * 1000, now);
  }

  /**
   * Removes a session from the internal cache, and from the external one, which is not waited for:
   * SSL_CTX_remove_session(3). A lookup that is on its way outside no longer finds it.
   *
   * @returns whether the internal cache held it
   */
  remove(id: Uint8Array): boolean {
    requireId(id);
    if (id.length === 0 || this.#closed) return false;
    this.#flights.revoke(id);
    this.#loans.revoke(id);
    const slot = this.#table.find(id);
    if (slot !== NO_SLOT) this.#table.remove(slot);
    this.#external?.delete(externalKey(id));
    return slot !== NO_SLOT;
  }

  /** The session in the internal cache, whatever the mode says. Counts nothing; an expired session is removed. */
  get(id: Uint8Array): Buffer | undefined {
    const slot = this.#table.find(requireId(id));
    if (slot === NO_SLOT) return undefined;
    if (!this.#table.expired(slot, this.#clock())) return this.#table.read(slot);
    this.#table.remove(slot);
    return undefined;
  }

  /**
   * Keeps a session after a handshake, as the mode says: nowhere if the side's flag is off; inside unless
   * `NoInternalStore`; outside whenever there is an external cache. Every 255th session kept of a side clears expired
   * sessions, unless `NoAutoClear`.
   *
   * @param side the side that made the session
   * @param lifetime times that differ from "made now"
   * @returns a promise only if the external cache returned one; it is fulfilled when the write has succeeded or failed
   * @throws TypeError | RangeError for wrong arguments; never for what the external cache does
   */
  store(
    id: Uint8Array,
    session: Uint8Array,
    side: SessionSide = 'server',
    lifetime: SessionLifetime = {},
  ): MaybePromise<void> {
    requireId(id);
    requireBytes('session', session, 0, Number.MAX_SAFE_INTEGER);
    const flag = sideFlag(side);
    const { fullHandshakeTime, expiresAt } = requireLifetime(lifetime);
    if ((this.#mode & flag) === 0 || id.length === 0 || this.#closed) return;

    const now = this.#clock();
    const made = Math.floor(Math.min(fullHandshakeTime ?? now, now));
    const expiry = Math.floor(Math.min(expiresAt ?? Number.POSITIVE_INFINITY, now + this.#timeout * 1000));
    const kept = this.#table.fits(session) && expiry > now;
    if (kept) {
      this.#flights.supersede(id);
      if ((this.#mode & SessionCacheMode.NoInternalStore) === 0) this.#table.put(id, session, made, expiry, now);
    }
    if (kept) tellStored(this, side, session.length, this.#external !== undefined);
    const written = kept ? this.#external?.set(externalKey(id), session, made, expiry, now) : undefined;
    this.#autoClear(side, now);
    return written;
  }

  /**
   * The session that a client shows, as OpenSSL's servers look for it: inside unless `NoInternalLookup`, and if it is
   * not there, outside. `Client` and `Server` have no part in it: they say what is kept, and a cache whose mode is
   * `Off` finds what `add` put there. One found outside is copied inside, with the times it has, unless
   * `NoInternalStore`.
   *
   * An expired session counts as `timeouts`, is removed inside and outside, and no more is asked.
   *
   * @param side `'client'` to look for a client: `NoInternalLookup` then has no effect, and nothing is counted
   * @returns a copy; a promise only if the external cache was asked and returned one, which never rejects
   */
  lookup(id: Uint8Array, side: SessionSide = 'server'): MaybePromise<Buffer | undefined> {
    return sessionOf(this.lookupEntry(id, side));
  }

  /** {@link lookup}, with the times of the session. */
  lookupEntry(id: Uint8Array, side: SessionSide = 'server'): MaybePromise<SessionEntry | undefined> {
    requireId(id);
    const server = sideFlag(side) === SessionCacheMode.Server;
    if (id.length === 0 || this.#closed) return undefined;
    if (!server || (this.#mode & SessionCacheMode.NoInternalLookup) === 0) {
      const slot = this.#table.find(id);
      if (slot !== NO_SLOT) {
        const entry = this.#found(slot, server);
        if (entry === undefined) this.remove(id);
        return entry;
      }
      if (server) this.#counters.misses++;
    }
    if (this.#external === undefined) return undefined;
    const outside = externalKey(id);
    const answer = this.#external.get(outside);
    if (!isPromise(answer)) return this.#arrived(id, outside, answer, server);
    const copy = Uint8Array.from(id);
    const flight = this.#flights.begin(id);
    return answer.then((entry) => {
      this.#flights.end(flight);
      return flight.revoked ? undefined : this.#arrived(copy, outside, entry, server, flight);
    });
  }

  /**
   * {@link lookup}, and the session is gone: of any number of callers at most one gets it.
   *
   * With an external cache that one alone decides, by its `take`; the internal copy is dropped, and neither found nor
   * missed. A store without `take` is asked to get and then to delete, which is not atomic: two hosts may both be
   * answered. If the deletion fails there is no answer.
   */
  take(id: Uint8Array, side: SessionSide = 'server'): MaybePromise<Buffer | undefined> {
    return sessionOf(this.takeEntry(id, side));
  }

  /** {@link take}, with the times of the session. */
  takeEntry(id: Uint8Array, side: SessionSide = 'server'): MaybePromise<SessionEntry | undefined> {
    requireId(id);
    const server = sideFlag(side) === SessionCacheMode.Server;
    if (id.length === 0 || this.#closed) return undefined;
    this.#flights.revoke(id);
    const slot = this.#table.find(id);
    const looks = this.#external === undefined && (!server || (this.#mode & SessionCacheMode.NoInternalLookup) === 0);
    const entry = looks && slot !== NO_SLOT ? this.#found(slot, server) : undefined;
    if (slot !== NO_SLOT) this.#table.remove(slot);
    else if (looks && server) this.#counters.misses++;
    if (this.#external === undefined) return entry;
    const answer = this.#external.take(externalKey(id));
    if (!isPromise(answer)) return this.#answered(answer, server);
    return answer.then((taken) => (this.#closed ? undefined : this.#answered(taken, server)));
  }

  /**
   * {@link takeEntry} for a connection that may not use the session after all: see {@link giveBack}.
   *
   * @internal
   */
  borrow(id: Uint8Array): MaybePromise<Loan | undefined> {
    const flight = this.#loans.begin(id);
    const settle = (entry: SessionEntry | undefined): Loan | undefined => {
      if (entry !== undefined) return { entry, flight };
      this.#loans.end(flight);
      return undefined;
    };
    const answer = this.takeEntry(id);
    return isPromise(answer) ? answer.then(settle) : settle(answer);
  }

  /**
   * Ends a loan. A session that was not used is stored again, unless it was removed or all were cleared meanwhile.
   *
   * @internal
   */
  giveBack(id: Uint8Array, { entry, flight }: Loan, used: boolean): MaybePromise<void> {
    this.#loans.end(flight);
    if (!used && !flight.revoked) return this.store(id, entry.session, 'server', entry);
  }

  /**
   * Counts a handshake: the cache sees sessions, not handshakes, so those who complete them tell it.
   *
   * @throws TypeError if `event` is not a string
   * @throws RangeError if it is no event
   */
  count(event: SessionCacheEvent): void {
    countEvent(this.#counters, event);
  }

  /**
   * Removes sessions from the internal cache whose time is over: SSL_CTX_flush_sessions(3). Synchronous; costs next to
   * nothing when there is none. See {@link SessionFlusher} for large caches.
   *
   * @param now milliseconds since 1970. Default: the clock's
   * @param limit how many to remove at most. Default: all
   * @returns how many were removed; fewer than `limit` means that none is left
   */
  flush(now: number = this.#clock(), limit: number = Number.POSITIVE_INFINITY): number {
    requireNumber('now', now, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 'ms');
    requireNumber('limit', limit, 0, Number.POSITIVE_INFINITY, 'sessions');
    return tellFlushed(this, this.#table.flush(now, limit), 'expired');
  }

  /** Removes all sessions from the internal cache. Lookups on their way outside find nothing. */
  clear(): void {
    this.#flights.revokeAll();
    this.#loans.revokeAll();
    const { size } = this;
    this.#table.clear();
    tellFlushed(this, size, 'cleared');
  }

  /** Clears the internal cache and closes it: nothing is kept nor found any more. The external cache stays open. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.clear();
  }

  /** Counts only: neither IDs nor session bytes. */
  [inspect.custom](_depth: number, options: object): string {
    const { mode, size, bytes, statistics } = this;
    const external = this.#external !== undefined;
    const shown = { mode, size, bytes, maxSessions: this.#maxSessions, maxBytes: this.#maxBytes, external, statistics };
    return `SessionCache ${inspect(shown, options)}`;
  }

  #entry(slot: number): SessionEntry {
    const table = this.#table;
    return { session: table.read(slot), fullHandshakeTime: table.madeAt(slot), expiresAt: table.expiresAt(slot) };
  }

  #found(slot: number, server: boolean): SessionEntry | undefined {
    if (!this.#table.expired(slot, this.#clock())) return this.#entry(slot);
    if (server) this.#counters.timeouts++;
    return undefined;
  }

  #answered(entry: SessionEntry | undefined, server: boolean): SessionEntry | undefined {
    if (entry === undefined) return undefined;
    if (server) this.#counters.callbackHits++;
    if (this.#clock() <= entry.expiresAt) return entry;
    if (server) this.#counters.timeouts++;
    return undefined;
  }

  #arrived(
    id: Uint8Array,
    outside: Buffer,
    entry: SessionEntry | undefined,
    server: boolean,
    flight?: Flight,
  ): SessionEntry | undefined {
    const good = this.#answered(entry, server);
    if (good !== undefined) {
      if ((this.#mode & SessionCacheMode.NoInternalStore) === 0 && flight?.superseded !== true) {
        this.#table.put(id, good.session, good.fullHandshakeTime, good.expiresAt, this.#clock());
      }
    } else if (entry !== undefined) this.#external?.delete(outside);
    return good;
  }

  #autoClear(side: SessionSide, now: number): void {
    const due = ++this.#stored[side] % AUTO_CLEAR_EVERY === 0;
    if ((this.#mode & SessionCacheMode.NoAutoClear) !== 0) this.#clearing = false;
    else if (due || this.#clearing) this.#clearing = this.flush(now, AUTO_CLEAR_LIMIT) === AUTO_CLEAR_LIMIT;
  }
}
