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
      { ca: a.cert },
      { ca: [] },
      { crl: a.cert },
      { allowPartialTrustChain: true },
      { minVersion: 'TLSv1.3' },
      { maxVersion: 'TLSv1.2' },
      { secureProtocol: 'TLSv1_2_method' },
      { secureOptions: 1 },
      { ciphers: 'A:B' },
      { ciphers: 'B:A' },
      { honorCipherOrder: true },
      { ecdhCurve: 'X25519' },
      { sigalgs: 'ed25519' },
      { dhparam: 'auto' },
      { requestCert: true },
      { rejectUnauthorized: false },
      { requestCert: true, rejectUnauthorized: false },
      { ALPNProtocols: Buffer.from('\x02h2') },
    ];
    expect(new Set(settings.map(digest)).size).toBe(settings.length);
  });

  it('does not change with the order of CAs, with line ends or with text around PEM blocks', () => {
    expect(digest({ ca: [a.cert, b.cert] })).toBe(digest({ ca: `${b.cert}\n${a.cert}` }));
    expect(digest({ cert: a.cert })).toBe(
      digest({ cert: Buffer.from(`subject=a\r\n${a.cert.replaceAll('\n', '\r\n')}\n`) }),
    );
    expect(digest({ cert: [a.cert, b.cert] })).toBe(digest({ cert: a.cert + b.cert }));
  });

  it("takes Node's defaults for what is absent: rejectUnauthorized is on, requestCert off", () => {
    expect(digest({})).toBe(digest({ rejectUnauthorized: true, requestCert: false }));
  });

  it('reads bytes in any view, takes what is falsy as absent, and refuses the rest', () => {
    const bytes = Buffer.from(a.cert);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const ca of [view, [view], [bytes]]) expect(digest({ ca: ca as never })).toBe(digest({ ca: a.cert }));
    for (const ca of [false, null, '']) expect(digest({ ca: ca as never })).toBe(digest({}));
    for (const ca of [1, {}, [1]]) {
      expect(() => digest({ ca: ca as never })).toThrow(TypeError);
      expect(() => digest({ ca: ca as never })).toThrow('"ca" expected PEM text or bytes, got');
    }
    expect(() => digestParameters(undefined as never)).toThrow('"parameters" expected an object, got undefined');
  });
});
