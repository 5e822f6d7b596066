import { describe, expect, it } from 'vitest';
import {
  CLIENT_HELLO,
  findMessage,
  helloInFirstRecord,
  MAX_RECORD_PAYLOAD,
  NEW_SESSION_TICKET,
  SERVER_HELLO,
} from '../../src/wire/handshake-records.js';
import { record, toRecords, uint, vector } from '../support/hello-builder.js';

/** A handshake message of so many bytes, its header included. */
function message(type: number, length: number): Buffer {
  return Buffer.concat([uint(1, type), vector(3, Buffer.alloc(length - 4, 0xa5))]);
}

/** The message that was found, cut out of the bytes that hold it. */
function found(bytes: Uint8Array, type = CLIENT_HELLO): Buffer | undefined {
  const at = findMessage(bytes, type);
  return at && Buffer.from(at.bytes.subarray(at.start, at.end));
}

const hello = message(CLIENT_HELLO, 60);
const alert = (payload: Uint8Array): Buffer => Buffer.concat([uint(1, 0x15), record(payload).subarray(1)]);

describe('findMessage', () => {
  it('points into the bytes it was given where one record, or none, frames the message', () => {
    expect(findMessage(hello, CLIENT_HELLO)).toEqual({ bytes: hello, start: 0, end: 60 });
    const framed = Buffer.concat([record(hello), record(message(SERVER_HELLO, 9))]);
    const at = findMessage(framed, CLIENT_HELLO);
    expect(at?.bytes).toBe(framed);
    expect(at).toMatchObject({ start: 5, end: 65 });
  });

  it('finds a message of a header and no body', () => {
    const done = message(NEW_SESSION_TICKET, 4);
    expect(found(done, NEW_SESSION_TICKET)).toEqual(done);
    expect(found(record(done), NEW_SESSION_TICKET)).toEqual(done);
    expect(found(toRecords(done, [1, 2, 3]), NEW_SESSION_TICKET)).toEqual(done);
  });

  it('joins what several records hold, up to the end of the message', () => {
    expect(found(toRecords(hello, [1, 4, 30]))).toEqual(hello);
    expect(found(toRecords(Buffer.concat([hello, message(SERVER_HELLO, 9)]), [30]))).toEqual(hello);
  });

  it('leaves a message of another type alone, in one record and in several', () => {
    for (const bytes of [hello, record(hello), toRecords(hello, [2, 30])]) {
      expect(findMessage(bytes, SERVER_HELLO)).toBeUndefined();
    }
  });

  it('takes records of type handshake and of version 3.x only', () => {
    for (const version of [0x0300, 0x0301, 0x0303, 0x03ff]) expect(found(record(hello, version))).toEqual(hello);
    for (const version of [0x0002, 0x0203, 0x0401]) expect(found(record(hello, version))).toBeUndefined();
    expect(found(alert(hello))).toBeUndefined();
    const [first, rest] = [hello.subarray(0, 30), hello.subarray(30)];
    expect(found(Buffer.concat([record(first), alert(rest)]))).toBeUndefined();
    expect(found(Buffer.concat([record(first), record(rest, 0x0203)]))).toBeUndefined();
  });

  it('takes a record of 16 384 bytes, and none of more', () => {
    const longest = message(CLIENT_HELLO, MAX_RECORD_PAYLOAD);
    expect(found(record(longest))).toEqual(longest);
    expect(found(record(Buffer.concat([longest, Buffer.alloc(1)])))).toBeUndefined();
    expect(found(record(message(CLIENT_HELLO, MAX_RECORD_PAYLOAD + 1)))).toBeUndefined();
  });

  it('takes no empty record on the way (RFC 8446 §5.1)', () => {
    const empty = record(Buffer.alloc(0));
    const [first, rest] = [record(hello.subarray(0, 30)), record(hello.subarray(30))];
    expect(found(Buffer.concat([first, rest]))).toEqual(hello);
    expect(found(Buffer.concat([first, empty, rest]))).toBeUndefined();
    expect(found(Buffer.concat([empty, first, rest]))).toBeUndefined();
  });

  it('does not complete a message with what stands behind its record', () => {
    const cut = Buffer.concat([record(hello.subarray(0, 59)), Buffer.from([0xa5])]);
    expect(found(cut)).toBeUndefined();
    expect(found(Buffer.concat([record(hello.subarray(0, 59)), record(Buffer.from([0xa5]))]))).toEqual(hello);
  });
});

describe('helloInFirstRecord', () => {
  it('is a view of the chunk, without what follows the message', () => {
    const chunk = record(Buffer.concat([hello, Buffer.alloc(7)]));
    const view = helloInFirstRecord(chunk, 60);
    expect(view).toEqual(hello);
    expect(view?.buffer).toBe(chunk.buffer);
  });

  it('takes a message of maxBytes with its header, and none of more', () => {
    expect(helloInFirstRecord(record(hello), 60)).toEqual(hello);
    expect(helloInFirstRecord(record(hello), 59)).toBeUndefined();
  });

  it.each([
    ['a bare message', hello],
    ['a message in two records', toRecords(hello, [30])],
    ['a record that is cut off', record(hello).subarray(0, 64)],
    ['the header of a record', record(hello).subarray(0, 5)],
    ['another message', record(message(SERVER_HELLO, 60))],
    ['a record of another type', alert(hello)],
    ['nothing', Buffer.alloc(0)],
  ])('leaves to others: %s', (_, chunk) => {
    expect(helloInFirstRecord(chunk, MAX_RECORD_PAYLOAD)).toBeUndefined();
  });
});
