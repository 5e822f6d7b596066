import { describe, expect, it } from 'vitest';
import { type ClientHelloView, viewClientHello } from '../../src/wire/client-hello-view.js';
import { buildHello, type HelloSpec, returningHello13, TLS13 } from '../support/hello-builder.js';

function viewed(spec: HelloSpec): ClientHelloView {
  const hello = viewClientHello(buildHello(spec));
  if (hello === undefined) throw new Error('The hello was not taken');
  return hello;
}

describe('what a hello offers', () => {
  it('is found wherever it stands in its list', () => {
    const hello = viewed({
      cipherSuites: [0x1301, 0x1302, 0xc02b],
      supportedVersions: [0x0a0a, TLS13, 0x0303],
      pskKeyExchangeModes: [2, 1, 0],
    });
    for (const suite of [0x1301, 0x1302, 0xc02b]) expect(hello.offersCipherSuite(suite)).toBe(true);
    for (const version of [0x0a0a, TLS13, 0x0303]) expect(hello.offersVersion(version)).toBe(true);
    for (const mode of [2, 1, 0]) expect(hello.offersPskKeyExchangeMode(mode)).toBe(true);
  });

  it('is not what stands between, before or behind', () => {
    const hello = viewed({
      cipherSuites: [0x1301, 0x1302],
      supportedVersions: [TLS13],
      pskKeyExchangeModes: [1],
      keyShareGroups: [29],
    });
    // 0x0113 straddles two suites, 2 bytes of length come before them, 1 compression method, 0, follows them.
    for (const suite of [0x0113, 0x0004, 0x0100]) expect(hello.offersCipherSuite(suite)).toBe(false);
    // 3 bytes of extension, 2 of list.
    for (const version of [0x0302, 0x0203, 0x0303]) expect(hello.offersVersion(version)).toBe(false);
    // The next extension's type begins with a 0, which would be psk_ke.
    for (const mode of [0, 2, 45]) expect(hello.offersPskKeyExchangeMode(mode)).toBe(false);
  });

  it('is nothing without the extension', () => {
    const hello = viewed({});
    expect(hello.offersVersion(0x0303)).toBe(false);
    expect(hello.offersPskKeyExchangeMode(0)).toBe(false);
    expect(hello.offersPskKeyExchangeMode(1)).toBe(false);
    expect(hello.pskIdentityOf(0)).toBeUndefined();
    expect(hello.pskIdentityOf(32)).toBeUndefined();
  });
});

describe('the identity of a length', () => {
  it('is the first of them, whatever stands before it', () => {
    const [ticket, first, second] = [Buffer.alloc(200, 1), Buffer.alloc(32, 2), Buffer.alloc(32, 3)];
    const hello = viewed({ pskIdentities: [ticket, first, second].map((identity) => ({ identity })) });
    expect(hello.pskIdentityOf(32)).toEqual(first);
    expect(hello.pskIdentityOf(200)).toEqual(ticket);
    for (const length of [0, 31, 33, 36, 199]) expect(hello.pskIdentityOf(length)).toBeUndefined();
  });
});

describe('one hello after the other', () => {
  it('may show the same extensions: only twice in one hello is refused', () => {
    const returning = returningHello13(Buffer.alloc(32, 7));
    const twice = { extraExtensions: [1, 1].map(() => ({ type: 0xfafa, data: Buffer.alloc(0) })) };
    for (let i = 0; i < 3; i++) {
      expect(viewClientHello(Buffer.from(returning))).toBeDefined();
      expect(viewClientHello(buildHello(twice))).toBeUndefined();
    }
  });

  it('is the owner of its message: fields are views of it', () => {
    const message = returningHello13(Buffer.alloc(32, 7));
    const hello = viewClientHello(message);
    message.fill(9);
    expect(hello?.random).toEqual(Buffer.alloc(32, 9));
  });
});
