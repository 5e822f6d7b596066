/** ClientResumption.connect: what is offered, what is kept, and what is not. */

import { constants } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { inspect } from 'node:util';
import { afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import type { ClientTlsOptions } from '../../src/client/client-policy.js';
import { ClientResumption, type ClientResumptionOptions } from '../../src/client/client-resumption.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import { close, listen, VERSIONS, type Version, visit } from '../support/visits.js';
import { drained, HOST, type Region, region, speaking } from './back-end.js';

let place: Region;
beforeAll(async () => {
  place = await region();
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await place.closeAll();
});

const to = (backEnd: { port: number }, version: Version, more: ClientTlsOptions = {}): ClientTlsOptions => ({
  host: '127.0.0.1',
  port: backEnd.port,
  servername: HOST,
  ca: place.authority.cert,
  ...speaking(version),
  ...more,
});

const clientCache = (options: ConstructorParameters<typeof SessionCache>[0] = {}): SessionCache =>
  new SessionCache({ mode: SessionCacheMode.Client, timeout: 604_800, ...options });

/** A clock that stands still, near the real time (OpenSSL looks at that one), and a resumption that goes by it. */
function timed(options: ClientResumptionOptions = {}) {
  const start = Date.now();
  let now = start;
  const clock = (): number => now;
  const resumption = new ClientResumption({ cache: clientCache({ clock }), clock, ...options });
  return {
    resumption,
    advance: (seconds: number): void => {
      now += seconds * 1000;
    },
  };
}

async function visits(resumption: ClientResumption, options: ClientTlsOptions, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await drained(resumption.connect(options));
}

describe.each(VERSIONS)('connect over %s', (version) => {
  it('resumes every connection after the first, and counts', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    await visits(resumption, to(backEnd, version), 5);
    expect(backEnd.resumed).toEqual([false, true, true, true, true]);
    expect(resumption.cache.statistics).toMatchObject({ connect: 5, connectGood: 5, hits: 4, misses: 0 });
  });

  it('calls its listener, as tls.connect does, and offers with a default host too', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    let called = 0;
    const socket = resumption.connect(to(backEnd, version), () => called++);
    expect(socket).toBeInstanceOf(tls.TLSSocket);
    await drained(socket);
    expect(called).toBe(1);
  });

  it('authenticates a resumed connection as it did the first', async () => {
    const backEnd = await place.start({ tls: { requestCert: true, ca: place.authority.cert } });
    const resumption = new ClientResumption();
    const { key, cert } = place.client;
    for (const resumed of [false, true]) {
      const socket = resumption.connect(to(backEnd, version, { key, cert }));
      await once(socket, 'secureConnect');
      expect(socket.isSessionReused()).toBe(resumed);
      expect(socket.authorized).toBe(true);
      socket.end();
      socket.resume();
      await once(socket, 'close');
    }
    expect(backEnd.arrivals.map(({ socket }) => socket.authorized)).toEqual([true, true]);
  });

  it('keeps nothing of a connection that failed its identity check', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    const wrong = to(backEnd, version, { servername: 'c.test', rejectUnauthorized: false });
    for (let i = 0; i < 3; i++) {
      const socket = resumption.connect(wrong);
      await once(socket, 'secureConnect');
      expect(socket.authorized).toBe(false);
      socket.end('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      socket.resume();
      await once(socket, 'close');
    }
    expect(backEnd.arrivals.map(({ offered }) => offered)).toEqual([[], [], []]);
    expect(resumption.cache.size).toBe(0);
  });

  it('keeps what was not verified for those who do not ask for it, and never takes it for verified', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    const stranger = (await makeCertificate({ isAuthority: true })).cert;
    const options = to(backEnd, version, { ca: stranger, rejectUnauthorized: false });
    for (const resumed of [false, true, true]) {
      const socket = resumption.connect(options);
      await once(socket, 'secureConnect');
      expect([socket.isSessionReused(), socket.authorized]).toEqual([resumed, false]);
      socket.end('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      socket.resume();
      await once(socket, 'close');
    }
    const strict = resumption.connect(to(backEnd, version, { ca: stranger }));
    const [error] = (await once(strict, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toMatch(/UNABLE_TO|SELF_SIGNED/);
  });

  it('drops what the server refuses', async () => {
    const first = await place.start();
    const resumption = new ClientResumption();
    await visits(resumption, to(first, version), 2);
    const { port } = first;
    await first.close();
    // Another server at the same place, with keys and sessions of its own.
    const { key, cert } = place.certificate;
    const second = tls.createServer({ key, cert }, (socket) => socket.on('error', () => {}).end('hello'));
    second.listen(port, '127.0.0.1');
    await once(second, 'listening');
    cleanups.push(() => close(second));
    const seen: boolean[] = [];
    second.on('secureConnection', (socket) => seen.push(socket.isSessionReused()));
    for (let i = 0; i < 4; i++) await drained(resumption.connect(to(first, version)));
    expect(seen[0]).toBe(false);
    expect(seen.slice(1)).toContain(true);
  });

  it('drops what a handshake fails with, and gives back what was never sent', async () => {
    const { resumption } = timed();
    const backEnd = await place.start();
    await visits(resumption, to(backEnd, version), 1);
    const held = resumption.cache.size;
    await backEnd.close();
    // Nobody listens: the hello did not leave.
    for (let i = 0; i < 5; i++) await expect(drained(resumption.connect(to(backEnd, version)))).rejects.toThrow();
    expect(resumption.cache.size).toBe(held);
    const broken = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.destroy());
    });
    broken.listen(backEnd.port, '127.0.0.1');
    await once(broken, 'listening');
    cleanups.push(() => close(broken));
    for (let i = 0; i < held; i++) await expect(drained(resumption.connect(to(backEnd, version)))).rejects.toThrow();
    expect(resumption.cache.size).toBe(0);
  });

  it('keeps and offers nothing after forget, not even of a connection that was open then', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    await visits(resumption, to(backEnd, version), 1);
    const socket = resumption.connect(to(backEnd, version));
    const done = drained(socket);
    resumption.forget();
    expect(resumption.cache.size).toBe(0);
    await done;
    expect(resumption.cache.size).toBe(0);
    await visits(resumption, to(backEnd, version), 2);
    expect(backEnd.resumed).toEqual([false, true, false, true]);
  });

  it('forgets one origin alone when it is told which', async () => {
    const [one, two] = [await place.start(), await place.start()];
    const resumption = new ClientResumption();
    for (const each of [one, two]) await visits(resumption, to(each, version), 1);
    resumption.forget(to(one, version));
    for (const each of [one, two]) await visits(resumption, to(each, version), 1);
    expect([one.resumed, two.resumed]).toEqual([
      [false, false],
      [false, true],
    ]);
  });

  it('uses sessions over a socket of the caller that says where it leads, apart from others', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    const tunnel = async (more: ClientTlsOptions): Promise<void> => {
      const socket = net.connect(backEnd.port, '127.0.0.1').on('error', () => {});
      await once(socket, 'connect');
      await drained(resumption.connect({ ca: place.authority.cert, ...speaking(version), ...more, socket }));
    };
    await visits(resumption, to(backEnd, version), 1);
    const named = { host: '127.0.0.1', port: backEnd.port, servername: HOST };
    await tunnel(named);
    await tunnel(named);
    expect(backEnd.arrivals.map(({ offered }) => offered.length)).toEqual([0, 0, 1]);
    // Node checks the certificate for "localhost" then.
    await tunnel({});
    await tunnel({});
    expect(backEnd.arrivals.map(({ offered }) => offered.length)).toEqual([0, 0, 1, 0, 0]);
  });

  it('resumes over a Unix socket', async () => {
    const { key, cert } = place.certificate;
    const server = tls.createServer({ key, cert }, (socket) => socket.on('error', () => {}).end('hello'));
    const path =
      process.platform === 'linux' ? `\0tls-resumption-${process.pid}-${version}` : `/tmp/${process.pid}.sock`;
    server.listen(path);
    await once(server, 'listening');
    cleanups.push(() => close(server));
    const seen: boolean[] = [];
    server.on('secureConnection', (socket) => seen.push(socket.isSessionReused()));
    const resumption = new ClientResumption();
    const options = { path, servername: HOST, ca: place.authority.cert, ...speaking(version) };
    await visits(resumption, options, 2);
    expect(seen).toEqual([false, true]);
  });

  it('offers a session of the caller in place of its own, and keeps none that descends from it', async () => {
    const backEnd = await place.start();
    const options = to(backEnd, version);
    const { session } = await visit(backEnd.port, {
      ...options,
      send: 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    });
    const resumption = new ClientResumption();
    const { resumed } = await drained(resumption.connect({ ...options, session }));
    expect(resumed).toBe(true);
    expect(resumption.cache.size).toBe(0);
    // One that the server refuses leaves a connection like any other.
    resumption.forget();
    await backEnd.close();
    const other = await place.start();
    await drained(resumption.connect({ ...to(other, version), session }));
    expect(resumption.cache.size).toBeGreaterThan(0);
  });

  it('resumes no longer than maxChainAge after the full handshake, however often it resumed meanwhile', async () => {
    const backEnd = await place.start();
    const { resumption, advance } = timed({ maxChainAge: 60 });
    for (let i = 0; i < 5; i++) {
      await visits(resumption, to(backEnd, version), 1);
      advance(20);
    }
    expect(backEnd.resumed).toEqual([false, true, true, true, false]);
  });

  it('does not resume when the certificate is over', async () => {
    const { authority } = place;
    const notAfter = new Date(Date.now() + 3_600_000);
    const { key, cert } = await makeCertificate({ names: [HOST], issuer: authority, notAfter });
    const backEnd = await place.start({ tls: { key, cert } });
    const { resumption, advance } = timed();
    await visits(resumption, to(backEnd, version), 2);
    advance(3601);
    await visits(resumption, to(backEnd, version), 1);
    expect(backEnd.arrivals.map(({ offered }) => offered.length)).toEqual([0, 1, 0]);
  });
});

describe('TLS 1.3 tickets', () => {
  it('are each handed out once, the newest first', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    const given: string[] = [];
    // The next tickets wait until all of them have left.
    const sockets = [];
    await visits(resumption, to(backEnd, 'TLSv1.3'), 1);
    expect(resumption.cache.size).toBe(2);
    for (let i = 0; i < 3; i++) sockets.push(resumption.connect(to(backEnd, 'TLSv1.3')));
    await Promise.all(sockets.map((socket) => drained(socket)));
    for (const { offered } of backEnd.arrivals) given.push(...offered);
    expect(given).toHaveLength(2);
    expect(new Set(given).size).toBe(2);
    expect(backEnd.resumed.filter(Boolean)).toHaveLength(2);
  });

  it('that came last go first', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    const socket = resumption.connect(to(backEnd, 'TLSv1.3'));
    const came: string[] = [];
    socket.on('session', (session: Buffer) => came.push(identityOf(session)));
    await drained(socket);
    expect(came).toHaveLength(2);
    await Promise.all([1, 2].map(() => drained(resumption.connect(to(backEnd, 'TLSv1.3')))));
    expect(backEnd.arrivals.slice(1).map(({ offered }) => offered[0])).toEqual(came.reverse());
  });

  it('are at most eight of an origin, or as many as it is told, and the oldest go', async () => {
    const backEnd = await place.start();
    for (const [ticketsPerOrigin, held] of [
      [undefined, 8],
      [3, 3],
    ] as const) {
      const resumption = new ClientResumption({ ticketsPerOrigin });
      const came: string[] = [];
      await Promise.all(
        Array.from({ length: 6 }, () => {
          const socket = resumption.connect(to(backEnd, 'TLSv1.3'));
          socket.on('session', (session: Buffer) => came.push(identityOf(session)));
          return drained(socket);
        }),
      );
      expect(came).toHaveLength(12);
      expect(resumption.cache.size).toBe(held);
      backEnd.arrivals.length = 0;
      await Promise.all(came.map(() => drained(resumption.connect(to(backEnd, 'TLSv1.3')))));
      const offered = backEnd.arrivals.flatMap((arrival) => arrival.offered);
      expect(offered.sort()).toEqual(came.slice(-held).sort());
    }
  });

  it('are dropped at their lifetime', async () => {
    const backEnd = await place.start({ tls: { sessionTimeout: 100 } });
    for (const [age, resumed] of [
      [99, true],
      [101, false],
    ] as const) {
      backEnd.resumed.length = 0;
      const { resumption, advance } = timed();
      await visits(resumption, to(backEnd, 'TLSv1.3'), 1);
      advance(age);
      await visits(resumption, to(backEnd, 'TLSv1.3'), 1);
      expect(backEnd.resumed).toEqual([false, resumed]);
    }
  });

  it('make way for a session of TLS 1.2 when the server speaks that', async () => {
    const backEnd = await place.start();
    const resumption = new ClientResumption();
    const { minVersion: _, maxVersion: __, ...options } = to(backEnd, 'TLSv1.3');
    await visits(resumption, options, 1);
    await backEnd.close();
    const { key, cert } = place.certificate;
    const old = tls.createServer({ key, cert, maxVersion: 'TLSv1.2' }, (socket) =>
      socket.on('error', () => {}).end('hello'),
    );
    old.listen(backEnd.port, '127.0.0.1');
    await once(old, 'listening');
    cleanups.push(() => close(old));
    const seen: boolean[] = [];
    old.on('secureConnection', (socket) => seen.push(socket.isSessionReused()));
    await visits(resumption, options, 4);
    expect(seen).toEqual([false, true, true, true]);
    expect(resumption.cache.size).toBe(1);
  });
});

test('a TLS 1.2 session is one, offered again and again', async () => {
  const backEnd = await place.start();
  const resumption = new ClientResumption();
  await visits(resumption, to(backEnd, 'TLSv1.2'), 1);
  await Promise.all([1, 2, 3].map(() => drained(resumption.connect(to(backEnd, 'TLSv1.2')))));
  expect(resumption.cache.size).toBe(1);
  expect(backEnd.resumed).toEqual([false, true, true, true]);
  expect(new Set(backEnd.arrivals.slice(1).flatMap(({ offered }) => offered)).size).toBe(1);
});

test('a renegotiated session is not kept', async () => {
  // Node does not look at the name in the certificate that comes with it.
  const secureOptions = constants.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION;
  const { key, cert } = place.certificate;
  const server = tls.createServer({ key, cert, maxVersion: 'TLSv1.2', secureOptions }, (socket) => {
    socket.on('error', () => {});
    socket.renegotiate({ rejectUnauthorized: false }, () => socket.end('hello'));
  });
  const port = await listen(server);
  cleanups.push(() => close(server));
  const cache = new RecordingCache({ mode: SessionCacheMode.Client });
  const socket = new ClientResumption({ cache }).connect(to({ port }, 'TLSv1.2'));
  const sessions: Buffer[] = [];
  socket.on('session', (session: Buffer) => sessions.push(Buffer.from(session)));
  await drained(socket);
  expect(sessions).toHaveLength(2);
  expect(cache.stored.map((session) => session.equals(sessions[0] as Buffer))).toEqual([true]);
});

test('bytes are copied: what becomes of the event does not matter', async () => {
  const backEnd = await place.start();
  const resumption = new ClientResumption();
  const socket = resumption.connect(to(backEnd, 'TLSv1.3'));
  socket.on('session', (session: Buffer) => session.fill(0));
  await drained(socket);
  await visits(resumption, to(backEnd, 'TLSv1.3'), 1);
  expect(backEnd.resumed).toEqual([false, true]);
});

test('a cache in another mode, and options of the wrong kind, are refused by name', () => {
  expect(() => new ClientResumption({ cache: new SessionCache() })).toThrow(RangeError);
  expect(() => new ClientResumption({ cache: {} as SessionCache })).toThrow('"cache" expected a SessionCache');
  for (const [name, value] of [
    ['ticketsPerOrigin', 0],
    ['ticketsPerOrigin', 65],
    ['lookupTimeout', 0],
    ['maxChainAge', 59],
    ['maxChainAge', 604_801],
  ] as const) {
    expect(() => new ClientResumption({ [name]: value })).toThrow(RangeError);
    expect(() => new ClientResumption({ [name]: 'x' as never })).toThrow(`"${name}" expected a number`);
  }
  expect(() => new ClientResumption({ clock: 1 as never })).toThrow(TypeError);
  expect(() => new ClientResumption().connect(1 as never)).toThrow(TypeError);
  expect(() => new ClientResumption().reload({} as never, {})).toThrow('"target" expected an agent');
});

test('it shows counts, and neither sessions nor where they belong', async () => {
  const backEnd = await place.start();
  const resumption = new ClientResumption();
  await visits(resumption, to(backEnd, 'TLSv1.3'), 2);
  const shown = inspect(resumption, { depth: 10, showHidden: true });
  expect(shown).toMatch(/hits: 1/);
  expect(shown).not.toMatch(/a\.test|Buffer/);
});

class RecordingCache extends SessionCache {
  readonly stored: Buffer[] = [];

  override store(...args: Parameters<SessionCache['store']>): ReturnType<SessionCache['store']> {
    this.stored.push(Buffer.from(args[1]));
    return super.store(...args);
  }
}

function identityOf(session: Buffer): string {
  const decoded = decodeSslSession(session);
  return decoded?.ticket?.toString('hex') ?? '';
}
