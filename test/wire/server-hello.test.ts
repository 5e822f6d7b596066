import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseNewSessionTicket, parseServerHello } from '../../src/index.js';
import { ServerFlight } from '../../src/wire/server-flight.js';
import { cutAt, extension, numbers16, record, toRecords, uint, vector } from '../support/hello-builder.js';
import { mutate, seeded } from './captured.js';
import flights from './fixtures/server-flights.json' with { type: 'json' };

/** What openssl s_server sent in clear, one record more, and what the client made of it. */
const captured = flights.map(({ hex, hello, ...rest }) => ({
  ...rest,
  bytes: Buffer.from(hex, 'hex'),
  hello: Buffer.from(hello, 'hex'),
}));
const VERSIONS: Record<string, number> = { 'TLSv1.2': 0x0303, 'TLSv1.3': 0x0304 };
const SUITES: Record<string, number> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 0xc02b,
  TLS_AES_256_GCM_SHA384: 0x1302,
};
const RETRY = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');

interface Spec {
  random?: Uint8Array;
  sessionId?: Uint8Array;
  cipherSuite?: number;
  extensions?: readonly Buffer[] | undefined;
}

function serverHello({ random, sessionId, cipherSuite, extensions }: Spec = {}): Buffer {
  const body = Buffer.concat([
    uint(2, 0x0303),
    random ?? Buffer.alloc(32, 5),
    vector(1, sessionId ?? Buffer.alloc(0)),
    uint(2, cipherSuite ?? 0xc02b),
    uint(1, 0),
    extensions ? vector(2, ...extensions) : Buffer.alloc(0),
  ]);
  return Buffer.concat([uint(1, 2), vector(3, body)]);
}

function newSessionTicket(lifetimeHint: number, ticket: Uint8Array): Buffer {
  return Buffer.concat([uint(1, 4), vector(3, uint(4, lifetimeHint), vector(2, ticket))]);
}

/** A protocol name with its length. */
const H2 = vector(1, Buffer.from('h2'));
const CHANGE_CIPHER_SPEC = Buffer.from('140303000101', 'hex');
const other = (type: number, length: number) => Buffer.concat([uint(1, type), vector(3, Buffer.alloc(length))]);

function read(...chunks: Uint8Array[]): ServerFlight {
  const flight = new ServerFlight();
  for (const chunk of chunks) flight.push(chunk);
  return flight;
}

describe('parseServerHello', () => {
  it.each(captured)('reads what s_server says: $server', ({ bytes, protocol, cipher, alpn, resumed, ...rest }) => {
    const hello = parseServerHello(bytes);
    expect(hello).toMatchObject({
      legacyVersion: 0x0303,
      version: VERSIONS[protocol],
      cipherSuite: SUITES[cipher],
      alpnProtocol: alpn ?? undefined,
    });
    expect(hello?.helloRetryRequest).toBe(rest.server.endsWith('HelloRetryRequest'));
    expect(hello?.sessionTicket).toBe(protocol === 'TLSv1.2' && rest.ticket !== null && !resumed);
    expect(hello?.extendedMasterSecret).toBe(protocol === 'TLSv1.2');
    if (protocol === 'TLSv1.2') {
      expect(hello?.sessionId.toString('hex')).toBe(rest.ticket === null || resumed ? rest.sessionId : '');
    } else if (!hello?.helloRetryRequest) {
      expect(hello?.selectedIdentity).toBe(resumed ? 0 : undefined);
    }
  });

  it('reads every extension, over any records, and leaves what follows alone', () => {
    const message = serverHello({
      sessionId: Buffer.alloc(32, 7),
      extensions: [
        extension(35),
        extension(23),
        extension(43, uint(2, 0x0304)),
        extension(41, uint(2, 3)),
        extension(16, vector(2, vector(1, Buffer.from('h2')))),
        extension(0xff01, uint(1, 0)),
      ],
    });
    const expected = {
      version: 0x0304,
      sessionId: Buffer.alloc(32, 7),
      sessionTicket: true,
      extendedMasterSecret: true,
      selectedIdentity: 3,
      alpnProtocol: 'h2',
    };
    expect(parseServerHello(message)).toMatchObject(expected);
    const cuts = fc.array(fc.nat(message.length), { maxLength: 5 });
    fc.assert(
      fc.property(cuts, fc.uint8Array(), (at, rest) => {
        expect(parseServerHello(Buffer.concat([toRecords(message, at), rest]))).toMatchObject(expected);
      }),
    );
  });

  it('takes a hello without extensions, and with an empty list of them', () => {
    for (const extensions of [undefined, []]) {
      expect(parseServerHello(serverHello({ extensions }))).toMatchObject({ version: 0x0303, sessionTicket: false });
    }
  });

  it.each([
    ['a session ID of 33 bytes', serverHello({ sessionId: Buffer.alloc(33) })],
    ['an extension sent twice', serverHello({ extensions: [extension(23), extension(23)] })],
    ['a session_ticket with contents', serverHello({ extensions: [extension(35, uint(1, 0))] })],
    ['an extended_master_secret with contents', serverHello({ extensions: [extension(23, uint(1, 0))] })],
    ['a version of 3 bytes', serverHello({ extensions: [extension(43, uint(3, 0x0304))] })],
    ['a selected identity of 1 byte', serverHello({ extensions: [extension(41, uint(1, 0))] })],
    ['an empty ALPN list', serverHello({ extensions: [extension(16, vector(2))] })],
    ['an empty ALPN protocol', serverHello({ extensions: [extension(16, vector(2, vector(1)))] })],
    ['an ALPN list that ends past its extension', serverHello({ extensions: [extension(16, uint(2, 4), H2)] })],
    ['an ALPN list that ends before its extension', serverHello({ extensions: [extension(16, uint(2, 2), H2)] })],
    ['half the header of an extension', serverHello({ extensions: [uint(2, 0x1234)] })],
    ['an extension that ends past the list', serverHello({ extensions: [uint(2, 0x1234), uint(2, 3), uint(2, 0)] })],
    ['two ALPN protocols', serverHello({ extensions: [extension(16, vector(2, numbers16([0x0161, 0x0162])))] })],
    ['extensions that are cut off', Buffer.concat([uint(1, 2), vector(3, serverHello().subarray(4), uint(2, 9))])],
    ['a ClientHello', captured[0]!.hello],
    ['HTTP', Buffer.from('HTTP/1.1 200 OK\r\n\r\n')],
    ['nothing', Buffer.alloc(0)],
  ])('is undefined for %s', (_, bytes) => {
    expect(parseServerHello(bytes)).toBeUndefined();
  });

  it('is undefined for every beginning of one', () => {
    const [{ bytes }] = captured as [(typeof captured)[0]];
    const whole = 5 + bytes.readUInt16BE(3);
    for (let length = 0; length < whole; length++) expect(parseServerHello(bytes.subarray(0, length))).toBeUndefined();
    expect(parseServerHello(bytes.subarray(0, whole))).toBeDefined();
  });

  it('throws for what is no bytes, and copies', () => {
    expect(() => parseServerHello('x' as never)).toThrow(TypeError);
    expect(() => parseServerHello('x' as never)).toThrow(/bytes.*Uint8Array/);
    expect(() => parseNewSessionTicket(undefined as never)).toThrow(TypeError);
    const bytes = serverHello({ sessionId: Buffer.alloc(32, 7) });
    const hello = parseServerHello(bytes);
    bytes.fill(0);
    expect(hello?.sessionId).toEqual(Buffer.alloc(32, 7));
  });

  it('shows no session ID and no ticket', () => {
    const hello = parseServerHello(serverHello({ sessionId: Buffer.alloc(32, 0xab) }));
    const ticket = parseNewSessionTicket(newSessionTicket(1, Buffer.alloc(99, 0xab)));
    for (const shown of [inspect(hello), JSON.stringify(hello), inspect(ticket), JSON.stringify(ticket)]) {
      expect(shown).toMatch(/<(32|99) bytes>/);
      expect(shown).not.toMatch(/abab|ab ab|171/);
    }
  });
});

describe('parseNewSessionTicket', () => {
  it('reads the ticket and its lifetime, over any records', () => {
    const ticket = Buffer.alloc(300, 9);
    const message = newSessionTicket(7200, ticket);
    expect(parseNewSessionTicket(message)).toEqual({ lifetimeHint: 7200, ticket });
    expect(parseNewSessionTicket(toRecords(message, [1, 2, 9, 200]))).toEqual({ lifetimeHint: 7200, ticket });
    expect(parseNewSessionTicket(newSessionTicket(0xffff_ffff, Buffer.alloc(0)))?.lifetimeHint).toBe(0xffff_ffff);
    for (let length = 0; length < message.length; length++) {
      expect(parseNewSessionTicket(message.subarray(0, length))).toBeUndefined();
    }
  });

  it('is undefined when the lengths do not fit', () => {
    const wrong = (...body: Uint8Array[]) => Buffer.concat([uint(1, 4), vector(3, ...body)]);
    expect(parseNewSessionTicket(wrong(uint(4, 1), vector(2, Buffer.alloc(5)), uint(1, 0)))).toBeUndefined();
    expect(parseNewSessionTicket(wrong(uint(4, 1), uint(2, 5), Buffer.alloc(4)))).toBeUndefined();
    expect(parseNewSessionTicket(wrong(uint(4, 1)))).toBeUndefined();
    expect(parseNewSessionTicket(serverHello())).toBeUndefined();
  });
});

describe('the first flight of a server', () => {
  it.each(captured)('is read whole, in any pieces: $server', ({ bytes, protocol, resumed, ticket, lifetimeHint }) => {
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const flight = read(...cutAt(bytes, cuts));
        expect(flight.state).toBe('complete');
        expect(flight.serverHello).toMatchObject({ version: VERSIONS[protocol], helloRetryRequest: false });
        if (protocol === 'TLSv1.3') expect(flight.serverHello?.selectedIdentity).toBe(resumed ? 0 : undefined);
        const expected = resumed || ticket === null ? undefined : { ticket: Buffer.from(ticket, 'hex'), lifetimeHint };
        expect(flight.ticket).toEqual(expected);
      }),
      { numRuns: 50 },
    );
    const bytewise = read(...Array.from(bytes, (byte) => Uint8Array.of(byte)));
    expect(bytewise).toMatchObject({ state: 'complete' });
  });

  it('is complete at the ChangeCipherSpec, not before', () => {
    const flight = read(record(serverHello()), record(other(11, 900)), record(newSessionTicket(1, Buffer.alloc(9))));
    expect(flight.state).toBe('reading');
    expect(flight.push(CHANGE_CIPHER_SPEC)).toBe('complete');
    expect(flight.push(Buffer.from('anything'))).toBe('complete');
    expect(flight.push(Buffer.alloc(300_000))).toBe('complete');
  });

  it('keeps a ticket that one record can hold, in whatever records it comes, and none that is longer', () => {
    // What stands before a ticket in its message: type, length, lifetime, length.
    const longest = newSessionTicket(7200, Buffer.alloc(16_384 - 10, 9));
    expect(longest).toHaveLength(16_384);
    for (const records of [record(longest), toRecords(longest, [1, 9_001])]) {
      const flight = read(record(serverHello()), records, CHANGE_CIPHER_SPEC);
      expect(flight.state).toBe('complete');
      expect(flight.ticket?.ticket).toEqual(Buffer.alloc(16_374, 9));
    }
    const longer = newSessionTicket(7200, Buffer.alloc(16_384 - 9, 9));
    const flight = read(record(serverHello()), toRecords(longer, [9_001]), CHANGE_CIPHER_SPEC);
    expect(flight).toMatchObject({ state: 'complete', ticket: undefined });
  });

  it('goes on after a warning, as for a name that the server does not know', () => {
    const warning = Buffer.from('15030300020170', 'hex');
    expect(read(warning, record(serverHello()), warning, CHANGE_CIPHER_SPEC).state).toBe('complete');
  });

  it('has several messages in one record, and one in several', () => {
    const messages = [serverHello(), other(11, 3000), other(14, 0), newSessionTicket(300, Buffer.alloc(200, 1))];
    fc.assert(
      fc.property(fc.array(fc.nat(3400)), (cuts) => {
        const flight = read(toRecords(Buffer.concat(messages), cuts), CHANGE_CIPHER_SPEC);
        expect(flight.state).toBe('complete');
        expect(flight.ticket).toEqual({ lifetimeHint: 300, ticket: Buffer.alloc(200, 1) });
      }),
    );
  });

  it.each([
    ['HTTP', [Buffer.from('HTTP/1.1 400 Bad Request\r\n')]],
    ['encrypted records before a hello', [Buffer.from('1703030004', 'hex')]],
    ['a ChangeCipherSpec before a hello', [CHANGE_CIPHER_SPEC]],
    ['a ChangeCipherSpec within a message', [record(serverHello()), record(Buffer.of(11, 0)), CHANGE_CIPHER_SPEC]],
    ['another message first', [record(other(11, 9))]],
    ['a malformed hello', [record(serverHello({ sessionId: Buffer.alloc(40) }))]],
    ['two hellos', [record(serverHello()), record(serverHello())]],
    ['two retries', [record(serverHello({ random: RETRY })), record(serverHello({ random: RETRY }))]],
    ['an empty record', [Buffer.from('1603030000', 'hex')]],
    ['a record that is too long', [Buffer.from('1603034001', 'hex')]],
    ['another protocol version', [Buffer.from('1604030004', 'hex')]],
  ])('is unreadable: %s', (_, chunks) => {
    expect(read(...chunks).state).toBe('unreadable');
  });

  it('is unreadable when it does not end, and holds nothing of it', () => {
    const flight = read(record(serverHello()));
    // One message of 16 MiB, of a type that is kept otherwise: more than a record holds is not.
    flight.push(record(Buffer.from('04ffffff', 'hex')));
    const chunk = record(Buffer.alloc(16_000));
    let chunks = 0;
    while (flight.push(chunk) === 'reading') chunks++;
    expect(flight.state).toBe('unreadable');
    expect(chunks * chunk.length).toBeLessThan(280_000);
    expect(flight.ticket).toBeUndefined();
  });

  it('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (chunks) => {
        read(...chunks);
        parseServerHello(Buffer.concat(chunks));
        parseNewSessionTicket(Buffer.concat(chunks));
      }),
      { numRuns: 2000 },
    );
    const random = seeded(5077);
    const states = new Set<string>();
    for (let i = 0; i < 20_000; i++) {
      const { bytes } = captured[i % captured.length]!;
      const mutant = mutate(bytes, captured[random(captured.length)]!.bytes, random);
      const whole = read(mutant);
      states.add(whole.state);
      const pieces = read(...cutAt(mutant, [random(mutant.length), random(mutant.length)]));
      expect(pieces).toMatchObject({ state: whole.state });
      expect(pieces.ticket).toEqual(whole.ticket);
      const alone = parseServerHello(mutant);
      if (whole.state === 'complete' && alone?.helloRetryRequest === false) expect(whole.serverHello).toEqual(alone);
    }
    expect([...states].sort()).toEqual(['complete', 'reading', 'unreadable']);
  });
});
