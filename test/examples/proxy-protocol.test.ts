/** The PROXY protocol before the hello: its parser, and the example behind HAProxy and behind headers of our own. */

import { once } from 'node:events';
import * as net from 'node:net';
import type * as tls from 'node:tls';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseProxyHeader, proxyHeader } from '../../examples/support/proxy-protocol.js';
import { haproxy, type PeerServers, peerServers, type ServerProgram } from '../support/peer-servers.js';
import { only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { type Program, runTypeScript } from './processes.js';

const V1 = (source: string) => Buffer.from(`PROXY TCP4 ${source} 192.0.2.9 40000 443\r\n`);
const V2 = (source: string) => proxyHeader({ address: source, port: 40_000 }, { address: '192.0.2.9', port: 443 });
const V2_TCP6 = Buffer.from(
  `0d0a0d0a000d0a515549540a21210024${'20010db8'.padEnd(32, '0')}${'0'.repeat(31)}1001601bb`,
  'hex',
);

describe('the parser', () => {
  const source = { address: '198.51.100.7', port: 40_000 };
  const destination = { address: '192.0.2.9', port: 443 };

  test.each([
    ['version 1', V1('198.51.100.7'), { source, destination }],
    ['version 1 over IPv6', Buffer.from('PROXY TCP6 ::1 ::2 1 65535\r\n'), { source: { address: '::1', port: 1 } }],
    ['version 1 of somebody unknown', Buffer.from('PROXY UNKNOWN\r\n'), { source: undefined }],
    ['version 1 with what is not to be looked at', Buffer.from('PROXY UNKNOWN x y z\r\n'), { source: undefined }],
    ['version 2', V2('198.51.100.7'), { source, destination }],
    ['version 2 over IPv6', V2_TCP6, { source: { address: '2001:db8:0:0:0:0:0:0', port: 22 } }],
    ['version 2, LOCAL', proxyHeader(undefined, undefined), { source: undefined }],
    ['version 2 with extensions', Buffer.concat([V2('198.51.100.7').fill(15, 15, 16), Buffer.alloc(3)]), { source }],
    [
      'version 2 over UDP',
      Buffer.from('0d0a0d0a000d0a515549540a2112000c'.padEnd(56, '0'), 'hex'),
      { source: undefined },
    ],
  ])('takes %s, at its last byte and with anything behind it', (_, bytes, expected) => {
    expect(parseProxyHeader(bytes)).toMatchObject({ ...expected, length: bytes.length });
    expect(parseProxyHeader(Buffer.concat([bytes, Buffer.from('\r\nmore')]))).toMatchObject({ length: bytes.length });
    for (let length = 0; length < bytes.length; length++) {
      expect(parseProxyHeader(bytes.subarray(0, length))).toBe('incomplete');
    }
  });

  test.each([
    'PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n',
    'PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n',
    'PROXY TCP4 ::1 ::1 1 2\r\n',
    'PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n',
    'PROXY constructor a b 1 2\r\n',
    `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
    'POST / HTTP/1.1\r\n',
    'GET / HTTP/1.1\r\n',
    '\x16\x03\x01\x02\x00',
    '\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c',
    '\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c',
    '\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff',
    '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd',
  ])('refuses %j', (text) => {
    expect(parseProxyHeader(Buffer.from(text, 'latin1'))).toBeUndefined();
  });

  test('never throws, and asks for no more than 1040 bytes', () => {
    const beginning = fc.constantFrom(V1('1.2.3.4'), V2('1.2.3.4'), V2_TCP6, Buffer.alloc(0));
    fc.assert(
      fc.property(beginning, fc.nat(60), fc.uint8Array({ maxLength: 60 }), (header, at, bytes) => {
        const mutant = Buffer.concat([header.subarray(0, at), bytes, header.subarray(at)]);
        parseProxyHeader(mutant);
        expect(parseProxyHeader(Buffer.concat([mutant, Buffer.alloc(1040)]))).not.toBe('incomplete');
      }),
      { numRuns: 5000 },
    );
  });
});

/** A visit that begins with these bytes, which may come in pieces. */
async function visitAfter(port: number, header: readonly Uint8Array[], options: tls.ConnectionOptions): Promise<Visit> {
  const transport = net.connect(port, '127.0.0.1').on('error', () => {});
  for (const piece of header) {
    transport.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return visit(port, { ...options, socket: transport });
}

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };

describe('proxy-protocol', () => {
  describe.each(Object.entries({ V1, V2 }))('behind a header of %s', (_, header) => {
    test('a TLS 1.2 client resumes, whatever address is told, and the server hears it', async () => {
      const program = runTypeScript('examples/proxy-protocol.ts');
      const port = await program.port();
      const from = (address: string, session?: Buffer) => {
        const bytes = header(address);
        const options = { ...only('TLSv1.2'), ...(session && { session }) };
        return visitAfter(port, [bytes.subarray(0, 3), bytes.subarray(3, 20), bytes.subarray(20)], options);
      };
      const first = await from('198.51.100.1');
      expect(first.received).toMatch(/^back end [ab], 198\.51\.100\.1, full handshake\n$/);
      const [home] = first.received.split(',');
      for (let i = 2; i < 12; i++) {
        const { received, resumed } = await from(`198.51.100.${i}`, first.session);
        expect({ received, resumed }).toEqual({ received: `${home}, 198.51.100.${i}, session-id\n`, resumed: true });
      }
      expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
    });

    test('a TLS 1.3 client resumes as long as its address is the same', async () => {
      const program = runTypeScript('examples/proxy-protocol.ts');
      const port = await program.port();
      const first = await visitAfter(port, [header('198.51.100.1')], only('TLSv1.3'));
      const second = await visitAfter(port, [header('198.51.100.1')], { ...only('TLSv1.3'), session: first.session });
      expect(second.resumed).toBe(true);
      expect(second.received).toBe(first.received.replace('full handshake', 'stateful-ticket'));
    });
  });

  test('without a header there is no connection', async () => {
    const program = runTypeScript('examples/proxy-protocol.ts');
    const port = await program.port();
    await expect(visit(port)).rejects.toThrow();
    const socket = net.connect(port, '127.0.0.1').on('error', () => {});
    socket.resume().write('PROXY TCP4 nobody nowhere 1 2\r\n');
    await once(socket, 'close');
    expect((await visitAfter(port, [V1('198.51.100.1')], {})).resumed).toBe(false);
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });

  haproxy.describe('behind HAProxy', () => {
    let servers: PeerServers;
    let program: Program;
    beforeAll(async () => {
      servers = await peerServers();
    });
    afterAll(() => servers?.remove());

    test.each(['send-proxy', 'send-proxy-v2'])('with %s', async (how) => {
      program = runTypeScript('examples/proxy-protocol.ts');
      const behind = await program.port();
      const proxy: ServerProgram = {
        ...haproxy,
        configure: ({ port }) => `
          defaults
            mode tcp
            timeout connect 10s
            timeout client 10s
            timeout server 10s
          listen all
            bind 127.0.0.1:${port}
            server balancer 127.0.0.1:${behind} ${how}
        `,
      };
      const { port } = await servers.start(proxy, { key: '', cert: '' });
      for (const version of VERSIONS) {
        const local = { localAddress: '127.0.0.50' };
        const first = await visit(port, { ...only(version), ...local });
        expect(first.received).toMatch(/^back end [ab], 127\.0\.0\.50, full handshake\n$/);
        const second = await visit(port, { ...only(version), ...local, session: first.session });
        expect(second.resumed).toBe(true);
        expect(second.received).toBe(first.received.replace('full handshake', WAYS[version]));
      }
      const elsewhere = { ...only('TLSv1.2'), localAddress: '127.0.0.51' };
      const first = await visit(port, elsewhere);
      const moved = { ...elsewhere, localAddress: '127.0.0.52', session: first.session };
      expect((await visit(port, moved)).received).toBe(
        first.received.replace('0.51, full handshake', '0.52, session-id'),
      );
    });
  });
});
