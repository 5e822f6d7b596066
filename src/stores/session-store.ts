/**
 * What an external cache must offer.
 *
 * @module
 */

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
 * It may forget at any time, fail, or be slow: that costs a full handshake, never a connection. It must not answer
 * with a value that was set under another key (values are checked, and such an answer is a miss), and {@link take}
 * must hand a value to one caller only.
 *
 * Values hold the master secret of a session: what reads the store can read its connections.
 */
export interface SessionStore {
  /** The value last set under `key` (32 bytes), or `undefined`. */
  get(key: Uint8Array): MaybePromise<Uint8Array | undefined>;
  /** Keeps `session` for at most `timeout` seconds. */
  set(key: Uint8Array, session: Uint8Array, timeout: number): MaybePromise<void>;
  /** Forgets `key`; not an error when there is nothing. */
  delete(key: Uint8Array): MaybePromise<void>;
  /** Gets and deletes in one atomic step: of any number of callers at most one is answered. */
  take?(key: Uint8Array): MaybePromise<Uint8Array | undefined>;
  /** Releases what the store holds open. */
  close?(): MaybePromise<void>;
}
