/**
 * What users test resumption with: visits to a server and what they saw, a clock, stores that count and that fail,
 * certificates, and the conformance suites for stores of their own. For any test runner.
 *
 * @module
 */

export type { NotResumedReason } from './guard/resumption-rules.js';
export type { ResumptionWay } from './server/connection.js';
export type { MaybePromise, SessionStore } from './stores/session-store.js';
export type { SharedState, SharedStateListener } from './stores/shared-state.js';
export { type TicketFacts, wayOfSession } from './testing/client-session.js';
export type { ConformanceCase } from './testing/conformance.js';
export { type FakeClock, fakeClock } from './testing/fake-clock.js';
export { type CertificateOptions, makeCertificate, type TestCertificate } from './testing/make-certificate.js';
export {
  type MeasureResumptionOptions,
  measureResumption,
  type VersionResumption,
} from './testing/measure-resumption.js';
export {
  assertNotResumed,
  assertResumed,
  type MatcherResult,
  type Resumable,
  type ResumptionMatchers,
  resumptionMatchers,
} from './testing/resumption-assertions.js';
export { type SessionStoreConformanceOptions, sessionStoreConformance } from './testing/session-store-conformance.js';
export { type SharedStateConformanceOptions, sharedStateConformance } from './testing/shared-state-conformance.js';
export {
  CountingStore,
  FaultyStore,
  type FaultyStoreOptions,
  MemoryStore,
  type StoreCall,
  type StoreFault,
} from './testing/test-stores.js';
export { type Visit, type VisitReason, visit } from './testing/visit.js';
export type { TlsVersion, VisitOptions } from './testing/visit-options.js';
export type { VisitAddress, VisitTarget } from './testing/visit-target.js';
