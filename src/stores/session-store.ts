/**
 * What an external cache must offer.
 *
 * @module
 */

import { requireFunction, requireObject } from '../arguments.js';

/** A value, or a promise of it: what can answer at once does, and costs no turn of the event loop. */
export type MaybePromise<T> = T | Promise<T>;

/** Whether there is something to wait for: any thenable counts. */
export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/**
 * An external cache of sessions, behind or instead of the internal one
 * (SSL_CTX_sess_set_new_cb(3), SSL_CTX_sess_set_get_cb(3), SSL_CTX_sess_set_remove_cb(3)).
 *
 * **What may be lossy.** A store may forget any session at any time, fail, or be slow: that costs a full handshake,
 * never a connection. {@link set} promises nothing about what is found later; whatever a method throws or rejects with
 * is counted, and is a miss.
 *
 * **What must be reliable.**
 * - {@link take} hands a value to one caller only, of all that use the storage from whatever host, and the value is gone
 *   before that caller has it. A store that cannot do so in one atomic step leaves the method out.
 * - Once {@link delete} has succeeded, the value is not found any more. A deletion that did not reach the storage fails.
 * - An answer is what was last set under the very key that was asked for, byte by byte. (Values are checked when they
 *   come back, and any other is a miss. A store should not rely on that.)
 * - A value is not answered with after its timeout, give or take a second. (A session whose time is over is refused
 *   whatever a store says; its secrets should not lie around for longer.)
 * - Values are copied: a caller may write to the key and value that it gave as soon as the call has returned, and to the
 *   answer that it got.
 *
 * **What comes from outside.** A key that is asked for derives from what a client sent before it has shown who it is:
 * it need not exist, and any number of them may come. Looking for one must cost little and leave nothing behind. Keys
 * are 32 bytes of any value: not text.
 *
 * **What is secret.** A value holds the master secret of a session: what reads the store can read the session's
 * connections and resume it, unless the values are sealed ({@link SealedStore}). Keep values out of errors and logs.
 *
 * `sessionStoreConformance` of `tls-resumption/testing` checks all of this on an implementation.
 */
export interface SessionStore {
  /** The value last set under `key` (32 bytes), or `undefined`. */
  get(key: Uint8Array): MaybePromise<Uint8Array | undefined>;
  /** Keeps `session` (1 byte or more; seldom over 1 KiB) under `key` for at most `timeout` seconds, 1 to 604 800. */
  set(key: Uint8Array, session: Uint8Array, timeout: number): MaybePromise<void>;
  /** Forgets `key`; not an error when there is nothing. */
  delete(key: Uint8Array): MaybePromise<void>;
  /** Gets and deletes in one atomic step: of any number of callers at most one is answered. */
  take?(key: Uint8Array): MaybePromise<Uint8Array | undefined>;
  /** Releases what the store holds open. Later calls of any method, this one too, end: with nothing or an error. */
  close?(): MaybePromise<void>;
}

/** @throws TypeError if something is no store, or a method of it no function */
export function requireSessionStore(name: string, store: SessionStore): SessionStore {
  requireObject(name, store);
  requireFunction(`${name}.get`, store.get);
  requireFunction(`${name}.set`, store.set);
  requireFunction(`${name}.delete`, store.delete);
  if (store.take !== undefined) requireFunction(`${name}.take`, store.take);
  if (store.close !== undefined) requireFunction(`${name}.close`, store.close);
  return store;
}
