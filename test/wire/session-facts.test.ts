import { describe, expect, it } from 'vitest';
import { factsOf } from '../../src/wire/session-facts.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import { capturedSessions, mutate, seeded } from './captured.js';

const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const value = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag, value.length), value]);
};
const int = (...bytes: number[]): Buffer => tlv(0x02, Buffer.from(bytes));
const octets = (bytes: string | number[]): Buffer => tlv(0x04, Buffer.from(bytes as string));
const FIXED = [int(1), int(3, 3), octets([0xc0, 0x2b]), octets('id'), octets('secret')];
const build = (...optional: Buffer[]): Buffer => tlv(0x30, ...FIXED, ...optional);
const [PEER, VERIFY_RESULT, FLAGS] = [0xa3, 0xa5, 0xad];

type Shown = Pick<
  NonNullable<ReturnType<typeof decodeSslSession>>,
  'protocolVersion' | 'cipherSuite' | 'verifyResult' | 'extendedMasterSecret' | 'peerCertificate'
>;

const shown = (session: Shown): object => ({
  protocolVersion: session.protocolVersion,
  cipherSuite: session.cipherSuite,
  verifyResult: session.verifyResult,
  extendedMasterSecret: session.extendedMasterSecret,
  peerCertificate: session.peerCertificate?.toString('hex'),
});

describe('the facts of a session', () => {
  const servers = capturedSessions.filter(({ checkedServername }) => checkedServername === null);

  it.each(servers)('$made: as the whole session has them', ({ der }) => {
    const facts = factsOf(der);
    expect(facts && shown(facts)).toEqual(shown(decodeSslSession(der) as Shown));
  });

  it('are of a session with a certificate and of one without, with and without an extended master secret', () => {
    const all = servers.map(({ der }) => factsOf(der));
    expect(new Set(all.map((facts) => facts?.peerCertificate !== undefined))).toEqual(new Set([true, false]));
    expect(new Set(all.map((facts) => facts?.extendedMasterSecret))).toEqual(new Set([true, false]));
    expect(new Set(all.map((facts) => facts?.protocolVersion))).toEqual(new Set([0x0303, 0x0304]));
  });

  it('have what was put in, and nothing where nothing was', () => {
    const peer = tlv(0x30, int(5));
    const whole = factsOf(
      build(tlv(PEER, peer), tlv(VERIFY_RESULT, int(18)), tlv(0xa6, octets('a')), tlv(FLAGS, int(3))),
    );
    expect(whole && shown(whole)).toEqual({
      protocolVersion: 0x0303,
      cipherSuite: 0xc02b,
      verifyResult: 18,
      extendedMasterSecret: true,
      peerCertificate: peer.toString('hex'),
    });
    const least = factsOf(build(tlv(FLAGS, int(2))));
    expect(least && shown(least)).toEqual({
      protocolVersion: 0x0303,
      cipherSuite: 0xc02b,
      verifyResult: 0,
      extendedMasterSecret: false,
      peerCertificate: undefined,
    });
  });
});

describe('no facts', () => {
  const cases: Record<string, Uint8Array> = {
    empty: Buffer.alloc(0),
    'another structure': tlv(0x31, ...FIXED),
    'bytes after it': Buffer.concat([build(), Buffer.alloc(1)]),
    'a structure version of 2': tlv(0x30, int(2), ...FIXED.slice(1)),
    'no structure version': tlv(0x30, octets([1]), ...FIXED.slice(1)),
    'a protocol version that is no INTEGER': tlv(0x30, int(1), octets([3, 3]), ...FIXED.slice(2)),
    'a cipher suite that is no OCTET STRING': tlv(0x30, ...FIXED.slice(0, 2), int(3, 3), ...FIXED.slice(3)),
    'a cipher suite of 3 bytes': tlv(0x30, ...FIXED.slice(0, 2), octets([2, 0, 0x80]), ...FIXED.slice(3)),
    'a session ID that is no OCTET STRING': tlv(0x30, ...FIXED.slice(0, 3), int(1), octets('secret')),
    'no master secret': tlv(0x30, ...FIXED.slice(0, 4)),
    'a field that is not tagged': build(int(1)),
    'fields out of order': build(tlv(FLAGS, int(1)), tlv(VERIFY_RESULT, int(0))),
    'a field twice': build(tlv(FLAGS, int(1)), tlv(FLAGS, int(0))),
    'a certificate that is no SEQUENCE': build(tlv(PEER, octets('x'))),
    'two certificates': build(tlv(PEER, tlv(0x30), tlv(0x30))),
    'a verify result that is no INTEGER': build(tlv(VERIFY_RESULT, octets([0]))),
    'a negative verify result': build(tlv(VERIFY_RESULT, int(0x80))),
    'flags that are no INTEGER': build(tlv(FLAGS, octets([1]))),
    'flags past 2³²': build(tlv(FLAGS, int(1, 0, 0, 0, 1))),
    'a field that is cut off': build(Buffer.of(FLAGS, 3, 2, 1)),
  };

  it.each(Object.entries(cases))('%s', (_, der) => {
    expect(factsOf(der)).toBeUndefined();
  });

  it('never throws, never looks past the end, and agrees with every session that can be decoded: 60 000 mutated ones', () => {
    const random = seeded(8446);
    let decoded = 0;
    for (let i = 0; i < 60_000; i++) {
      const { der } = capturedSessions[i % capturedSessions.length]!;
      const mutated = mutate(der, capturedSessions[random(capturedSessions.length)]!.der, random);
      const poison = Buffer.alloc(32, random(256));
      const inside = Buffer.concat([poison, mutated, poison]).subarray(32, 32 + mutated.length);
      const facts = factsOf(mutated);
      const again = factsOf(inside);
      const text = facts && JSON.stringify(shown(facts));
      if (text !== (again && JSON.stringify(shown(again)))) expect.fail(mutated.toString('hex'));
      const whole = decodeSslSession(mutated);
      if (whole === undefined || whole.checkedServername !== undefined) continue;
      decoded++;
      if (text !== JSON.stringify(shown(whole))) expect.fail(mutated.toString('hex'));
    }
    expect(decoded).toBeGreaterThan(1_000);
  });
});
