/** What users may write against the package's root. Compiled by scripts/typecheck-dist, never run. */

import { type MaybePromise, ResumptionError, type ResumptionErrorCode, type SessionStore } from 'tls-resumption';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>): void => {};

// Errors
const error: Error = new ResumptionError('ERR_NOT_SECURED', 'message', { cause: new Error('cause') });
if (error instanceof ResumptionError) {
  same<typeof error.code, ResumptionErrorCode>(true);
  same<typeof error.name, 'ResumptionError'>(true);
  // @ts-expect-error: codes are stable
  error.code = 'ERR_NOT_SECURED';
}
// @ts-expect-error: no such code
new ResumptionError('ERR_OTHER', 'message');

// Stores: at once or later, and without the optional methods
const map = new Map<string, Uint8Array>();
const synchronous: SessionStore = {
  get: (key) => map.get(Buffer.from(key).toString('hex')),
  set: (key, session, timeout) => {
    same<typeof timeout, number>(true);
    map.set(Buffer.from(key).toString('hex'), session);
  },
  delete: (key) => {
    map.delete(Buffer.from(key).toString('hex'));
  },
};
const asynchronous: SessionStore = {
  async get(key) {
    return map.get(Buffer.from(key).toString('hex'));
  },
  async set() {},
  async delete() {},
  async take() {
    return undefined;
  },
  async close() {},
};
same<ReturnType<SessionStore['get']>, MaybePromise<Uint8Array | undefined>>(true);
// @ts-expect-error: a store that cannot delete
const incomplete: SessionStore = { get: () => undefined, set: () => {} };

export { asynchronous, incomplete, synchronous };
