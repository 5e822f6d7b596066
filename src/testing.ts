/**
 * What users test their own stores with. For any test runner.
 *
 * @module
 */

export type { MaybePromise, SessionStore } from './stores/session-store.js';
export type { SharedState, SharedStateListener } from './stores/shared-state.js';
export type { ConformanceCase } from './testing/conformance.js';
export { type SessionStoreConformanceOptions, sessionStoreConformance } from './testing/session-store-conformance.js';
export { type SharedStateConformanceOptions, sharedStateConformance } from './testing/shared-state-conformance.js';
