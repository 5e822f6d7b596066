/**
 * The little of DER (X.690) that writing a certificate takes.
 *
 * @module
 */

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OBJECT_IDENTIFIER = 0x06;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const SET = 0x31;

/** An element: its tag, its length in the shortest form, and its contents. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const long: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 0x100)) long.unshift(rest & 0xff);
  const head = length < 0x80 ? [tag, length] : [tag, 0x80 | long.length, ...long];
  return Buffer.concat([Buffer.from(head), content]);
}

export const sequence = (...elements: readonly Uint8Array[]): Buffer => element(SEQUENCE, ...elements);
export const set = (...elements: readonly Uint8Array[]): Buffer => element(SET, ...elements);
export const utf8 = (text: string): Buffer => element(UTF8_STRING, Buffer.from(text));
export const boolean = (value: boolean): Buffer => Buffer.from([0x01, 0x01, value ? 0xff : 0]);
export const octets = (...contents: readonly Uint8Array[]): Buffer => element(0x04, ...contents);

/** @param unused bits at the end that mean nothing */
export function bits(content: Uint8Array, unused = 0): Buffer {
  return element(BIT_STRING, Buffer.from([unused]), content);
}

/** A number that is not negative, from its big-endian bytes. */
export function integer(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const magnitude = bytes.subarray(start);
  return element(INTEGER, Buffer.alloc((magnitude[0] ?? 0) >= 0x80 ? 1 : 0), magnitude);
}

/** @param dotted such as `2.5.29.17` */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const content = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift(0x80 | (left & 0x7f));
    return groups;
  });
  return element(OBJECT_IDENTIFIER, Buffer.from(content));
}

/** To the second; RFC 5280 §4.1.2.5 has two forms, by the year. */
export function time(date: Date): Buffer {
  const text = date.toISOString().replace(/[-:T]|\.\d+/g, '');
  const year = date.getUTCFullYear();
  return year >= 1950 && year < 2050
    ? element(UTC_TIME, Buffer.from(text.slice(2)))
    : element(GENERALIZED_TIME, Buffer.from(text));
}
