/** The command line: options by node:util's parseArgs, its faults in one line. */

import { type ParseArgsConfig, parseArgs } from 'node:util';
import { UsageError } from './io.js';

type Options = NonNullable<ParseArgsConfig['options']>;

/** @throws UsageError */
export function readArguments<const O extends Options>(args: readonly string[], options: O) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    const { message } = error as Error;
    throw new UsageError((message.split(/\. |\n/)[0] as string).replace(/\.$/, ''));
  }
}

export function wrongOption(option: string, expected: string, given: string): UsageError {
  return new UsageError(`--${option} expected ${expected}, got ${JSON.stringify(given)}`);
}

/** A number of an option, or `otherwise`. */
export function numberOf(
  option: string,
  given: string | undefined,
  min: number,
  max: number,
  otherwise: number,
): number {
  if (given === undefined) return otherwise;
  const value = /^\d{1,9}(\.\d{1,3})?$/.test(given) ? Number(given) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw wrongOption(option, `a number from ${min} to ${max}`, given);
}

export function wholeNumberOf(
  option: string,
  given: string | undefined,
  min: number,
  max: number,
  otherwise: number,
): number {
  const value = numberOf(option, given, min, max, otherwise);
  if (!Number.isInteger(value)) throw wrongOption(option, 'a whole number', given as string);
  return value;
}

/** One of several words. */
export function choiceOf<T extends string>(option: string, given: string | undefined, choices: readonly T[]): T {
  const chosen = choices.find((each) => each === given);
  if (chosen !== undefined) return chosen;
  const expected = `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
  throw given === undefined
    ? new UsageError(`--${option} is needed: ${expected}`)
    : wrongOption(option, expected, given);
}
