/** The internal cache: the arena and its index, bounded in sessions and bytes. Knows neither modes nor statistics. */

import { NO_SLOT, SessionArena } from './session-arena.js';
import { SessionIndex } from './session-index.js';

/** Longer sessions are none: Node's own limit is 10 240 bytes. */
const MAX_SESSION_BYTES = 2 ** 24;

export class SessionTable {
  readonly #arena: SessionArena;
  readonly #index: SessionIndex;
  readonly #maxSessions: number;
  readonly #maxBytes: number;
  readonly #onEvict: (bytes: number) => void;
  readonly #drop = (slot: number): void => {
    this.#index.delete(slot);
    this.#arena.remove(slot);
  };

  constructor(
    maxSessions: number,
    maxBytes: number,
    onEvict: (bytes: number) => void,
    arena: SessionArena = new SessionArena(),
  ) {
    this.#arena = arena;
    this.#index = new SessionIndex(maxSessions, arena);
    this.#maxSessions = maxSessions;
    this.#maxBytes = maxBytes;
    this.#onEvict = onEvict;
  }

  get size(): number {
    return this.#arena.count;
  }

  get bytes(): number {
    return this.#arena.bytes;
  }

  fits(session: Uint8Array): boolean {
    return session.length > 0 && session.length <= Math.min(this.#maxBytes, MAX_SESSION_BYTES);
  }

  /** The slot of a session, expired or not. */
  find(id: Uint8Array): number {
    return this.#index.find(id);
  }

  expired(slot: number, now: number): boolean {
    return now > this.#arena.expiresAt(slot);
  }

  read(slot: number): Buffer {
    return this.#arena.read(slot);
  }

  madeAt(slot: number): number {
    return this.#arena.madeAt(slot);
  }

  expiresAt(slot: number): number {
    return this.#arena.expiresAt(slot);
  }

  /**
   * Keeps a session as the newest, evicting the oldest where there is no room.
   *
   * @returns false if nothing was added: too long, over already, or the same bytes are held under that ID; those stay
   *   where they are in the order and live no longer than before, but shorter if the new times say so
   */
  put(id: Uint8Array, session: Uint8Array, madeAt: number, expiresAt: number, now: number): boolean {
    if (!this.fits(session) || now > expiresAt) return false;
    const held = this.find(id);
    if (held !== NO_SLOT) {
      if (!this.expired(held, now) && Buffer.compare(this.#arena.view(held), session) === 0) {
        this.#arena.shorten(held, madeAt, expiresAt);
        return false;
      }
      this.#drop(held);
    }
    while (this.size >= this.#maxSessions || this.bytes + session.length > this.#maxBytes) this.#evictOldest();
    this.#index.add(id, this.#arena.insert(id, session, madeAt, expiresAt));
    return true;
  }

  remove(slot: number): void {
    this.#drop(slot);
  }

  /** Removes what is over at `now`, at most `limit` sessions; fewer than that means none is left. */
  flush(now: number, limit: number): number {
    return this.#arena.sweep(now, limit, this.#drop);
  }

  clear(): void {
    this.#index.clear();
    this.#arena.clear();
  }

  #evictOldest(): void {
    const slot = this.#arena.oldest;
    this.#onEvict(this.#arena.length(slot));
    this.#index.evict(slot);
    this.#arena.remove(slot);
  }
}
