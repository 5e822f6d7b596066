import { X509Certificate } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { decodeSslSession, type SslSession } from '../../src/wire/ssl-session.js';
import { capturedSessions, mutate, seeded } from './captured.js';

const CIPHERS: Record<string, number> = {
  TLS_AES_256_GCM_SHA384: 0x1302,
  'ECDHE-ECDSA-AES128-GCM-SHA256': 0xc02b,
  'ECDHE-ECDSA-AES256-GCM-SHA384': 0xc02c,
};

function decoded(der: Uint8Array, masterSecret = false): SslSession {
  const session = decodeSslSession(der, { masterSecret });
  if (session === undefined) throw new Error('The session was not decoded');
  return session;
}

function tlv(tag: number, ...parts: Uint8Array[]): Buffer {
  const value = Buffer.concat(parts);
  const { length } = value;
  const header = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...header]), value]);
}

const int = (...bytes: number[]): Buffer => tlv(0x02, Buffer.from(bytes));
const octets = (bytes: string | number[]): Buffer => tlv(0x04, Buffer.from(bytes as string));
const explicit = (number: number, ...parts: Uint8Array[]): Buffer => tlv(0xa0 + number, ...parts);
const FIXED = [int(1), int(3, 4), octets([0x13, 0x01]), octets('id'), octets('secret')];
const build = (...optional: Buffer[]): Buffer => tlv(0x30, ...FIXED, ...optional);

describe('sessions that Node and OpenSSL made', () => {
  it.each(capturedSessions)('$made: each field as openssl sess_id shows it', ({ der, openssl, checkedServername }) => {
    const session = decoded(der, true);
    expect(session.protocolVersion).toBe(openssl.protocol === 'TLSv1.3' ? 0x0304 : 0x0303);
    expect(session.cipherSuite).toBe(CIPHERS[openssl.cipher]);
    expect(session.sessionId.toString('hex').toUpperCase()).toBe(openssl.sessionId);
    expect(session.sessionIdContext.toString('hex').toUpperCase()).toBe(openssl.sessionIdContext);
    expect(session.masterSecret?.toString('hex').toUpperCase()).toBe(openssl.masterSecret);
    expect(session.time).toBe(openssl.time);
    expect(session.timeout).toBe(openssl.timeout);
    expect(session.verifyResult).toBe(openssl.verifyResult);
    expect(session.extendedMasterSecret).toBe(openssl.extendedMasterSecret === 'yes');
    expect(session.ticketLifetimeHint ?? null).toBe(openssl.ticketLifetimeHint);
    expect(session.ticket?.toString('hex') ?? null).toBe(openssl.ticket);
    const certificate = session.peerCertificate && new X509Certificate(session.peerCertificate);
    expect(certificate?.fingerprint256 ?? null).toBe(openssl.certificateSha256);
    expect(session.checkedServername ?? null).toBe(checkedServername);
  });

  it.each(capturedSessions)('$made: cut off at every byte, or longer, there is no session', ({ der }) => {
    for (let length = 0; length < der.length; length++) {
      if (decodeSslSession(der.subarray(0, length)) !== undefined) expect.fail(`decoded ${length} bytes`);
    }
    expect(decodeSslSession(Buffer.concat([der, Buffer.alloc(1)]))).toBeUndefined();
  });
});

describe('a built session', () => {
  it('has every field that was put in', () => {
    const session = decoded(
      build(
        explicit(1, int(0x69, 0x20, 0x5d, 0x80)),
        explicit(2, int(0x01, 0x2c)),
        explicit(3, tlv(0x30, Buffer.alloc(300))),
        explicit(4, octets('context')),
        explicit(5, int(18)),
        explicit(6, octets('a.test')),
        explicit(9, int(0x00, 0x93, 0xa8, 0x00)),
        explicit(10, octets([1, 2, 3])),
        explicit(13, int(0x21)),
        explicit(14, int(0x00, 0xff, 0xff, 0xff, 0xff)),
        explicit(15, int(0x40, 0x00)),
        explicit(16, octets('h2')),
      ),
      true,
    );
    expect(session).toMatchObject({
      protocolVersion: 0x0304,
      cipherSuite: 0x1301,
      time: 0x6920_5d80,
      timeout: 300,
      verifyResult: 18,
      hostname: 'a.test',
      ticketLifetimeHint: 0x93_a800,
      ticketAgeAdd: 0xffff_ffff,
      flags: 0x21,
      extendedMasterSecret: true,
      maxEarlyData: 0x4000,
      alpnProtocol: 'h2',
      checkedServername: undefined,
    });
    expect(session.sessionId.toString()).toBe('id');
    expect(session.sessionIdContext.toString()).toBe('context');
    expect(session.masterSecret?.toString()).toBe('secret');
    expect(session.ticket).toEqual(Buffer.from([1, 2, 3]));
    expect(session.peerCertificate).toHaveLength(304);
  });

  it('has the defaults of what was left out', () => {
    expect(decoded(build())).toMatchObject({
      time: 0,
      timeout: 0,
      verifyResult: 0,
      flags: 0,
      extendedMasterSecret: false,
    });
    const { sessionIdContext, hostname, ticket, ticketAgeAdd, peerCertificate, maxEarlyData, alpnProtocol } = decoded(
      build(),
    );
    expect(sessionIdContext).toHaveLength(0);
    expect([hostname, ticket, ticketAgeAdd, peerCertificate, maxEarlyData, alpnProtocol]).toEqual(
      Array(6).fill(undefined),
    );
  });

  it('has numbers that are 0, not only those left out', () => {
    const zero = [1, 2, 5, 9, 13, 14, 15].map((number) => explicit(number, int(0)));
    expect(decoded(build(...zero))).toMatchObject({
      time: 0,
      timeout: 0,
      verifyResult: 0,
      ticketLifetimeHint: 0,
      flags: 0,
      ticketAgeAdd: 0,
      maxEarlyData: 0,
    });
  });

  it('may be of SSL 3.0 to TLS 1.3, and as long as OpenSSL makes them', () => {
    for (const minor of [0, 1, 2, 3, 4]) {
      const session = tlv(0x30, int(1), int(3, minor), ...FIXED.slice(2));
      expect(decoded(session).protocolVersion).toBe(0x0300 + minor);
    }
    const [sessionId, secret] = [Buffer.alloc(32, 1), Buffer.alloc(512, 2)];
    const longest = decoded(
      tlv(0x30, ...FIXED.slice(0, 3), tlv(4, sessionId), tlv(4, secret), explicit(4, tlv(4, sessionId))),
      true,
    );
    expect(longest.sessionId).toEqual(sessionId);
    expect(longest.sessionIdContext).toEqual(sessionId);
    expect(longest.masterSecret).toEqual(secret);
  });

  it('may have fields that we do not know, of any shape', () => {
    const session = decoded(
      build(
        tlv(0x80, Buffer.from([1])),
        explicit(7, octets('hint')),
        explicit(12, octets('srp')),
        explicit(17, int(1)),
        explicit(18, octets('app')),
        explicit(19, int(29)),
        explicit(20, octets('rpk')),
        explicit(29, tlv(0x31, int(1), int(2))),
        tlv(0x9e, Buffer.from([9])),
      ),
    );
    expect(session.protocolVersion).toBe(0x0304);
  });
});

describe('what is no session is undefined', () => {
  const prefix = Buffer.from('\0nodejs:tls:session:1\0');
  const cases: Record<string, Uint8Array> = {
    empty: Buffer.alloc(0),
    'another structure': tlv(0x31, ...FIXED),
    'a structure version of 2': tlv(0x30, int(2), ...FIXED.slice(1)),
    'DTLS 1.2': tlv(0x30, int(1), int(0x00, 0xfe, 0xfd), ...FIXED.slice(2)),
    'SSL 2.0': tlv(0x30, int(1), int(2), ...FIXED.slice(2)),
    'TLS 1.4': tlv(0x30, int(1), int(3, 5), ...FIXED.slice(2)),
    'a protocol version that is no INTEGER': tlv(0x30, int(1), octets([3, 4]), ...FIXED.slice(2)),
    'a cipher suite of 3 bytes': tlv(0x30, ...FIXED.slice(0, 2), octets([2, 0, 0x80]), ...FIXED.slice(3)),
    'a session ID of 33 bytes': tlv(0x30, ...FIXED.slice(0, 3), tlv(4, Buffer.alloc(33)), octets('secret')),
    'a master secret of 513 bytes': tlv(0x30, ...FIXED.slice(0, 4), tlv(4, Buffer.alloc(513))),
    'no master secret': tlv(0x30, ...FIXED.slice(0, 4)),
    'a context of 33 bytes': build(explicit(4, tlv(4, Buffer.alloc(33)))),
    'fields out of order': build(explicit(2, int(1)), explicit(1, int(1))),
    'a field twice': build(explicit(1, int(1)), explicit(1, int(1))),
    'a field that is not tagged': build(int(1)),
    'an unknown field that is not tagged': build(tlv(0x31, int(1))),
    'an unknown field of another class': build(tlv(0x72, int(1))),
    'a time that is no INTEGER': build(explicit(1, octets('1'))),
    'a time without its explicit tag': build(tlv(0x81, Buffer.from([1]))),
    'a time in a tag that is not constructed': build(tlv(0x81, int(1))),
    'a certificate in a tag that is not constructed': build(tlv(0x83, tlv(0x30))),
    'a host name in a tag that is not constructed': build(tlv(0x86, octets('a.test'))),
    'a negative time': build(explicit(1, int(0x80))),
    'a time with a byte too many': build(explicit(1, int(0, 1))),
    'a time of no bytes': build(explicit(1, int())),
    'a time past 2⁵³': build(explicit(1, int(0x20, 0, 0, 0, 0, 0, 0))),
    'a ticket_age_add past 2³²': build(explicit(14, int(1, 0, 0, 0, 0))),
    'two values in one tag': build(explicit(1, int(1), int(1))),
    'a certificate that is no SEQUENCE': build(explicit(3, octets('x'))),
    'an indefinite length': Buffer.concat([Buffer.from([0x30, 0x80]), ...FIXED, Buffer.alloc(2)]),
    'a length with a byte too many': Buffer.concat([Buffer.from([0x30, 0x81]), build().subarray(1)]),
    'a length of 4 bytes': Buffer.from([0x30, 0x84, 0, 0, 0, 0]),
    'a tag of more than one byte': build(Buffer.from([0xbf, 0x20, 0x00])),
    'a zero byte before it': Buffer.concat([Buffer.alloc(1), build()]),
    'a prefix and nothing else': Buffer.concat([prefix, Buffer.from([0, 0])]),
    'a prefix whose name is cut off': Buffer.concat([prefix, Buffer.from([0, 9]), Buffer.from('local')]),
    'another prefix': Buffer.concat([Buffer.from('\0nodejs:tls:session:2\0\0\0'), build()]),
  };

  it.each(Object.entries(cases))('%s', (_, der) => {
    expect(decodeSslSession(der)).toBeUndefined();
  });

  it.each([
    ['timeout', 2],
    ['verify result', 5],
    ['lifetime hint', 9],
    ['flags', 13],
    ['ticket_age_add', 14],
    ['maximum of early data', 15],
  ])('a %s that is negative, or no INTEGER', (_, number) => {
    expect(decodeSslSession(build(explicit(number, int(1))))).toBeDefined();
    expect(decodeSslSession(build(explicit(number, int(0x80))))).toBeUndefined();
    expect(decodeSslSession(build(explicit(number, octets([1]))))).toBeUndefined();
  });

  it.each([
    ['context', 4],
    ['host name', 6],
    ['ticket', 10],
    ['ALPN protocol', 16],
  ])('a %s that is an INTEGER', (_, number) => {
    expect(decodeSslSession(build(explicit(number, octets([1]))))).toBeDefined();
    expect(decodeSslSession(build(explicit(number, int(1))))).toBeUndefined();
  });

  it('throws only when given something else than bytes', () => {
    for (const wrong of [undefined, null, 'session', [0x30]]) {
      expect(() => decodeSslSession(wrong as never)).toThrow(TypeError);
    }
    expect(() => decodeSslSession('session' as never)).toThrow(/der.*Uint8Array/);
  });

  it('never throws and never looks past the end: 60 000 mutated sessions, every field read', () => {
    const random = seeded(7627);
    let intact = 0;
    for (let i = 0; i < 60_000; i++) {
      const { der } = capturedSessions[i % capturedSessions.length]!;
      const mutated = mutate(der, capturedSessions[random(capturedSessions.length)]!.der, random);
      const poison = Buffer.alloc(32, random(256));
      const inside = Buffer.concat([poison, mutated, poison]).subarray(32, 32 + mutated.length);
      const session = decodeSslSession(mutated, { masterSecret: true });
      const again = decodeSslSession(inside, { masterSecret: true });
      expect(again === undefined).toBe(session === undefined);
      if (session === undefined || again === undefined) continue;
      intact++;
      expect(JSON.stringify(again)).toBe(JSON.stringify(session));
      if (!again.masterSecret?.equals(session.masterSecret!)) expect.fail(mutated.toString('hex'));
    }
    expect(intact).toBeGreaterThan(3_000);
  });

  it('never throws on random bytes', () => {
    const random = seeded(690);
    for (let i = 0; i < 40_000; i++) {
      const bytes = Buffer.from(
        Array.from({ length: random(40) }, () => [0x30, 2, 4, 0xa1, 1, 0x80, 0x81, random(256)][random(8)]!),
      );
      decodeSslSession(bytes);
    }
  });
});

describe('what a session shows and holds', () => {
  const { der } = capturedSessions[0]!;

  it('lets the master secret out only when asked, and never in print', () => {
    expect(decoded(der).masterSecret).toBeUndefined();
    const session = decoded(der, true);
    const secret = session.masterSecret!;
    expect(secret).toHaveLength(48);
    expect(Object.keys(session)).not.toContain('masterSecret');
    const pattern = new RegExp(
      [secret, session.sessionId]
        .flatMap((b) => [
          b.toString('hex', 0, 8),
          [...b.subarray(0, 5)].join(', ?'),
          b.toString('hex', 0, 4).replace(/..(?=.)/g, '$& '),
        ])
        .join('|'),
      'i',
    );
    for (const text of [
      inspect(session, { depth: 9, showHidden: true }),
      JSON.stringify(session),
      inspect([session]),
    ]) {
      expect(text).not.toMatch(pattern);
    }
    expect(JSON.parse(JSON.stringify(session))).toMatchObject({ protocolVersion: 0x0303, sessionId: '<32 bytes>' });
  });

  it('shows the lengths of ticket and certificate, and neither where there is none', () => {
    const whole = decoded(build(explicit(3, tlv(0x30, Buffer.alloc(60))), explicit(10, tlv(4, Buffer.alloc(70)))));
    const shown = { ticket: '<70 bytes>', peerCertificate: '<62 bytes>', sessionId: '<2 bytes>' };
    expect(JSON.parse(JSON.stringify(whole))).toMatchObject(shown);
    for (const length of Object.values(shown)) expect(inspect(whole)).toContain(length);
    const without = JSON.parse(JSON.stringify(decoded(build())));
    expect(without).not.toHaveProperty('ticket');
    expect(without).not.toHaveProperty('peerCertificate');
  });

  it('is a view: wiping the bytes wipes the fields', () => {
    const bytes = Buffer.from(der);
    const session = decoded(bytes, true);
    bytes.fill(0);
    expect(session.masterSecret).toEqual(Buffer.alloc(48));
    expect(session.sessionId).toEqual(Buffer.alloc(32));
  });
});
