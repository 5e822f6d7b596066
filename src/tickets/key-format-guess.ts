/** What a file that is not what it should be looks like: for error messages, which hold none of its bytes. */

import { base64Length } from './key-format-base64.js';

const AES_128_KEY = 48;
const AES_256_KEY = 80;
const BYTE_ORDER_MARK = '\xef\xbb\xbf';

/** Whether all bytes are printable ASCII, line ends or a byte order mark. Of 48 random bytes that is true once in 2⁶⁷. */
export function isText(bytes: Buffer): boolean {
  const start = bytes.toString('latin1', 0, 3) === BYTE_ORDER_MARK ? 3 : 0;
  return bytes
    .subarray(start)
    .every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d || byte === 0x09);
}

/** What the bytes are: the second half of a sentence. */
export function guessFormat(bytes: Buffer): string {
  if (bytes.length === 0) return 'it is empty';
  if (isText(bytes)) return guessOther(bytes) ?? guessBase64(bytes.toString('latin1').trim().split(/\s+/));
  return `it is ${bytes.length} bytes${guessRaw(bytes)}`;
}

/** What text is that is not base64; `undefined` for what may be. */
export function guessOther(bytes: Buffer): string | undefined {
  const text = bytes.toString('latin1');
  if (text.startsWith(BYTE_ORDER_MARK)) return 'it looks like text with a byte order mark';
  if (text.includes('-----BEGIN ')) return 'it looks like PEM';
  const joined = text.replace(/\s+/g, '');
  if (joined === '') return 'it holds nothing but white space';
  if (joined.length % 2 === 1 || !/^[\da-f]+$/i.test(joined)) return undefined;
  return `it looks like the hexadecimal text of ${joined.length / 2} bytes`;
}

function guessBase64(lines: readonly string[]): string {
  const sizes = new Set(lines.map(base64Length));
  const [size] = sizes;
  if (sizes.size === 1 && (size === AES_128_KEY || size === AES_256_KEY)) {
    return `it looks like 'haproxy', with ${lines.length} of its lines, of ${size} bytes each`;
  }
  const length = base64Length(lines.join(''));
  return length === undefined ? 'it looks like text' : `it looks like the base64 of ${length} bytes`;
}

function guessRaw(bytes: Buffer): string {
  const { length } = bytes;
  if (length === AES_128_KEY) return ", which looks like 'node', 'apache', 'ats' or 'nginx'";
  if (length === AES_256_KEY) return ", which looks like 'nginx' with AES-256";
  if (length % AES_128_KEY === 0) return `, which looks like 'ats' with ${length / AES_128_KEY} keys`;
  if (length % AES_256_KEY === 0) return `, which looks like ${length / AES_256_KEY} files of 'nginx' with AES-256`;
  const lineEnd = bytes.at(-1) !== 0x0a ? 0 : bytes.at(-2) === 0x0d ? 2 : 1;
  const rest = length - lineEnd;
  if (lineEnd === 0 || (rest % AES_128_KEY !== 0 && rest !== AES_256_KEY)) return '';
  return `, which looks like ${rest} bytes and a line end that an editor or "echo" put after them`;
}
