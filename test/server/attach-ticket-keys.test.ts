/** A ring for a server that has nothing else of the library. */

import { constants } from 'node:crypto';
import * as https from 'node:https';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { type AttachTicketKeysOptions, attachTicketKeys } from '../../src/server/attach-ticket-keys.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { close, comeBack, listen, only, VERSIONS, visit } from '../support/visits.js';

let certificate: IssuedCertificate;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  certificate = await makeCertificate({ names: ['a.test'] });
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const identity = (): { key: string; cert: string } => ({ key: certificate.key, cert: certificate.cert });

async function serve(ring: TicketKeyRing, options: AttachTicketKeysOptions = {}) {
  const server = tls.createServer(identity(), (socket) => socket.on('error', () => {}).end('hello'));
  const attached = attachTicketKeys(server, ring, options);
  cleanups.push(() => close(server));
  return { server, attached, port: await listen(server) };
}

function ringOf(options: Parameters<typeof TicketKeyRing.generate>[0] = {}): TicketKeyRing {
  const ring = TicketKeyRing.generate(options);
  cleanups.push(() => ring[Symbol.dispose]());
  return ring;
}

describe.each(VERSIONS)('%s', (version) => {
  it('resumes at another server with the same keys', async () => {
    const ring = ringOf();
    const [one, other] = [await serve(ring), await serve(ring)];
    const { session } = await visit(one.port, only(version));
    expect((await visit(other.port, { ...only(version), session })).resumed).toBe(true);
  });

  it('opens with a key that was rotated out, until its lifetime ends', async () => {
    let now = Date.now();
    const ring = ringOf({ lifetime: 600, clock: () => now });
    const { port } = await serve(ring);
    const { session } = await visit(port, only(version));
    ring.rotate();
    expect((await visit(port, { ...only(version), session })).resumed).toBe(true);
    now += 601_000;
    ring.find(Buffer.alloc(16));
    expect((await visit(port, { ...only(version), session })).resumed).toBe(false);
  });

  it('refuses what a rotation without overlap left behind', async () => {
    const ring = ringOf();
    const { port } = await serve(ring);
    const { session } = await visit(port, only(version));
    ring.rotate(undefined, { overlap: false });
    expect((await visit(port, { ...only(version), session })).resumed).toBe(false);
  });

  it('goes on with its keys under another certificate', async () => {
    const { port, server } = await serve(ringOf());
    const { session } = await visit(port, only(version));
    const { key, cert } = await makeCertificate({ names: ['a.test'] });
    server.setSecureContext({ key, cert });
    expect((await visit(port, { ...only(version), session })).resumed).toBe(true);
    expect((await comeBack(port, only(version)))[1].resumed).toBe(true);
  });

  it('neither fails nor resumes once the ring is disposed of', async () => {
    const ring = TicketKeyRing.generate();
    const { port } = await serve(ring);
    const { session } = await visit(port, only(version));
    ring[Symbol.dispose]();
    expect((await visit(port, { ...only(version), session })).resumed).toBe(false);
    expect((await comeBack(port, only(version))).map(({ resumed }) => resumed)).toEqual([false, false]);
  });

  it("gives the server Node's own keys again when disposed of", async () => {
    const { port, server, attached } = await serve(ringOf());
    const { session } = await visit(port, only(version));
    attached[Symbol.dispose]();
    attached[Symbol.dispose]();
    expect(Object.hasOwn(server, 'setSecureContext')).toBe(false);
    expect((await visit(port, { ...only(version), session })).resumed).toBe(false);
    const mine = (await visit(port, only(version))).session;
    expect((await visit(port, { ...only(version), session: mine })).resumed).toBe(true);
    server.setTicketKeys(Buffer.alloc(48, 7));
    expect((await visit(port, { ...only(version), session: mine })).resumed).toBe(false);
  });
});

it.each([
  { renew: 'rotated', rotate: false, renewed: false },
  { renew: 'rotated', rotate: true, renewed: true },
  { renew: 'every', rotate: false, renewed: true },
] as const)('gives a TLS 1.3 client another ticket: $renew, after a rotation: $rotate', async (row) => {
  const ring = ringOf();
  const { port } = await serve(ring, { renew: row.renew });
  const first = await visit(port, only('TLSv1.3'));
  if (row.rotate) ring.rotate();
  const second = await visit(port, { ...only('TLSv1.3'), session: first.session });
  expect(second.resumed).toBe(true);
  expect(second.session !== undefined).toBe(row.renewed);
});

it('survives a HelloRetryRequest under the context of a name, which was added before or after', async () => {
  const server = tls.createServer({ ...identity(), ecdhCurve: 'P-384' }, (socket) =>
    socket.on('error', (error) => faults.push(error)).end('hello'),
  );
  const faults: Error[] = [];
  const context = (): tls.SecureContext => tls.createSecureContext({ ...identity(), ecdhCurve: 'P-384' });
  server.addContext('a.test', context());
  attachTicketKeys(server, ringOf());
  server.addContext('b.test', context());
  cleanups.push(() => close(server));
  const port = await listen(server);
  for (const servername of ['a.test', 'b.test', 'c.test']) {
    const visits = await comeBack(port, { ...only('TLSv1.3'), servername, ecdhCurve: 'X25519:P-384' });
    for (const { received } of visits) expect(received).toBe('hello');
  }
  expect(faults).toEqual([]);
});

it('serves https too', async () => {
  const server = https.createServer(identity(), (_request, response) => response.end());
  attachTicketKeys(server, ringOf());
  cleanups.push(() => close(server));
  const port = await listen(server);
  const get = { send: 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' };
  expect((await comeBack(port, get))[1].resumed).toBe(true);
});

describe('what it refuses', () => {
  it.each([
    ['what is no server', {}, TypeError],
    ['a plain TCP server', net.createServer(), TypeError],
  ])('%s', (_title, server, type) => {
    expect(() => attachTicketKeys(server as never, ringOf())).toThrow(type);
  });

  it('what is no ring, keys that Node does not take, and other options', () => {
    const server = tls.createServer(identity());
    expect(() => attachTicketKeys(server, {} as never)).toThrow(TypeError);
    expect(() => attachTicketKeys(server, ringOf({ keyLength: 80 } as never))).toThrow(RangeError);
    expect(() => attachTicketKeys(server, ringOf(), { renew: 'always' as never })).toThrow(TypeError);
  });

  it('a server that asks for client certificates', () => {
    const server = tls.createServer({ ...identity(), requestCert: true });
    expect(() => attachTicketKeys(server, ringOf())).toThrow(expect.objectContaining({ code: 'ERR_TICKETS_UNSAFE' }));
  });

  it('a server whose SNICallback makes contexts that do not know the keys', () => {
    const server = tls.createServer({ ...identity(), SNICallback: (_name, callback) => callback(null) });
    const code = 'ERR_UNSUPPORTED_SERVER';
    expect(() => attachTicketKeys(server, ringOf())).toThrow(expect.objectContaining({ code }));
  });

  it('a server that makes no tickets', () => {
    const server = tls.createServer({ ...identity(), secureOptions: constants.SSL_OP_NO_TICKET });
    const code = 'ERR_UNSUPPORTED_SERVER';
    expect(() => attachTicketKeys(server, ringOf())).toThrow(expect.objectContaining({ code }));
  });

  it('a second ring, and a ServerResumption beside it', () => {
    const ring = ringOf();
    const resumption = new ServerResumption({ tickets: ring });
    const server = tls.createServer(resumption.secure(identity()));
    const attached = attachTicketKeys(server, ring);
    const taken = expect.objectContaining({ code: 'ERR_ALREADY_ATTACHED' });
    expect(() => attachTicketKeys(server, ring)).toThrow(taken);
    expect(() => resumption.attach(server)).toThrow(taken);
    attached[Symbol.dispose]();
    resumption.attach(server)[Symbol.dispose]();
  });
});
