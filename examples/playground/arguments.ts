/** The command line of the playground. */

import { isIP } from 'node:net';
import { parseArgs } from 'node:util';

const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
const MODES = ['stateful', 'none', 'tickets'] as const;
const KEYS = ['ecdsa', 'rsa'] as const;
const TICKET_KEY_FORMATS = ['node', 'nginx', 'haproxy', 'apache', 'ats'] as const;
/** Seconds: what the library's key rings take. */
const ROTATE = { least: 0.01, most: 604_800 };
/** Keys that come within the time that a session lives; the library holds little more. */
const MAX_KEYS = 1000;

export type Version = (typeof VERSIONS)[number];

export type StoreChoice =
  | { readonly kind: 'memory' }
  | { readonly kind: 'lmdb'; readonly path: string }
  | { readonly kind: 'redis'; readonly url: string };

export interface PlaygroundOptions {
  readonly port: number;
  readonly host: string;
  readonly mode: (typeof MODES)[number];
  /** Where stateful sessions are kept. */
  readonly store: StoreChoice;
  /** Where ticket keys come from; without it the server makes them. */
  readonly ticketKeys: { readonly file: string; readonly format: (typeof TICKET_KEY_FORMATS)[number] } | undefined;
  /** Seconds from one ticket key to the next. */
  readonly rotate: number;
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
  --mode MODE       stateful: sessions are kept by the server; tickets: by the clients,
                    encrypted; none: nothing resumes (default: stateful)
  --store STORE     with --mode stateful: where sessions are kept; memory, lmdb:DIRECTORY or
                    redis://HOST:PORT (default: memory)
  --ticket-keys FILE
                    with --mode tickets: take the keys from this file, and follow it
  --ticket-key-format FORMAT
                    how they are written there: node, nginx, haproxy, apache or ats
  --rotate SECONDS  with --mode tickets: make a new key so often (default: 3600)
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
  store: { type: 'string' },
  'ticket-keys': { type: 'string' },
  'ticket-key-format': { type: 'string' },
  rotate: { type: 'string' },
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
  throw wrong(option, `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`, given);
}

function host(values: Values): string {
  const given = values['host'] ?? '127.0.0.1';
  if (isIP(given) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(given)) return given;
  throw wrong('host', 'an IP address or a host name', given);
}

/** What is only of use with tickets asks for them. */
function mode(values: Values): PlaygroundOptions['mode'] {
  const option = ['ticket-keys', 'ticket-key-format', 'rotate'].find((each) => values[each] !== undefined);
  const chosen = choice(values, 'mode', MODES, option === undefined ? 'stateful' : 'tickets');
  if (option !== undefined && chosen !== 'tickets') throw wrong(option, '--mode tickets', chosen);
  return chosen;
}

function store(values: Values, mode: PlaygroundOptions['mode']): StoreChoice {
  const given = values['store'];
  if (given === undefined) return { kind: 'memory' };
  if (mode !== 'stateful') throw wrong('store', '--mode stateful', mode);
  if (given === 'memory') return { kind: 'memory' };
  const path = /^lmdb:([^\0]+)$/.exec(given)?.[1];
  if (path !== undefined) return { kind: 'lmdb', path };
  if (/^rediss?:\/\/[^/]+(\/\d*)?$/.test(given) && URL.canParse(given)) return { kind: 'redis', url: given };
  // What stands before an @ may be a password.
  throw wrong('store', 'memory, lmdb:DIRECTORY or redis://HOST:PORT', given.replace(/.*@/s, '...@'));
}

function ticketKeys(values: Values): PlaygroundOptions['ticketKeys'] {
  const { 'ticket-keys': file, 'ticket-key-format': format, rotate } = values;
  if (file === undefined && format === undefined) return undefined;
  if (file === undefined) throw new UsageError('--ticket-key-format expected --ticket-keys too, got nothing');
  if (file === '') throw wrong('ticket-keys', 'a path', file);
  if (format === undefined) throw new UsageError('--ticket-keys expected --ticket-key-format too, got nothing');
  if (rotate !== undefined) {
    throw new UsageError('--rotate expected keys that the server makes, got "--ticket-keys" too');
  }
  return { file, format: choice(values, 'ticket-key-format', TICKET_KEY_FORMATS, 'node') };
}

function rotate(values: Values, timeout: number): number {
  const given = values['rotate'];
  if (given === undefined) return 3600;
  const seconds = /^\d{1,6}(\.\d{1,3})?$/.test(given) ? Number(given) : Number.NaN;
  const least = Math.max(ROTATE.least, timeout / MAX_KEYS);
  if (seconds >= least && seconds <= ROTATE.most) return seconds;
  throw wrong('rotate', `seconds from ${least} to ${ROTATE.most} with a --timeout of ${timeout}`, given);
}

/**
 * @returns `undefined` when help was asked for
 * @throws UsageError
 */
export function parseArguments(args: readonly string[]): PlaygroundOptions | undefined {
  const values = valuesOf(args);
  if (values['help'] !== undefined) return undefined;
  const timeout = integer(values, 'timeout', 1, 604_800, 300);
  const chosenMode = mode(values);
  const options = {
    port: integer(values, 'port', 0, 65_535, 0),
    host: host(values),
    mode: chosenMode,
    store: store(values, chosenMode),
    ticketKeys: ticketKeys(values),
    rotate: rotate(values, timeout),
    min: choice(values, 'min', VERSIONS, 'TLSv1.2'),
    max: choice(values, 'max', VERSIONS, 'TLSv1.3'),
    key: choice(values, 'key', KEYS, 'ecdsa'),
    timeout,
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
