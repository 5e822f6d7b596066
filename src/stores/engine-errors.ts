/**
 * What an engine or its client says when something fails, without what they may have put into it: clients hang the
 * command with its arguments on their errors, and servers quote them. Arguments are sessions.
 */

import { ResumptionError } from '../errors.js';

/** A quotation, or what Redis says before it lists the arguments. The apostrophe of "isn't" is none. */
const QUOTATION = /(?:(?:^|[\s,:;(=]+)["'`]|,? with args\b).*$/s;
const MAX_LENGTH = 160;

/**
 * The error that a store rejects with: without a cause, on purpose.
 *
 * @param what what was tried, such as `Redis GET`
 * @param error what the client threw or rejected with
 */
export function engineError(what: string, error: unknown): ResumptionError {
  return new ResumptionError('ERR_STORE_UNAVAILABLE', `${what} failed: ${saidBy(error) || 'no reason was given'}`);
}

/** For an answer that is not of the kind that was asked for. */
export function strangeAnswer(what: string, expected: string): ResumptionError {
  return new ResumptionError('ERR_STORE_UNAVAILABLE', `${what} failed: the answer is not ${expected}`);
}

/** For calls after `close`. */
export function closedError(): ResumptionError {
  return new ResumptionError('ERR_STORE_UNAVAILABLE', 'the store is closed');
}

/** The message, or the code, of an error, up to the first thing quoted. Never throws. */
export function saidBy(error: unknown): string {
  try {
    const { message, code, cause } = error as { message?: unknown; code?: unknown; cause?: { code?: unknown } };
    // What `fetch` says is in the cause, and several failed addresses have a code and no message.
    const codes = [cause?.code, code].filter((each) => typeof each === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(each));
    const text = typeof message === 'string' ? message : typeof error === 'string' ? error : '';
    const said = text
      .slice(0, MAX_LENGTH)
      .replace(QUOTATION, '')
      .replaceAll(/[^ -~]+/g, ' ')
      .trim();
    return [said, codes[0]].filter(Boolean).join(', ');
  } catch {
    return '';
  }
}
