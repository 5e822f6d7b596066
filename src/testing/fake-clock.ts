/**
 * A clock that stands still until it is moved.
 *
 * @module
 */

import { requireNumber } from '../arguments.js';

/** Milliseconds since 1970 when called: a `clock` option. */
export interface FakeClock {
  (): number;
  /** Milliseconds since 1970. May be set, also to an earlier time. */
  now: number;
  /** Lets so many seconds pass. */
  advance(seconds: number): void;
}

/**
 * A clock for the `clock` option of caches, stores, guards and rings. What OpenSSL judges by the machine's own time
 * (the age of a session that a client shows) does not follow it.
 *
 * @param start milliseconds since 1970. Default: the present time
 * @throws {TypeError} when the time is no number
 * @throws {RangeError} when it is not finite, or negative
 *
 * @example
 * ```ts
 * const clock = fakeClock();
 * const cache = new SessionCache({ clock, timeout: 300 });
 * cache.add(id, session);
 * clock.advance(301);
 * assert.equal(cache.get(id), undefined);
 * ```
 */
export function fakeClock(start: number = Date.now()): FakeClock {
  requireNumber('start', start, 0, Number.MAX_SAFE_INTEGER, 'ms');
  const clock: FakeClock = Object.assign(() => clock.now, {
    now: start,
    advance(seconds: number) {
      clock.now += requireNumber('seconds', seconds, 0, Number.MAX_SAFE_INTEGER, 's') * 1000;
    },
  });
  return clock;
}
