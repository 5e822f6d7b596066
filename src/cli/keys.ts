/** `keys generate|convert|check`: files of ticket keys. */

import { randomBytes } from 'node:crypto';
import { ResumptionError } from '../errors.js';
import { TicketKey } from '../tickets/ticket-key.js';
import { formatTicketKeys, parseTicketKeys, type TicketKeyFormat } from '../tickets/ticket-key-formats.js';
import { choiceOf, readArguments, wholeNumberOf } from './arguments.js';
import { openToOthers, readInput, writeSecret } from './files.js';
import { CommandError, type ExitCode, type Io, json, painter, UsageError } from './io.js';

const FORMATS: readonly TicketKeyFormat[] = ['node', 'nginx', 'haproxy', 'apache', 'ats'];

const NAME_BYTES = 16;
/** HAProxy wants three, the others have one. */
const COUNTS: Partial<Record<TicketKeyFormat, number>> = { haproxy: 3 };
const MAX_COUNT = 1000;

const OPTIONS = {
  format: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  out: { type: 'string' },
  bits: { type: 'string' },
  count: { type: 'string' },
  key: { type: 'string' },
  force: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

type Values = ReturnType<typeof readArguments<typeof OPTIONS>>['values'];

/** Which options a verb takes. */
const TAKES: Readonly<Record<string, readonly (keyof typeof OPTIONS)[]>> = {
  generate: ['format', 'out', 'bits', 'count', 'force', 'json'],
  convert: ['from', 'to', 'out', 'key', 'force', 'json'],
  check: ['format', 'json'],
};

/** What is said of a key: no secret. */
interface KeyReport {
  readonly name: string;
  readonly bits: number;
}

interface FileReport {
  readonly file: string;
  /** Why it does not load; `undefined` when it does. */
  readonly fault: string | undefined;
  readonly openToOthers: boolean | undefined;
  readonly keys: readonly KeyReport[];
}

export async function runKeys(args: readonly string[], io: Io): Promise<ExitCode> {
  const { values, positionals } = readArguments(args, OPTIONS);
  const [verb = '', ...files] = positionals;
  const takes = TAKES[verb];
  if (takes === undefined) {
    throw new UsageError(
      `keys expected generate, convert or check, got ${verb === '' ? 'nothing' : JSON.stringify(verb)}`,
    );
  }
  const odd = Object.keys(values).find((name) => !takes.includes(name as keyof typeof OPTIONS));
  if (odd !== undefined) throw new UsageError(`keys ${verb} takes no --${odd}`);
  if (verb === 'generate') return generate(files, values, io);
  if (files.length === 0) throw new UsageError(`keys ${verb} expected a file, got nothing`);
  return verb === 'convert' ? convert(files, values, io) : check(files, values, io);
}

async function generate(files: readonly string[], values: Values, io: Io): Promise<ExitCode> {
  if (files.length > 0) throw new UsageError('keys generate expected options only; --out FILE says where to');
  const format = choiceOf('format', values.format, FORMATS);
  const bits = choiceOf('bits', values.bits ?? '128', ['128', '256']);
  const count = wholeNumberOf('count', values.count, 1, MAX_COUNT, COUNTS[format] ?? 1);
  const keys = Array.from({ length: count }, () => {
    const bytes = randomBytes(NAME_BYTES + Number(bits) / 4);
    const key = TicketKey.from(bytes);
    bytes.fill(0);
    return key;
  });
  return write(keys, format, values, io);
}

async function convert(files: readonly string[], values: Values, io: Io): Promise<ExitCode> {
  const from = choiceOf('from', values.from, FORMATS);
  const to = choiceOf('to', values.to, FORMATS);
  const keys = (await Promise.all(files.map((file) => readKeys(file, from, io)))).flat();
  const number = wholeNumberOf('key', values.key, 1, keys.length, 0);
  return write(number === 0 ? keys : keys.slice(number - 1, number), to, values, io);
}

async function write(keys: readonly TicketKey[], format: TicketKeyFormat, values: Values, io: Io): Promise<ExitCode> {
  const { out } = values;
  if (!out || out === '-')
    throw new UsageError('--out FILE is needed: keys are written to a file that only you can read');
  const content = contentOf(keys, format);
  const reports = keys.map(reportOf);
  for (const key of keys) key.destroy();
  await writeSecret(out, content, values.force === true);
  content.fill(0);
  if (values.json) io.out(json({ file: out, format, keys: reports }));
  else io.out(`wrote ${JSON.stringify(out)} (${format})\n${listing(reports, format)}`);
  return 0;
}

function contentOf(keys: readonly TicketKey[], format: TicketKeyFormat): Buffer {
  try {
    return formatTicketKeys(keys, format);
  } catch (error) {
    const hint = keys.length > 1 ? '; convert takes one of them with --key N' : '';
    throw new UsageError(`${(error as Error).message.replace('"keys" expected', 'expected')}${hint}`);
  }
}

async function readKeys(file: string, format: TicketKeyFormat, io: Io): Promise<TicketKey[]> {
  const bytes = await readInput(file, io);
  try {
    return parseTicketKeys(bytes, format);
  } catch (error) {
    if (error instanceof ResumptionError) throw new CommandError(`${JSON.stringify(file)}: ${error.message}`);
    throw error;
  } finally {
    bytes.fill(0);
  }
}

/** For `inspect`: the keys of a file, which the caller destroys. */
export function keysForInspection(file: string, format: string | undefined, io: Io): Promise<TicketKey[]> {
  return readKeys(file, choiceOf('format', format, FORMATS), io);
}

async function check(files: readonly string[], values: Values, io: Io): Promise<ExitCode> {
  const format = choiceOf('format', values.format, FORMATS);
  const checked: FileReport[] = [];
  for (const file of files) {
    const bytes = await readInput(file, io);
    const { keys, fault } = parse(bytes, format);
    checked.push({ file, fault, openToOthers: await openToOthers(file), keys });
  }
  const bad = checked.some(({ fault, openToOthers }) => fault !== undefined || openToOthers === true);
  if (values.json) io.out(json({ format, good: !bad, files: checked }));
  else io.out(checked.map((each) => described(each, format, io)).join('\n'));
  return bad ? 1 : 0;
}

function parse(bytes: Buffer, format: TicketKeyFormat): { keys: KeyReport[]; fault: string | undefined } {
  try {
    const keys = parseTicketKeys(bytes, format);
    const reports = keys.map(reportOf);
    for (const key of keys) key.destroy();
    return { keys: reports, fault: undefined };
  } catch (error) {
    if (!(error instanceof ResumptionError)) throw error;
    return { keys: [], fault: error.message };
  } finally {
    bytes.fill(0);
  }
}

function described({ file, fault, openToOthers, keys }: FileReport, format: TicketKeyFormat, io: Io): string {
  const paint = painter(io.colours);
  const verdict = fault === undefined ? paint('green', 'good') : `${paint('red', 'bad')}: ${fault}`;
  const open = openToOthers ? `  ${paint('yellow', 'others than its owner may read or write it: chmod 600')}\n` : '';
  return `${JSON.stringify(file)}: ${verdict}\n${open}${listing(keys, format)}`;
}

function reportOf(key: TicketKey): KeyReport {
  return { name: key.name.toString('hex'), bits: key.aesKey.length * 8 };
}

function listing(keys: readonly KeyReport[], format: TicketKeyFormat): string {
  return keys
    .map(({ name, bits }, i) => {
      const use = i === 0 ? 'seals' : i === 1 && format === 'haproxy' ? 'seals next' : 'opens';
      return `  ${name}  AES-${bits}  ${use}\n`;
    })
    .join('');
}
