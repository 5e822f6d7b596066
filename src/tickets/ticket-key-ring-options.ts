/** What a key ring is told, and how that is checked. */

import { outOfRange, requireFunction, requireInteger, requireNumber, requireObject, wrongType } from '../arguments.js';
import type { MaybePromise } from '../stores/session-store.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import { LAYOUTS, type TicketKeyFormat } from './key-format-layouts.js';
import { MAX_KEYS } from './key-set.js';
import type { TicketKeyInput } from './ticket-key.js';

const ONE_DAY = 86_400;
const SHORTEST = 0.01;

/** Options of every {@link TicketKeyRing}. */
export interface TicketKeyRingOptions {
  /** Seconds that a key still opens after it stopped sealing, 1 to 604 800 (RFC 8446 §4.6.1). Default: 7200. */
  readonly lifetime?: number | undefined;
  /**
   * Seals of one key in this process at most, 1 to 2³². Default: 2³⁰. NIST SP 800-38D §8.3 allows 2³² under a key with
   * random nonces, and this leaves room for four hosts with the same key; the 2³⁶ blocks of 64 that CBC then encrypts
   * at most meet a repeated one with a chance of 2⁻⁵⁷. Keys that are the ring's own are replaced before, others are
   * reported as a fault `ERR_KEY_OVERUSED`, once each, and go on.
   */
  readonly maxSeals?: number | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

/** Options of {@link TicketKeyRing.generate}. */
export interface GeneratedKeysOptions extends TicketKeyRingOptions {
  /**
   * Seconds from one rotation to the next, 0.01 to 604 800; `false` for none by time. No more than 1024 keys may come
   * together within `lifetime`. Default: 3600.
   */
  readonly interval?: number | false | undefined;
  /** Bytes of a key: 48 (AES-128, and what Node takes) or 80 (AES-256). Default: 48. */
  readonly keyLength?: 48 | 80 | undefined;
  /**
   * Where keys come from instead of the random generator: a key management service, say. A copy is kept: what it gives
   * stays its own to overwrite. A source that throws, rejects, does not answer within 30 seconds, or gives a key that is
   * not a good one or is held already, is reported as a fault `ERR_KEY_SOURCE`; the keys held go on working, and it is
   * asked again after 1 second, then twice as long each time up to 5 minutes, each shortened at random by up to half.
   *
   * A key exists before the first seal: while the first answer of an asynchronous source is on its way, and after a
   * rotation by hand without a key until it answers, a random key of this process stands in.
   */
  readonly generateKey?: (() => MaybePromise<TicketKeyInput>) | undefined;
}

/** Options of {@link TicketKeyRing.fromSecret}: the same on all hosts. */
export interface SecretKeysOptions extends TicketKeyRingOptions {
  /**
   * Seconds of a period, which has a key of its own, 0.01 to 604 800 in whole milliseconds. No more than 1024 keys may
   * come together within `lifetime` and `skew`. Default: 3600.
   */
  readonly interval?: number | undefined;
  /** Seconds that the clocks of two hosts may differ, 0 to 86 400. Default: 60. */
  readonly skew?: number | undefined;
  /** Bytes of a key: 48 (AES-128, and what Node takes) or 80 (AES-256). Default: 48. */
  readonly keyLength?: 48 | 80 | undefined;
}

/** Options of {@link TicketKeyRing.fromFile}. */
export interface KeyFileOptions extends TicketKeyRingOptions {
  /** How the keys are written. There is no default, and no guessing: a wrong order loads and never works. */
  readonly format: TicketKeyFormat;
  /**
   * Seconds in which a new file gets to all hosts and is read there, two `pollInterval`s included, 0 to 86 400: so long
   * its sealing key opens only, unless it did before. Default: 60.
   */
  readonly skew?: number | undefined;
  /** Seconds from one look at the file to the next, 0.01 to 86 400. Default: 1. */
  readonly pollInterval?: number | undefined;
}

/** Options of every ring, checked. Times are milliseconds. */
export interface RingSettings {
  readonly lifetime: number;
  readonly maxSeals: number;
  readonly clock: () => number;
}

export function requireRingOptions(options: TicketKeyRingOptions): RingSettings {
  requireObject('options', options);
  const { lifetime = 7200, maxSeals = 2 ** 30, clock = Date.now } = options;
  return {
    lifetime: requireNumber('lifetime', lifetime, 1, MAX_TICKET_LIFETIME, 'seconds') * 1000,
    maxSeals: requireInteger('maxSeals', maxSeals, 1, 2 ** 32),
    clock: requireFunction('clock', clock),
  };
}

export function requireKeyLength(keyLength: unknown = 48): 48 | 80 {
  if (keyLength === 48 || keyLength === 80) return keyLength;
  if (typeof keyLength !== 'number') throw wrongType('keyLength', '48 or 80', keyLength);
  throw outOfRange('keyLength', '48 or 80', keyLength);
}

export function requireFormat(format: unknown): TicketKeyFormat {
  const formats = Object.keys(LAYOUTS).join(', ');
  if (typeof format !== 'string') throw wrongType('format', formats, format);
  if (!Object.hasOwn(LAYOUTS, format)) throw outOfRange('format', formats, format);
  return format as TicketKeyFormat;
}

/** @returns milliseconds */
export function requireSkew(skew: unknown = 60): number {
  return requireNumber('skew', skew, 0, ONE_DAY, 'seconds') * 1000;
}

/** @returns milliseconds */
export function requirePollInterval(pollInterval: unknown = 1): number {
  return requireNumber('pollInterval', pollInterval, SHORTEST, ONE_DAY, 'seconds') * 1000;
}

/**
 * @param open milliseconds that a key opens beside the interval in which it seals
 * @returns milliseconds
 */
export function requireInterval(interval: unknown, open: number): number {
  const seconds = requireNumber('interval', interval, SHORTEST, MAX_TICKET_LIFETIME, 'seconds');
  const least = Math.ceil(open / (MAX_KEYS - 3)) / 1000;
  if (seconds < least) {
    throw outOfRange('interval', `at least ${least} seconds, so that ${MAX_KEYS} keys are enough`, interval);
  }
  return seconds * 1000;
}

/** @returns milliseconds, whole ones: every host must come to the same number */
export function requirePeriod(interval: unknown, open: number): number {
  const milliseconds = requireInterval(interval, open);
  const whole = Math.round(milliseconds);
  if (Math.abs(whole - milliseconds) > 1e-6) throw outOfRange('interval', 'whole milliseconds', interval);
  return whole;
}
