/** The key of a client's sessions: whatever a session depends on is in it, and a server sees none under another. */

import { constants } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import liveTls from 'node:tls';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { type ClientTlsOptions, clientPolicy, POLICY_OPTIONS, policyOptions } from '../../src/client/client-policy.js';
import { ClientResumption } from '../../src/client/client-resumption.js';
import { VERSIONS } from '../support/visits.js';
import { type BackEnd, drained, HOST, type Region, region, speaking } from './back-end.js';

const hex = (options: ClientTlsOptions): string | undefined => clientPolicy(options)?.toString('hex');

const contexts = [liveTls.createSecureContext(), liveTls.createSecureContext()];
const functions = [() => undefined, () => undefined, () => undefined, () => undefined];

/** Of each option values that are all different, the first of them what Node takes in its absence. */
const VALUES: Record<(typeof POLICY_OPTIONS)[number], readonly unknown[]> = {
  host: [undefined, '127.0.0.1', 'a.test', 'A.test'],
  port: [443, 444, 8443],
  path: [undefined, '/run/a.sock', '/run/b.sock'],
  socket: [undefined, {}],
  localAddress: [undefined, '127.0.0.1', '127.0.0.2'],
  servername: [undefined, 'a.test', 'b.test', 'b.test.', ''],
  ALPNProtocols: [undefined, ['h2'], ['h2', 'http/1.1'], ['http/1.1', 'h2'], []],
  rejectUnauthorized: [true, false],
  checkServerIdentity: [undefined, ...functions],
  secureContext: [undefined, ...contexts],
  pskCallback: [undefined, ...functions],
  ca: [undefined, 'one', 'two', ['one', 'two'], ['onetwo'], []],
  crl: [undefined, 'one', 'two', ['one', 'two']],
  allowPartialTrustChain: [undefined, true],
  cert: [undefined, 'one', 'two', ['one', 'two']],
  key: [undefined, 'one', Buffer.from('two'), [{ pem: 'three' }]],
  pfx: [undefined, 'one', Buffer.from('two'), [{ buf: Buffer.from('three') }]],
  clientCertEngine: [undefined, 'one', 'two'],
  privateKeyEngine: [undefined, 'one', 'two'],
  privateKeyIdentifier: [undefined, 'one', 'two'],
  minVersion: [undefined, 'TLSv1', 'TLSv1.3'],
  maxVersion: [undefined, 'TLSv1.2', 'TLSv1.1'],
  secureProtocol: [undefined, 'TLS_method', 'TLSv1_2_method'],
  secureOptions: [undefined, constants.SSL_OP_NO_TICKET, constants.SSL_OP_NO_TLSv1_3],
  ciphers: [undefined, 'AES128-SHA', 'AES256-SHA', 'AES128-SHA:AES256-SHA'],
  ecdhCurve: [undefined, 'P-256', 'P-384', 'P-256:P-384'],
  sigalgs: [undefined, 'RSA+SHA256', 'ECDSA+SHA256'],
  dhparam: [undefined, 'auto', 'one'],
  minDHSize: [undefined, 2048],
  requestOCSP: [undefined, true],
  certificateCompression: [undefined, ['zlib'], ['zlib', 'brotli']],
};

describe('a policy', () => {
  test.each(POLICY_OPTIONS)('keeps the connections of an agent apart that differ with %s', (name) => {
    // A socket is made by the agent; a path is in place of host and port.
    if (name === 'socket') return;
    const agent = new ClientResumption().agent();
    const names = VALUES[name].map((value) =>
      agent.getName({
        host: 'c.test',
        port: 443,
        servername: 'c.test',
        [name === 'path' ? 'socketPath' : name]: value,
      }),
    );
    // What stands for nothing given is one with the default.
    expect(new Set(names).size).toBe(VALUES[name].length);
  });

  it('has every option that it is made of in its test', () => {
    expect(Object.keys(VALUES).sort()).toEqual([...POLICY_OPTIONS].sort());
  });

  test.each(POLICY_OPTIONS)('differs with %s', (name) => {
    const base = { host: 'c.test', port: 443, servername: 'c.test' };
    const policies = VALUES[name].map((value) => hex({ ...base, [name]: value } as ClientTlsOptions));
    expect(new Set(policies).size).toBe(VALUES[name].length);
    expect(policies).toEqual(VALUES[name].map((value) => hex({ ...base, [name]: value } as ClientTlsOptions)));
  });

  it('is equal exactly when all of it is', () => {
    const settings = fc.record(
      Object.fromEntries(POLICY_OPTIONS.map((name) => [name, fc.nat({ max: VALUES[name].length - 1 })])),
    );
    const optionsOf = (choice: Record<string, number>): ClientTlsOptions => ({
      ...Object.fromEntries(POLICY_OPTIONS.map((name) => [name, VALUES[name][choice[name] as number]])),
      host: `${VALUES.host[choice['host'] as number]}`,
    });
    const same = (a: Record<string, number>, b: Record<string, number>): boolean => {
      // A path is in place of host and port, a method in place of the versions.
      const path = a['path'] !== 0 && a['path'] === b['path'] ? ['host', 'port'] : [];
      const method =
        a['secureProtocol'] !== 0 && a['secureProtocol'] === b['secureProtocol'] ? ['minVersion', 'maxVersion'] : [];
      return POLICY_OPTIONS.every((name) => a[name] === b[name] || path.includes(name) || method.includes(name));
    };
    fc.assert(
      fc.property(
        settings,
        fc.option(settings, { nil: undefined }),
        fc.constantFrom(...POLICY_OPTIONS),
        (a, b, name) => {
          const other = { ...a, ...(b && { [name]: b[name] }) } as Record<string, number>;
          const [one, two] = [a as Record<string, number>, other];
          expect(hex(optionsOf(one)) === hex(optionsOf(two))).toBe(same(one, two));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('does not depend on what has nothing to do with TLS', () => {
    const base = { host: 'c.test', port: 443 };
    const more = {
      timeout: 1,
      signal: new AbortController().signal,
      highWaterMark: 1,
      headers: { a: 'b' },
      method: 'GET',
      agent: {},
      family: 4,
      passphrase: 'secret',
      enableTrace: false,
    };
    expect(hex({ ...base, ...more } as ClientTlsOptions)).toBe(hex(base));
    expect(hex({ ...base, port: '443' } as never)).toBe(hex(base));
    expect(hex({ ...base, host: undefined } as never)).toBe(hex({ ...base, host: 'localhost' }));
  });

  it('follows what Node takes when an option is absent', () => {
    const options = { host: 'c.test', port: 443 };
    const before = hex(options);
    const defaults = { ...liveTls };
    for (const [name, value] of [
      ['DEFAULT_MIN_VERSION', 'TLSv1'],
      ['DEFAULT_MAX_VERSION', 'TLSv1.1'],
      ['DEFAULT_CIPHERS', 'AES128-SHA'],
      ['DEFAULT_ECDH_CURVE', 'P-521'],
    ] as const) {
      const was = defaults[name];
      try {
        Reflect.set(liveTls, name, value);
        expect(hex(options)).not.toBe(before);
      } finally {
        Reflect.set(liveTls, name, was);
      }
    }
    const was = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      expect(hex(options)).toBe(hex({ ...options, rejectUnauthorized: false }));
      // tls.connect takes an option that is there for what it says.
      expect(hex({ ...options, rejectUnauthorized: undefined })).toBe(before);
    } finally {
      if (was === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = was;
    }
    expect(hex(options)).toBe(before);
  });

  const { setDefaultCACertificates, getCACertificates } = liveTls as unknown as {
    setDefaultCACertificates?: (certificates: readonly string[]) => void;
    getCACertificates: (type: string) => string[];
  };
  it.skipIf(setDefaultCACertificates === undefined)('follows the authorities that are trusted by default', async () => {
    const options = { host: 'c.test', port: 443 };
    const [before, certificates] = [hex(options), getCACertificates('default')];
    const { cert } = await makeCertificate({ isAuthority: true });
    try {
      setDefaultCACertificates?.([cert]);
      expect(hex(options)).not.toBe(before);
      expect(hex({ ...options, ca: 'mine' })).toBe(hex({ ...options, ca: 'mine' }));
    } finally {
      setDefaultCACertificates?.(certificates);
    }
    expect(hex(options)).toBe(before);
  });

  it('is none over a socket of which nobody says where it leads', () => {
    expect(clientPolicy({ socket: {} as net.Socket })).toBeUndefined();
    expect(clientPolicy({ socket: {} as net.Socket, servername: 'a.test' })).toHaveLength(32);
    expect(clientPolicy({ socket: {} as net.Socket, host: 'a.test' })).toHaveLength(32);
  });

  it('takes contents for what they are, as text or bytes, bare or wrapped', () => {
    const of = (key: unknown) => hex({ port: 1, key } as ClientTlsOptions);
    expect(of('pem')).toBe(of(Buffer.from('pem')));
    expect(of('pem')).toBe(of(['pem']));
    expect(of('pem')).toBe(of([{ pem: 'pem', passphrase: 'x' }]));
    expect(() => of(1)).toThrow('"key" expected text or bytes, got number 1');
    expect(() => hex({ port: 1, ALPNProtocols: 1 as never })).toThrow(TypeError);
  });

  it('is found again from the options that it was made of alone', () => {
    const socket = new net.Socket();
    const options = { host: 'c.test', port: 1, socket, ca: 'one', timeout: 5, headers: {} } as ClientTlsOptions;
    const picked = policyOptions(options);
    expect(hex(picked)).toBe(hex(options));
    expect(Object.keys(picked).sort()).toEqual(['ca', 'host', 'port', 'socket']);
    expect(picked.socket).not.toBe(socket);
  });
});

describe.each(VERSIONS)('the policy matrix over %s', (version) => {
  let place: Region;
  let backEnd: BackEnd;
  let other: BackEnd;
  let stranger: string;
  beforeAll(async () => {
    place = await region();
    const tlsOptions = { ALPNProtocols: ['x', 'y'] };
    [backEnd, other] = [await place.start({ tls: tlsOptions }), await place.start({ tls: tlsOptions })];
    stranger = (await makeCertificate({ isAuthority: true, commonName: 'stranger' })).cert;
  });
  afterAll(() => place.closeAll());
  afterEach(() => {
    for (const each of [backEnd, other]) each.arrivals.length = 0;
  });

  const base = (): ClientTlsOptions => ({
    host: '127.0.0.1',
    port: backEnd.port,
    servername: HOST,
    ca: place.authority.cert,
    ...speaking(version),
  });

  const changes: Record<string, () => ClientTlsOptions> = {
    host: () => ({ host: 'localhost', family: 4 }) as ClientTlsOptions,
    port: () => ({ port: other.port }),
    'server name': () => ({ servername: 'b.test' }),
    'no server name': () => ({ servername: undefined }) as never,
    'local address': () => ({ localAddress: '127.0.0.2' }),
    ALPN: () => ({ ALPNProtocols: ['x'] }),
    'order of ALPN': () => ({ ALPNProtocols: ['y', 'x'] }),
    rejectUnauthorized: () => ({ rejectUnauthorized: false }),
    'identity check': () => ({ checkServerIdentity: () => undefined }),
    'the context by hand': () => ({
      secureContext: liveTls.createSecureContext({ ca: place.authority.cert, ...speaking(version) }),
    }),
    CA: () => ({ ca: [place.authority.cert, stranger] }),
    'partial chains': () => ({ allowPartialTrustChain: true }),
    'client certificate': () => ({ key: place.client.key, cert: place.client.cert }),
    versions: () => ({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' }),
    'lower version': () => ({ minVersion: 'TLSv1.1' }),
    'TLS options': () => ({ secureOptions: constants.SSL_OP_NO_RENEGOTIATION }),
    ciphers: () => ({ ciphers: `${liveTls.DEFAULT_CIPHERS}:!ARIA128` }),
    curves: () => ({ ecdhCurve: 'P-256' }),
    'signature algorithms': () => ({ sigalgs: 'ECDSA+SHA256:RSA+SHA256:RSA-PSS+SHA256' }),
    'size of DH': () => ({ minDHSize: 2048 }),
    OCSP: () => ({ requestOCSP: true }) as ClientTlsOptions,
  };

  test.each(Object.keys(changes))('never offers a session under another %s', async (name) => {
    const resumption = new ClientResumption();
    const changed = { ...base(), ...changes[name]?.() };
    await drained(resumption.connect(base()));
    await drained(resumption.connect(changed));
    await drained(resumption.connect(changed));
    await drained(resumption.connect(base()));
    const seen = [...backEnd.arrivals, ...other.arrivals].map(({ resumed, offered }) => [resumed, offered.length]);
    // Each under its own, in the order of coming: the other server's are the last.
    const full = [false, 0];
    const back = [true, 1];
    expect(seen).toEqual(name === 'port' ? [full, back, full, back] : [full, full, back, back]);
  });

  it('never offers a session of another identity check, however alike', async () => {
    const resumption = new ClientResumption();
    for (let i = 0; i < 4; i++) {
      await drained(resumption.connect({ ...base(), checkServerIdentity: () => undefined }));
    }
    const refuse = resumption.connect({ ...base(), checkServerIdentity: () => new Error('pinned to another') });
    await expect(drained(refuse)).rejects.toThrow('pinned to another');
    expect(backEnd.arrivals.flatMap(({ offered }) => offered)).toEqual([]);
  });

  it('never offers a session through a tunnel that was made directly, nor the reverse', async () => {
    const resumption = new ClientResumption();
    const tunnel = async (): Promise<void> => {
      const socket = net.connect(backEnd.port, '127.0.0.1').on('error', () => {});
      await once(socket, 'connect');
      await drained(resumption.connect({ ...base(), socket }));
    };
    await drained(resumption.connect(base()));
    await tunnel();
    await tunnel();
    await drained(resumption.connect(base()));
    expect(backEnd.arrivals.map(({ resumed }) => resumed)).toEqual([false, false, true, true]);
  });
});
