import { describe, expect, it } from 'vitest';
import {
  agreesOnTls13,
  findOffer,
  holdsVerifiedCertificate,
  type ResumptionOffer,
  refusal,
} from '../../src/guard/resumption-rules.js';
import { sequence } from '../../src/testing/der-writer.js';
import { type ClientHelloView, viewClientHello } from '../../src/wire/client-hello-view.js';
import {
  buildHello,
  type HelloSpec,
  returningHello12,
  returningHello13,
  TLS12,
  TLS13,
} from '../support/hello-builder.js';
import { builtSession } from './built-session.js';

const ID = Buffer.alloc(32, 0x1d);
const TLS_AES_128_GCM = 0x1301;
const TLS_CHACHA20 = 0x1303;
const ECDHE_ECDSA_AES128 = 0xc02b;
const CERTIFICATE = sequence(Buffer.alloc(40));

function view(message: Buffer): ClientHelloView {
  const hello = viewClientHello(message);
  if (hello === undefined) throw new Error('The hello was not parsed');
  return hello;
}

const hello13 = (spec?: HelloSpec): ClientHelloView => view(returningHello13(ID, spec));
const hello12 = (spec?: HelloSpec): ClientHelloView => view(returningHello12(ID, spec));

describe('the version that a hello and a server agree on', () => {
  it('is TLS 1.3 only when both speak it', () => {
    expect(agreesOnTls13(hello13(), true)).toBe(true);
    expect(agreesOnTls13(hello13(), false)).toBe(false);
    expect(agreesOnTls13(hello12(), true)).toBe(false);
    expect(agreesOnTls13(hello13({ supportedVersions: [TLS12] }), true)).toBe(false);
    expect(agreesOnTls13(hello13({ supportedVersions: [0x7a7a, TLS13, TLS12] }), true)).toBe(true);
  });
});

describe('what a hello offers to resume', () => {
  it('is, in TLS 1.3, the PSK identity and not the legacy session ID, which names nothing there', () => {
    expect(findOffer(hello13(), true)).toEqual({ protocolVersion: TLS13, sessionId: ID });
  });

  it('is the first PSK identity of 32 bytes: a ticket before it is passed over', () => {
    const pskIdentities = [200, 31, 33].map((length) => ({ identity: Buffer.alloc(length, 7) }));
    expect(findOffer(hello13({ pskIdentities }), true)).toBe('not-offered');
    pskIdentities.push({ identity: ID }, { identity: Buffer.alloc(32, 9) });
    expect(findOffer(hello13({ pskIdentities }), true)).toEqual({ protocolVersion: TLS13, sessionId: ID });
  });

  it('is nothing in TLS 1.3 without a PSK identity, whatever legacy session ID is shown', () => {
    expect(findOffer(view(buildHello({ sessionId: ID, supportedVersions: [TLS13] })), true)).toBe('not-offered');
  });

  it.each([[[0]], [[2, 3]]])('is nothing that the PSK modes %j allow: a server takes psk_dhe_ke only', (modes) => {
    expect(findOffer(hello13({ pskKeyExchangeModes: modes }), true)).toBe('no-psk-dhe-ke');
  });

  it('is the PSK identity also when psk_dhe_ke is one mode of several', () => {
    expect(findOffer(hello13({ pskKeyExchangeModes: [0, 1] }), true)).toMatchObject({ sessionId: ID });
  });

  it('is nothing that Node would ask for when a TLS 1.3 hello has no legacy session ID', () => {
    expect(findOffer(hello13({ sessionId: Buffer.alloc(0) }), true)).toBe('no-legacy-session-id');
    expect(findOffer(hello13({ sessionId: Buffer.alloc(1) }), true)).toMatchObject({ sessionId: ID });
  });

  it('is, in TLS 1.2, the session ID', () => {
    const offer = { protocolVersion: TLS12, sessionId: ID };
    expect(findOffer(hello12(), true)).toEqual(offer);
    expect(findOffer(hello12(), false)).toEqual(offer);
    expect(findOffer(hello12({ sessionId: Buffer.alloc(0) }), true)).toBe('not-offered');
  });

  it('is the session ID at a server without TLS 1.3, also when the client speaks it and shows a PSK', () => {
    const sessionId = Buffer.alloc(32, 0x2e);
    expect(findOffer(hello13({ sessionId }), false)).toEqual({ protocolVersion: TLS12, sessionId });
    expect(findOffer(hello13({ sessionId: Buffer.alloc(0) }), false)).toBe('not-offered');
  });
});

describe('a session that was found', () => {
  const offer13: ResumptionOffer = { protocolVersion: TLS13, sessionId: ID };
  const offer12: ResumptionOffer = { protocolVersion: TLS12, sessionId: ID };
  const of12 = (extendedMasterSecret: boolean) =>
    builtSession({ protocolVersion: TLS12, cipherSuite: ECDHE_ECDSA_AES128, extendedMasterSecret });

  it('may be answered when version, cipher suite and extended master secret agree', () => {
    expect(refusal(hello13(), builtSession(), offer13, false)).toBeUndefined();
    expect(refusal(hello12(), of12(true), offer12, false)).toBeUndefined();
    expect(refusal(hello12({ extendedMasterSecret: false }), of12(false), offer12, false)).toBeUndefined();
  });

  it('is refused when its bytes are no session', () => {
    expect(refusal(hello13(), undefined, offer13, false)).toBe('unreadable-session');
  });

  it('is refused when it was made under another version', () => {
    expect(refusal(hello13(), of12(true), offer13, false)).toBe('protocol-version');
    expect(refusal(hello12(), builtSession(), offer12, false)).toBe('protocol-version');
    expect(refusal(hello12(), builtSession({ protocolVersion: 0x0302 }), offer12, false)).toBe('protocol-version');
  });

  it('is refused when its cipher suite is not offered', () => {
    const session = builtSession({ cipherSuite: TLS_CHACHA20 });
    expect(refusal(hello13({ cipherSuites: [TLS_AES_128_GCM] }), session, offer13, false)).toBe('cipher-suite');
    const both = { cipherSuites: [TLS_AES_128_GCM, TLS_CHACHA20] };
    expect(refusal(hello13(both), session, offer13, false)).toBeUndefined();
  });

  it('is refused in TLS 1.2 when one of session and hello has extended master secret and the other has not', () => {
    expect(refusal(hello12(), of12(false), offer12, false)).toBe('extended-master-secret');
    expect(refusal(hello12({ extendedMasterSecret: false }), of12(true), offer12, false)).toBe(
      'extended-master-secret',
    );
  });

  it('is not refused for extended master secret in TLS 1.3, whose hellos may have it and whose sessions have not', () => {
    expect(refusal(hello13({ extendedMasterSecret: true }), builtSession(), offer13, false)).toBeUndefined();
  });

  it('must hold a certificate that verified where certificates are asked for, and only there', () => {
    const verified = builtSession({ peerCertificate: CERTIFICATE });
    // 10 is X509_V_ERR_CERT_HAS_EXPIRED.
    const failed = builtSession({ peerCertificate: CERTIFICATE, verifyResult: 10 });
    const answers = [verified, failed, builtSession()].map((session) => refusal(hello13(), session, offer13, true));
    expect(answers).toEqual([undefined, 'client-certificate', 'client-certificate']);
    for (const session of [verified, failed]) expect(refusal(hello13(), session, offer13, false)).toBeUndefined();
  });

  it('holds a verified certificate when there is one and it verified: without one OpenSSL says X509_V_OK too', () => {
    expect(holdsVerifiedCertificate(builtSession({ peerCertificate: CERTIFICATE, verifyResult: 0 }))).toBe(true);
    expect(holdsVerifiedCertificate(builtSession({ peerCertificate: CERTIFICATE, verifyResult: 18 }))).toBe(false);
    expect(holdsVerifiedCertificate(builtSession({ verifyResult: 0 }))).toBe(false);
  });
});
