/**
 * TLS session resumption for Node.js.
 *
 * @module
 */

export { ResumptionError, type ResumptionErrorCode } from './errors.js';
export type { MaybePromise, SessionStore } from './stores/session-store.js';
