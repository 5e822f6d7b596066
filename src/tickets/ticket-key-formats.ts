/**
 * Ticket keys as the files of other servers hold them.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { outOfRange, wrongType } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { asBuffer } from '../wire/bytes.js';
import { decodeBase64 } from './key-format-base64.js';
import { guessFormat, guessOther, isText } from './key-format-guess.js';
import { type KeyLayout, LAYOUTS, readKey, type TicketKeyFormat, writeKey } from './key-format-layouts.js';
import { TicketKey, type TicketKeyInput } from './ticket-key.js';

export type { TicketKeyFormat } from './key-format-layouts.js';

/** Nobody has more keys than fit here, and a wrong file must not fill the memory. */
const MAX_FILE_BYTES = 2 ** 20;

const FORMATS = Object.keys(LAYOUTS).map((name) => `'${name}'`);

/**
 * Reads the ticket keys of a file. The first of the result seals, all open, whatever the order in the file.
 *
 * | format | what the file holds | seals |
 * |---|---|---|
 * | `node`, `apache` | name 16, HMAC key 16, AES key 16 | that key |
 * | `ats` | any number of those, one after the other | the first |
 * | `nginx` | name 16, AES key 16, HMAC key 16; or name 16, HMAC key 32, AES key 32 | that key |
 * | `haproxy` | 3 or more lines, each the base64 of name 16, AES key 16, HMAC key 16, or each of name 16, AES key 32, HMAC key 32 | the last but one |
 *
 * After the sealing key come, for `haproxy`, the last one, which will seal next, and then the others, the newest
 * (lowest) first. Of these HAProxy itself only knows the last 3 lines.
 *
 * @param input what is in the file, at most 1 MiB; a string for `haproxy` only
 * @returns keys that the caller should `destroy()` when they are not needed any more
 * @throws {TypeError} when the input is neither a `Uint8Array` nor, for `haproxy`, a string
 * @throws {RangeError} when the format is unknown
 * @throws {ResumptionError} `ERR_TICKET_KEYS_FORMAT` when the input is not in this format, and says what it looks like;
 *   or when a key is all zero, or there twice
 */
export function parseTicketKeys(input: Uint8Array | string, format: TicketKeyFormat): TicketKey[] {
  const layout = requireFormat(format);
  const bytes = inputBytes(input, format, layout);
  if (bytes.length > MAX_FILE_BYTES) throw fault(format, `it is ${bytes.length} bytes, more than any such file has`);
  const keys: TicketKey[] = [];
  const parts = layout.isText ? readLines(bytes, format) : readRaw(bytes, format, layout);
  try {
    for (const part of parts) keys.push(checkedKey(part, keys.length + 1, format));
    refuseRepeated(keys, (what) => fault(format, what));
    return layout.isText ? fromLineOrder(keys) : keys;
  } catch (error) {
    for (const key of keys) key.destroy();
    throw error;
  } finally {
    if (layout.isText) for (const part of parts) part.fill(0);
  }
}

/**
 * Writes the ticket keys of a file: what {@link parseTicketKeys} reads as the same keys in the same order.
 *
 * @param keys the first seals. For `haproxy` the second will seal next, and the others are previous ones, the newest
 *   first
 * @returns what the file should hold, all of it: secrets that the caller should overwrite after use
 * @throws {TypeError} when an argument is of the wrong type
 * @throws {RangeError} when the format is unknown, or cannot hold these keys: too few, too many, too long, of two
 *   lengths, one there twice, or destroyed
 */
export function formatTicketKeys(keys: readonly TicketKeyInput[], format: TicketKeyFormat): Buffer {
  const layout = requireFormat(format);
  if (!Array.isArray(keys)) throw wrongType('keys', 'an array of keys', keys);
  const own: TicketKey[] = [];
  try {
    const all = (keys as readonly TicketKeyInput[]).map((input) => {
      const key = TicketKey.from(input);
      if (key !== input) own.push(key);
      return key;
    });
    refuseUnwritable(all, format, layout);
    return layout.isText ? writeLines(all, layout) : Buffer.concat(all.map((key) => writeKey(key, layout)));
  } finally {
    for (const key of own) key.destroy();
  }
}

function requireFormat(format: unknown): KeyLayout {
  if (typeof format !== 'string') throw wrongType('format', FORMATS.join(', '), format);
  if (!Object.hasOwn(LAYOUTS, format)) throw outOfRange('format', FORMATS.join(', '), format);
  return LAYOUTS[format as TicketKeyFormat];
}

function fault(format: TicketKeyFormat, what: string, options?: ErrorOptions): ResumptionError {
  const expected = `the format '${format}' is ${LAYOUTS[format].description}`;
  return new ResumptionError('ERR_TICKET_KEYS_FORMAT', `${expected}; ${what}`, options);
}

function inputBytes(input: unknown, format: TicketKeyFormat, layout: KeyLayout): Buffer {
  if (input instanceof Uint8Array) return asBuffer(input);
  if (typeof input !== 'string') {
    throw wrongType('input', layout.isText ? 'a Uint8Array or a string' : 'a Uint8Array', input);
  }
  if (input.length > MAX_FILE_BYTES) {
    throw fault(format, `it is ${input.length} characters, more than any such file has`);
  }
  const bytes = Buffer.from(input);
  if (layout.isText) return bytes;
  const { message } = wrongType('input', `a Uint8Array (the format '${format}' is bytes)`, input);
  throw new TypeError(
    `${message}; ${isText(bytes) ? guessFormat(bytes) : 'it looks like bytes that were read as text'}`,
  );
}

/** Views of the input. */
function readRaw(bytes: Buffer, format: TicketKeyFormat, layout: KeyLayout): Buffer[] {
  const size = layout.sizes.find((size) => {
    return layout.maxKeys === 1 ? bytes.length === size : bytes.length % size === 0;
  });
  // An empty file is text too.
  if (size === undefined || isText(bytes)) throw fault(format, guessFormat(bytes));
  return Array.from({ length: bytes.length / size }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

/** Copies. */
function readLines(bytes: Buffer, format: TicketKeyFormat): Buffer[] {
  if (bytes.length === 0 || !isText(bytes)) throw fault(format, guessFormat(bytes));
  const lines = bytes.toString('latin1').split('\n');
  if (lines.at(-1) === '') lines.pop();
  const parts: Buffer[] = [];
  try {
    for (const line of lines) {
      const part = decodeBase64(line.endsWith('\r') ? line.slice(0, -1) : line);
      const wrong = lineFault(part, parts);
      if (part === undefined || wrong !== undefined) {
        throw fault(format, guessOther(bytes) ?? `line ${parts.length + 1} ${wrong}`);
      }
      parts.push(part);
    }
    if (parts.length < LAYOUTS[format].minKeys) throw fault(format, `it has ${count(parts.length, 'line')}`);
    return parts;
  } catch (error) {
    for (const part of parts) part.fill(0);
    throw error;
  }
}

/** What is wrong with a line, after those before it. */
function lineFault(part: Buffer | undefined, before: readonly Buffer[]): string | undefined {
  if (part === undefined) return 'is not base64, or has something else around it';
  const { length } = part;
  const first = before[0]?.length;
  // "openssl rand -base64 80" breaks its line.
  if (length === 32 && before.at(-1)?.length === 48) return 'looks like the rest of the line before: put both in one';
  if (length !== 48 && length !== 80) return `holds ${length} bytes`;
  return first === undefined || length === first ? undefined : `holds ${length} bytes, line 1 holds ${first}`;
}

function checkedKey(bytes: Buffer, number: number, format: TicketKeyFormat): TicketKey {
  try {
    return readKey(bytes, LAYOUTS[format]);
  } catch (cause) {
    throw fault(format, `key ${number}: ${(cause as Error).message}`, { cause });
  }
}

function refuseRepeated(keys: readonly TicketKey[], error: (what: string) => Error): void {
  const seen = new Map<string, number>();
  for (const [i, key] of keys.entries()) {
    for (const part of ['name', 'hmacKey', 'aesKey'] as const) {
      // Strings cannot be overwritten: a digest stands for a secret.
      const id = part + createHash('sha256').update(key[part]).digest('base64');
      const other = seen.get(id);
      if (other !== undefined) throw error(`keys ${other + 1} and ${i + 1} have the same "${part}"`);
      seen.set(id, i);
    }
  }
}

/** HAProxy's order: …, previous, sealing, next. */
function fromLineOrder<T>(lines: readonly T[]): T[] {
  const [next, sealing, ...previous] = lines.toReversed() as [T, T, ...T[]];
  return [sealing, next, ...previous];
}

function toLineOrder<T>(keys: readonly T[]): T[] {
  const [sealing, next, ...previous] = keys as [T, T, ...T[]];
  return [...previous.toReversed(), sealing, next];
}

function writeLines(keys: readonly TicketKey[], layout: KeyLayout): Buffer {
  const lines = toLineOrder(keys).map((key) => {
    const bytes = writeKey(key, layout);
    const line = `${bytes.toString('base64')}\n`;
    bytes.fill(0);
    return line;
  });
  return Buffer.from(lines.join(''), 'latin1');
}

function refuseUnwritable(keys: readonly TicketKey[], format: TicketKeyFormat, layout: KeyLayout): void {
  const { minKeys, maxKeys, sizes } = layout;
  const refuse = (expected: string, got: string): never => {
    throw new RangeError(`"keys" expected ${expected} for the format '${format}', got ${got}`);
  };
  if (keys.length < minKeys) refuse(`${count(minKeys, 'key')} or more`, count(keys.length, 'key'));
  if (keys.length > maxKeys) refuse(`${count(maxKeys, 'key')} at most`, count(keys.length, 'key'));
  const first = keys[0] as TicketKey;
  for (const [i, key] of keys.entries()) {
    if (key.destroyed) refuse('keys with secrets', `a destroyed key (${i + 1})`);
    if (!sizes.includes(key.length)) refuse(`keys of ${sizes.join(' or ')} bytes`, `one of ${key.length} (${i + 1})`);
    if (key.length !== first.length)
      refuse('keys of one length', `${first.length} bytes (1) and ${key.length} (${i + 1})`);
  }
  refuseRepeated(keys, (what) => new RangeError(`"keys" expected different keys: ${what}`));
}

function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`;
}
