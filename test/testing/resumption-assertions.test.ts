import { AssertionError } from 'node:assert';
import * as fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  assertNotResumed,
  assertResumed,
  type Resumable,
  type ResumptionMatchers,
  type ResumptionWay,
  resumptionMatchers,
} from '../../src/testing.js';

declare module 'vitest' {
  interface Matchers<T> extends ResumptionMatchers<T> {}
}

const WAYS: readonly ResumptionWay[] = ['session-id', 'stateful-ticket', 'ticket'];
const back: Resumable = { resumed: true, way: 'ticket', reason: null };
const full: Resumable = { resumed: false, way: null, reason: 'refused' };

function messageOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return 'passed';
}

describe('assertResumed and assertNotResumed', () => {
  it('pass and fail as the visit went', () => {
    expect(messageOf(() => assertResumed(back))).toBe('passed');
    expect(messageOf(() => assertResumed(back, 'ticket'))).toBe('passed');
    expect(messageOf(() => assertNotResumed(full))).toBe('passed');
    expect(messageOf(() => assertResumed(back, 'session-id'))).toBe(
      "expected resumption by 'session-id', got it by 'ticket'",
    );
    expect(messageOf(() => assertResumed(full))).toBe('expected resumption, got a full handshake (refused)');
    expect(messageOf(() => assertResumed(full, 'ticket'))).toBe(
      "expected resumption by 'ticket', got a full handshake (refused)",
    );
    expect(messageOf(() => assertNotResumed(back))).toBe("expected no resumption, got it by 'ticket'");
  });

  it('fail with what a test runner shows a difference of', () => {
    try {
      assertResumed(full, 'ticket');
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(AssertionError);
      expect(error).toMatchObject({ actual: null, expected: 'ticket', operator: 'assertResumed' });
    }
  });

  it('throw for what is no visit, and no way', () => {
    expect(() => assertResumed(undefined as never)).toThrow(TypeError);
    expect(() => assertResumed({} as never)).toThrow(TypeError);
    expect(() => assertResumed(back, 'tickets' as never)).toThrow(RangeError);
    expect(() => assertResumed(back, 1 as never)).toThrow(TypeError);
    expect(() => assertNotResumed(1 as never)).toThrow(TypeError);
  });
});

describe('resumptionMatchers', () => {
  beforeAll(() => {
    expect.extend(resumptionMatchers);
  });

  it('match as the assertions do, and the reverse with .not', () => {
    expect(back).toHaveResumed();
    expect(back).toHaveResumed('ticket');
    expect(back).not.toHaveResumed('session-id');
    expect(full).not.toHaveResumed();
    expect(messageOf(() => expect(full).toHaveResumed('ticket'))).toBe(
      "expected resumption by 'ticket', got a full handshake (refused)",
    );
    expect(messageOf(() => expect(back).not.toHaveResumed('ticket'))).toBe(
      "expected no resumption by 'ticket', got it",
    );
  });

  it('pass exactly where the assertion does', () => {
    const visits = fc.oneof(
      fc.constantFrom(...WAYS).map((way): Resumable => ({ resumed: true, way, reason: null })),
      fc.constant(full),
    );
    fc.assert(
      fc.property(visits, fc.option(fc.constantFrom(...WAYS), { nil: undefined }), (visit, way) => {
        const passed = messageOf(() => assertResumed(visit, way)) === 'passed';
        expect(resumptionMatchers.toHaveResumed(visit, way).pass).toBe(passed);
        expect(passed).toBe(visit.resumed && (way === undefined || way === visit.way));
      }),
    );
  });
});
