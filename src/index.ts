/**
 * TLS session resumption for Node.js.
 *
 * @module
 */

export {
  SessionCache,
  type SessionCacheEvent,
  type SessionCacheOptions,
  type SessionCacheStatistics,
  type SessionEntry,
  type SessionLifetime,
  type SessionSide,
} from './cache/session-cache.js';
export { SessionCacheMode } from './cache/session-cache-mode.js';
export { SessionFlusher, type SessionFlusherOptions } from './cache/session-flusher.js';
export type { ClientTlsOptions } from './client/client-policy.js';
export type { ClientReloadReport, Reloadable } from './client/client-reload.js';
export { ClientResumption, type ClientResumptionOptions } from './client/client-resumption.js';
export type { ResumingAgent } from './client/resuming-agent.js';
export {
  DiagnosticsChannels,
  type FlushedMessage,
  type RefusedMessage,
  type ResumedMessage,
  type RotatedMessage,
  type StoredMessage,
  type StoreErrorMessage,
} from './diagnostics.js';
export { ResumptionError, type ResumptionErrorCode } from './errors.js';
export { digestParameters, type PemInput, type PolicyParameters, type WrappedPem } from './guard/parameters-digest.js';
export type { NotResumedReason } from './guard/resumption-rules.js';
export {
  type RevocableConnection,
  type Revocation,
  SessionIdContextGuard,
  type SessionIdContextGuardOptions,
  type SessionPolicy,
} from './guard/session-id-context-guard.js';
export type { AffinityBackend, AffinityChoice, FlightObserver } from './proxy/affinity-backend.js';
export type { Forwarded, ForwardOptions } from './proxy/forward.js';
export {
  SessionAffinity,
  type SessionAffinityOptions,
  type SessionAffinityStatistics,
} from './proxy/session-affinity.js';
export { type AttachTicketKeysOptions, attachTicketKeys } from './server/attach-ticket-keys.js';
export type { ResumptionConnection, ResumptionWay } from './server/connection.js';
export type { ReloadChange, ReloadedSetting, SettingChange } from './server/context-facts.js';
export { type ReadClientHelloOptions, readClientHello } from './server/read-client-hello.js';
export type { ReloadedContext, ReloadOptions, ReloadReport } from './server/reload.js';
export type { SecuredTlsOptions, ServerTlsOptions } from './server/secure-options.js';
export { ServerResumption, type ServerResumptionOptions } from './server/server-resumption.js';
export {
  type CallStatistics,
  type CircuitState,
  DeadlineStore,
  type DeadlineStoreOptions,
  type DeadlineStoreStatistics,
  type WriteStatistics,
} from './stores/deadline-store.js';
export { MemorySharedState, type MemorySharedStateOptions } from './stores/memory-shared-state.js';
export { SealedStore, type SealedStoreStatistics } from './stores/sealed-store.js';
export type { MaybePromise, SessionStore } from './stores/session-store.js';
export {
  type SharedState,
  type SharedStateListener,
  type WatchSharedStateOptions,
  watchSharedState,
} from './stores/shared-state.js';
export { Rfc5077Codec } from './tickets/rfc5077-codec.js';
export { TicketCodec, type TicketCodecOptions } from './tickets/ticket-codec.js';
export { TicketKey, type TicketKeyInput, type TicketKeyJson, type TicketKeyParts } from './tickets/ticket-key.js';
export { formatTicketKeys, parseTicketKeys, type TicketKeyFormat } from './tickets/ticket-key-formats.js';
export {
  type GeneratedKeysOptions,
  type KeyFileOptions,
  type RotateOptions,
  type RotationReason,
  type SecretKeysOptions,
  TicketKeyRing,
  type TicketKeyRingEvents,
  type TicketKeyRingJson,
  type TicketKeyRingOptions,
  type TicketKeyRotation,
} from './tickets/ticket-key-ring.js';
export type { TicketSealer } from './tickets/ticket-sealer.js';
export { type ClientHello, type PskIdentity, parseClientHello } from './wire/client-hello.js';
export {
  type NewSessionTicket,
  parseNewSessionTicket,
  parseServerHello,
  type ServerHello,
} from './wire/server-hello.js';
export { type DecodeOptions, decodeSslSession, type SslSession } from './wire/ssl-session.js';
