/** What a session cache counts. */

import { outOfRange, requireString } from '../arguments.js';

/** Counters of a {@link SessionCache}, named after SSL_CTX_sess_number(3). Those of lookups count servers' only. */
export interface SessionCacheStatistics {
  /** Sessions in the internal cache now. */
  readonly number: number;
  /** Client handshakes begun. */
  readonly connect: number;
  /** Client handshakes completed. */
  readonly connectGood: number;
  /** Server handshakes begun. */
  readonly accept: number;
  /** Server handshakes completed. */
  readonly acceptGood: number;
  /** Sessions resumed. */
  readonly hits: number;
  /** Sessions that the external cache answered with. */
  readonly callbackHits: number;
  /** Sessions asked for that the internal cache did not hold, whether or not the external one then did. */
  readonly misses: number;
  /** Sessions found, inside or outside, whose time was over. */
  readonly timeouts: number;
  /** Sessions evicted because the cache was full. */
  readonly cacheFull: number;
  /** Calls of the external cache that failed or answered with what was not stored there. */
  readonly externalErrors: number;
  /** Calls of the external cache that ended with `ERR_STORE_TIMEOUT`, or that a server did not wait for any longer. */
  readonly externalTimeouts: number;
  /** Bytes of the sessions that `cacheFull` counts. */
  readonly evictedBytes: number;
}

/** What {@link SessionCache.count} takes: the side's handshakes begun and completed, and resumptions of either side. */
export type SessionCacheEvent = 'accept' | 'acceptGood' | 'connect' | 'connectGood' | 'hit' | 'externalTimeout';

export type Counters = { -readonly [name in Exclude<keyof SessionCacheStatistics, 'number'>]: number };

export function makeCounters(): Counters {
  return {
    connect: 0,
    connectGood: 0,
    accept: 0,
    acceptGood: 0,
    hits: 0,
    callbackHits: 0,
    misses: 0,
    timeouts: 0,
    cacheFull: 0,
    externalErrors: 0,
    externalTimeouts: 0,
    evictedBytes: 0,
  };
}

export function countEvent(counters: Counters, event: SessionCacheEvent): void {
  switch (event) {
    case 'accept':
      counters.accept++;
      break;
    case 'acceptGood':
      counters.acceptGood++;
      break;
    case 'connect':
      counters.connect++;
      break;
    case 'connectGood':
      counters.connectGood++;
      break;
    case 'hit':
      counters.hits++;
      break;
    case 'externalTimeout':
      counters.externalTimeouts++;
      break;
    default:
      requireString('event', event);
      throw outOfRange('event', 'one of accept, acceptGood, connect, connectGood, hit, externalTimeout', event);
  }
}
