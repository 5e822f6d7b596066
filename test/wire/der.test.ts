import { describe, expect, it } from 'vitest';
import { DerReader, INTEGER, OCTET_STRING, SEQUENCE } from '../../src/wire/der.js';

const bytes = (...parts: (number | Uint8Array)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : part)));

/** The value of an INTEGER of these bytes, with something behind it. */
function integer(max: number, ...value: number[]): number {
  const reader = new DerReader(bytes(INTEGER, value.length, ...value, INTEGER, 1, 1));
  expect(reader.next()).toBe(true);
  return reader.unsigned(max);
}

describe('the elements of one level', () => {
  it('come one after the other, and none is at hand before the first', () => {
    const reader = new DerReader(bytes(OCTET_STRING, 2, 7, 8, INTEGER, 1, 5));
    expect(reader).toMatchObject({ tag: -1, start: 0, end: 0, done: false });
    expect(reader.unsigned(9)).toBe(-1);
    expect(reader.next()).toBe(true);
    expect(reader).toMatchObject({ tag: OCTET_STRING, start: 2, end: 4, done: false });
    expect(reader.nextOf(INTEGER)).toBe(true);
    expect(reader).toMatchObject({ tag: INTEGER, start: 6, end: 7, done: true });
    expect(reader.next()).toBe(false);
    expect(reader.done).toBe(true);
  });

  it('may be empty', () => {
    const reader = new DerReader(bytes(OCTET_STRING, 0));
    expect(reader.next()).toBe(true);
    expect(reader).toMatchObject({ start: 2, end: 2, done: true });
  });

  it('begin at an offset', () => {
    const reader = new DerReader(bytes(0xff, 0xff, INTEGER, 1, 5), 2);
    expect(reader.nextOf(INTEGER)).toBe(true);
    expect(reader.unsigned(9)).toBe(5);
  });

  it('end with the element they are in, whatever stands behind it', () => {
    const reader = new DerReader(bytes(SEQUENCE, 3, INTEGER, 2, 1, 1, INTEGER, 1, 1));
    expect(reader.nextOf(SEQUENCE)).toBe(true);
    reader.descend();
    expect(reader.next()).toBe(false);
    expect(reader.done).toBe(false);
  });
});

describe('a length', () => {
  it.each([
    [0x7f, [0x7f]],
    [0x80, [0x81, 0x80]],
    [0xff, [0x81, 0xff]],
    [0x100, [0x82, 0x01, 0x00]],
    [0xffff, [0x82, 0xff, 0xff]],
    [0x1_0000, [0x83, 0x01, 0x00, 0x00]],
  ])('of %i bytes is read, and takes all of them', (length, header) => {
    const whole = bytes(OCTET_STRING, ...header, Buffer.alloc(length));
    const reader = new DerReader(whole);
    expect(reader.next()).toBe(true);
    expect(reader.end - reader.start).toBe(length);
    expect(reader.done).toBe(true);
    expect(new DerReader(whole.subarray(0, -1)).next()).toBe(false);
  });

  it.each([
    ['indefinite', [0x80], 128],
    ['2 bytes for what fits in one', [0x82, 0x00, 0x80], 128],
    ['3 bytes for what fits in two', [0x83, 0x00, 0x01, 0x00], 256],
    ['a byte of length for what needs none', [0x81, 0x7f], 127],
    // Of its 5 bytes a 32-bit number would keep the last 4: 128.
    ['5 bytes', [0x85, 0x01, 0x00, 0x00, 0x00, 0x80], 128],
    ['4 bytes', [0x84, 0x01, 0x00, 0x00, 0x00], 256],
    ['cut off', [0x82, 0x01], 0],
    ['the reserved one', [0xff], 127],
  ])('is refused, and nothing has moved: %s', (_, header, length) => {
    const reader = new DerReader(bytes(INTEGER, 1, 5, OCTET_STRING, ...header, Buffer.alloc(length)));
    expect(reader.next()).toBe(true);
    expect(reader.next()).toBe(false);
    expect(reader).toMatchObject({ tag: INTEGER, start: 2, end: 3, done: false });
    expect(reader.unsigned(9)).toBe(5);
  });
});

describe('a tag', () => {
  it.each([0x1f, 0x3f, 0x9f, 0xbf, 0xff])('of more than one byte is refused: %i', (tag) => {
    expect(new DerReader(bytes(tag, 1, 1)).next()).toBe(false);
    expect(new DerReader(bytes(tag & 0xfe, 1, 1)).next()).toBe(true);
  });

  it('without a length is no element', () => {
    expect(new DerReader(bytes(INTEGER)).next()).toBe(false);
  });
});

describe('an explicit tag', () => {
  const explicit = (...inside: number[]): DerReader => {
    const reader = new DerReader(bytes(0xa1, inside.length, ...inside, INTEGER, 1, 9));
    expect(reader.nextOf(0xa1)).toBe(true);
    return reader;
  };

  it('gives the element in it, and the reader goes on behind both', () => {
    const reader = explicit(INTEGER, 1, 5);
    expect(reader.unwrap(INTEGER)).toBe(true);
    expect(reader.unsigned(9)).toBe(5);
    expect(reader.nextOf(INTEGER)).toBe(true);
    expect(reader.unsigned(9)).toBe(9);
  });

  it.each([
    ['nothing in it', []],
    ['an element of another tag', [OCTET_STRING, 1, 5]],
    ['two elements', [INTEGER, 1, 5, INTEGER, 1, 6]],
    ['a byte too many', [INTEGER, 1, 5, 0]],
    ['an element that ends past it', [INTEGER, 2, 5]],
  ])('is refused with %s', (_, inside) => {
    expect(explicit(...inside).unwrap(INTEGER)).toBe(false);
  });
});

describe('an INTEGER', () => {
  it.each([
    [0, [0x00]],
    [1, [0x01]],
    [0x7f, [0x7f]],
    [0x80, [0x00, 0x80]],
    [0xff, [0x00, 0xff]],
    [0x1234_5678, [0x12, 0x34, 0x56, 0x78]],
    [Number.MAX_SAFE_INTEGER, [0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
  ])('is %i', (value, encoded) => {
    expect(integer(Number.MAX_SAFE_INTEGER, ...encoded)).toBe(value);
    expect(integer(value, ...encoded)).toBe(value);
    if (value > 0) expect(integer(value - 1, ...encoded)).toBe(-1);
  });

  it.each([
    ['no bytes', []],
    ['a negative one', [0x80]],
    ['-1', [0xff, 0xff]],
    ['a zero too many', [0x00, 0x00]],
    ['a zero before what is positive without it', [0x00, 0x7f]],
    ['more than a number holds', [0x20, 0, 0, 0, 0, 0, 0]],
  ])('is none: %s', (_, encoded) => {
    expect(integer(Number.MAX_SAFE_INTEGER, ...encoded)).toBe(-1);
  });

  it('is not what another tag holds', () => {
    const reader = new DerReader(bytes(OCTET_STRING, 1, 5));
    expect(reader.next()).toBe(true);
    expect(reader.unsigned(9)).toBe(-1);
  });
});
