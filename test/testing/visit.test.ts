import { constants, X509Certificate } from 'node:crypto';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { ServerResumption, TicketKeyRing } from '../../src/index.js';
import {
  makeCertificate,
  measureResumption,
  type TlsVersion,
  type VisitTarget,
  visit,
  wayOfSession,
} from '../../src/testing.js';

const site = makeCertificate({ names: ['localhost', 'a.test', 'b.test', '127.0.0.1'] });
const VERSIONS: readonly TlsVersion[] = ['TLSv1.2', 'TLSv1.3'];
const running: net.Server[] = [];

afterEach(async () => {
  for (const server of running.splice(0)) await new Promise((done) => server.close(done));
});

async function listening<T extends net.Server>(server: T): Promise<T> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  running.push(server);
  return server;
}

function portOf(server: net.Server): number {
  return (server.address() as net.AddressInfo).port;
}

type Mode = 'stateful' | 'tickets' | 'built-in' | 'none';

/** A server that answers nothing, and leaves when its client does. */
function start(mode: Mode, options: tls.TlsOptions = {}): Promise<tls.Server> {
  const settings = { key: site.key, cert: site.cert, ...options };
  const quiet = (socket: tls.TLSSocket) => socket.on('error', () => {}).resume();
  if (mode === 'built-in') return listening(tls.createServer(settings, quiet));
  if (mode === 'none') {
    return listening(tls.createServer({ ...settings, secureOptions: constants.SSL_OP_NO_TICKET }, quiet));
  }
  const resumption = new ServerResumption(mode === 'tickets' ? { tickets: TicketKeyRing.generate() } : {});
  const server = tls.createServer(resumption.secure(settings), quiet);
  resumption.attach(server);
  return listening(server);
}

describe('visit', () => {
  it.each([
    ['stateful', 'TLSv1.2', 'session-id'],
    ['stateful', 'TLSv1.3', 'stateful-ticket'],
    ['tickets', 'TLSv1.2', 'ticket'],
    ['tickets', 'TLSv1.3', 'ticket'],
    ['built-in', 'TLSv1.2', 'ticket'],
    ['built-in', 'TLSv1.3', 'ticket'],
  ] as const)('tells that a client of a %s server came back over %s by %s', async (mode, version, way) => {
    const server = await start(mode);
    const first = await visit(server, { version });
    expect(first).toMatchObject({ protocol: version, resumed: false, way: null, reason: expect.any(String) });
    expect(wayOfSession(first.session as Buffer)).toBe(way);
    const second = await visit(server, { version, session: first.session });
    expect(second).toMatchObject({ protocol: version, resumed: true, way, reason: null });
  });

  it.each(VERSIONS)('tells that over %s nobody comes back', async (version) => {
    const server = await start('none');
    const { session } = await visit(server, { version });
    // A name for a session that nobody keeps.
    expect(session).toBeDefined();
    expect(await visit(server, { version, session })).toMatchObject({ resumed: false, reason: 'refused' });
  });

  it('takes both tickets of TLS 1.3, with their length and lifetime', async () => {
    const { tickets, sessions } = await visit(await start('stateful', { sessionTimeout: 120 }));
    expect(tickets).toEqual([
      { way: 'stateful-ticket', bytes: 32, lifetime: 120 },
      { way: 'stateful-ticket', bytes: 32, lifetime: 120 },
    ]);
    expect(sessions).toHaveLength(2);
  });

  it('counts a TLS 1.2 ticket where it came, not where it was shown', async () => {
    const server = await start('built-in');
    const first = await visit(server, { version: 'TLSv1.2' });
    const second = await visit(server, { version: 'TLSv1.2', session: first.session });
    expect(first.tickets).toHaveLength(1);
    expect(second.tickets).toEqual([]);
    expect((await visit(server, { version: 'TLSv1.2', session: second.session })).way).toBe('ticket');
  });

  it('takes session IDs only when told to take no tickets', async () => {
    const server = await start('tickets');
    const first = await visit(server, { version: 'TLSv1.2', tickets: false });
    const second = await visit(server, { version: 'TLSv1.2', tickets: false, session: first.session });
    expect(second.way).toBe('session-id');
  });

  it.each(VERSIONS)('shows a %s session under another name, and says why it was refused', async (version) => {
    const server = await start('stateful');
    const first = await visit(server, { version, servername: 'a.test' });
    const second = await visit(server, { version, servername: 'b.test', session: first.session });
    expect(second).toMatchObject({ resumed: false, reason: 'unknown' });
    const plain = await start('built-in');
    const made = await visit(plain, { version, servername: 'a.test' });
    const elsewhere = await visit(portOf(plain), { version, servername: 'b.test', session: made.session });
    // OpenSSL itself compares the names of TLS 1.3 sessions.
    expect(elsewhere).toMatchObject(version === 'TLSv1.2' ? { resumed: true } : { resumed: expect.any(Boolean) });
  });

  it("gives the client's reasons where the server's are not known", async () => {
    const server = await start('stateful');
    const other = await start('stateful');
    const first = await visit(portOf(server));
    expect(first.reason).toBe('no-session');
    expect((await visit(portOf(other), { session: first.session })).reason).toBe('refused');
    expect((await visit(other, { session: first.session })).reason).toBe('unknown');
  });

  it('goes to https and http2 servers too, and stays for their answer', async () => {
    const resumption = new ServerResumption();
    const secure = https.createServer(resumption.secure({ key: site.key, cert: site.cert }), (request, response) => {
      response.end(`way: ${resumption.connection(request.socket)?.way}`);
    });
    resumption.attach(secure);
    await listening(secure);
    const send = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    const first = await visit(secure, { send });
    const second = await visit(secure, { send, session: first.session });
    expect(second.received).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*way: stateful-ticket/);

    const multi = http2.createSecureServer(new ServerResumption().secure({ key: site.key, cert: site.cert }));
    await listening(multi);
    const seen = await visit(multi, { ALPNProtocols: ['h2'] });
    expect(seen.tickets).toHaveLength(2);
  });

  it('verifies the certificate where it is given an authority', async () => {
    const authority = makeCertificate({ authority: true, commonName: 'authority', names: [] });
    const signed = makeCertificate({ issuer: authority, names: ['a.test'] });
    const server = await start('stateful', { key: signed.key, cert: signed.cert });
    const good = await visit(server, { servername: 'a.test', ca: authority.cert });
    expect(good.authorized).toBe(true);
    expect(good.fingerprint).toBe(new X509Certificate(signed.cert).fingerprint256);
    await expect(visit(server, { servername: 'b.test', ca: authority.cert })).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    expect((await visit(server, { servername: 'a.test' })).authorized).toBe(false);
  });

  it.each(VERSIONS)('comes back over %s with a client certificate, and is told where it lacks one', async (version) => {
    const authority = makeCertificate({ authority: true, commonName: 'authority', names: [] });
    const { key, cert } = makeCertificate({ issuer: authority, commonName: 'ann', names: [] });
    const server = await start('stateful', { requestCert: true, rejectUnauthorized: true, ca: authority.cert });
    const first = await visit(server, { version, key, cert });
    expect((await visit(server, { version, key, cert, session: first.session })).resumed).toBe(true);
    await expect(visit(server, { version })).rejects.toThrow();
  });

  it('rejects with what went wrong: refused, no TLS, nothing said in time, closed early', async () => {
    const free = await start('none');
    const port = portOf(free);
    await new Promise((done) => running.splice(0)[0]?.close(done));
    await expect(visit(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });

    const sockets = new Set<net.Socket>();
    const serve = (behave: (socket: net.Socket) => void): Promise<net.Server> =>
      listening(net.createServer((socket) => behave(socket.on('error', () => {}).resume())));
    const chatty = await serve((socket) => socket.end('220 mail.test ESMTP\r\n'));
    await expect(visit(portOf(chatty))).rejects.toMatchObject({ code: 'ERR_SSL_WRONG_VERSION_NUMBER' });
    const mute = await serve((socket) => sockets.add(socket));
    await expect(visit(mute, { timeout: 50 })).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    for (const socket of sockets) socket.destroy();
    const shy = await serve((socket) => socket.destroy());
    await expect(visit(shy)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('refuses what cannot be visited, and what cannot be shown', async () => {
    const server = await start('stateful');
    const wrong = (target: unknown, options: unknown = {}) => visit(target as VisitTarget, options as never);
    await expect(wrong('localhost')).rejects.toThrow(TypeError);
    await expect(wrong(0)).rejects.toThrow(RangeError);
    await expect(wrong({ host: 'localhost' })).rejects.toThrow('"port" expected a number, got undefined');
    await expect(wrong(tls.createServer())).rejects.toThrow('a server that listens');
    await expect(wrong(server, { version: 'TLSv1.1' })).rejects.toThrow(RangeError);
    await expect(wrong(server, { version: 12 })).rejects.toThrow(TypeError);
    await expect(wrong(server, { session: 'text' })).rejects.toThrow(TypeError);
    await expect(wrong(server, { session: Buffer.from('text') })).rejects.toThrow('a session that can come back');
    await expect(wrong(server, { send: 1 })).rejects.toThrow(TypeError);
    await expect(wrong(server, { tickets: 1 })).rejects.toThrow(TypeError);
    await expect(wrong(server, { patience: -1 })).rejects.toThrow(RangeError);
    await expect(wrong(server, null)).rejects.toThrow(TypeError);
  });

  it('keeps its sessions out of what is printed', async () => {
    const seen = await visit(await start('stateful'));
    const printed = inspect(seen, { depth: 9 }) + JSON.stringify(seen);
    expect(seen.session).toBeInstanceOf(Buffer);
    expect(printed).not.toContain('session:');
    expect(printed).not.toContain((seen.session as Buffer).toString('base64').slice(0, 20));
    expect(printed).toContain('stateful-ticket');
  });
});

describe('measureResumption', () => {
  it.each([
    ['stateful', 'session-id', 'stateful-ticket'],
    ['tickets', 'ticket', 'ticket'],
    ['none', null, null],
  ] as const)('of a %s server: %s and %s', async (mode, over12, over13) => {
    const measured = await measureResumption(await start(mode, { sessionTimeout: 90 }), { visits: 4 });
    expect(measured.map(({ version, way }) => [version, way])).toEqual([
      ['TLSv1.2', over12],
      ['TLSv1.3', over13],
    ]);
    for (const { visits, resumed, way } of measured) {
      expect(visits).toHaveLength(4);
      expect(resumed).toBe(way === null ? 0 : 3);
    }
    if (over13 !== null) expect(measured[1]).toMatchObject({ tickets: 2, ticketLifetime: 90 });
  });

  it("shows that Node's own TLS 1.3 tickets are not renewed: two of three visits come back", async () => {
    const [measured] = await measureResumption(await start('built-in'), { versions: ['TLSv1.3'], visits: 6 });
    expect(measured?.visits.map(({ resumed }) => resumed)).toEqual([false, true, true, false, true, true]);
    expect(measured?.visits[3]?.reason).toBe('no-session');
  });

  it('comes with a session when it has one', async () => {
    const server = await start('stateful');
    const { session } = await visit(server, { version: 'TLSv1.3' });
    const [measured] = await measureResumption(server, { versions: ['TLSv1.3'], visits: 1, session });
    expect(measured).toMatchObject({ resumed: 1, way: 'stateful-ticket' });
  });

  it('has no visits of a version that the server does not speak', async () => {
    for (const version of VERSIONS) {
      const server = await start('stateful', { minVersion: version, maxVersion: version });
      for (const { version: each, visits, way } of await measureResumption(server)) {
        expect(visits).toHaveLength(each === version ? 3 : 0);
        if (each !== version) expect(way).toBeNull();
      }
    }
  });

  it('rejects for any other failure, and for arguments that are wrong', async () => {
    const server = await start('stateful');
    const port = portOf(server);
    await expect(measureResumption(server, { versions: [] })).rejects.toThrow(RangeError);
    await expect(measureResumption(server, { versions: ['TLSv1.1' as never] })).rejects.toThrow(RangeError);
    await expect(measureResumption(server, { versions: 'TLSv1.2' as never })).rejects.toThrow(TypeError);
    await expect(measureResumption(server, { visits: 0 })).rejects.toThrow(RangeError);
    await new Promise((done) => running.splice(0)[0]?.close(done));
    await expect(measureResumption(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
