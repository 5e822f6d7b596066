/**
 * What tests say of a visit: as assertions for any runner, and as matchers for Vitest and Jest.
 *
 * @module
 */

import { AssertionError } from 'node:assert';
import { outOfRange, requireObject, wrongType } from '../arguments.js';
import type { ResumptionWay } from '../server/connection.js';
import type { Visit } from './visit.js';

/** What assertions look at: a visit, or anything that tells the same. */
export type Resumable = Pick<Visit, 'resumed' | 'way' | 'reason'>;

const WAYS: readonly ResumptionWay[] = ['session-id', 'stateful-ticket', 'ticket'];

/**
 * The visit came back, by this way if one is given.
 *
 * @throws {AssertionError} of `node:assert` when it did not
 * @throws {TypeError} when an argument is of the wrong type
 * @throws {RangeError} when there is no such way
 */
export function assertResumed(visit: Resumable, way?: ResumptionWay): void {
  if (cameBack(visit, way)) return;
  throw new AssertionError({
    message: failure(visit, way),
    actual: visit.way,
    expected: way ?? 'resumed',
    operator: 'assertResumed',
    stackStartFn: assertResumed,
  });
}

/**
 * The visit was a full handshake.
 *
 * @throws {AssertionError} of `node:assert` when it was not
 * @throws {TypeError} when the argument is no visit
 */
export function assertNotResumed(visit: Resumable): void {
  if (!cameBack(visit, undefined)) return;
  throw new AssertionError({
    message: failure(visit, undefined),
    actual: visit.way,
    expected: null,
    operator: 'assertNotResumed',
    stackStartFn: assertNotResumed,
  });
}

/** What a matcher answers with. */
export interface MatcherResult {
  /** Whether it is as expected. */
  readonly pass: boolean;
  /** What to print when the test fails: `.not` included. */
  readonly message: () => string;
}

/**
 * What {@link resumptionMatchers} adds to `expect(visit)`, for the types of Vitest and Jest:
 *
 * ```ts
 * declare module 'vitest' {
 *   interface Matchers<T> extends ResumptionMatchers<T> {}
 * }
 * ```
 *
 * @typeParam R what the matcher returns
 */
export interface ResumptionMatchers<R = unknown> {
  /** The visit came back, by this way if one is given; with `.not`, it did not, or by another way. */
  toHaveResumed(way?: ResumptionWay): R;
}

/**
 * Matchers for `expect.extend` of Vitest and Jest.
 *
 * @example
 * ```ts
 * expect.extend(resumptionMatchers);
 * expect(await visit(server, { session })).toHaveResumed('stateful-ticket');
 * ```
 */
export const resumptionMatchers: {
  /** Whether the visit came back, by this way if one is given. */
  toHaveResumed(visit: Resumable, way?: ResumptionWay): MatcherResult;
} = {
  toHaveResumed(visit, way) {
    return { pass: cameBack(visit, way), message: () => failure(visit, way) };
  },
};

function cameBack(visit: Resumable, way: ResumptionWay | undefined): boolean {
  requireObject('visit', visit);
  if (typeof visit.resumed !== 'boolean') throw wrongType('visit', 'what visit() resolves with', visit);
  if (way !== undefined && typeof way !== 'string') throw wrongType('way', WAYS.join(', '), way);
  if (way !== undefined && !WAYS.includes(way)) throw outOfRange('way', WAYS.join(', '), way);
  return visit.resumed && (way === undefined || visit.way === way);
}

/** Reads right for `expect(…).not` too. */
function failure({ resumed, way, reason }: Resumable, expected: ResumptionWay | undefined): string {
  const wanted = expected === undefined ? 'resumption' : `resumption by '${expected}'`;
  if (!resumed) return `expected ${wanted}, got a full handshake (${reason})`;
  return expected === undefined || way === expected
    ? `expected no ${wanted}, got it${way === null || expected !== undefined ? '' : ` by '${way}'`}`
    : `expected ${wanted}, got it by '${way}'`;
}
