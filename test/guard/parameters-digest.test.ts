import { beforeAll, describe, expect, it } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { digestParameters, type PolicyParameters } from '../../src/guard/parameters-digest.js';

const digest = (parameters: PolicyParameters): string => digestParameters(parameters).toString('hex');

describe('digestParameters', () => {
  let a: IssuedCertificate;
  let b: IssuedCertificate;
  beforeAll(async () => {
    [a, b] = await Promise.all([makeCertificate({ names: ['a.test'] }), makeCertificate({ names: ['b.test'] })]);
  });

  it('changes with each setting alone', () => {
    const settings: PolicyParameters[] = [
      {},
      { cert: a.cert },
      { cert: b.cert },
      { cert: [a.cert, b.cert] },
      { cert: [b.cert, a.cert] },
      { pfx: Buffer.from('pfx') },
      { pfx: Buffer.from('another') },
      { ca: a.cert },
      { ca: [] },
      { crl: a.cert },
      { allowPartialTrustChain: true },
      { minVersion: 'TLSv1.3' },
      { maxVersion: 'TLSv1.2' },
      { secureProtocol: 'TLSv1_2_method' },
      { secureOptions: 1 },
      { secureOptions: 2 },
      { ciphers: 'A:B' },
      { ciphers: 'B:A' },
      { honorCipherOrder: true },
      { ecdhCurve: 'X25519' },
      { sigalgs: 'ed25519' },
      { dhparam: 'auto' },
      { dhparam: 'another' },
      { requestCert: true },
      { rejectUnauthorized: false },
      { requestCert: true, rejectUnauthorized: false },
      { ALPNProtocols: Buffer.from('\x02h2') },
    ];
    expect(new Set(settings.map(digest)).size).toBe(settings.length);
  });

  it('does not change with the order of CAs and CRLs, with line ends or with text around PEM blocks', () => {
    expect(digest({ ca: [a.cert, b.cert] })).toBe(digest({ ca: `${b.cert}\n${a.cert}` }));
    expect(digest({ crl: [a.cert, b.cert] })).toBe(digest({ crl: [b.cert, a.cert] }));
    expect(digest({ cert: a.cert })).toBe(
      digest({ cert: Buffer.from(`subject=a\r\n${a.cert.replaceAll('\n', '\r\n')}\n`) }),
    );
    expect(digest({ cert: [a.cert, b.cert] })).toBe(digest({ cert: a.cert + b.cert }));
  });

  it("takes Node's defaults for what is absent: rejectUnauthorized is on, requestCert off, no secureOptions", () => {
    expect(digest({})).toBe(digest({ rejectUnauthorized: true, requestCert: false, secureOptions: 0 }));
  });

  it('stays what it was: hosts of two versions share sessions while a fleet is upgraded', () => {
    expect(digest({})).toBe('4e6dd75f4690eb5deded0a28e3b04f30679c66d0bf82efe48d85860f07f25abc');
    const all: PolicyParameters = {
      cert: '-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n',
      ca: ['-----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n', 'no PEM'],
      minVersion: 'TLSv1.2',
      ciphers: 'A:B',
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: Buffer.from('\x02h2'),
    };
    expect(digest(all)).toBe('1cfd2befa0cb19b36051bd86422937bf32ec58faedb3eb5cd9b8d11974f0122f');
  });

  it('reads what is wrapped in an object, as a key or a PFX with its passphrase is', () => {
    expect(digest({ cert: [{ pem: a.cert }, { pem: Buffer.from(b.cert) }] })).toBe(digest({ cert: [a.cert, b.cert] }));
    const pfx = Buffer.from('pfx');
    expect(digest({ pfx: [{ buf: pfx, passphrase: 'secret' } as { buf: Buffer }] })).toBe(digest({ pfx }));
  });

  it('takes text for its bytes, in PEM or not, and what is absent from a list for nothing', () => {
    for (const text of [a.cert, 'pfx', 'ü']) expect(digest({ pfx: text })).toBe(digest({ pfx: Buffer.from(text) }));
    for (const absent of [undefined, null, false, '']) {
      expect(digest({ ca: [a.cert, absent] as never })).toBe(digest({ ca: a.cert }));
      expect(digest({ ca: [absent] as never })).toBe(digest({ ca: [] }));
    }
  });

  it('reads bytes in any view, takes what is falsy as absent, and refuses the rest', () => {
    const bytes = Buffer.from(a.cert);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const ca of [view, [view], [bytes]]) expect(digest({ ca: ca as never })).toBe(digest({ ca: a.cert }));
    for (const ca of [false, null, '']) expect(digest({ ca: ca as never })).toBe(digest({}));
    for (const name of ['cert', 'pfx', 'ca', 'crl', 'dhparam']) {
      for (const wrong of [1, {}, [1]]) {
        expect(() => digest({ [name]: wrong })).toThrow(TypeError);
        expect(() => digest({ [name]: wrong })).toThrow(`"${name}" expected PEM text or bytes, got`);
      }
    }
    expect(() => digestParameters(undefined as never)).toThrow('"parameters" expected an object, got undefined');
  });
});
