/** What a session cache tells on diagnostics channels. */

import { channels, type FlushedMessage, type StoredMessage } from '../diagnostics.js';
import { SessionCacheMode } from './session-cache-mode.js';
import type { SessionSide } from './session-cache-options.js';

/** A session was kept. */
export function tellStored(
  cache: { readonly mode: SessionCacheMode },
  side: SessionSide,
  bytes: number,
  external: boolean,
): void {
  if (!channels.stored.hasSubscribers) return;
  const internal = (cache.mode & SessionCacheMode.NoInternalStore) === 0;
  channels.stored.publish({ cache, side, bytes, internal, external } satisfies StoredMessage);
}

/** Sessions were removed. @returns how many */
export function tellFlushed(cache: object, removed: number, cause: FlushedMessage['cause']): number {
  if (removed > 0 && channels.flushed.hasSubscribers) {
    channels.flushed.publish({ cache, removed, cause } satisfies FlushedMessage);
  }
  return removed;
}
