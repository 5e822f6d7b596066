/** Hellos changed by a generator: their extensions edited, their bytes flipped, then cut into records and segments. */

import fc from 'fast-check';
import { cutAt, extension, numbers16, record, toRecords, uint, vector } from '../support/hello-builder.js';

interface Extension {
  readonly type: number;
  readonly data: Buffer;
}

/** Changes the list of extensions, of which the pre_shared_key is left out. */
type ListEdit = (list: readonly Extension[]) => readonly Extension[];

/** What happens to a hello. */
export interface Mutation {
  readonly lists: readonly ListEdit[];
  /** Where, from 0 to 1, and to what, bytes are changed. */
  readonly flips: readonly { readonly at: number; readonly byte: number }[];
  /** Where records and segments are cut, from 0 to 1. */
  readonly records: readonly number[];
  readonly segments: readonly number[];
  /** Put between the first record and the second. */
  readonly between: Buffer;
}

const SERVER_NAME = 0;
const PRE_SHARED_KEY = 41;
/** Header, version and random: behind them begins what can be read in more than one way. */
const FIXED = 38;

const names = fc.constantFrom('a.test', 'b.test', 'A.test', 'a.test.', 'a.test\0', 'a.test\0b.test', '', 'c.test');

const nameOf = (name: string): Buffer => vector(2, uint(1, 0), vector(2, Buffer.from(name, 'latin1')));

/** The content of a server_name extension whose lengths and types may be wrong. */
const wrongNameData: fc.Arbitrary<Buffer> = fc
  .record({
    entries: fc.array(
      fc.record({
        type: fc.constantFrom(0, 0, 0, 1, 255),
        name: names,
        extra: fc.constantFrom(0, 0, 0, -1, 1, 3),
      }),
      { maxLength: 3 },
    ),
    extra: fc.constantFrom(0, 0, 0, -2, 1, 9),
    behind: fc.constantFrom(0, 0, 0, 1, 4),
  })
  .map(({ entries, extra, behind }) => {
    const list = Buffer.concat(
      entries.map(({ type, name, extra }) => {
        const bytes = Buffer.from(name, 'latin1');
        return Buffer.concat([uint(1, type), uint(2, Math.max(0, bytes.length + extra)), bytes]);
      }),
    );
    return Buffer.concat([uint(2, Math.max(0, list.length + extra)), list, Buffer.alloc(behind)]);
  });

const nameData = fc.oneof({ weight: 2, arbitrary: names.map(nameOf) }, { weight: 1, arbitrary: wrongNameData });

const position = fc.nat({ max: 12 });

const renaming = nameData.map(
  (data): ListEdit =>
    (list) =>
      list.map((each) => (each.type === SERVER_NAME ? { ...each, data } : each)),
);

const listEdit: fc.Arbitrary<ListEdit> = fc.oneof(
  { weight: 4, arbitrary: renaming },
  fc.tuple(position, fc.constantFrom(SERVER_NAME, SERVER_NAME, 16, 0xfafa, 65_281), nameData).map(
    ([at, type, data]): ListEdit =>
      (list) => [...list.slice(0, at), { type, data }, ...list.slice(at)],
  ),
  position.map(
    (at): ListEdit =>
      (list) =>
        list.filter((_, i) => i !== at),
  ),
  fc.tuple(position, fc.constantFrom(SERVER_NAME, 0xfafa, 10)).map(
    ([at, type]): ListEdit =>
      (list) =>
        list.map((each, i) => (i === at ? { ...each, type } : each)),
  ),
  position.map(
    (at): ListEdit =>
      (list) => {
        const named = list.filter(({ type }) => type === SERVER_NAME);
        const others = list.filter(({ type }) => type !== SERVER_NAME);
        return [...others.slice(0, at), ...named, ...others.slice(at)];
      },
  ),
);

const WARNING = Buffer.from([21, 3, 3, 0, 2, 1, 0]);
const CHANGE_CIPHER_SPEC = Buffer.from([20, 3, 3, 0, 1, 1]);

const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 5 });

export const mutations: fc.Arbitrary<Mutation> = fc.record({
  lists: fc.array(listEdit, { maxLength: 2 }),
  flips: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    {
      weight: 1,
      arbitrary: fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), byte: fc.nat({ max: 255 }) }), {
        minLength: 1,
        maxLength: 2,
      }),
    },
  ),
  records: places,
  segments: places,
  between: fc.oneof(
    { weight: 8, arbitrary: fc.constant(Buffer.alloc(0)) },
    { weight: 1, arbitrary: fc.constantFrom(record(Buffer.alloc(0)), WARNING, CHANGE_CIPHER_SPEC) },
  ),
});

function extensionsStart(message: Buffer): number {
  let at = FIXED + 1 + (message[FIXED] as number);
  at += 2 + message.readUInt16BE(at);
  return at + 1 + (message[at] as number);
}

function readExtensions(bytes: Buffer): Extension[] {
  const list: Extension[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt16BE(at + 2);
    list.push({ type: bytes.readUInt16BE(at), data: bytes.subarray(at + 4, end) });
    at = end;
  }
  return list;
}

/** The message with its edits; a pre_shared_key stays as it is at the end, where its binders will be computed. */
export function edited(message: Buffer, { lists, flips }: Mutation): Buffer {
  const start = extensionsStart(message);
  const all = readExtensions(message.subarray(start + 2));
  const last = all.filter(({ type }) => type === PRE_SHARED_KEY);
  const others = lists.reduce<readonly Extension[]>(
    (list, edit) => edit(list),
    all.filter(({ type }) => type !== PRE_SHARED_KEY),
  );
  const bytes = (list: readonly Extension[]): Buffer =>
    Buffer.concat(list.map(({ type, data }) => extension(type, data)));
  const tail = bytes(last);
  const body = Buffer.concat([message.subarray(4, start), vector(2, bytes(others), tail)]);
  const result = Buffer.concat([uint(1, 1), vector(3, body)]);
  const room = result.length - tail.length - FIXED;
  for (const { at, byte } of flips) result[FIXED + Math.floor(at * (room - 1))] = byte;
  return result;
}

/** The message in records, in segments. */
export function cutUp(message: Buffer, { records, segments, between }: Mutation): Buffer[] {
  const inside = (bytes: Buffer, places: readonly number[]): number[] =>
    places.map((place) => Math.floor(place * bytes.length));
  let bytes = toRecords(message, inside(message, records));
  const first = 5 + bytes.readUInt16BE(3);
  if (first < bytes.length) bytes = Buffer.concat([bytes.subarray(0, first), between, bytes.subarray(first)]);
  return cutAt(bytes, inside(bytes, segments));
}

/** What an OpenSSL server needs to go on with a TLS 1.2 hello. */
export const HELLO_12 = {
  cipherSuites: [0xc02b],
  supportedGroups: [29, 23],
  extraExtensions: [{ type: 13, data: vector(2, numbers16([0x0403, 0x0804, 0x0401])) }],
};
