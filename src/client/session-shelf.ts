/**
 * The sessions of a client, by policy: several TLS 1.3 tickets, newest first and each handed out once (RFC 8446 §C.4),
 * or one session of TLS 1.2. Kept in a SessionCache under SHA-256(policy ‖ slot), so that another process finds them.
 */

import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { SessionCache, SessionEntry } from '../cache/session-cache.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';

/** The slot of the TLS 1.2 session; tickets have those from 0 on. */
const REUSABLE = 0xff;
/** Policies whose slots are remembered; of others every slot is looked up. */
const MAX_ORIGINS = 16_384;
/** Writes that idle() waits for at most; beyond, the oldest are left to themselves. */
const MAX_WRITES = 16_384;
/** Policies for which tickets that were fetched from outside wait. */
const MAX_FETCHED = 256;

/** A session to connect with. */
export interface Offer extends SessionEntry {
  readonly slot: number;
}

function slotId(policy: Uint8Array, slot: number): Buffer {
  return createHash('sha256').update(policy).update(Uint8Array.of(slot)).digest();
}

const toHex = (policy: Uint8Array): string => Buffer.from(policy).toString('hex');

export class SessionShelf {
  readonly #cache: SessionCache;
  readonly #slots: number;
  readonly #clock: () => number;
  /** By policy: slots with a ticket, the newest last. */
  readonly #held = new LRUCache<string, number[]>({ max: MAX_ORIGINS });
  /** By policy: tickets that were fetched from outside and belong to this process alone, the newest last. */
  readonly #fetched = new LRUCache<string, Offer[]>({ max: MAX_FETCHED });
  readonly #writes = new Set<Promise<void>>();
  #generation = 0;

  constructor(cache: SessionCache, slots: number, clock: () => number) {
    this.#cache = cache;
    this.#slots = slots;
    this.#clock = clock;
  }

  /** Changes whenever something is forgotten: what began before then is not kept any more. */
  get generation(): number {
    return this.#generation;
  }

  /** Resolves when what was kept is written outside as well, or has failed to be. */
  async idle(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  /** Keeps a session; the oldest ticket makes room. Times are milliseconds since 1970. */
  keep(policy: Uint8Array, session: Uint8Array, reusable: boolean, fullHandshakeTime: number, expiresAt: number): void {
    const held = this.#slotsOf(policy);
    if (reusable) {
      // The server speaks TLS 1.2 now.
      for (const slot of held.splice(0)) this.#cache.remove(slotId(policy, slot));
    }
    const slot = reusable ? REUSABLE : this.#freeSlot(held);
    const write = this.#cache.store(slotId(policy, slot), session, 'client', { fullHandshakeTime, expiresAt });
    if (!isPromise(write)) return;
    const settled: Promise<void> = write.finally(() => this.#writes.delete(settled));
    this.#writes.add(settled);
    if (this.#writes.size > MAX_WRITES) this.#writes.delete(this.#writes.values().next().value as Promise<void>);
  }

  /** What to offer next. A promise only if the external cache returned one. */
  take(policy: Uint8Array): MaybePromise<Offer | undefined> {
    const fetched = this.#fetched.get(toHex(policy)) ?? [];
    for (let offer = fetched.pop(); offer !== undefined; offer = fetched.pop()) {
      if (offer.expiresAt >= this.#clock()) return offer;
    }
    const held = this.#slotsOf(policy);
    // With a session of TLS 1.2 in memory nobody outside is asked for tickets.
    if (held.length > 0 || this.#cache.get(slotId(policy, REUSABLE)) !== undefined) return this.#takeHeld(policy, held);
    const probed = this.#probe(policy, held);
    return isPromise(probed) ? probed.then(() => this.#takeHeld(policy, held)) : this.#takeHeld(policy, held);
  }

  /** Keeps a ticket that came too late for its connection for the next one. */
  hold(policy: Uint8Array, offer: Offer): void {
    if (offer.slot === REUSABLE) return;
    const fetched = this.#fetched.get(toHex(policy)) ?? [];
    fetched.push(offer);
    if (fetched.length > this.#slots) fetched.shift();
    this.#fetched.set(toHex(policy), fetched);
  }

  /** An offer that never left this host. */
  giveBack(policy: Uint8Array, { slot, session, fullHandshakeTime, expiresAt }: Offer): void {
    if (slot !== REUSABLE) this.keep(policy, session, false, fullHandshakeTime, expiresAt);
  }

  /** The server did not take it, or the handshake failed with it. */
  drop(policy: Uint8Array, { slot }: Offer): void {
    if (slot === REUSABLE) this.#cache.remove(slotId(policy, slot));
  }

  /** Removes the sessions of one policy, outside too. @returns how many there were inside */
  forget(policy: Uint8Array): number {
    this.#generation++;
    return this.#forget(policy);
  }

  /** Removes the sessions of all policies; outside, of those that this process knows. */
  forgetAll(): void {
    this.#generation++;
    for (const key of [...this.#held.keys()]) this.#forget(Buffer.from(key, 'hex'));
    this.#cache.clear();
  }

  #forget(policy: Uint8Array): number {
    const key = toHex(policy);
    let removed = this.#fetched.get(key)?.length ?? 0;
    this.#fetched.delete(key);
    this.#held.delete(key);
    for (const slot of [...this.#ticketSlots(), REUSABLE]) {
      if (this.#cache.remove(slotId(policy, slot))) removed++;
    }
    return removed;
  }

  #slotsOf(policy: Uint8Array): number[] {
    const key = toHex(policy);
    const held = this.#held.get(key) ?? [];
    this.#held.set(key, held);
    return held;
  }

  #ticketSlots(): number[] {
    return Array.from({ length: this.#slots }, (_, slot) => slot);
  }

  #freeSlot(held: number[]): number {
    const free = this.#ticketSlots().find((slot) => !held.includes(slot));
    const slot = free ?? (held.shift() as number);
    held.push(slot);
    return slot;
  }

  /** Finds out which slots of a policy have tickets, and which is the newest: another process may have made them. */
  #probe(policy: Uint8Array, held: number[]): MaybePromise<void> {
    const answers = this.#ticketSlots().map((slot) => this.#cache.lookupEntry(slotId(policy, slot), 'client'));
    const learn = (entries: readonly (SessionEntry | undefined)[]): void => {
      if (held.length > 0) return;
      const found = entries.flatMap((entry, slot) => (entry === undefined ? [] : [{ slot, at: entry.expiresAt }]));
      for (const { slot } of found.sort((a, b) => a.at - b.at)) held.push(slot);
    };
    if (answers.some(isPromise)) return Promise.all(answers).then(learn);
    learn(answers as (SessionEntry | undefined)[]);
  }

  #takeHeld(policy: Uint8Array, held: number[]): MaybePromise<Offer | undefined> {
    for (let slot = held.pop(); slot !== undefined; slot = held.pop()) {
      const answer = this.#cache.takeEntry(slotId(policy, slot), 'client');
      const taken = slot;
      if (isPromise(answer)) {
        return answer.then((entry) => (entry ? { ...entry, slot: taken } : this.#takeHeld(policy, held)));
      }
      if (answer !== undefined) return { ...answer, slot };
    }
    const answer = this.#cache.lookupEntry(slotId(policy, REUSABLE), 'client');
    const offer = (entry: SessionEntry | undefined) => entry && { ...entry, slot: REUSABLE };
    return isPromise(answer) ? answer.then(offer) : offer(answer);
  }
}
