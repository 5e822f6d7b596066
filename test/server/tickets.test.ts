import { constants } from 'node:crypto';
import { once } from 'node:events';
import * as https from 'node:https';
import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import type { ResumptionConnection } from '../../src/server/connection.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { pskOf, RAW_CIPHER, RawClient13, shownId } from '../support/raw-clients.js';
import { duplexPair } from '../support/streams.js';
import { close, comeBack, listen, only, underName, VERSIONS, type Version, visit } from '../support/visits.js';

const HOUR = 3_600_000;
/** OpenSSL's SSL_OP_NO_EXTENDED_MASTER_SECRET. */
const NO_EXTENDED_MASTER_SECRET = 1;

let authority: IssuedCertificate;
let other: IssuedCertificate;
let hostA: IssuedCertificate;
let hostB: IssuedCertificate;
let client: IssuedCertificate;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  authority = await makeCertificate({ isAuthority: true, commonName: 'test CA' });
  other = await makeCertificate({ isAuthority: true, commonName: 'other CA' });
  [hostA, hostB, client] = await Promise.all([
    makeCertificate({ names: ['a.test', '127.0.0.1'], issuer: authority }),
    makeCertificate({ names: ['b.test'], issuer: authority }),
    makeCertificate({ commonName: 'client', issuer: authority, notAfter: new Date(Date.now() + 2 * HOUR) }),
  ]);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Running {
  readonly port: number;
  readonly server: tls.Server;
  readonly resumption: ServerResumption;
  readonly ring: TicketKeyRing;
  readonly seen: (ResumptionConnection | undefined)[];
  readonly attached: Disposable;
  /** Moves the clock that ring and server share. */
  readonly later: (milliseconds: number) => void;
}

interface Setting extends ServerResumptionOptions {
  readonly ring?: TicketKeyRing;
  readonly lifetime?: number;
}

async function start(options: tls.TlsOptions = {}, setting: Setting = {}): Promise<Running> {
  let now = Date.now();
  const { ring: given, lifetime = 7200, ...rest } = setting;
  const clock = () => now;
  const ring = given ?? TicketKeyRing.generate({ clock, lifetime, interval: false });
  const resumption = new ServerResumption({ tickets: ring, clock, ...rest });
  const server = tls.createServer(resumption.secure({ key: hostA.key, cert: hostA.cert, ...options }));
  const attached = resumption.attach(server);
  const seen: (ResumptionConnection | undefined)[] = [];
  server.on('secureConnection', (socket) => {
    seen.push(resumption.connection(socket));
    socket.on('error', () => {});
    socket.end('hello');
  });
  cleanups.push(() => close(server));
  const later = (milliseconds: number): void => {
    now += milliseconds;
  };
  return { port: await listen(server), server, resumption, ring, seen, attached, later };
}

const host = (version: Version, servername = 'a.test'): tls.ConnectionOptions => ({ ...only(version), servername });

describe.each(VERSIONS)('tickets on %s', (version) => {
  it('resume, and both sides say so; the cache keeps nothing', async () => {
    const { port, seen, resumption } = await start();
    const [first, second] = await comeBack(port, host(version));
    expect([first.resumed, second.resumed]).toEqual([false, true]);
    expect(seen[0]).toMatchObject({ resumed: false, way: null, reason: 'not-offered', servername: 'a.test' });
    expect(seen[1]).toMatchObject({ resumed: true, way: 'ticket', reason: null, servername: 'a.test' });
    expect(resumption.cache.size).toBe(0);
    expect(resumption.cache.statistics).toMatchObject({ accept: 2, acceptGood: 2, hits: 1 });
  });

  it('resume every time, and TLS 1.3 renews them at every use', async () => {
    const { port, ring, seen } = await start();
    const shown = new Set<string>();
    let session: Buffer | undefined;
    for (let i = 0; i < 10; i++) {
      const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, session, ...host(version) });
      socket.on('session', (bytes) => {
        session = Buffer.from(bytes);
      });
      await once(socket, 'secureConnect');
      // Of a renewal in TLS 1.2 Node's client would say nothing.
      if (version === 'TLSv1.2') session = socket.getSession();
      socket.resume();
      await once(socket, 'close');
      shown.add(shownId(session).toString('hex'));
      if (i === 4) ring.rotate();
    }
    expect(shown.size).toBe(version === 'TLSv1.3' ? 10 : 1);
    expect(seen.map((each) => each?.way)).toEqual([null, ...Array(9).fill('ticket')]);
  });

  it('outlive a rotation of the ring, until the lifetime of their key ends', async () => {
    const { port, ring, seen, later } = await start();
    const { session } = await visit(port, host(version));
    for (let i = 0; i < 3; i++) {
      ring.rotate();
      await visit(port, { ...host(version), session });
    }
    later(2 * HOUR - 1);
    await visit(port, { ...host(version), session });
    later(2 * HOUR);
    await visit(port, { ...host(version), session });
    expect(seen.map((each) => each?.resumed)).toEqual([false, true, true, true, true, false]);
    expect(seen.at(-1)?.reason).toBe('ticket-key-unknown');
  });

  it('of a key that was dropped without overlap are refused', async () => {
    const { port, ring, seen } = await start();
    const { session } = await visit(port, host(version));
    ring.rotate(undefined, { overlap: false });
    await visit(port, { ...host(version), session });
    expect(seen[1]).toMatchObject({ resumed: false, reason: 'ticket-key-unknown' });
  });

  it('resume at another process with the same keys and configuration, and at no other service', async () => {
    const keys = Buffer.from(Array.from({ length: 48 }, (_, i) => i + 1));
    const ring = () => TicketKeyRing.fromKeys([keys]);
    const one = await start({}, { ring: ring() });
    const two = await start({}, { ring: ring() });
    const three = await start({}, { ring: ring(), guard: new SessionIdContextGuard({ name: 'other' }) });
    const four = await start({ ALPNProtocols: ['h2'] }, { ring: ring() });
    const { session } = await visit(one.port, host(version));
    for (const { port } of [two, three, four]) await visit(port, { ...host(version), session });
    expect([two, three, four].map(({ seen }) => seen[0]?.reason)).toEqual([null, 'other-context', 'other-context']);
  });

  it('do not outlive a rotation of the guard, nor maxChainAge however often they were renewed', async () => {
    const guard = new SessionIdContextGuard({ name: 'tls-resumption', maxChainAge: 3600 });
    const { port, ring, seen, later } = await start({}, { guard, lifetime: 604_800 });
    let { session } = await visit(port, host(version));
    guard.rotate('test');
    session = (await visit(port, { ...host(version), session })).session;
    expect(seen.at(-1)?.reason).toBe('other-context');
    if (version === 'TLSv1.2') return;
    for (let i = 0; i < 6; i++) {
      session = (await visit(port, { ...host(version), session })).session;
      expect(seen.at(-1)?.resumed).toBe(true);
      later(HOUR / 6);
      ring.rotate();
    }
    later(1000);
    await visit(port, { ...host(version), session });
    expect(seen.at(-1)).toMatchObject({ resumed: false, reason: 'chain-too-old' });
  });

  it('stay at their virtual host', async () => {
    const { port, server, resumption, seen } = await start();
    server.addContext('b.test', resumption.secureContext({ key: hostB.key, cert: hostB.cert }));
    const options = { checkServerIdentity: () => undefined };
    const sessions = new Map<string, Buffer | undefined>();
    for (const name of ['a.test', 'b.test']) {
      const [first] = await comeBack(port, { ...host(version, name), ...options });
      expect(seen.at(-1)).toMatchObject({ resumed: true, way: 'ticket', servername: name });
      sessions.set(name, first.session);
    }
    for (const [from, to] of [
      ['a.test', 'b.test'],
      ['b.test', 'a.test'],
    ] as const) {
      await visit(port, { ...host(version, to), ...options, session: underName(sessions.get(from), to) });
    }
    expect(seen.slice(-2).map((each) => each?.reason)).toEqual(['other-context', 'other-context']);
  });

  it('stay at the virtual host that an SNICallback chose', async () => {
    const contexts: Record<string, tls.SecureContext> = {};
    const SNICallback: tls.TlsOptions['SNICallback'] = (name, done) =>
      setImmediate(() => done(null, contexts[name] as tls.SecureContext));
    const { port, resumption, seen } = await start({ SNICallback });
    contexts['a.test'] = resumption.secureContext({ key: hostA.key, cert: hostA.cert });
    contexts['b.test'] = resumption.secureContext({ key: hostB.key, cert: hostB.cert });
    const [{ session }] = await comeBack(port, host(version));
    const elsewhere = { ...host(version, 'b.test'), checkServerIdentity: () => undefined };
    await visit(port, { ...elsewhere, session: underName(session, 'b.test') });
    expect(seen.map((each) => each?.reason)).toEqual(['not-offered', null, 'other-context']);
  });

  it('go on after setSecureContext with the same settings, and not with others', async () => {
    const { port, server, seen } = await start();
    const { session } = await visit(port, host(version));
    server.setSecureContext({ key: hostA.key, cert: hostA.cert });
    await visit(port, { ...host(version), session });
    server.setSecureContext({ key: hostB.key, cert: hostB.cert });
    await visit(port, { ...host(version), session });
    await comeBack(port, host(version, 'b.test'));
    expect(seen.map((each) => each?.reason)).toEqual(['not-offered', null, 'other-context', 'not-offered', null]);
  });

  it('hold the client certificate: none, another authority, or an expired one do not come back', async () => {
    const asking = { requestCert: true, ca: authority.cert };
    const ring = TicketKeyRing.generate({ interval: false });
    const { port, seen, later } = await start(asking, { ring });
    const open = await start({}, { ring });
    const elsewhere = await start({ requestCert: true, ca: other.cert }, { ring });
    const known = { ...host(version), key: client.key, cert: client.cert };
    const { session: withoutCertificate } = await visit(open.port, host(version));
    const [{ session }] = await comeBack(port, known);
    expect(seen.at(-1)).toMatchObject({ reason: null, way: 'ticket' });
    await visit(port, { ...known, session: withoutCertificate });
    expect(seen.at(-1)?.reason).toBe('other-context');
    await visit(elsewhere.port, { ...known, session }).catch(() => {});
    expect(elsewhere.seen.every((each) => each?.reason === 'other-context')).toBe(true);
    later(3 * HOUR);
    await visit(port, { ...known, session });
    expect(seen.at(-1)).toMatchObject({ resumed: false, reason: 'client-certificate' });
  });

  it('are garbage, cut short or changed: a full handshake', async () => {
    const { port, seen } = await start();
    const { session } = await visit(port, host(version));
    const ticket = shownId(session);
    for (const at of [0, 16, 32, ticket.length - 1]) {
      const changed = Buffer.from(session as Buffer);
      const where = changed.indexOf(ticket) + at;
      changed[where] = (changed[where] as number) ^ 1;
      expect((await visit(port, { ...host(version), session: changed })).resumed).toBe(false);
    }
    expect(seen.slice(1).map((each) => each?.reason)).toEqual([
      'ticket-key-unknown',
      expect.stringMatching(/unreadable-session|other-context/),
      'not-taken',
      'not-taken',
    ]);
  });

  it('work over any duplex stream', async () => {
    const { server, seen } = await start();
    let session: Buffer | undefined;
    for (let i = 0; i < 3; i++) {
      const [near, far] = duplexPair();
      server.emit('connection', far);
      const socket = tls.connect({ socket: near, rejectUnauthorized: false, session, ...host(version) });
      socket.on('session', (bytes) => {
        session = Buffer.from(bytes);
      });
      socket.resume();
      await once(socket, 'end');
      socket.destroy();
    }
    expect(seen.map((each) => each?.way)).toEqual([null, 'ticket', 'ticket']);
  });

  it('work at an https server', async () => {
    const resumption = new ServerResumption({ tickets: TicketKeyRing.generate() });
    const server = https.createServer(resumption.secure({ key: hostA.key, cert: hostA.cert }), (request, response) => {
      response.setHeader('connection', 'close').end(String(resumption.connection(request.socket)?.way));
    });
    resumption.attach(server);
    cleanups.push(() => close(server));
    const port = await listen(server);
    const answers = await comeBack(port, { ...host(version), send: 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n' });
    expect(answers.map(({ received }) => received.split('\r\n\r\n')[1])).toEqual(['null', 'ticket']);
  });

  it('of a server without the callback are lost at a rotation, and resume until then', async () => {
    const { port, ring, seen } = await start({}, { ticketKeyCallback: false });
    const { session } = await visit(port, host(version));
    await visit(port, { ...host(version), session });
    ring.rotate();
    await visit(port, { ...host(version), session });
    await comeBack(port, host(version));
    expect(seen.map((each) => each?.way)).toEqual([null, 'ticket', null, null, 'ticket']);
  });

  it("are Node's own again once the server is detached", async () => {
    const { port, server, attached } = await start();
    const before = await visit(port, host(version));
    attached[Symbol.dispose]();
    const [after, again] = await comeBack(port, { ...host(version), session: before.session });
    expect([after.resumed, again.resumed]).toEqual([false, true]);
    expect(shownId(after.session).subarray(0, 16)).toEqual(server.getTicketKeys().subarray(0, 16));
  });

  it('are never asked for by a ring that is gone: full handshakes, and no ticket that opens', async () => {
    const { port, ring, seen } = await start();
    const { session } = await visit(port, host(version));
    ring[Symbol.dispose]();
    const [first] = await comeBack(port, { ...host(version), session });
    await visit(port, { ...host(version), session: first.session });
    expect(seen.map((each) => each?.resumed)).toEqual([false, false, false, false]);
  });
});

describe('beside tickets', () => {
  it('TLS 1.2 clients that take none resume by session ID, bound to their name', async () => {
    const { port, seen, resumption } = await start();
    const options = { ...host('TLSv1.2'), secureOptions: constants.SSL_OP_NO_TICKET };
    const [{ session }] = await comeBack(port, options);
    await visit(port, { ...options, servername: 'b.test', session, checkServerIdentity: () => undefined });
    expect(seen.map((each) => each?.way)).toEqual([null, 'session-id', null]);
    expect(resumption.cache.size).toBe(2);
  });

  it('an exact name counts in TLS 1.3', async () => {
    const { port, seen } = await start();
    const { session } = await visit(port, { ...host('TLSv1.3'), ciphers: RAW_CIPHER });
    for (const servername of ['A.test', 'a.test.', 'c.test']) {
      const options = { ...host('TLSv1.3', servername), checkServerIdentity: () => undefined };
      await visit(port, { ...options, session: underName(session, servername) });
    }
    const nameless = await RawClient13.connect(port);
    expect((await nameless.ask({ psks: [pskOf(session)] })).kind).toBe('full');
    await nameless.finish();
    expect(seen.slice(1).map((each) => each?.reason)).toEqual(Array(4).fill('other-context'));
  });

  it('shareAcross lets names share tickets', async () => {
    const guard = new SessionIdContextGuard({ name: 'tls-resumption', shareAcross: ['a.test', 'b.test'] });
    const { port, seen } = await start({}, { guard });
    const { session } = await visit(port, host('TLSv1.3'));
    const options = { ...host('TLSv1.3', 'b.test'), checkServerIdentity: () => undefined };
    await visit(port, { ...options, session: underName(session, 'b.test') });
    expect(seen[1]?.way).toBe('ticket');
  });

  it('a hello without extended master secret for a session with it is a full handshake', async () => {
    const { port, seen } = await start();
    const { session } = await visit(port, host('TLSv1.2'));
    const options = { ...host('TLSv1.2'), session, secureOptions: NO_EXTENDED_MASTER_SECRET };
    expect((await visit(port, options)).resumed).toBe(false);
    expect(seen[1]?.reason).toBe('extended-master-secret');
  });
});

describe('a client that shows a ticket where it does not belong', () => {
  const cipher = { ciphers: RAW_CIPHER };

  it('gets a full handshake while another connection with the same ticket is open at its own name', async () => {
    const { port, seen } = await start();
    const { session } = await visit(port, { ...host('TLSv1.3'), ...cipher });
    const psks = [pskOf(session)];
    const held = await RawClient13.connect(port);
    expect((await held.ask({ servername: 'a.test', psks })).kind).toBe('resumed');
    const stranger = await RawClient13.connect(port);
    expect((await stranger.ask({ servername: 'b.test', psks })).kind).toBe('full');
    expect(await stranger.finish()).toBe('hello');
    expect(await held.finish()).toBe('hello');
    expect(seen.map((each) => each?.resumed)).toEqual([false, false, true]);
  });

  it('cannot hide it behind another identity', async () => {
    const { port, ring, seen } = await start();
    const { session } = await visit(port, { ...host('TLSv1.3'), ...cipher });
    const own = pskOf(session);
    const unknown = { identity: Buffer.concat([ring.current.name, Buffer.alloc(200, 1)]), secret: Buffer.alloc(32, 1) };
    for (const psks of [
      [unknown, own],
      [own, own],
    ]) {
      const raw = await RawClient13.connect(port);
      expect((await raw.ask({ servername: 'b.test', psks })).kind).toBe('full');
      await raw.finish();
    }
    expect(seen.slice(1).map((each) => each?.resumed)).toEqual([false, false]);
  });

  it('cannot bring it in after a HelloRetryRequest', async () => {
    const { port, seen } = await start({ ecdhCurve: 'P-256' });
    const { session } = await visit(port, { ...host('TLSv1.3'), ...cipher, ecdhCurve: 'P-256' });
    const psks = [pskOf(session)];
    const held = await RawClient13.connect(port);
    await held.ask({ servername: 'a.test', psks, keyShareGroups: [23] });
    for (const servername of ['b.test', 'a.test']) {
      const raw = await RawClient13.connect(port);
      expect((await raw.ask({ servername })).kind).toBe('retry');
      expect((await raw.ask({ servername, psks, keyShareGroups: [23] })).kind).toBe('full');
      await raw.finish();
    }
    await held.finish();
    expect(seen.slice(1).map((each) => each?.resumed)).toEqual([false, false, true]);
  });

  it('has no chain of another: renewal keeps the time of its own full handshake', async () => {
    const guard = new SessionIdContextGuard({ name: 'tls-resumption', maxChainAge: 3600 });
    const { port, seen, later } = await start({}, { guard });
    const old = await visit(port, host('TLSv1.3'));
    later(HOUR - 1000);
    const [young, oldAgain] = await Promise.all([
      visit(port, host('TLSv1.3')),
      visit(port, { ...host('TLSv1.3'), session: old.session }),
    ]);
    later(2000);
    seen.length = 0;
    await visit(port, { ...host('TLSv1.3'), session: young.session });
    await visit(port, { ...host('TLSv1.3'), session: oldAgain.session });
    expect(seen.map((each) => each?.reason)).toEqual([null, 'chain-too-old']);
  });
});

describe('a server that must not have tickets', () => {
  const attach = (
    options: tls.TlsOptions,
    setting: ServerResumptionOptions = {},
    prepare?: (s: tls.Server) => void,
  ) => {
    const resumption = new ServerResumption({ tickets: TicketKeyRing.generate(), ...setting });
    const server = tls.createServer(resumption.secure({ key: hostA.key, cert: hostA.cert, ...options }));
    prepare?.(server);
    return { resumption, server, attach: () => resumption.attach(server) };
  };
  const unsafe = expect.objectContaining({
    code: 'ERR_TICKETS_UNSAFE',
    message: expect.stringMatching(/stateful sessions .* or one server for each policy/),
  });

  it('has contexts that differ in who may issue client certificates', () => {
    const asking = { requestCert: true, ca: authority.cert };
    const differing = { key: hostB.key, cert: hostB.cert, ca: other.cert };
    expect(() => attach(asking, {}, (server) => server.addContext('b.test', differing)).attach()).toThrow(unsafe);
    const same = { ...differing, ca: authority.cert };
    const { resumption, server, attach: begin } = attach(asking);
    server.addContext('b.test', resumption.secureContext(same));
    begin();
    expect(() => server.addContext('c.test', differing)).toThrow(unsafe);
    server.addContext('d.test', same);
  });

  it('takes unverified clients on a Node that lets them come back authorized', () => {
    const { attach: begin } = attach({ requestCert: true, rejectUnauthorized: false });
    if (Number.parseInt(process.versions.node, 10) < 24) expect(begin).toThrow(unsafe);
    else begin()[Symbol.dispose]();
  });

  it('has no callback and asks for certificates, or has several contexts', () => {
    const plain = { ticketKeyCallback: false };
    expect(attach({ requestCert: true, ca: authority.cert }, plain).attach).toThrow(unsafe);
    expect(attach({ SNICallback: (_name, done) => done(null) }, plain).attach).toThrow(unsafe);
    const several = attach({}, plain, (server) => server.addContext('b.test', { key: hostB.key, cert: hostB.cert }));
    expect(several.attach).toThrow(unsafe);
  });

  it('has keys that Node does not take', () => {
    const { attach: begin } = attach({}, { tickets: TicketKeyRing.generate({ keyLength: 80 }) });
    expect(begin).toThrow(new RangeError('"tickets" expected keys of 48 bytes, which is what Node takes, got 80'));
  });

  it.each([
    [{ tickets: 'ring' }, TypeError, /"tickets" expected a TicketKeyRing/],
    [{ tickets: true, singleUse: true }, RangeError, /"singleUse" expected false beside "tickets"/],
    [{ ticketKeyCallback: 1 }, TypeError, /"ticketKeyCallback" expected a boolean/],
  ])('is made with %j', (options, type, message) => {
    const { tickets, ...rest } = options as { tickets?: unknown };
    const given = { ...rest, tickets: tickets === true ? TicketKeyRing.generate() : tickets };
    const make = () => new ServerResumption(given as never);
    expect(make).toThrow(type);
    expect(make).toThrow(message);
  });

  it.each([
    [{ secureOptions: constants.SSL_OP_NO_TICKET }, RangeError, /"secureOptions" expected no SSL_OP_NO_TICKET/],
    [{ ticketKeys: Buffer.alloc(48, 1) }, TypeError, /"ticketKeys" expected to be absent beside "tickets"/],
    [{ sessionTimeout: 7201 }, RangeError, /"sessionTimeout" expected 1 to 7200 seconds/],
  ])('has options %j', (options, type, message) => {
    const resumption = new ServerResumption({ tickets: TicketKeyRing.generate({ lifetime: 7200 }) });
    expect(() => resumption.secure(options)).toThrow(type);
    expect(() => resumption.secure(options)).toThrow(message);
  });

  it('was secured without tickets, and the reverse', () => {
    const guard = new SessionIdContextGuard({ name: 'x' });
    const stateful = new ServerResumption({ guard });
    const stateless = new ServerResumption({ guard, tickets: TicketKeyRing.generate() });
    expect(() => stateless.attach(tls.createServer(stateful.secure({})))).toThrow(/did not pass through secure/);
    expect(() => stateful.attach(tls.createServer(stateless.secure({})))).toThrow(/did not pass through secure/);
  });
});
