/** The command line of the playground. */

import { isIP } from 'node:net';
import { parseArgs } from 'node:util';

const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
const MODES = ['stateful', 'none'] as const;
const KEYS = ['ecdsa', 'rsa'] as const;

export type Version = (typeof VERSIONS)[number];

export interface PlaygroundOptions {
  readonly port: number;
  readonly host: string;
  readonly mode: (typeof MODES)[number];
  readonly min: Version;
  readonly max: Version;
  readonly key: (typeof KEYS)[number];
  /** Seconds a session lives. */
  readonly timeout: number;
  readonly serve: boolean;
  readonly exit: boolean;
}

/** What was wrong with the command line, in one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export const HELP = `Usage: npm start -- [options]

Starts a TLS server, lets clients in a second process come back to it, prints what that
saved, and goes on serving for your own browser.

  --port N          port to listen on; 0 takes a free one (default: 0)
  --host ADDRESS    address to listen on (default: 127.0.0.1)
  --mode MODE       stateful: sessions are kept by the server; none: nothing resumes
                    (default: stateful)
  --min VERSION     lowest protocol version, TLSv1.2 or TLSv1.3 (default: TLSv1.2)
  --max VERSION     highest protocol version (default: TLSv1.3)
  --key TYPE        key of the certificate, ecdsa (P-256) or rsa (2048) (default: ecdsa)
  --timeout SECONDS how long a session can be resumed, 1 to 604800 (default: 300)
  --serve           no table: only serve
  --exit            leave after the table
  --help            print this
`;

const SPECIFICATION = {
  port: { type: 'string' },
  host: { type: 'string' },
  mode: { type: 'string' },
  min: { type: 'string' },
  max: { type: 'string' },
  key: { type: 'string' },
  timeout: { type: 'string' },
  serve: { type: 'boolean' },
  exit: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

type Values = Partial<Record<string, string>>;

const quoted = (value: string | undefined): string => (value === undefined ? 'nothing' : JSON.stringify(value));

function wrong(option: string, expected: string, given: string | undefined): UsageError {
  return new UsageError(`--${option} expected ${expected}, got ${quoted(given)}`);
}

/** Checked here and not by parseArgs: its own messages run over several lines. */
function valuesOf(args: readonly string[]): Values {
  const values: Values = {};
  const { tokens } = parseArgs({ args: [...args], options: SPECIFICATION, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') throw new UsageError(`expected options only, got ${quoted(token.value)}`);
    if (!Object.hasOwn(SPECIFICATION, token.name)) {
      const known = Object.keys(SPECIFICATION).map((name) => `--${name}`);
      throw new UsageError(`expected one of ${known.join(', ')}, got ${quoted(token.rawName)}`);
    }
    const { type } = SPECIFICATION[token.name as keyof typeof SPECIFICATION];
    if (type === 'boolean') {
      if (token.value !== undefined) throw wrong(token.name, 'no value', token.value);
    } else if (token.value === undefined || (!token.inlineValue && token.value.startsWith('-'))) {
      throw wrong(token.name, 'a value', token.value);
    }
    values[token.name] = token.value ?? '';
  }
  return values;
}

function integer(values: Values, option: string, lowest: number, highest: number, otherwise: number): number {
  const given = values[option];
  if (given === undefined) return otherwise;
  const value = /^\d{1,9}$/.test(given) ? Number(given) : Number.NaN;
  if (value >= lowest && value <= highest) return value;
  throw wrong(option, `an integer from ${lowest} to ${highest}`, given);
}

function choice<T extends string>(values: Values, option: string, choices: readonly T[], otherwise: T): T {
  const given = values[option];
  if (given === undefined) return otherwise;
  const chosen = choices.find((each) => each === given);
  if (chosen !== undefined) return chosen;
  throw wrong(option, choices.join(' or '), given);
}

function host(values: Values): string {
  const given = values['host'] ?? '127.0.0.1';
  if (isIP(given) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(given)) return given;
  throw wrong('host', 'an IP address or a host name', given);
}

/**
 * @returns `undefined` when help was asked for
 * @throws UsageError
 */
export function parseArguments(args: readonly string[]): PlaygroundOptions | undefined {
  const values = valuesOf(args);
  if (values['help'] !== undefined) return undefined;
  const options = {
    port: integer(values, 'port', 0, 65_535, 0),
    host: host(values),
    mode: choice(values, 'mode', MODES, 'stateful'),
    min: choice(values, 'min', VERSIONS, 'TLSv1.2'),
    max: choice(values, 'max', VERSIONS, 'TLSv1.3'),
    key: choice(values, 'key', KEYS, 'ecdsa'),
    timeout: integer(values, 'timeout', 1, 604_800, 300),
    serve: values['serve'] !== undefined,
    exit: values['exit'] !== undefined,
  };
  if (options.min > options.max) throw wrong('min', `at most --max (${options.max})`, options.min);
  if (options.serve && options.exit) throw new UsageError('--exit expected a table to leave after, got "--serve" too');
  return options;
}

/** The protocol versions that the server speaks. */
export function versionsOf({ min, max }: PlaygroundOptions): readonly Version[] {
  return VERSIONS.filter((version) => version >= min && version <= max);
}
