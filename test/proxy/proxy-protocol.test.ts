/** The gate of ServerResumption behind a PROXY header that a server in front of it takes off. */

import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { type Endpoint, proxyHeader, takeProxyHeader } from '../../examples/support/proxy-protocol.js';
import { ServerResumption } from '../../src/index.js';
import { cutAt } from '../support/hello-builder.js';
import { only, VERSIONS, visit } from '../support/visits.js';
import { cert, closeAll, key, listening } from './balancing.js';

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const HEADERS = {
  'version 1': Buffer.from('PROXY TCP4 198.51.100.7 192.0.2.9 40000 443\r\n'),
  'version 2': proxyHeader({ address: '198.51.100.7', port: 40_000 }, { address: '192.0.2.9', port: 443 }),
};
const SERVERS = {
  tls: (options: tls.TlsOptions) => tls.createServer(options, (socket) => socket.end('.')),
  https: (options: tls.TlsOptions) => https.createServer(options, (_request, response) => response.end('.')),
  http2: (options: tls.TlsOptions) =>
    http2.createSecureServer({ ...options, allowHTTP1: true }, (_request, response) => response.end('.')),
};

afterEach(closeAll);

/** Writes the header before the first bytes of the client, cut as it is told. */
async function proxy(port: number, header: Buffer, cuts: readonly number[]): Promise<number> {
  const server = net.createServer((client) => {
    const socket = net.connect(port, '127.0.0.1').setNoDelay();
    client.on('error', () => socket.destroy());
    socket.on('error', () => client.destroy());
    client.once('data', async (hello: Buffer) => {
      client.pause();
      for (const piece of cutAt(Buffer.concat([header, hello]), cuts)) {
        socket.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      client.pipe(socket).pipe(client);
    });
  });
  return listening(server);
}

describe.each(Object.entries(SERVERS))('the gate of a server of %s', (_, create) => {
  describe.each(Object.entries(HEADERS))('behind a header of %s', (_, header) => {
    it.each(VERSIONS)('resumes over %s, however header and hello are cut', async (version) => {
      const resumption = new ServerResumption();
      const server = create(resumption.secure({ key, cert }));
      resumption.attach(server);
      const ways: unknown[] = [];
      server.on('secureConnection', (socket: tls.TLSSocket) => ways.push(resumption.connection(socket)?.way ?? null));
      const sources: (Endpoint | undefined)[] = [];
      const front = net.createServer(async (socket) => {
        socket.on('error', () => {});
        sources.push((await takeProxyHeader(socket)).source);
        server.emit('connection', socket);
      });
      const port = await listening(front);
      for (const cuts of [[], [header.length], [5, header.length - 1, header.length + 1, header.length + 9]]) {
        const through = await proxy(port, header, cuts);
        const options = { ...only(version), send: GET };
        const { session } = await visit(through, options);
        expect((await visit(through, { ...options, session })).resumed).toBe(true);
      }
      const way = version === 'TLSv1.3' ? 'stateful-ticket' : 'session-id';
      expect(ways).toEqual([null, way, null, way, null, way]);
      expect(sources).toEqual(Array(6).fill({ address: '198.51.100.7', port: 40_000 }));
    });
  });
});
