import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { ResumptionError } from '../../src/errors.js';
import { TicketKey } from '../../src/tickets/ticket-key.js';
import { formatTicketKeys, parseTicketKeys, type TicketKeyFormat } from '../../src/tickets/ticket-key-formats.js';

const FORMATS: readonly TicketKeyFormat[] = ['node', 'nginx', 'haproxy', 'apache', 'ats'];
const RAW = FORMATS.filter((format) => format !== 'haproxy');

/** A key whose bytes tell which key, part and position they are of. */
function keyOf(n: number, length: 48 | 80 = 48): TicketKey {
  const part = (first: number, size: number) => Buffer.from(Array.from({ length: size }, (_, i) => first + n + i));
  const secret = (length - 16) / 2;
  return new TicketKey({ name: part(1, 16), hmacKey: part(0x50, secret), aesKey: part(0xa0, secret) });
}

const keysOf = (count: number, length: 48 | 80 = 48) => Array.from({ length: count }, (_, n) => keyOf(n, length));
const partsOf = ({ name, hmacKey, aesKey }: TicketKey) =>
  [name, hmacKey, aesKey].map((part) => part.toString('hex')).join(' ');
const hexOf = (...parts: Uint8Array[]) => Buffer.concat(parts).toString('hex');

/** The fault of reading this; nothing of the bytes may be in it. */
function faultOf(input: Uint8Array | string, format: TicketKeyFormat): string {
  try {
    parseTicketKeys(input, format);
  } catch (error) {
    if (!(error instanceof ResumptionError)) throw error;
    expect(error.code).toBe('ERR_TICKET_KEYS_FORMAT');
    expect(error.message).toContain(`the format '${format}' is `);
    return error.message;
  }
  return expect.fail('it was read');
}

describe('the order of bytes', () => {
  const key = keyOf(0);
  const long = keyOf(0, 80);

  it.each(['node', 'apache', 'ats'] as const)('%s: name, HMAC key, AES key', (format) => {
    expect(formatTicketKeys([key], format).toString('hex')).toBe(hexOf(key.name, key.hmacKey, key.aesKey));
  });

  it('nginx with AES-128: name, AES key, HMAC key', () => {
    expect(formatTicketKeys([key], 'nginx').toString('hex')).toBe(hexOf(key.name, key.aesKey, key.hmacKey));
  });

  it('nginx with AES-256: name, HMAC key, AES key', () => {
    expect(formatTicketKeys([long], 'nginx').toString('hex')).toBe(hexOf(long.name, long.hmacKey, long.aesKey));
  });

  it.each([48, 80] as const)('haproxy, %i bytes: name, AES key, HMAC key', (length) => {
    const keys = keysOf(3, length);
    const lines = formatTicketKeys(keys, 'haproxy').toString('latin1').split('\n');
    expect(lines.pop()).toBe('');
    const [previous, sealing, next] = lines.map((line) => Buffer.from(line, 'base64').toString('hex'));
    expect([sealing, next, previous]).toEqual(keys.map(({ name, hmacKey, aesKey }) => hexOf(name, aesKey, hmacKey)));
  });

  it('ats: one key after the other, the first of the file is the first', () => {
    const keys = keysOf(4);
    const file = formatTicketKeys(keys, 'ats');
    expect(file).toEqual(Buffer.concat(keys.map((one) => formatTicketKeys([one], 'node'))));
    expect(parseTicketKeys(file, 'ats').map(partsOf)).toEqual(keys.map(partsOf));
  });
});

describe('the order of keys in a file of HAProxy', () => {
  const file = (keys: readonly TicketKey[]) =>
    keys.map((key) => `${Buffer.concat([key.name, key.aesKey, key.hmacKey]).toString('base64')}\n`).join('');

  it('is: the last but one seals, the last is next, the others are previous ones', () => {
    const [oldest, older, old, sealing, next] = keysOf(5) as [TicketKey, TicketKey, TicketKey, TicketKey, TicketKey];
    const parsed = parseTicketKeys(file([oldest, older, old, sealing, next]), 'haproxy');
    expect(parsed.map(partsOf)).toEqual([sealing, next, old, older, oldest].map(partsOf));
    expect(formatTicketKeys(parsed, 'haproxy').toString()).toBe(file([oldest, older, old, sealing, next]));
  });

  it.each([
    ['as bytes', (text: string) => Buffer.from(text)],
    ['as another Uint8Array', (text: string) => new Uint8Array(Buffer.from(text))],
    ['with the line ends of Windows', (text: string) => text.replaceAll('\n', '\r\n')],
    ['without the last line end', (text: string) => text.slice(0, -1)],
  ])('is read %s', (_how, change) => {
    const [previous, sealing, next] = keysOf(3) as [TicketKey, TicketKey, TicketKey];
    const parsed = parseTicketKeys(change(file([previous, sealing, next])), 'haproxy');
    expect(parsed.map(partsOf)).toEqual([sealing, next, previous].map(partsOf));
  });
});

describe('what is written is read again', () => {
  const parts = (length: 48 | 80) =>
    fc
      .uint8Array({ minLength: length, maxLength: length })
      .filter((bytes) =>
        [bytes.subarray(0, 16), bytes.subarray(16, 32), bytes.subarray(-16)].every((part) => part.some(Boolean)),
      )
      .map((bytes) => Buffer.from(bytes));
  const distinct = (length: 48 | 80, minLength: number, maxLength: number) =>
    fc
      .uniqueArray(parts(length), { minLength, maxLength, selector: (bytes) => bytes.toString('hex', 0, 16) })
      .filter((keys) => {
        const middle = (length + 16) / 2;
        const secrets = keys.flatMap((key) => [key.toString('hex', 16, middle), key.toString('hex', middle)]);
        return new Set(secrets).size === secrets.length;
      });

  it.each([
    ['node', 48, 1, 1],
    ['apache', 48, 1, 1],
    ['ats', 48, 1, 12],
    ['nginx', 48, 1, 1],
    ['nginx', 80, 1, 1],
    ['haproxy', 48, 3, 12],
    ['haproxy', 80, 3, 12],
  ] as const)('%s, keys of %i bytes', (format, length, min, max) => {
    fc.assert(
      fc.property(distinct(length, min, max), (inputs) => {
        const keys = inputs.map((bytes) => TicketKey.from(bytes));
        const file = formatTicketKeys(inputs, format);
        expect(formatTicketKeys(keys, format)).toEqual(file);
        const parsed = parseTicketKeys(file, format);
        expect(parsed.map(partsOf)).toEqual(keys.map(partsOf));
        expect(formatTicketKeys(parsed, format)).toEqual(file);
      }),
    );
  });

  it('from one format to the other', () => {
    const keys = keysOf(3);
    for (const [one, other] of [
      ['ats', 'haproxy'],
      ['haproxy', 'ats'],
    ] as const) {
      const converted = formatTicketKeys(parseTicketKeys(formatTicketKeys(keys, one), one), other);
      expect(converted).toEqual(formatTicketKeys(keys, other));
    }
  });
});

describe('a file that is not in the format', () => {
  const [one] = keysOf(1) as [TicketKey];
  const raw = formatTicketKeys([one], 'node');
  const raw80 = formatTicketKeys([keyOf(0, 80)], 'nginx');
  const three = formatTicketKeys(keysOf(3), 'haproxy').toString();
  const three80 = formatTicketKeys(keysOf(3, 80), 'haproxy').toString();
  const lines = three.trim().split('\n') as [string, string, string];

  const files: readonly [string, Uint8Array | string, TicketKeyFormat, string][] = [
    ['nothing', '', 'haproxy', 'it is empty'],
    ['nothing', Buffer.alloc(0), 'ats', 'it is empty'],
    ['an AES-256 key', raw80, 'node', "80 bytes, which looks like 'nginx' with AES-256"],
    ['an AES-256 key', raw80, 'ats', "80 bytes, which looks like 'nginx' with AES-256"],
    ['several keys', formatTicketKeys(keysOf(3), 'ats'), 'nginx', "144 bytes, which looks like 'ats' with 3 keys"],
    ['several long keys', Buffer.concat([raw80, raw80]), 'node', "160 bytes, which looks like 2 files of 'nginx'"],
    ['a key and a half', Buffer.concat([raw, raw.subarray(0, 24)]), 'ats', 'it is 72 bytes'],
    ['a newline after the key', Buffer.concat([raw, Buffer.from('\n')]), 'node', 'looks like 48 bytes and a line end'],
    ['a newline after the key', Buffer.concat([raw80, Buffer.from('\r\n')]), 'nginx', 'like 80 bytes and a line end'],
    ['base64', Buffer.from(raw.toString('base64')), 'node', "looks like 'haproxy', with 1 of its lines, of 48 bytes"],
    ['base64 in lines', Buffer.from('QUJDREVGR0g=\n'.repeat(3)), 'nginx', 'it looks like text'],
    [
      'wrapped base64',
      Buffer.from(raw80.toString('base64').replace(/.{64}/, '$&\n')),
      'nginx',
      'the base64 of 80 bytes',
    ],
    ['48 letters of base64', Buffer.from(randomBytes(36).toString('base64')), 'nginx', 'the base64 of 36 bytes'],
    ['hexadecimal', Buffer.from(`${raw.toString('hex')}\n`), 'apache', 'looks like the hexadecimal text of 48 bytes'],
    ['48 letters of hexadecimal', Buffer.from(randomBytes(24).toString('hex')), 'node', 'hexadecimal text of 24 bytes'],
    ['PEM', Buffer.from('-----BEGIN PRIVATE KEY-----\nAAAA\n'), 'ats', 'it looks like PEM'],
    ["HAProxy's lines", Buffer.from(three), 'nginx', "looks like 'haproxy', with 3 of its lines, of 48 bytes"],
    ["HAProxy's lines", Buffer.from(three80), 'ats', "looks like 'haproxy', with 3 of its lines, of 80 bytes"],
    ['spaces', Buffer.from('  \n '), 'node', 'nothing but white space'],
    ['hexadecimal with a digit too few', Buffer.from('abcde\n'), 'node', 'it looks like text'],
    ['a text', Buffer.from('# the keys are in the other file\n'), 'node', 'it looks like text'],
    ['raw bytes', raw, 'haproxy', "48 bytes, which looks like 'node', 'apache', 'ats' or 'nginx'"],
    ['raw bytes', raw80, 'haproxy', "80 bytes, which looks like 'nginx' with AES-256"],
    ['raw bytes', formatTicketKeys(keysOf(3), 'ats'), 'haproxy', "144 bytes, which looks like 'ats' with 3 keys"],
    ['raw bytes that were read as text', raw.toString('utf8'), 'haproxy', '; it is '],
    ['hexadecimal', `${raw.toString('hex')}\n`.repeat(3), 'haproxy', 'looks like the hexadecimal text of 144 bytes'],
    ['PEM', '-----BEGIN PRIVATE KEY-----\nAAAA\n', 'haproxy', 'it looks like PEM'],
    ['a byte order mark', `\ufeff${three}`, 'haproxy', 'text with a byte order mark'],
    ['one line', `${lines[0]}\n`, 'haproxy', 'it has 1 line'],
    ['two lines', `${lines[0]}\n${lines[1]}\n`, 'haproxy', 'it has 2 lines'],
    ['an empty line', `${lines[0]}\n\n${lines[1]}\n${lines[2]}\n`, 'haproxy', 'line 2 is not base64'],
    ['an empty last line', `${three}\n`, 'haproxy', 'line 4 is not base64'],
    ['a space after a line', three.replace('\n', ' \n'), 'haproxy', 'line 1 is not base64'],
    ['base64url', three.replaceAll(/^.{4}/gm, 'A-_A'), 'haproxy', 'line 1 is not base64'],
    ['a comment', `# keys\n${three}`, 'haproxy', 'line 1 is not base64'],
    ['a cut off line', three.slice(0, -5), 'haproxy', 'line 3 holds 45 bytes'],
    ['a line of another size', `${three}QUJD\n`, 'haproxy', 'line 4 holds 3 bytes'],
    ['two sizes', `${lines[0]}\n${three80}`, 'haproxy', 'line 2 holds 80 bytes, line 1 holds 48'],
    [
      'a long key in two lines',
      three80.replace(/.{64}/, '$&\n'),
      'haproxy',
      'line 2 looks like the rest of the line before',
    ],
    ['a megabyte and more', Buffer.alloc(2 ** 20 + 1, 1), 'ats', 'it is 1048577 bytes, more than any such file has'],
    ['a megabyte of text', 'A'.repeat(2 ** 20 + 1), 'haproxy', 'it is 1048577 characters, more than any such file has'],
  ];
  const named = files.map(([what, input, format, said]) => ({ what, input, format, said }));
  it.each(named)('$what for $format: says what it looks like', ({ input, format, said }) => {
    const message = faultOf(input, format);
    expect(message).toContain(said);
    for (const text of [input.toString().slice(0, 12), lines[0].slice(0, 12), raw.toString('hex', 0, 8)]) {
      if (text.trim().length > 8) expect(message).not.toContain(text);
    }
  });

  it.each(RAW)('%s does not take a string', (format) => {
    expect(() => parseTicketKeys(`${raw.toString('base64')}\n`, format)).toThrow(
      new TypeError(
        `"input" expected a Uint8Array (the format '${format}' is bytes), got a string of 65 characters; ` +
          "it looks like 'haproxy', with 1 of its lines, of 48 bytes each",
      ),
    );
    expect(() => parseTicketKeys(raw.toString('latin1'), format)).toThrow(
      /it looks like bytes that were read as text$/,
    );
  });

  it('never says what is in it, and never fails in another way, whatever the bytes', () => {
    const text = fc
      .string({ unit: fc.constantFrom(...'ABab01+/=-_\n\r '), maxLength: 300 })
      .map((chars) => Buffer.from(chars));
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(fc.oneof(text, bytes), fc.constantFrom(...FORMATS), (input, format) => {
        let keys: TicketKey[];
        try {
          keys = parseTicketKeys(input, format);
        } catch (error) {
          expect(error).toBeInstanceOf(ResumptionError);
          const { message } = error as Error;
          expect(message).toMatch(/^[\x20-\x7e]+$/);
          return;
        }
        expect(formatTicketKeys(keys, format)).toEqual(input);
      }),
      { numRuns: 3000 },
    );
  });
});

describe('keys that are no good', () => {
  const zeros = (from: number, to: number) => formatTicketKeys([keyOf(0)], 'node').fill(0, from, to);

  it.each([
    ['all zero', Buffer.alloc(48), '"hmacKey" expected bytes that are not all zero'],
    ['without a name', zeros(0, 16), '"name" expected bytes that are not all zero'],
    ['without an HMAC key', zeros(16, 32), '"hmacKey" expected bytes that are not all zero'],
    ['without an AES key', zeros(32, 48), '"aesKey" expected bytes that are not all zero'],
    ['of one secret twice', Buffer.concat([Buffer.alloc(16, 1), Buffer.alloc(32, 2)]), '"aesKey" expected other bytes'],
  ])('%s', (_what, input, said) => {
    for (const format of ['node', 'apache', 'ats'] as const) expect(faultOf(input, format)).toContain(`key 1: ${said}`);
  });

  it('one of several all zero', () => {
    const file = Buffer.concat([formatTicketKeys(keysOf(2), 'ats'), Buffer.alloc(48)]);
    expect(faultOf(file, 'ats')).toContain('key 3: "hmacKey" expected bytes that are not all zero');
  });

  it.each(['name', 'hmacKey', 'aesKey'] as const)('two with the same %s', (part) => {
    const [first, second, third] = keysOf(3) as [TicketKey, TicketKey, TicketKey];
    const { name, hmacKey, aesKey } = third;
    const same = { name, hmacKey, aesKey, [part]: first[part] };
    const file = Buffer.concat([formatTicketKeys([first, second], 'ats'), same.name, same.hmacKey, same.aesKey]);
    expect(faultOf(file, 'ats')).toContain(`keys 1 and 3 have the same "${part}"`);
    expect(() => formatTicketKeys([first, second, same], 'ats')).toThrow(
      new RangeError(`"keys" expected different keys: keys 1 and 3 have the same "${part}"`),
    );
  });
});

describe('keys that a format cannot hold', () => {
  it.each([
    ['node', keysOf(2), "1 key at most for the format 'node', got 2 keys"],
    ['apache', keysOf(2), "1 key at most for the format 'apache', got 2 keys"],
    ['nginx', keysOf(3), "1 key at most for the format 'nginx', got 3 keys"],
    ['haproxy', keysOf(2), "3 keys or more for the format 'haproxy', got 2 keys"],
    ['ats', [], "1 key or more for the format 'ats', got 0 keys"],
    ['node', keysOf(1, 80), "keys of 48 bytes for the format 'node', got one of 80 (1)"],
    ['apache', keysOf(1, 80), "keys of 48 bytes for the format 'apache', got one of 80 (1)"],
    ['ats', [keyOf(0), keyOf(1, 80)], "keys of 48 bytes for the format 'ats', got one of 80 (2)"],
    [
      'haproxy',
      [...keysOf(2), keyOf(2, 80)],
      "keys of one length for the format 'haproxy', got 48 bytes (1) and 80 (3)",
    ],
  ] as const)('%s: %#', (format, keys, said) => {
    expect(() => formatTicketKeys(keys, format)).toThrow(new RangeError(`"keys" expected ${said}`));
  });

  it.each(FORMATS)('%s: a destroyed one, which is all zero', (format) => {
    const keys = keysOf(format === 'haproxy' ? 3 : 1);
    keys[0]?.destroy();
    expect(() => formatTicketKeys(keys, format)).toThrow(
      /expected keys with secrets for .*, got a destroyed key \(1\)/,
    );
  });

  it('of the caller stay as they are', () => {
    const keys = keysOf(3);
    const bytes = Buffer.concat([keyOf(9).name, keyOf(9).hmacKey, keyOf(9).aesKey]);
    formatTicketKeys([...keys, bytes], 'haproxy');
    expect(keys.map((key) => key.destroyed)).toEqual([false, false, false]);
    expect(TicketKey.from(bytes).aesKey).toEqual(keyOf(9).aesKey);
  });
});

describe('keys that nobody has any more', () => {
  const destroyed = vi.spyOn(TicketKey.prototype, 'destroy');
  beforeEach(() => {
    destroyed.mockClear();
  });

  it('are overwritten when a later one is no good, or repeats', () => {
    const two = formatTicketKeys(keysOf(2), 'ats');
    faultOf(Buffer.concat([two, Buffer.alloc(48)]), 'ats');
    expect(destroyed).toHaveBeenCalledTimes(2);
    faultOf(Buffer.concat([two, two]), 'ats');
    expect(destroyed).toHaveBeenCalledTimes(2 + 4);
  });

  it('are overwritten when they were made of bytes to write them', () => {
    const key = keyOf(0);
    const bytes = Buffer.concat([key.name, key.hmacKey, key.aesKey]);
    formatTicketKeys([bytes], 'node');
    formatTicketKeys([key], 'node');
    expect(destroyed).toHaveBeenCalledTimes(1);
    expect(() => formatTicketKeys([bytes, bytes], 'ats')).toThrow(RangeError);
    expect(destroyed).toHaveBeenCalledTimes(3);
  });

  it('are not overwritten when they were read', () => {
    parseTicketKeys(formatTicketKeys(keysOf(3), 'haproxy'), 'haproxy');
    expect(destroyed).not.toHaveBeenCalled();
  });
});

describe('wrong arguments', () => {
  it.each([undefined, null, 48, {}, [], new ArrayBuffer(48), new DataView(new ArrayBuffer(48))])(
    'input %o',
    (input) => {
      for (const format of FORMATS) {
        expect(() => parseTicketKeys(input as never, format)).toThrow(
          expect.objectContaining({
            name: 'TypeError',
            message: expect.stringMatching(/^"input" expected a Uint8Array/),
          }),
        );
      }
    },
  );

  it.each([undefined, null, 1, {}])('format %o', (format) => {
    expect(() => parseTicketKeys(Buffer.alloc(48), format as never)).toThrow(TypeError);
    expect(() => formatTicketKeys(keysOf(1), format as never)).toThrow(TypeError);
  });

  it.each(['', 'Node', 'envoy', 'toString', '__proto__'])('format "%s"', (format) => {
    const message = /^"format" expected 'node', 'nginx', 'haproxy', 'apache', 'ats'|'node'/;
    expect(() => parseTicketKeys(Buffer.alloc(48), format as never)).toThrow(RangeError);
    expect(() => formatTicketKeys(keysOf(1), format as never)).toThrow(message);
  });

  it.each([undefined, null, {}, 'keys', new Set(), Buffer.alloc(48)])('keys %o', (keys) => {
    expect(() => formatTicketKeys(keys as never, 'node')).toThrow(TypeError);
  });

  it.each([undefined, null, 'key', 1, {}])('a key %o', (key) => {
    expect(() => formatTicketKeys([key] as never, 'node')).toThrow(TypeError);
  });
});
