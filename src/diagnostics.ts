/**
 * What is told on `node:diagnostics_channel`: events with no secrets in them, which cost nothing while nobody listens.
 *
 * @module
 */

import { channel } from 'node:diagnostics_channel';

/** The channels' names, for `diagnostics_channel.subscribe(name, message => …)`. */
export const DiagnosticsChannels = {
  /** {@link ResumedMessage}: a handshake was an abbreviated one. */
  Resumed: 'tls-resumption:resumed',
  /** {@link RefusedMessage}: a client offered to resume, and the handshake went on in full. */
  Refused: 'tls-resumption:refused',
  /** {@link StoredMessage}: a cache kept a session. Tickets are kept by the clients. */
  Stored: 'tls-resumption:stored',
  /** {@link FlushedMessage}: sessions were removed from a cache because their time was over, or all of them. */
  Flushed: 'tls-resumption:flushed',
  /** {@link RotatedMessage}: what was made before is forgotten, wholly or under some settings. */
  Rotated: 'tls-resumption:rotated',
  /** A `ReloadReport`: a server was given other settings, or was to be. */
  Reloaded: 'tls-resumption:reloaded',
  /** {@link StoreErrorMessage}: an external cache or a shared state failed. */
  StoreError: 'tls-resumption:store-error',
} as const;

/** A connection that resumed. */
export interface ResumedMessage {
  /** The guard's name. */
  readonly guard: string;
  /** The name asked for, exactly as sent. */
  readonly servername: string | undefined;
  /** As in `ResumptionConnection`: `session-id`, `stateful-ticket` or `ticket`. */
  readonly way: string;
  /** The TLSSocket: `resumption.connection(socket)` tells all else. */
  readonly socket: object;
}

/** A connection whose client offered to resume, or may have, and that did not. First visits are not told. */
export interface RefusedMessage {
  /** The guard's name. */
  readonly guard: string;
  /** The name asked for, exactly as sent. */
  readonly servername: string | undefined;
  /** A `NotResumedReason`. */
  readonly reason: string;
  /** The TLSSocket: `resumption.connection(socket)` tells all else. */
  readonly socket: object;
}

/** A session that a SessionCache kept. */
export interface StoredMessage {
  /** The SessionCache. */
  readonly cache: object;
  /** Who made the session. */
  readonly side: 'server' | 'client';
  /** Length of the session. */
  readonly bytes: number;
  /** Whether it is in the internal cache. */
  readonly internal: boolean;
  /** Whether it was given to the external cache, which may fail yet. */
  readonly external: boolean;
}

/** Sessions that left the internal cache together. */
export interface FlushedMessage {
  /** The SessionCache. */
  readonly cache: object;
  /** How many sessions. */
  readonly removed: number;
  /** `expired`: by `flush`, a SessionFlusher or automatic clearing. `cleared`: by `clear`. */
  readonly cause: 'expired' | 'cleared';
}

/** A guard that forgets. */
export interface RotatedMessage {
  /** The guard's name. */
  readonly guard: string;
  /** What was given to `rotate` or `retire`, on another host if so. */
  readonly reason: string;
  /** The settings whose sessions are forgotten: 32 bytes. `undefined` when all are. */
  readonly parameters?: Uint8Array | undefined;
}

/** A store that failed. What it cost is told elsewhere: a full handshake, or nothing. */
export interface StoreErrorMessage {
  /** The external cache of sessions, or the state that guards share. */
  readonly store: 'sessions' | 'state';
  /** What was asked of it: `get`, `set`, `entries`, … */
  readonly operation: string;
  /** What it threw, or rejected with. */
  readonly error: unknown;
}

/** @internal */
export const channels = {
  resumed: channel(DiagnosticsChannels.Resumed),
  refused: channel(DiagnosticsChannels.Refused),
  stored: channel(DiagnosticsChannels.Stored),
  flushed: channel(DiagnosticsChannels.Flushed),
  rotated: channel(DiagnosticsChannels.Rotated),
  reloaded: channel(DiagnosticsChannels.Reloaded),
  storeError: channel(DiagnosticsChannels.StoreError),
};

/** Told rarely enough that the message may be built before it is known whether somebody listens. */
export function publishStoreError(store: StoreErrorMessage['store'], operation: string, error: unknown): void {
  if (channels.storeError.hasSubscribers) {
    channels.storeError.publish({ store, operation, error } satisfies StoreErrorMessage);
  }
}
