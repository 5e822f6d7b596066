/** The external cache as the session cache sees it: envelopes sealed and checked, every fault counted, none passed on. */

import { createHash } from 'node:crypto';
import { publishStoreError } from '../diagnostics.js';
import { ResumptionError } from '../errors.js';
import { DeadlineStore, type DeadlineStoreOptions } from '../stores/deadline-store.js';
import { openEnvelope, type SessionEntry, sealEnvelope } from '../stores/session-envelope.js';
import { isPromise, type MaybePromise, requireSessionStore, type SessionStore } from '../stores/session-store.js';
import { copyOf } from '../wire/bytes.js';
import type { Counters } from './session-statistics.js';

export class ExternalSessions {
  readonly #store: SessionStore;
  readonly #clock: () => number;
  readonly #counters: Counters;

  constructor(
    store: SessionStore,
    clock: () => number,
    counters: Counters,
    deadline: DeadlineStoreOptions | false | undefined,
  ) {
    requireSessionStore('external', store);
    const bounded = deadline === false || store instanceof DeadlineStore;
    this.#store = bounded ? store : new DeadlineStore(store, deadline);
    this.#clock = clock;
    this.#counters = counters;
  }

  get(key: Uint8Array): MaybePromise<SessionEntry | undefined> {
    try {
      const answer = this.#store.get(key);
      // What is answered at once, for every handshake, makes no functions.
      if (!isPromise(answer)) return this.#open(answer, key);
      return this.#attempt(
        'get',
        () => answer,
        (value) => this.#open(value, key),
      );
    } catch (error) {
      return this.#failed('get', error);
    }
  }

  /** Gets and deletes: in one step if the store can, else the answer waits until the deletion has succeeded. */
  take(key: Uint8Array): MaybePromise<SessionEntry | undefined> {
    if (this.#store.take !== undefined) {
      return this.#attempt(
        'take',
        () => this.#store.take?.(key),
        (answer) => this.#open(answer, key),
      );
    }
    return this.#attempt(
      'get',
      () => this.#store.get(key),
      (answer) => {
        const entry = this.#open(answer, key);
        if (entry === undefined) return undefined;
        return this.#attempt(
          'delete',
          () => this.#store.delete(key),
          () => entry,
        );
      },
    );
  }

  /** `expiresAt` is later than `now`. */
  set(key: Uint8Array, session: Uint8Array, fullHandshakeTime: number, expiresAt: number, now: number) {
    const envelope = sealEnvelope(key, session, fullHandshakeTime, expiresAt);
    const timeout = Math.ceil((expiresAt - now) / 1000);
    return this.#attempt('set', () => this.#store.set(key, envelope, timeout), nothing);
  }

  delete(key: Uint8Array): void {
    void this.#attempt('delete', () => this.#store.delete(key), nothing);
  }

  #open(answer: unknown, key: Uint8Array): SessionEntry | undefined {
    if (answer === undefined || answer === null) return undefined;
    const entry = openEnvelope(answer, key, this.#clock());
    if (entry === undefined) {
      this.#failed(
        'get',
        new ResumptionError('ERR_STORE_CORRUPT', 'the external cache answered with no session of ours'),
      );
    }
    return entry;
  }

  #failed(operation: string, error: unknown): undefined {
    if (isTimeout(error)) this.#counters.externalTimeouts++;
    else this.#counters.externalErrors++;
    publishStoreError('sessions', operation, error);
  }

  /** What answers at once is answered at once; a throw or rejection is counted, and is `undefined`. */
  #attempt<T, R>(
    operation: string,
    call: () => MaybePromise<T>,
    answered: (value: T) => MaybePromise<R | undefined>,
  ): MaybePromise<R | undefined> {
    try {
      const answer = call();
      if (isPromise(answer))
        return Promise.resolve(answer)
          .then(answered)
          .catch((error) => this.#failed(operation, error));
      return answered(answer);
    } catch (error) {
      return this.#failed(operation, error);
    }
  }
}

/** Without its times. */
export function sessionOf(answer: MaybePromise<SessionEntry | undefined>): MaybePromise<Buffer | undefined> {
  return isPromise(answer) ? answer.then((entry) => entry?.session) : answer?.session;
}

/** What the session is called outside: always 32 bytes, and never the caller's own buffer. */
export function externalKey(id: Uint8Array): Buffer {
  return id.length === 32 ? copyOf(id, 0, 32) : createHash('sha256').update(id).digest();
}

function isTimeout(error: unknown): boolean {
  try {
    return (error as { code?: unknown } | null | undefined)?.code === 'ERR_STORE_TIMEOUT';
  } catch {
    return false;
  }
}

function nothing(): undefined {}
