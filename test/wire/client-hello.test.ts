import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parseClientHello } from '../../src/wire/client-hello.js';
import {
  buildHello,
  extension,
  numbers16,
  record,
  returningHello13,
  TLS13,
  toRecords,
  uint,
  vector,
} from '../support/hello-builder.js';
import { captured, capturedHellos } from './captured.js';
import { referenceParse } from './reference-client-hello.js';

function parsed(bytes: Uint8Array) {
  const hello = parseClientHello(bytes);
  if (hello === undefined) throw new Error('The hello was not parsed');
  return hello;
}

const isGrease = (value: number): boolean => (value & 0x0f0f) === 0x0a0a && value >> 8 === (value & 0xff);
const withoutGrease = (values: readonly number[]): number[] => values.filter((value) => !isGrease(value));

const OPENSSL_GROUPS = [29, 23, 30, 25, 24, 256, 257, 258, 259, 260];
const NODE24_GROUPS = [0x11ec, 29, 23, 30, 24, 25, 256, 257];
const GNUTLS_GROUPS = [23, 24, 25, 29, 30, 256, 257, 258, 259, 260];
const CHROMIUM_GROUPS = [0x11ec, 29, 23, 24];
const OLDEST_TLS10 = [0x0304, 0x0303, 0x0302, 0x0301];
const OLDEST_TLS12 = [0x0304, 0x0303];

/** What `openssl s_server -trace` shows of these hellos; GREASE, which is random, left out. */
const EXPECTED = [
  ['Node 20.20', 59, 'localhost', 2, 0, [], OLDEST_TLS12, OPENSSL_GROUPS, [29]],
  ['Node 20.20, returning to a stateful server', 59, 'localhost', 2, 0, [32], OLDEST_TLS12, OPENSSL_GROUPS, [29]],
  ['Node 20.20, returning with a ticket', 59, 'localhost', 2, 0, [240], OLDEST_TLS12, OPENSSL_GROUPS, [29]],
  ['Node 20.20, returning to a TLS 1.2 server', 59, 'localhost', 2, 208, [], OLDEST_TLS12, OPENSSL_GROUPS, [29]],
  ['Node 24.21', 52, 'localhost', 2, 0, [], OLDEST_TLS12, NODE24_GROUPS, [0x11ec, 29]],
  [
    'Node 24.21, returning to a stateful server',
    52,
    'localhost',
    2,
    0,
    [32],
    OLDEST_TLS12,
    NODE24_GROUPS,
    [0x11ec, 29],
  ],
  ['Node 24.21, returning with a ticket', 52, 'localhost', 2, 0, [240], OLDEST_TLS12, NODE24_GROUPS, [0x11ec, 29]],
  ['Node 24.21, returning to a TLS 1.2 server', 52, 'localhost', 2, 208, [], OLDEST_TLS12, NODE24_GROUPS, [0x11ec, 29]],
  [
    'openssl s_client 3.0, returning to a stateful server',
    31,
    's-client.localhost',
    2,
    0,
    [32],
    OLDEST_TLS10,
    OPENSSL_GROUPS,
    [29],
  ],
  ['openssl s_client 3.0, TLS 1.2 only, without a name', 28, undefined, 0, 0, [], [], [29, 23, 30, 25, 24], []],
  ['curl 7.88', 31, 'curl.localhost', 1, undefined, [], OLDEST_TLS10, OPENSSL_GROUPS, [29]],
  ['curl 7.88, HTTP/2 allowed', 31, 'localhost', 2, undefined, [], OLDEST_TLS10, OPENSSL_GROUPS, [29]],
  ['curl 7.88, returning with a ticket', 31, 'curl.localhost', 1, undefined, [240], OLDEST_TLS10, OPENSSL_GROUPS, [29]],
  [
    'gnutls-cli 3.7, returning to a stateful server',
    29,
    'gnutls.localhost',
    1,
    0,
    [32],
    OLDEST_TLS10,
    GNUTLS_GROUPS,
    [23, 29],
  ],
  ['gnutls-cli 3.7, without a name', 29, undefined, 0, 0, [], OLDEST_TLS10, GNUTLS_GROUPS, [23, 29]],
  [
    'gnutls-cli 3.7, returning to a TLS 1.2 server',
    29,
    'gnutls.localhost',
    1,
    208,
    [],
    OLDEST_TLS10,
    GNUTLS_GROUPS,
    [23, 29],
  ],
  ['Python ssl', 18, 'py.localhost', 1, 0, [], OLDEST_TLS12, OPENSSL_GROUPS, [29]],
  ['Python ssl, returning to a stateful server', 18, 'py.localhost', 1, 0, [32], OLDEST_TLS12, OPENSSL_GROUPS, [29]],
  ['Chromium 156', 15, 'chromium.localhost', 2, 0, [], OLDEST_TLS12, CHROMIUM_GROUPS, [0x11ec, 29]],
  [
    'Chromium 156, returning to a stateful server',
    15,
    'chromium.localhost',
    2,
    0,
    [32],
    OLDEST_TLS12,
    CHROMIUM_GROUPS,
    [0x11ec, 29],
  ],
  [
    'Chromium 156, returning with a ticket',
    15,
    'chromium.localhost',
    2,
    0,
    [240],
    OLDEST_TLS12,
    CHROMIUM_GROUPS,
    [0x11ec, 29],
  ],
  [
    'Chromium 156, returning to a TLS 1.2 server',
    15,
    'chromium.localhost',
    2,
    208,
    [],
    OLDEST_TLS12,
    CHROMIUM_GROUPS,
    [0x11ec, 29],
  ],
] as const;

describe('hellos of real clients', () => {
  it('are all expected by name', () => {
    expect(EXPECTED.map(([client]) => client)).toEqual(capturedHellos.map(({ client }) => client));
  });

  it.each(EXPECTED)('%s', (client, suites, servername, protocols, ticket, identities, versions, groups, shares) => {
    const hello = parsed(captured(client));
    expect(hello.legacyVersion).toBe(0x0303);
    expect(hello.random).toHaveLength(32);
    expect(hello.sessionId).toHaveLength(versions.length === 0 ? 0 : 32);
    expect(withoutGrease(hello.cipherSuites)).toHaveLength(suites);
    const first = client.startsWith('Chromium') ? 0x1301 : versions.length === 0 ? 0xc02c : 0x1302;
    expect(withoutGrease(hello.cipherSuites)[0]).toBe(first);
    expect(hello.servername).toBe(servername);
    expect(hello.alpnProtocols).toEqual(['h2', 'http/1.1'].slice(2 - protocols));
    expect(hello.sessionTicket?.length).toBe(ticket);
    expect(hello.pskIdentities.map(({ identity }) => identity.length)).toEqual(identities);
    expect(hello.pskKeyExchangeModes).toEqual(versions.length === 0 ? [] : client.startsWith('gnutls') ? [1, 0] : [1]);
    expect(withoutGrease(hello.supportedVersions)).toEqual(versions);
    expect(withoutGrease(hello.supportedGroups)).toEqual(groups);
    expect(withoutGrease(hello.keyShareGroups)).toEqual(shares);
    expect(hello.extendedMasterSecret).toBe(true);
    expect(hello.earlyData).toBe(false);
  });

  it.each(capturedHellos)('$client: the reference parser reads the same', ({ bytes }) => {
    expect({ ...parsed(bytes) }).toEqual(referenceParse(bytes));
  });

  it.each(capturedHellos)('$client: cut off at every byte, there is no hello', ({ bytes }) => {
    for (let length = 0; length < bytes.length; length++) {
      expect(parseClientHello(bytes.subarray(0, length))).toBeUndefined();
      if (length < bytes.length - 5) expect(parseClientHello(bytes.subarray(5, 5 + length))).toBeUndefined();
    }
  });

  it.each(capturedHellos)('$client: the same as a bare message, in many records, with bytes after it', ({ bytes }) => {
    const hello = parsed(bytes);
    const message = bytes.subarray(5);
    const after = Buffer.from('14030300010117030300', 'hex');
    for (const form of [
      message,
      toRecords(message, [1, 2, 3, 4, 5, 100, 101]),
      toRecords(message, Array.from(message.keys())),
      Buffer.concat([message, after]),
      Buffer.concat([bytes, after]),
      Buffer.concat([toRecords(message, [50]), after]),
      record(Buffer.concat([message, after])),
      new Uint8Array(bytes),
    ]) {
      expect(parseClientHello(form)).toEqual(hello);
    }
  });
});

describe('a built hello', () => {
  it('has every field that was put in', () => {
    const spec = {
      legacyVersion: 0x0302,
      random: Buffer.from(Array.from({ length: 32 }, (_, i) => i)),
      sessionId: Buffer.from('abc'),
      cipherSuites: [0x1303, 0xcca9, 0x00ff],
      servername: 'b.test',
      alpnProtocols: ['h2', 'x'],
      sessionTicket: Buffer.alloc(70, 3),
      extendedMasterSecret: true,
      earlyData: true,
      supportedVersions: [TLS13, 0x0303],
      supportedGroups: [29, 23],
      keyShareGroups: [29],
      pskKeyExchangeModes: [0, 1],
      pskIdentities: [
        { identity: Buffer.alloc(32, 1), obfuscatedTicketAge: 0xffff_ffff },
        { identity: Buffer.from([7]), obfuscatedTicketAge: 5 },
      ],
    };
    expect({ ...parsed(buildHello(spec)) }).toEqual(spec);
  });

  it('has the defaults of what was left out', () => {
    const hello = parsed(buildHello({ noExtensions: true }));
    expect({ ...hello }).toEqual(referenceParse(buildHello({ noExtensions: true })));
    expect(hello.servername).toBeUndefined();
    expect(hello.sessionTicket).toBeUndefined();
    expect(parsed(buildHello())).toEqual(hello);
  });

  it('keeps a server name as it was sent, whatever its bytes', () => {
    for (const name of ['A.Test', 'a.test.', '\xff\x01', 'x'.repeat(255)]) {
      expect(parsed(buildHello({ servername: name })).servername).toBe(name);
    }
  });
});

describe('a malformed hello is undefined', () => {
  /** The length of the extensions, off by so much: one of 6 bytes and one of 4. */
  function withExtensionsLength(off: number): Buffer {
    const bytes = buildHello({
      extraExtensions: [{ type: 0x1234, data: Buffer.alloc(2) }],
      extendedMasterSecret: true,
    });
    bytes.writeUInt16BE(10 + off, bytes.length - 12);
    return bytes;
  }

  const cases: Record<string, Uint8Array> = {
    empty: Buffer.alloc(0),
    'an HTTP request': Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    'an SSLv2 hello': Buffer.from('802e010002001500000010', 'hex'),
    'an alert': Buffer.from('15030100020246', 'hex'),
    'a ServerHello': record(Buffer.concat([uint(1, 2), vector(3, Buffer.alloc(40))])),
    'no body': Buffer.from('01000000', 'hex'),
    'a session ID of 33 bytes': buildHello({ sessionId: Buffer.alloc(33) }),
    'no cipher suites': buildHello({ cipherSuites: [] }),
    'no compression methods': buildHello({ compressionMethods: [] }),
    'a server name of 0 bytes': buildHello({ servername: '' }),
    'a server name of 256 bytes': buildHello({ servername: 'x'.repeat(256) }),
    'a NUL in the server name': buildHello({ servername: 'a.test\0.b.test' }),
    'an empty list of protocols': buildHello({ alpnProtocols: [] }),
    'an empty protocol': buildHello({ alpnProtocols: ['h2', ''] }),
    'no versions': buildHello({ supportedVersions: [] }),
    'no groups': buildHello({ supportedGroups: [] }),
    'no psk_key_exchange_modes': buildHello({ pskKeyExchangeModes: [] }),
    'no identities': buildHello({ pskIdentities: [] }),
    'a session ID that ends past the message': Buffer.concat([
      Buffer.from('010000270303', 'hex'),
      Buffer.alloc(32),
      Buffer.from('20'.padEnd(10, '0'), 'hex'),
    ]),
    'compression methods that end past the message': Buffer.concat([
      Buffer.from('0100002a0303', 'hex'),
      Buffer.alloc(33),
      Buffer.from('000213010900aa', 'hex'),
    ]),
    'extensions longer than the message': withExtensionsLength(1),
    'an extension after the list of them': withExtensionsLength(-4),
    'an empty identity': buildHello({ pskIdentities: [{ identity: Buffer.alloc(0) }] }),
    'a record of another version': Buffer.concat([Buffer.from([0x16, 2]), record(buildHello()).subarray(2)]),
    'an empty record first': Buffer.concat([record(Buffer.alloc(0)), record(buildHello())]),
    'an alert between its records': Buffer.concat([
      record(buildHello().subarray(0, 20)),
      Buffer.from('15030100020246', 'hex'),
      record(buildHello().subarray(20)),
    ]),
  };
  const extensions: Record<string, Buffer[]> = {
    'the server name twice': [extension(0, vector(2, uint(1, 0), vector(2, Buffer.from('a.test'))))],
    'two names': [
      extension(0, vector(2, uint(1, 0), vector(2, Buffer.from('a')), uint(1, 0), vector(2, Buffer.from('b')))),
    ],
    'a name of another type': [extension(0, vector(2, uint(1, 1), vector(2, Buffer.from('a'))))],
    'an empty server_name, as a server sends it': [extension(0)],
    'a byte after the name list': [extension(0, vector(2, uint(1, 0), vector(2, Buffer.from('a'))), uint(1, 0))],
    'an unknown extension twice': [extension(0x1234), extension(0x1234)],
    'an extension that ends past the list': [Buffer.concat([uint(2, 0x1234), uint(2, 5), Buffer.alloc(4)])],
    'half the header of an extension': [Buffer.from([0x12, 0x34])],
    'a name list that ends before its extension': [extension(0, uint(2, 3), uint(1, 0), vector(2, Buffer.from('a')))],
    'a name list that ends past its extension': [extension(0, uint(2, 5), uint(1, 0), vector(2, Buffer.from('a')))],
    'an empty name list': [extension(0, vector(2))],
    'a name that ends before its list': [extension(0, vector(2, uint(1, 0), uint(2, 1), Buffer.from('ab')))],
    'a name that ends past its list': [extension(0, vector(2, uint(1, 0), uint(2, 3), Buffer.from('ab')))],
    'a list of protocols that ends before its extension': [extension(16, uint(2, 2), vector(1, Buffer.from('h2')))],
    'a list of protocols that ends past its extension': [extension(16, uint(2, 4), vector(1, Buffer.from('h2')))],
    'a protocol that ends past its list': [extension(16, vector(2, uint(1, 3), Buffer.from('h2')))],
    'a list of versions that ends before its extension': [extension(43, uint(1, 2), numbers16([0x0304, 0x0303]))],
    'a list of versions that ends past its extension': [extension(43, uint(1, 4), numbers16([0x0304]))],
    'a list of groups that ends before its extension': [extension(10, uint(2, 2), numbers16([29, 23]))],
    'a list of groups that ends past its extension': [extension(10, uint(2, 4), numbers16([29]))],
    'a list of modes that ends before its extension': [extension(45, uint(1, 1), Buffer.from([1, 0]))],
    'a list of modes that ends past its extension': [extension(45, uint(1, 2), Buffer.from([1]))],
    'a list of key shares that ends before its extension': [
      extension(51, uint(2, 5), uint(2, 29), vector(2, Buffer.alloc(4))),
    ],
    'a list of key shares that ends past its extension': [
      extension(51, uint(2, 9), uint(2, 29), vector(2, Buffer.alloc(4))),
    ],
    'half a version': [extension(43, vector(1, Buffer.from([3, 4, 3])))],
    'half a group': [extension(10, vector(2, Buffer.from([0, 29, 0])))],
    'bytes in extended_master_secret': [extension(23, uint(1, 0))],
    'bytes in early_data': [extension(42, uint(4, 0))],
    'an empty key share': [extension(51, vector(2, uint(2, 29), vector(2)))],
    'half a key share': [extension(51, vector(2, uint(2, 29), uint(2, 9), Buffer.alloc(8)))],
    'pre_shared_key before another': [
      extension(41, vector(2, vector(2, Buffer.alloc(32)), uint(4, 0)), vector(2, vector(1, Buffer.alloc(32)))),
      extension(23),
    ],
    'fewer binders than identities': [
      extension(
        41,
        vector(2, vector(2, Buffer.alloc(32)), uint(4, 0), vector(2, Buffer.alloc(32)), uint(4, 0)),
        vector(2, vector(1, Buffer.alloc(32))),
      ),
    ],
    'a binder of 31 bytes': [
      extension(41, vector(2, vector(2, Buffer.alloc(32)), uint(4, 0)), vector(2, vector(1, Buffer.alloc(31)))),
    ],
    'an identity that ends past the list': [
      extension(41, vector(2, uint(2, 50), Buffer.alloc(32), uint(4, 0)), vector(2, vector(1, Buffer.alloc(32)))),
    ],
    'identities that end past the extension': [extension(41, uint(2, 200), vector(2, Buffer.alloc(32)), uint(4, 0))],
    'no binders': [extension(41, vector(2, vector(2, Buffer.alloc(32)), uint(4, 0)))],
    'a byte after the binders': [
      extension(
        41,
        vector(2, vector(2, Buffer.alloc(32)), uint(4, 0)),
        vector(2, vector(1, Buffer.alloc(32))),
        uint(1, 0),
      ),
    ],
    'a list of binders that ends before its extension': [
      extension(41, vector(2, vector(2, Buffer.alloc(32)), uint(4, 0)), uint(2, 0), vector(1, Buffer.alloc(32))),
    ],
    'a binder that ends past its list': [
      extension(41, vector(2, vector(2, Buffer.alloc(32)), uint(4, 0)), vector(2, uint(1, 40), Buffer.alloc(32))),
    ],
    'an identity without its age': [
      extension(41, vector(2, vector(2, Buffer.alloc(32))), vector(2, vector(1, Buffer.alloc(32)))),
    ],
  };
  for (const [name, list] of Object.entries(extensions)) {
    const body = Buffer.concat([
      uint(2, 0x0303),
      Buffer.alloc(32),
      vector(1),
      vector(2, numbers16([0x1301])),
      vector(1, uint(1, 0)),
      vector(2, ...(name === 'the server name twice' ? list : []), ...list),
    ]);
    cases[name] = Buffer.concat([uint(1, 1), vector(3, body)]);
  }

  it.each(Object.entries(cases))('%s', (_, bytes) => {
    expect(() => referenceParse(bytes)).toThrow();
    expect(parseClientHello(bytes)).toBeUndefined();
  });

  it('throws only when given something else than bytes', () => {
    for (const wrong of [undefined, null, 'hello', [22, 3, 1], new ArrayBuffer(9)]) {
      expect(() => parseClientHello(wrong as never)).toThrow(TypeError);
    }
    expect(() => parseClientHello('hello' as never)).toThrow(/bytes.*Uint8Array/);
  });
});

describe('what a hello shows and holds', () => {
  const identity = Buffer.from('5ec2e7'.repeat(16), 'hex').subarray(0, 32);
  const bytes = Buffer.concat([
    record(returningHello13(identity, { sessionId: identity, sessionTicket: identity })),
    Buffer.alloc(16_000),
  ]);

  it('prints and serialises lengths, not secrets', () => {
    const hello = parsed(bytes);
    for (const text of [inspect(hello, { depth: 9 }), JSON.stringify(hello), inspect({ hello }), `${hello}`]) {
      expect(text).not.toMatch(/5e,? ?c2|94, ?194/i);
    }
    for (const shown of ['a.test', '<32 bytes>']) expect(inspect(hello)).toContain(shown);
    expect(JSON.parse(JSON.stringify(hello))).toMatchObject({
      servername: 'a.test',
      sessionId: '<32 bytes>',
      sessionTicket: '<32 bytes>',
      pskIdentities: [{ identity: '<32 bytes>', obfuscatedTicketAge: 0 }],
    });
  });

  it('copies once: overwriting the input changes nothing, and what fields keep alive is the message alone', () => {
    const input = Buffer.from(bytes);
    const hello = parsed(input);
    input.fill(0xee);
    expect(hello).toEqual(parsed(bytes));
    for (const field of [hello.random, hello.sessionId, hello.sessionTicket!, hello.pskIdentities[0]!.identity]) {
      expect(field.buffer).toBe(hello.random.buffer);
    }
    expect(hello.random.buffer.byteLength).toBeLessThan(bytes.length);
  });
});
