/**
 * What the conformance suites have in common.
 *
 * @module
 */

import assert from 'node:assert/strict';
import type { MaybePromise } from '../stores/session-store.js';

/** One check of a conformance suite, for any test runner: `for (const { name, run } of cases) test(name, run)`. */
export interface ConformanceCase {
  /** What must be true of the implementation: the title of the test. */
  readonly name: string;
  /** Rejects with an `AssertionError` if it is not. Takes no arguments and no `this`. */
  readonly run: () => Promise<void>;
}

/** Waits for what may be an answer already, at most `patience` milliseconds: a suite must not hang. */
export async function answerOf<T>(what: string, patience: number, call: () => MaybePromise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new assert.AssertionError({ message: `${what} did not end within ${patience} ms` }));
    }, patience);
  });
  try {
    return await Promise.race([call(), tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for the end of a call, be it an error; rejects with an `AssertionError` if there is none. */
export async function ends(what: string, patience: number, call: () => unknown): Promise<void> {
  try {
    await answerOf(what, patience, call as () => MaybePromise<unknown>);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
  }
}

export function assertBytes(actual: unknown, expected: Uint8Array, what: string): void {
  assert.ok(
    actual instanceof Uint8Array,
    `${what}: expected a Uint8Array, got ${actual === null ? null : typeof actual}`,
  );
  assert.equal(actual.length, expected.length, `${what}: expected ${expected.length} bytes, got ${actual.length}`);
  assert.ok(Buffer.compare(actual, expected) === 0, `${what}: the bytes differ from those that were set`);
}

export function assertNothing(actual: unknown, what: string): void {
  const given = actual instanceof Uint8Array ? `${actual.length} bytes` : String(actual);
  assert.ok(actual === undefined, `${what}: expected undefined, got ${given}`);
}

/** Every byte value, in order. */
export function everyByte(): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, value) => value);
}
