import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClientHelloAssembler, type ClientHelloState } from '../../src/wire/client-hello.js';
import { helloInFirstRecord } from '../../src/wire/handshake-records.js';
import { buildHello, cutAt, record, toRecords, uint, vector } from '../support/hello-builder.js';
import { captured, capturedHellos, mutate, seeded } from './captured.js';

const message = buildHello({ servername: 'a.test', sessionTicket: Buffer.alloc(200, 4) });
const after = Buffer.from('140303000101170303000299', 'hex');

function helloOf(length: number): Buffer {
  const overhead = buildHello({ sessionTicket: Buffer.alloc(0) }).length;
  const hello = buildHello({ sessionTicket: Buffer.alloc(length - overhead, 5) });
  expect(hello).toHaveLength(length);
  return hello;
}

function pushAll(assembler: ClientHelloAssembler, chunks: Iterable<Buffer>): ClientHelloState {
  let state: ClientHelloState = assembler.state;
  for (const chunk of chunks) state = assembler.push(chunk);
  return state;
}

const byteCuts = (length: number): number[] => Array.from({ length }, (_, i) => i);
const byteByByte = (bytes: Buffer): Buffer[] => cutAt(bytes, byteCuts(bytes.length));

describe('a hello in one record', () => {
  it.each(capturedHellos)('of $client, in one chunk, is not copied', ({ bytes }) => {
    const assembler = new ClientHelloAssembler();
    expect(assembler.push(bytes)).toBe('complete');
    expect(assembler.message).toEqual(bytes.subarray(5));
    expect(assembler.message.buffer).toBe(bytes.buffer);
    expect(assembler.handedOn()).toBe(bytes);
    expect(assembler.bytesHeld).toBe(bytes.length);
  });

  it('is complete at its last byte, wherever it is cut in two, and handed on as it came', () => {
    const bytes = record(message);
    for (let at = 1; at < bytes.length; at++) {
      const assembler = new ClientHelloAssembler();
      expect(assembler.push(bytes.subarray(0, at))).toBe('incomplete');
      expect(assembler.push(bytes.subarray(at))).toBe('complete');
      expect(assembler.message).toEqual(message);
      expect(assembler.handedOn()).toEqual(bytes);
    }
  });

  it('is not copied for an empty chunk after it', () => {
    const bytes = record(message);
    const assembler = new ClientHelloAssembler();
    assembler.push(bytes);
    expect(assembler.push(Buffer.alloc(0))).toBe('complete');
    expect(assembler.handedOn()).toBe(bytes);
  });

  it('may have any minor version (RFC 8446 §5.1: it is to be ignored), and a body of no bytes', () => {
    for (const version of [0x0300, 0x0303, 0x0341, 0x03ff]) {
      const assembler = new ClientHelloAssembler();
      expect(assembler.push(record(message, version))).toBe('complete');
      expect(assembler.message).toEqual(message);
    }
    const empty = Buffer.from('01000000', 'hex');
    for (const bytes of [record(empty), record(Buffer.concat([empty, after]))]) {
      const assembler = new ClientHelloAssembler();
      expect(assembler.push(bytes)).toBe('complete');
      expect(assembler.message).toEqual(empty);
    }
  });

  it('does not need the rest of a record that goes on after it, and leaves that record alone', () => {
    const bytes = record(Buffer.concat([message, Buffer.alloc(100)]));
    for (const length of [5 + message.length, bytes.length]) {
      const assembler = new ClientHelloAssembler();
      expect(assembler.push(bytes.subarray(0, length))).toBe('complete');
      expect(assembler.message).toEqual(message);
      expect(assembler.handedOn()).toEqual(bytes.subarray(0, length));
    }
  });
});

describe('the look at a first record', () => {
  it.each(capturedHellos)('finds the hello of $client, and copies nothing', ({ bytes }) => {
    expect(helloInFirstRecord(bytes, bytes.length - 5)).toEqual(bytes.subarray(5));
    expect(helloInFirstRecord(bytes, bytes.length - 5)?.buffer).toBe(bytes.buffer);
    expect(helloInFirstRecord(bytes, bytes.length - 6)).toBeUndefined();
  });

  it('answers what an assembler does that gets the same chunk, or leaves it to one: 100 000 mutated hellos', () => {
    const random = seeded(8449);
    let found = 0;
    for (let i = 0; i < 100_000; i++) {
      const { bytes } = capturedHellos[i % capturedHellos.length]!;
      const chunk = mutate(bytes, capturedHellos[random(capturedHellos.length)]!.bytes, random);
      const maxBytes = 4 + random(2000);
      const hello = helloInFirstRecord(chunk, maxBytes);
      const assembler = new ClientHelloAssembler(maxBytes);
      const complete = assembler.push(chunk) === 'complete';
      const asItCame = complete && assembler.handedOn() === chunk;
      if (hello === undefined ? asItCame && !spansRecords(chunk) : !asItCame || !hello.equals(assembler.message)) {
        expect.fail(`${maxBytes} ${chunk.toString('hex')}`);
      }
      if (hello !== undefined) found++;
    }
    expect(found).toBeGreaterThan(10_000);
  });

  it('takes a message that ends before its record does, also when the rest is yet to come', () => {
    const bytes = record(Buffer.concat([message, Buffer.alloc(100)]));
    expect(helloInFirstRecord(bytes, 16_384)).toEqual(message);
    expect(helloInFirstRecord(bytes.subarray(0, 5 + message.length), 16_384)).toEqual(message);
    expect(helloInFirstRecord(bytes.subarray(0, 4 + message.length), 16_384)).toBeUndefined();
  });
});

/** Whether the message at the beginning goes on behind its first record. */
function spansRecords(chunk: Buffer): boolean {
  return 4 + chunk.readUIntBE(6, 3) > chunk.readUInt16BE(3);
}

describe('any split into records and chunks', () => {
  const offsets = fc.array(fc.nat(message.length + 60), { maxLength: 20 });

  it('gives the same message and the same bytes', () => {
    fc.assert(
      fc.property(offsets, offsets, fc.boolean(), (recordCuts, chunkCuts, more) => {
        const sent = Buffer.concat([toRecords(message, recordCuts), more ? after : Buffer.alloc(0)]);
        const assembler = new ClientHelloAssembler();
        const given: Buffer[] = [];
        for (const chunk of cutAt(sent, chunkCuts)) {
          given.push(chunk);
          if (assembler.push(chunk) !== 'incomplete') break;
          if (!assembler.handedOn().equals(Buffer.concat(given))) throw new Error('bytes are not as they came');
        }
        const rest = sent.subarray(Buffer.concat(given).length);
        expect(assembler.state).toBe('complete');
        expect(assembler.message.equals(message)).toBe(true);
        const handedOn = Buffer.concat([assembler.handedOn(), rest]);
        expect(handedOn.equals(Buffer.concat([record(message), more ? after : Buffer.alloc(0)]))).toBe(true);
      }),
      { numRuns: 3_000 },
    );
  });

  it('byte by byte, with empty chunks between', () => {
    const sent = toRecords(message, [1, 2, 3, 4, 5, 60]);
    const assembler = new ClientHelloAssembler();
    const chunks = byteByByte(sent).flatMap((chunk) => [Buffer.alloc(0), chunk, Buffer.alloc(0)]);
    expect(pushAll(assembler, chunks)).toBe('complete');
    expect(assembler.handedOn()).toEqual(record(message));
  });

  it('keeps the version of the first record', () => {
    const sent = Buffer.concat([record(message.subarray(0, 9), 0x0303), record(message.subarray(9), 0x0301)]);
    const assembler = new ClientHelloAssembler();
    expect(assembler.push(sent)).toBe('complete');
    expect(assembler.handedOn()).toEqual(record(message, 0x0303));
  });

  it('leaves the framing alone when the last of several records holds more than the hello', () => {
    const sent = Buffer.concat([
      record(message.subarray(0, 9)),
      record(Buffer.concat([message.subarray(9), uint(1, 20)])),
    ]);
    const assembler = new ClientHelloAssembler();
    expect(assembler.push(sent)).toBe('complete');
    expect(assembler.message).toEqual(message);
    expect(assembler.handedOn()).toEqual(sent);
  });

  it('appends what is pushed after the end', () => {
    const assembler = new ClientHelloAssembler();
    expect(pushAll(assembler, [toRecords(message, [70]), after, after])).toBe('complete');
    expect(assembler.handedOn()).toEqual(Buffer.concat([record(message), after, after]));
    expect(assembler.message).toEqual(message);
  });
});

describe('what is no hello', () => {
  it.each([
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n'), 1],
    ['a PROXY protocol line', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n'), 1],
    ['PROXY protocol 2', Buffer.from('0d0a0d0a000d0a515549540a', 'hex'), 1],
    ['an SSLv2 hello', Buffer.from('802e0100020015', 'hex'), 1],
    ['an alert', Buffer.from('15030100020246', 'hex'), 1],
    ['a bare handshake message', message, 1],
    ['a record of major version 2', Buffer.from('16020000400100', 'hex'), 2],
    ['a record of more than 16 384 bytes', Buffer.from('160301400101', 'hex'), 5],
    ['a record of more than 16 640 bytes', Buffer.from('160301410001', 'hex'), 4],
    ['an empty record', record(Buffer.alloc(0)), 5],
    ['an empty record in the middle', Buffer.concat([record(message.subarray(0, 9)), record(Buffer.alloc(0))]), 19],
    ['an alert in the middle', Buffer.concat([record(message.subarray(0, 9)), Buffer.from('1503', 'hex')]), 15],
    ['a ServerHello', record(Buffer.concat([uint(1, 2), vector(3, Buffer.alloc(40))])), 6],
  ])('%s is known for it at its first wrong byte, and handed on as it came', (_, bytes, wrongAt) => {
    const assembler = new ClientHelloAssembler();
    byteByByte(bytes).forEach((chunk, i) => {
      expect(assembler.push(chunk)).toBe(i + 1 < wrongAt ? 'incomplete' : 'not-a-hello');
    });
    expect(assembler.handedOn()).toEqual(bytes);
    expect(() => assembler.message).toThrow(/not-a-hello/);

    const atOnce = new ClientHelloAssembler();
    expect(atOnce.push(bytes)).toBe('not-a-hello');
    expect(atOnce.handedOn()).toBe(bytes);
  });
});

describe('limits', () => {
  it('a message of maxBytes is taken, one more byte is too large as soon as its length is known', () => {
    expect(pushAll(new ClientHelloAssembler(500), [record(helloOf(500))])).toBe('complete');
    const assembler = new ClientHelloAssembler(500);
    const large = record(helloOf(501));
    expect(assembler.push(large.subarray(0, 8))).toBe('incomplete');
    expect(assembler.push(large.subarray(8, 9))).toBe('too-large');
    assembler.push(large.subarray(9));
    expect(assembler.handedOn()).toEqual(large);
  });

  it('takes up to 16 384 bytes by default, which is what fits in one record', () => {
    const largest = helloOf(16_384);
    const assembler = new ClientHelloAssembler();
    expect(pushAll(assembler, byteByByte(toRecords(largest, [1, 9_000])))).toBe('complete');
    expect(assembler.handedOn()).toEqual(record(largest));
    for (const length of [16_385, 70_000, 0x10000]) {
      const header = record(Buffer.concat([uint(1, 1), uint(3, length - 4)]));
      expect(new ClientHelloAssembler().push(header)).toBe('too-large');
    }
  });

  it('takes 4096 records and no more', () => {
    const long = helloOf(8_000);
    const cuts = Array.from({ length: 4095 }, (_, i) => i + 1);
    expect(new ClientHelloAssembler().push(toRecords(long, cuts))).toBe('complete');
    const sent = toRecords(long, [...cuts, 4096]);
    const assembler = new ClientHelloAssembler();
    expect(pushAll(assembler, byteByByte(sent))).toBe('too-large');
    expect(assembler.handedOn()).toEqual(sent);
  });

  it.each([
    ['once, its length known, in one record', record(helloOf(16_384)), 1.1],
    ['a bounded number of times, in records of a byte each', toRecords(helloOf(4_001), byteCuts(4_001)), 3],
  ])('copies each byte of a hello %s, and holds no more than was received', (_, sent, times) => {
    let copied = 0;
    const bytes = byteByByte(sent);
    const { copy } = Buffer.prototype;
    const assembler = new ClientHelloAssembler();
    Buffer.prototype.copy = function (this: Buffer, ...args: Parameters<Buffer['copy']>) {
      const count = copy.apply(this, args);
      copied += count;
      return count;
    };
    try {
      bytes.forEach((chunk, i) => {
        assembler.push(chunk);
        if (assembler.bytesHeld !== i + 1) throw new Error('bytesHeld');
      });
    } finally {
      Buffer.prototype.copy = copy;
    }
    expect(assembler.state).toBe('complete');
    expect(copied).toBeLessThan(times * sent.length);
  });

  it.each([0, 3, 16_385, 1.5, Number.NaN])('refuses a maxBytes of %s', (maxBytes) => {
    expect(() => new ClientHelloAssembler(maxBytes)).toThrow(RangeError);
    expect(() => new ClientHelloAssembler(maxBytes)).toThrow(/maxBytes.*bytes/);
  });

  it('refuses a maxBytes that is no number', () => {
    expect(() => new ClientHelloAssembler('16384' as never)).toThrow(TypeError);
  });

  it('starts incomplete and empty', () => {
    const assembler = new ClientHelloAssembler();
    expect(assembler.state).toBe('incomplete');
    expect(assembler.bytesHeld).toBe(0);
    expect(assembler.handedOn()).toHaveLength(0);
    expect(assembler.push(captured('curl 7.88').subarray(0, 100))).toBe('incomplete');
    expect(() => assembler.message).toThrow(/incomplete/);
  });
});
