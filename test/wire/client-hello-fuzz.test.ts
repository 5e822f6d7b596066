import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseClientHello, parseOwnMessage } from '../../src/wire/client-hello.js';
import { viewClientHello } from '../../src/wire/client-hello-view.js';
import { buildHello, type HelloSpec, record, toRecords } from '../support/hello-builder.js';
import { capturedHellos, mutate, seeded } from './captured.js';
import { referenceParse } from './reference-client-hello.js';

function reference(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    return referenceParse(bytes);
  } catch {
    return undefined;
  }
}

/** The same for equal hellos, and quicker than a deep comparison. */
function fingerprint(hello: object | undefined): string {
  if (hello === undefined) return 'undefined';
  const fields = Object.entries(hello).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(fields, (_, value) =>
    value?.type === 'Buffer' ? Buffer.from(value.data).toString('hex') : value,
  );
}

const bytesOf = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
const uint16 = fc.integer({ min: 0, max: 0xffff });
const latin1 = (minLength: number, maxLength: number) =>
  bytesOf(minLength, maxLength).map((bytes) => bytes.toString('latin1').replaceAll('\0', '-'));

const spec: fc.Arbitrary<HelloSpec> = fc.record(
  {
    legacyVersion: uint16,
    sessionId: bytesOf(0, 33),
    cipherSuites: fc.array(uint16, { minLength: 1, maxLength: 20 }),
    servername: latin1(0, 40),
    alpnProtocols: fc.array(latin1(1, 9), { minLength: 1, maxLength: 4 }),
    sessionTicket: bytesOf(0, 80),
    extendedMasterSecret: fc.boolean(),
    earlyData: fc.boolean(),
    supportedVersions: fc.array(uint16, { minLength: 1, maxLength: 5 }),
    supportedGroups: fc.array(uint16, { minLength: 1, maxLength: 5 }),
    keyShareGroups: fc.array(uint16, { maxLength: 3 }),
    pskKeyExchangeModes: fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 3 }),
    pskIdentities: fc.array(
      fc.record({ identity: bytesOf(1, 40), obfuscatedTicketAge: fc.integer({ min: 0, max: 0xffff_ffff }) }),
      { minLength: 1, maxLength: 3 },
    ),
    extraExtensions: fc.array(fc.record({ type: fc.integer({ min: 0x100, max: 0x110 }), data: bytesOf(0, 8) }), {
      maxLength: 3,
    }),
  },
  { requiredKeys: [] },
);

describe('the parser, whatever the bytes', () => {
  it('agrees with the reference on 10 000 generated hellos, bare and in records', () => {
    let wellFormed = 0;
    fc.assert(
      fc.property(spec, fc.array(fc.nat(300), { maxLength: 4 }), (hello, cuts) => {
        const message = buildHello(hello);
        const expected = fingerprint(reference(message));
        if (expected !== 'undefined') wellFormed++;
        expect(fingerprint(parseClientHello(message))).toBe(expected);
        expect(fingerprint(parseClientHello(toRecords(message, cuts)))).toBe(expected);
      }),
      { numRuns: 10_000 },
    );
    expect(wellFormed).toBeGreaterThan(2_000);
  });

  it('agrees with the reference on 40 000 mutated hellos of real clients', () => {
    const random = seeded(8446);
    let wellFormed = 0;
    for (let i = 0; i < 40_000; i++) {
      const { bytes } = capturedHellos[i % capturedHellos.length]!;
      const other = capturedHellos[random(capturedHellos.length)]!.bytes;
      // Lists of numbers are the reference's way: only the shorter hellos are worth its time.
      if (bytes.length > 700) continue;
      const mutated = mutate(bytes, other, random);
      const expected = fingerprint(reference(mutated));
      if (expected !== 'undefined') wellFormed++;
      if (fingerprint(parseClientHello(mutated)) !== expected) expect.fail(mutated.toString('hex'));
    }
    expect(wellFormed).toBeGreaterThan(2_000);
  });

  it('never throws, and never looks past the end: 200 000 mutated hellos with other bytes behind them', () => {
    const random = seeded(5077);
    const poison = Buffer.alloc(64);
    let wellFormed = 0;
    for (let i = 0; i < 200_000; i++) {
      const { bytes } = capturedHellos[i % capturedHellos.length]!;
      const mutated = mutate(bytes, capturedHellos[random(capturedHellos.length)]!.bytes, random);
      const hello = parseClientHello(mutated);
      poison.fill(random(256));
      const inside = Buffer.concat([poison, mutated, poison]).subarray(64, 64 + mutated.length);
      const again = parseClientHello(inside);
      if ((hello === undefined) !== (again === undefined)) expect.fail(mutated.toString('hex'));
      if (hello === undefined) continue;
      wellFormed++;
      if (i % 8 === 0 && fingerprint(hello) !== fingerprint(again)) expect.fail(mutated.toString('hex'));
    }
    expect(wellFormed).toBeGreaterThan(10_000);
  });

  it('finds in place what is in the lists, in 40 000 mutated hellos', () => {
    const random = seeded(7627);
    let wellFormed = 0;
    for (let i = 0; i < 40_000; i++) {
      const { bytes } = capturedHellos[i % capturedHellos.length]!;
      const mutated = mutate(bytes, capturedHellos[random(capturedHellos.length)]!.bytes, random).subarray(5);
      const hello = parseOwnMessage(mutated);
      const view = viewClientHello(mutated);
      expect(view === undefined).toBe(hello === undefined);
      if (hello === undefined || view === undefined) continue;
      wellFormed++;
      const suites = [...hello.cipherSuites, 0x1301, 0xc02f, random(0x10000)];
      expect(suites.map((suite) => view.offersCipherSuite(suite))).toEqual(
        suites.map((suite) => hello.cipherSuites.includes(suite)),
      );
      for (const version of [0x0303, 0x0304, ...hello.supportedVersions]) {
        expect(view.offersVersion(version)).toBe(hello.supportedVersions.includes(version));
      }
      for (const mode of [0, 1, 2]) {
        expect(view.offersPskKeyExchangeMode(mode)).toBe(hello.pskKeyExchangeModes.includes(mode));
      }
      const identity = hello.pskIdentities.find((psk) => psk.identity.length === 32)?.identity;
      expect(view.pskIdentityOf(32)).toEqual(identity);
      expect(view.sessionIdLength).toBe(hello.sessionId.length);
    }
    expect(wellFormed).toBeGreaterThan(2_000);
  });

  it('never throws on bytes that are nothing', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom('', '01', '160301', '1603010040010000'),
        (tail, head) => {
          const bytes = Buffer.concat([Buffer.from(head, 'hex'), tail]);
          expect(fingerprint(parseClientHello(bytes))).toBe(fingerprint(reference(bytes)));
        },
      ),
      { numRuns: 10_000 },
    );
  });
});

describe('the work to parse', () => {
  /** Counts how often bytes are read, through a view that only looks like a Buffer's elements. */
  function reads(bytes: Buffer): number {
    let count = 0;
    const counted = new Proxy(bytes, {
      get(target, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) count++;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    parseOwnMessage(counted);
    return count;
  }

  const many = (count: number, type: (i: number) => number) =>
    buildHello({
      extraExtensions: Array.from({ length: count }, (_, i) => ({ type: type(i), data: Buffer.alloc(0) })),
    });
  const shapes: Record<string, (size: number) => Buffer> = {
    extensions: (size) => many(size, (i) => i + 100),
    'one-byte identities': (size) =>
      buildHello({ pskIdentities: Array.from({ length: size / 8 }, () => ({ identity: Buffer.alloc(1) })) }),
    'one-byte protocols': (size) => buildHello({ alpnProtocols: Array.from({ length: size }, () => 'x') }),
    'cipher suites': (size) => buildHello({ cipherSuites: Array.from({ length: size }, (_, i) => i) }),
    'key shares': (size) => buildHello({ keyShareGroups: Array.from({ length: size / 16 }, () => 29) }),
  };

  it.each(Object.entries(shapes))('grows as the bytes do: %s', (_, build) => {
    const small = build(512);
    const large = build(8192);
    expect(parseOwnMessage(large)).toBeDefined();
    for (const bytes of [small, large]) expect(reads(bytes)).toBeLessThan(3 * bytes.length);
    expect(reads(large)).toBeGreaterThan(500);
    expect(reads(large) / reads(small)).toBeLessThan(17);
  });

  it('is the same for the thousandth hello as for the first', () => {
    const bytes = record(many(500, (i) => i + 100));
    for (let i = 0; i < 1_000; i++) expect(parseClientHello(bytes)).toBeDefined();
  });
});
