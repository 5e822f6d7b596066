import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';

interface Held {
  readonly session: Buffer;
  readonly made: number;
  readonly expiresAt: number;
}

/**
 * The rules of a SessionCache, as plainly as they can be written: a Map in order of insertion beside a Map that stands
 * for the external cache. Slow, and all in the open.
 */
export class NaiveSessionCache {
  readonly inside = new Map<number, Held>();
  readonly counts = { callbackHits: 0, misses: 0, timeouts: 0, cacheFull: 0, evictedBytes: 0, externalErrors: 0 };
  readonly stored = { server: 0, client: 0 };
  mode: number = SessionCacheMode.Server;

  constructor(
    readonly maxSessions: number,
    readonly maxBytes: number,
    readonly timeout: number,
    readonly outside: Map<number, Held> | undefined,
  ) {}

  get bytes(): number {
    return [...this.inside.values()].reduce((sum, held) => sum + held.session.length, 0);
  }

  #has(flag: number): boolean {
    return (this.mode & flag) !== 0;
  }

  put(id: number, held: Held, now: number): boolean {
    if (held.session.length > this.maxBytes || held.expiresAt < now) return false;
    const old = this.inside.get(id);
    if (old !== undefined && old.expiresAt >= now && old.session.equals(held.session)) {
      const made = Math.min(old.made, held.made);
      this.inside.set(id, { ...old, made, expiresAt: Math.min(old.expiresAt, held.expiresAt) });
      return false;
    }
    this.inside.delete(id);
    while (this.inside.size >= this.maxSessions || this.bytes + held.session.length > this.maxBytes) {
      const [oldest, { session }] = [...this.inside][0] as [number, Held];
      this.inside.delete(oldest);
      this.counts.cacheFull++;
      this.counts.evictedBytes += session.length;
    }
    this.inside.set(id, held);
    return true;
  }

  store(id: number, session: Buffer, side: 'server' | 'client', expiresAt: number, now: number, broken: boolean): void {
    if (!this.#has(side === 'server' ? SessionCacheMode.Server : SessionCacheMode.Client)) return;
    const held = { session, made: now, expiresAt: Math.min(expiresAt, now + this.timeout) };
    if (session.length <= this.maxBytes && held.expiresAt > now) {
      if (!this.#has(SessionCacheMode.NoInternalStore)) this.put(id, held, now);
      if (broken && this.outside !== undefined) this.counts.externalErrors++;
      else this.outside?.set(id, held);
    }
    if (++this.stored[side] % 255 === 0 && !this.#has(SessionCacheMode.NoAutoClear)) this.flush(now);
  }

  lookup(id: number, now: number, broken: boolean): Held | undefined {
    if (!this.#has(SessionCacheMode.NoInternalLookup)) {
      const held = this.inside.get(id);
      if (held !== undefined) {
        if (held.expiresAt >= now) return held;
        this.counts.timeouts++;
        this.remove(id, broken);
        return undefined;
      }
      this.counts.misses++;
    }
    if (this.outside === undefined) return undefined;
    if (broken) this.counts.externalErrors++;
    const found = broken ? undefined : this.outside.get(id);
    if (found === undefined) return undefined;
    this.counts.callbackHits++;
    if (found.expiresAt < now) {
      this.counts.timeouts++;
      this.outside.delete(id);
      return undefined;
    }
    if (!this.#has(SessionCacheMode.NoInternalStore)) this.put(id, found, now);
    return found;
  }

  take(id: number, now: number, broken: boolean): Held | undefined {
    const inside = this.inside.get(id);
    this.inside.delete(id);
    if (this.outside === undefined) {
      if (this.#has(SessionCacheMode.NoInternalLookup)) return undefined;
      if (inside === undefined) this.counts.misses++;
      else if (inside.expiresAt >= now) return inside;
      else this.counts.timeouts++;
      return undefined;
    }
    if (broken) this.counts.externalErrors++;
    const found = broken ? undefined : this.outside.get(id);
    if (found === undefined) return undefined;
    this.outside.delete(id);
    this.counts.callbackHits++;
    if (found.expiresAt >= now) return found;
    this.counts.timeouts++;
    return undefined;
  }

  remove(id: number, broken: boolean): boolean {
    if (broken && this.outside !== undefined) this.counts.externalErrors++;
    else this.outside?.delete(id);
    return this.inside.delete(id);
  }

  get(id: number, now: number): Buffer | undefined {
    const held = this.inside.get(id);
    if (held !== undefined && held.expiresAt >= now) return held.session;
    this.inside.delete(id);
    return undefined;
  }

  flush(now: number): number {
    const due = [...this.inside].filter(([, held]) => held.expiresAt < now);
    for (const [id] of due) this.inside.delete(id);
    return due.length;
  }
}
