import { createPrivateKey, X509Certificate } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as der from '../../src/testing/der-writer.js';
import { makeCertificate } from '../../src/testing.js';
import { DerReader, INTEGER, SEQUENCE } from '../../src/wire/der.js';
import { peer } from '../support/peers.js';

describe('makeCertificate', () => {
  it('makes one for loopback that signs itself', () => {
    const { key, cert, commonName } = makeCertificate();
    const made = new X509Certificate(cert);
    expect(commonName).toBe('localhost');
    expect(made.subject).toBe('CN=localhost');
    expect(made.ca).toBe(false);
    expect(made.verify(made.publicKey)).toBe(true);
    expect(made.checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(made.checkHost('localhost')).toBe('localhost');
    expect(made.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(made.checkIP('::1')).toBe('::1');
    expect(made.checkHost('other.test')).toBeUndefined();
    expect(Date.parse(made.validFrom)).toBeLessThan(Date.now());
    expect(Date.parse(made.validTo)).toBeGreaterThan(Date.now() + 29 * 86_400_000);
  });

  it('makes authorities, and what they sign', () => {
    const root = makeCertificate({ commonName: 'Wurzel ä', authority: true, names: [] });
    const below = makeCertificate({ commonName: 'below', authority: true, issuer: root, names: [] });
    const leaf = new X509Certificate(makeCertificate({ issuer: below, names: ['a.test'] }).cert);
    const [rootCert, belowCert] = [new X509Certificate(root.cert), new X509Certificate(below.cert)];
    expect([rootCert.ca, belowCert.ca]).toEqual([true, true]);
    expect(belowCert.checkIssued(rootCert)).toBe(true);
    expect(leaf.checkIssued(belowCert)).toBe(true);
    expect(leaf.verify(belowCert.publicKey)).toBe(true);
    expect(leaf.verify(rootCert.publicKey)).toBe(false);
    expect(rootCert.subjectAltName).toBeUndefined();
  });

  it('takes times, of both forms', () => {
    const notBefore = new Date('2049-12-31T23:59:59Z');
    const notAfter = new Date('2050-01-01T00:00:00Z');
    const made = new X509Certificate(makeCertificate({ notBefore, notAfter }).cert);
    expect([Date.parse(made.validFrom), Date.parse(made.validTo)]).toEqual([+notBefore, +notAfter]);
  });

  it.each([
    ['::', '::'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['2001:db8::ff00:42:8329', '2001:db8::ff00:42:8329'],
    ['fe80::', 'fe80::'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
  ])('writes the address %s', (address, same) => {
    expect(new X509Certificate(makeCertificate({ names: [address] }).cert).checkIP(same)).toBe(same);
  });

  it('gives every certificate a serial number of its own', () => {
    const serials = Array.from({ length: 20 }, () => new X509Certificate(makeCertificate().cert).serialNumber);
    expect(new Set(serials).size).toBe(20);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][\dA-F]{31}$/);
  });

  it('refuses what no certificate can say', () => {
    expect(() => makeCertificate({ names: [''] })).toThrow(RangeError);
    expect(() => makeCertificate({ names: ['ä.test'] })).toThrow(RangeError);
    expect(() => makeCertificate({ names: 'a.test' as never })).toThrow(TypeError);
    expect(() => makeCertificate({ commonName: '' })).toThrow(RangeError);
    expect(() => makeCertificate({ authority: 1 as never })).toThrow(TypeError);
    expect(() => makeCertificate({ notAfter: new Date(0) })).toThrow('a time after "notBefore"');
    expect(() => makeCertificate({ notAfter: new Date(Number.NaN) })).toThrow(TypeError);
    expect(() => makeCertificate({ issuer: {} as never })).toThrow(TypeError);
    expect(() => makeCertificate(null as never)).toThrow(TypeError);
  });
});

const openssl = peer('openssl');
openssl.describe('openssl', () => {
  it('reads what makeCertificate writes', async () => {
    const { cert } = makeCertificate({ names: ['a.test', '192.0.2.1'], commonName: 'a' });
    const { stdout } = await openssl.run(['x509', '-noout', '-text'], { input: `${cert}\n` });
    expect(stdout).toMatch(/Version: 3/);
    expect(stdout).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
    expect(stdout).toMatch(/X509v3 Basic Constraints: critical\s+CA:FALSE/);
    expect(stdout).toMatch(/DNS:a\.test, IP Address:192\.0\.2\.1/);
    const authority = makeCertificate({ authority: true, names: [], commonName: 'b' });
    const read = await openssl.run(['x509', '-noout', '-text'], { input: `${authority.cert}\n` });
    expect(read.stdout).toMatch(/X509v3 Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
    expect(read.stdout).toMatch(/CA:TRUE/);
  });
});

describe('the DER writer', () => {
  it('writes what the DER reader reads', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), fc.integer({ min: 0, max: 70_000 }), (number, length) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(number);
        const reader = new DerReader(der.sequence(der.integer(bytes), der.octets(Buffer.alloc(length, 7))));
        expect(reader.nextOf(SEQUENCE) && reader.done).toBe(true);
        reader.descend();
        expect(reader.nextOf(INTEGER)).toBe(true);
        expect(reader.unsigned(2 ** 32)).toBe(number);
        expect(reader.next() && reader.done).toBe(true);
        expect(reader.end - reader.start).toBe(length);
      }),
    );
  });

  it('writes object identifiers', () => {
    expect(der.objectIdentifier('1.2.840.10045.4.3.2').toString('hex')).toBe('06082a8648ce3d040302');
    expect(der.objectIdentifier('2.5.29.17').toString('hex')).toBe('0603551d11');
  });
});
