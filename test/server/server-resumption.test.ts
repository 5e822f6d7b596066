import { once } from 'node:events';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as net from 'node:net';
import liveTls, * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import type { ResumptionConnection } from '../../src/server/connection.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { parseClientHello } from '../../src/wire/client-hello.js';
import { duplexPair, waitUntil } from '../support/streams.js';
import { close, comeBack, listen, only, VERSIONS, visit } from '../support/visits.js';

let authority: IssuedCertificate;
let server1: IssuedCertificate;
let server2: IssuedCertificate;
let client: IssuedCertificate;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  authority = await makeCertificate({ isAuthority: true, commonName: 'test CA' });
  [server1, server2, client] = await Promise.all([
    makeCertificate({ names: ['a.test', '127.0.0.1'], issuer: authority }),
    makeCertificate({ names: ['b.test'], issuer: authority }),
    makeCertificate({ commonName: 'client', issuer: authority }),
  ]);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Running {
  readonly port: number;
  readonly server: tls.Server;
  readonly resumption: ServerResumption;
  readonly seen: (ResumptionConnection | undefined)[];
  readonly attached: Disposable;
}

/** A plain tls server that says hello and closes. */
async function start(options: tls.TlsOptions = {}, setting: ServerResumptionOptions = {}): Promise<Running> {
  const resumption = new ServerResumption(setting);
  const server = tls.createServer(resumption.secure({ key: server1.key, cert: server1.cert, ...options }));
  const attached = resumption.attach(server);
  const seen: (ResumptionConnection | undefined)[] = [];
  server.on('secureConnection', (socket) => {
    seen.push(resumption.connection(socket));
    socket.on('error', () => {});
    socket.end('hello');
  });
  cleanups.push(() => close(server));
  return { port: await listen(server), server, resumption, seen, attached };
}

describe.each(VERSIONS)('a tls server on %s', (version) => {
  const way = version === 'TLSv1.3' ? 'stateful-ticket' : 'session-id';

  it('resumes from its cache, and both sides say so', async () => {
    const { port, seen, resumption } = await start();
    const [first, second] = await comeBack(port, { ...only(version), servername: 'a.test' });
    expect([first.resumed, second.resumed]).toEqual([false, true]);
    expect(seen[0]).toMatchObject({ resumed: false, way: null, reason: 'not-offered', servername: 'a.test' });
    expect(seen[1]).toMatchObject({ resumed: true, way, reason: null, servername: 'a.test' });
    expect(seen[1]?.hello?.servername).toBe('a.test');
    expect(resumption.cache.statistics).toMatchObject({ accept: 2, acceptGood: 2, hits: 1, misses: 0 });
  });

  it('keeps one session for TLS 1.2 and two for TLS 1.3, under SHA-256(context ‖ session ID)', async () => {
    const { port, seen, resumption } = await start();
    const first = await visit(port, { ...only(version), servername: 'a.test' });
    expect(resumption.cache.size).toBe(version === 'TLSv1.3' ? 2 : 1);
    const context = resumption.guard.contextFor(seen[0] as ResumptionConnection);
    const offered: Buffer[] = [];
    const look = net.createServer((socket) =>
      socket.once('data', (bytes) => {
        offered.push(bytes);
        socket.destroy();
      }),
    );
    cleanups.push(() => close(look));
    await visit(await listen(look), { ...only(version), session: first.session, servername: 'a.test' }).catch(() => {});
    const hello = parseClientHello(offered[0] as Buffer);
    const id = version === 'TLSv1.3' ? hello?.pskIdentities[0]?.identity : hello?.sessionId;
    expect(id).toHaveLength(32);
    expect(resumption.cache.get(resumption.guard.keyFor(context, id as Buffer))).toBeDefined();
  });

  it('resumes again and again', async () => {
    const { port, seen } = await start();
    let session: Buffer | undefined;
    for (let i = 0; i < 5; i++) session = (await visit(port, { ...only(version), session })).session ?? session;
    expect(seen.map((each) => each?.resumed)).toEqual([false, true, true, true, true]);
  });

  it('does not resume under another name, in another case, with a dot, or without a name', async () => {
    const { port, seen } = await start();
    const { session } = await visit(port, { ...only(version), servername: 'a.test' });
    for (const servername of ['b.test', 'A.test', 'a.test.', '']) {
      await visit(port, { ...only(version), session, servername, checkServerIdentity: () => undefined }).catch(
        () => {},
      );
    }
    expect(seen.map((each) => each?.resumed)).not.toContain(true);
    await visit(port, { ...only(version), session, servername: 'a.test' });
    expect(seen.at(-1)?.resumed).toBe(true);
  });

  it('does not resume after the guard was rotated', async () => {
    const { port, resumption, seen } = await start();
    const { session } = await visit(port, only(version));
    resumption.guard.rotate('test');
    await visit(port, { ...only(version), session });
    expect(seen[1]).toMatchObject({ resumed: false, reason: 'unknown' });
  });

  it('does not resume what the cache forgot', async () => {
    const { port, resumption, seen } = await start();
    const { session } = await visit(port, only(version));
    resumption.cache.clear();
    await visit(port, { ...only(version), session });
    expect(seen[1]).toMatchObject({ resumed: false, reason: 'unknown' });
    expect(resumption.cache.statistics.misses).toBe(1);
  });

  it('ends a chain of resumptions at the age of its full handshake', async () => {
    let now = Date.now();
    const clock = () => now;
    const { port, seen } = await start(
      {},
      {
        clock,
        cache: new SessionCache({ timeout: 7200 }),
        guard: new SessionIdContextGuard({ name: 'g', maxChainAge: 100 }),
      },
    );
    let session: Buffer | undefined;
    for (let i = 0; i < 4; i++) {
      session = (await visit(port, { ...only(version), session })).session ?? session;
      now += 40_000;
    }
    expect(seen.map((each) => each?.resumed)).toEqual([false, true, true, false]);
    expect(seen[3]?.reason).toBe('chain-too-old');
  });

  it('takes a session once when asked to, and puts it back when the connection did not resume', async () => {
    const { port, resumption, seen } = await start({}, { singleUse: true });
    const { session } = await visit(port, { ...only(version), servername: 'a.test' });
    const kept = resumption.cache.size;
    const raw = net.connect(port, '127.0.0.1');
    const bytes = await clientHelloOf({ ...only(version), servername: 'a.test', session });
    raw.on('error', () => {});
    raw.write(bytes);
    await once(raw, 'data');
    expect(resumption.cache.size).toBe(kept - 1);
    raw.destroy();
    await waitUntil(() => resumption.cache.size === kept);
    await visit(port, { ...only(version), servername: 'a.test', session });
    await visit(port, { ...only(version), servername: 'a.test', session });
    expect(seen.map((each) => each?.resumed)).toEqual([false, true, false]);
    expect(seen[2]?.reason).toBe('unknown');
  });

  it('refuses a session with extended master secret to a client without, and the handshake succeeds', async () => {
    const { port, seen } = await start();
    const { session } = await visit(port, only(version));
    const noExtendedMasterSecret = 1;
    const second = await visit(port, { ...only(version), session, secureOptions: noExtendedMasterSecret });
    expect(seen[1]?.hello?.extendedMasterSecret).toBe(false);
    // TLS 1.3 has no use for the extension: its sessions come back without it.
    expect(second).toMatchObject({ resumed: version === 'TLSv1.3', received: 'hello' });
    expect(seen[1]?.reason).toBe(version === 'TLSv1.3' ? null : 'extended-master-secret');
    await visit(port, { ...only(version), session });
    expect(seen[2]?.resumed).toBe(true);
  });

  it('resumes over any duplex that the application emits as a connection', async () => {
    const { server, seen } = await start();
    let session: Buffer | undefined;
    for (let i = 0; i < 2; i++) {
      const [near, far] = duplexPair();
      server.emit('connection', far);
      const socket = tls.connect({ socket: near, rejectUnauthorized: false, session, ...only(version) });
      socket.on('session', (bytes) => {
        session = bytes;
      });
      socket.resume();
      await once(socket, 'end');
      socket.destroy();
    }
    expect(seen.map((each) => each?.resumed)).toEqual([false, true]);
  });

  it('resumes under SNI contexts, each only its own', async () => {
    const { port, server, resumption, seen } = await start();
    server.addContext('b.test', resumption.secureContext({ key: server2.key, cert: server2.cert }));
    server.addContext('*.c.test', { key: server2.key, cert: server2.cert });
    for (const servername of ['b.test', 'x.c.test']) {
      const [, second] = await comeBack(port, { ...only(version), servername });
      expect(second.resumed).toBe(true);
    }
    const { session } = await visit(port, { ...only(version), servername: 'b.test' });
    const other = await visit(port, { ...only(version), servername: 'x.c.test', session });
    expect(other.resumed).toBe(false);
    expect(seen).toHaveLength(6);
  });

  it('asks SNICallback once for a connection, and resumes under its context', async () => {
    const asked: string[] = [];
    const resumption = new ServerResumption();
    const context = () => resumption.secureContext({ key: server2.key, cert: server2.cert });
    const options: tls.TlsOptions = {
      key: server1.key,
      cert: server1.cert,
      SNICallback: (servername, callback) => {
        asked.push(servername);
        setImmediate(() => callback(null, servername === 'b.test' ? context() : undefined));
      },
    };
    const server = tls.createServer(resumption.secure(options), (socket) =>
      socket.end(String(resumption.connection(socket)?.way)),
    );
    cleanups.push(() => close(server));
    resumption.attach(server);
    const port = await listen(server);
    for (const servername of ['b.test', 'a.test']) {
      const [first, second] = await comeBack(port, { ...only(version), servername });
      expect([first.received, second.received]).toEqual(['null', way]);
    }
    expect(asked).toEqual(['b.test', 'b.test', 'a.test', 'a.test']);
  });

  it('keeps nothing that was made under contexts that changed during the handshake', async () => {
    const { port, server, resumption } = await start();
    server.prependOnceListener('newSession', () => server.setSecureContext({ key: server2.key, cert: server2.cert }));
    await visit(port, only(version));
    expect(resumption.cache.size).toBe(0);
  });

  it('resumes nothing of before when setSecureContext brings another certificate, all when it brings the same', async () => {
    const { port, server, seen } = await start();
    const { session } = await visit(port, only(version));
    server.setSecureContext({ key: server1.key, cert: server1.cert });
    await visit(port, { ...only(version), session });
    server.setSecureContext({ key: server2.key, cert: server2.cert });
    const { session: later } = await visit(port, { ...only(version), session });
    await visit(port, { ...only(version), session: later });
    expect(seen.map((each) => each?.resumed)).toEqual([false, true, false, true]);
  });

  describe('with client certificates', () => {
    const mutual = (): tls.TlsOptions => ({ requestCert: true, ca: authority.cert });
    const shown = () => ({ key: client.key, cert: client.cert });

    it('resumes a client whose certificate verified', async () => {
      const { port, seen } = await start(mutual());
      await comeBack(port, { ...only(version), ...shown() });
      expect(seen.map((each) => each?.resumed)).toEqual([false, true]);
    });

    it('keeps no session of a client that was rejected', async () => {
      const { port, resumption } = await start(mutual());
      await visit(port, only(version)).catch(() => {});
      await visit(port, {
        ...only(version),
        key: server1.key,
        cert: (await makeCertificate({ commonName: 'other' })).cert,
      }).catch(() => {});
      expect(resumption.cache.size).toBe(0);
    });

    it('keeps no session of a client without a verified certificate where that is no reason to reject', async () => {
      const { port, server, resumption, seen } = await start({ ...mutual(), rejectUnauthorized: false });
      const authorized: boolean[] = [];
      server.on('secureConnection', (socket) => authorized.push(socket.authorized));
      await comeBack(port, only(version));
      const stranger = await makeCertificate({ commonName: 'stranger' });
      await comeBack(port, { ...only(version), key: stranger.key, cert: stranger.cert });
      expect(resumption.cache.size).toBe(0);
      expect(seen.map((each) => each?.resumed)).toEqual([false, false, false, false]);
      expect(authorized).toEqual([false, false, false, false]);
      await comeBack(port, { ...only(version), ...shown() });
      expect(seen.slice(4).map((each) => each?.resumed)).toEqual([false, true]);
      expect(authorized.slice(4)).toEqual([true, true]);
    });

    it('resumes nothing of before when the server begins to ask for certificates', async () => {
      const { port, server, seen } = await start({ ca: authority.cert });
      const { session } = await visit(port, { ...only(version), ...shown() });
      (server as { requestCert?: boolean }).requestCert = true;
      await visit(port, { ...only(version), ...shown(), session });
      expect(seen[1]).toMatchObject({ resumed: false, reason: 'unknown' });
    });

    it('reads the certificate of a client that came back only where its connection makes sessions', async () => {
      const read = vi.spyOn(tls.TLSSocket.prototype, 'getPeerX509Certificate');
      cleanups.push(() => read.mockRestore());
      const { port, seen } = await start(mutual());
      await comeBack(port, { ...only(version), ...shown() });
      expect(seen.map((each) => each?.resumed)).toEqual([false, true]);
      expect(read).toHaveBeenCalledTimes(version === 'TLSv1.3' ? 2 : 1);
    });

    it('lets no session outlive the certificate', async () => {
      let now = Date.now();
      const soon = await makeCertificate({ commonName: 'soon', issuer: authority, notAfter: new Date(now + 100_000) });
      const clock = () => now;
      const { port, seen } = await start(mutual(), { clock, cache: new SessionCache({ timeout: 7200, clock }) });
      const { session } = await visit(port, { ...only(version), key: soon.key, cert: soon.cert });
      now += 101_000;
      await visit(port, { ...only(version), key: soon.key, cert: soon.cert, session });
      expect(seen[1]).toMatchObject({ resumed: false, reason: 'expired' });
    });
  });

  describe('with an external cache', () => {
    const storeOf = (held: Map<string, Uint8Array>, wrap: <T>(value: T) => T | Promise<T>): SessionStore => ({
      get: (key) => wrap(held.get(Buffer.from(key).toString('hex'))),
      set: (key, value) => wrap(void held.set(Buffer.from(key).toString('hex'), Buffer.from(value))),
      delete: (key) => wrap(void held.delete(Buffer.from(key).toString('hex'))),
    });

    it.each([
      ['synchronous', <T>(value: T) => value],
      ['asynchronous', <T>(value: T) => new Promise<T>((resolve) => setImmediate(resolve, value))],
    ])('resumes in another server object of the service (%s)', async (_kind, wrap) => {
      const held = new Map<string, Uint8Array>();
      const one = await start({}, { cache: new SessionCache({ external: storeOf(held, wrap) }) });
      const other = await start({}, { cache: new SessionCache({ external: storeOf(held, wrap) }) });
      const { session } = await visit(one.port, only(version));
      await one.resumption.idle();
      expect(held.size).toBe(version === 'TLSv1.3' ? 2 : 1);
      await visit(other.port, { ...only(version), session });
      expect(other.seen[0]).toMatchObject({ resumed: true, way });
      expect(other.resumption.cache.statistics.callbackHits).toBe(1);
    });

    it.each([
      [
        'throws',
        () => {
          throw new Error('down');
        },
      ],
      ['rejects', () => Promise.reject(new Error('down'))],
      ['hangs', () => new Promise<never>(() => {})],
      ['lies', () => Buffer.alloc(200, 1)],
    ])('costs a full handshake when it %s', async (kind, fail) => {
      const external = { get: fail, set: fail, delete: fail } as unknown as SessionStore;
      const { port, seen, resumption } = await start(
        {},
        { cache: new SessionCache({ mode: 0x302, external }), lookupTimeout: 20 },
      );
      const [, second] = await comeBack(port, only(version));
      expect(second).toMatchObject({ resumed: false, received: 'hello' });
      expect(seen[1]?.reason).toBe(kind === 'hangs' ? 'store-timeout' : 'unknown');
      expect(resumption.cache.statistics.externalTimeouts > 0).toBe(kind === 'hangs');
    });
  });
});

describe.each(VERSIONS)('https and http2 on %s', (version) => {
  it('resumes an https server, and tells it through request.socket', async () => {
    const resumption = new ServerResumption();
    const server = https.createServer(
      resumption.secure({ key: server1.key, cert: server1.cert }),
      (request, response) => {
        response.end(JSON.stringify(resumption.connection(request.socket)?.resumed));
      },
    );
    cleanups.push(() => close(server));
    resumption.attach(server);
    const send = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
    const [first, second] = await comeBack(await listen(server), { ...only(version), send });
    expect(first.received).toMatch(/false$/);
    expect(second.received).toMatch(/true$/);
  });

  it('resumes an http2 server, and tells it through the socket proxy of its session and requests', async () => {
    const resumption = new ServerResumption();
    const server = http2.createSecureServer(resumption.secure({ key: server1.key, cert: server1.cert }));
    server.on('stream', (stream) => {
      const direct = resumption.connection(stream.session?.socket as object)?.resumed;
      stream.respond({ ':status': 200 });
      stream.end(String(direct));
    });
    cleanups.push(() => close(server));
    resumption.attach(server);
    const port = await listen(server);
    let session: Buffer | undefined;
    const answers: string[] = [];
    for (let i = 0; i < 2; i++) {
      const connection = http2.connect(`https://127.0.0.1:${port}`, {
        rejectUnauthorized: false,
        session,
        ...only(version),
      } as never);
      connection.once('connect', (_session, socket) =>
        (socket as tls.TLSSocket).on('session', (bytes) => {
          session = bytes;
        }),
      );
      const stream = connection.request({ ':path': '/' });
      let answer = '';
      stream.on('data', (chunk) => {
        answer += chunk;
      });
      await once(stream, 'end');
      session ??= (connection.socket as tls.TLSSocket).getSession();
      connection.close();
      await once(connection, 'close');
      answers.push(answer);
    }
    expect(answers).toEqual(['false', 'true']);
  });
});

describe('attach', () => {
  const made = (resumption: ServerResumption) =>
    tls.createServer(resumption.secure({ key: server1.key, cert: server1.cert }));

  it('leaves the server as it was when it is disposed of', async () => {
    const resumption = new ServerResumption();
    const server = made(resumption);
    const before = () => {};
    const after = () => {};
    server.prependListener('connection', before);
    server.on('connection', after);
    const shape = () => ({
      keys: Reflect.ownKeys(server),
      events: server.eventNames().map((name) => [name, server.rawListeners(name)]),
      methods: [server.addContext, server.setSecureContext],
    });
    const original = shape();
    const attached = resumption.attach(server);
    expect(server.rawListeners('connection').indexOf(before)).toBe(0);
    expect(server.rawListeners('connection').indexOf(after)).toBe(2);
    attached[Symbol.dispose]();
    expect(shape()).toEqual(original);
    attached[Symbol.dispose]();
    expect(shape()).toEqual(original);
    resumption.attach(server)[Symbol.dispose]();
    expect(shape()).toEqual(original);
  });

  it('hands connections that still wait to Node when it is disposed of', async () => {
    const { port, attached, seen } = await start();
    const hello = await clientHelloOf(only('TLSv1.3'));
    const near = net.connect(port, '127.0.0.1').on('error', () => {});
    await once(near, 'connect');
    near.write(hello.subarray(0, 100));
    await comeBack(port);
    seen.length = 0;
    attached[Symbol.dispose]();
    near.write(hello.subarray(100));
    const [answer] = await once(near, 'data');
    expect((answer as Buffer)[0]).toBe(0x16);
    near.destroy();
    expect(seen).toHaveLength(0);
  });

  it('refuses a server whose options did not pass through its secure()', () => {
    const resumption = new ServerResumption();
    const plain = tls.createServer({ key: server1.key, cert: server1.cert });
    const foreign = made(new ServerResumption());
    const replaced = made(resumption);
    replaced.setSecureContext({ key: server1.key, cert: server1.cert });
    for (const server of [plain, foreign, replaced]) {
      expect(() => resumption.attach(server)).toThrow(
        expect.objectContaining({ name: 'ResumptionError', code: 'ERR_NOT_SECURED' }),
      );
    }
  });

  it('refuses a second attachment, foreign session listeners, and what is no TLS server', () => {
    const resumption = new ServerResumption();
    const twice = made(resumption);
    resumption.attach(twice);
    expect(() => resumption.attach(twice)).toThrow(expect.objectContaining({ code: 'ERR_ALREADY_ATTACHED' }));
    const listened = made(resumption);
    listened.on('resumeSession', () => {});
    expect(() => resumption.attach(listened)).toThrow(expect.objectContaining({ code: 'ERR_LISTENER_CONFLICT' }));
    expect(() => resumption.attach(net.createServer() as never)).toThrow(TypeError);
    expect(() => resumption.attach(undefined as never)).toThrow('"server" expected a server of node:tls');
  });
});

describe('what an application may do beside the library', () => {
  it('is refused when it puts an SNICallback over that of secure()', () => {
    const resumption = new ServerResumption();
    const options = { ...resumption.secure({ key: server1.key, cert: server1.cert }), SNICallback: () => {} };
    expect(() => resumption.attach(tls.createServer(options))).toThrow(
      expect.objectContaining({ code: 'ERR_NOT_SECURED' }),
    );
  });

  it.each([
    ['reads the raw socket', (socket: net.Socket) => void socket.on('data', () => {})],
    ['makes the raw socket give text', (socket: net.Socket) => void socket.setEncoding('utf8')],
  ])('costs resumption only, when it %s', async (_what, meddle) => {
    const { port, server, seen } = await start();
    server.on('connection', meddle);
    const [, second] = await comeBack(port);
    expect(second).toMatchObject({ resumed: false, received: 'hello' });
    expect(seen[1]?.reason).toBe('unreadable-hello');
  });

  it('never throws into Node, when its clock does', async () => {
    let broken = false;
    const clock = () => {
      if (broken) throw new Error('no time');
      return Date.now();
    };
    for (const setting of [{ clock }, { cache: new SessionCache({ clock }) }]) {
      broken = false;
      const { port } = await start({}, setting);
      const { session } = await visit(port);
      broken = true;
      expect(await visit(port, { session })).toMatchObject({ resumed: false, received: 'hello' });
    }
  });

  it('fares as with plain tls when its SNICallback gives what is no context', async () => {
    const outcomes: unknown[] = [];
    for (const attached of [false, true]) {
      const resumption = new ServerResumption();
      const plain: tls.TlsOptions = {
        key: server1.key,
        cert: server1.cert,
        SNICallback: (name, callback) => callback(null, (name === 'x.test' ? 'x' : undefined) as never),
      };
      const server = tls.createServer(attached ? resumption.secure(plain) : plain, (socket) => socket.end('hello'));
      cleanups.push(() => close(server));
      if (attached) resumption.attach(server);
      const port = await listen(server);
      for (const servername of ['x.test', 'a.test']) {
        outcomes.push(
          await visit(port, { servername }).then(
            ({ received }) => received,
            ({ code }) => code,
          ),
        );
      }
    }
    expect(outcomes.slice(2)).toEqual(outcomes.slice(0, 2));
    expect(outcomes[3]).toBe('hello');
  });

  it('does not lose its sessionTimeout to setSecureContext', async () => {
    const { server } = await start({ sessionTimeout: 60 });
    server.setSecureContext({ key: server1.key, cert: server1.cert });
    expect((server as { sessionTimeout?: number }).sessionTimeout).toBe(60);
  });

  it('follows the versions that Node has by default, as they are now', async () => {
    const before = tls.DEFAULT_MAX_VERSION;
    try {
      liveTls.DEFAULT_MAX_VERSION = 'TLSv1.2';
      const { port, seen } = await start();
      await comeBack(port, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' });
      expect(seen[1]).toMatchObject({ resumed: true, way: 'session-id' });
    } finally {
      liveTls.DEFAULT_MAX_VERSION = before;
    }
  });

  it('tells nothing of the socket of an http2 session that is closed', async () => {
    const resumption = new ServerResumption();
    const server = http2.createSecureServer(resumption.secure({ key: server1.key, cert: server1.cert }));
    cleanups.push(() => close(server));
    resumption.attach(server);
    const ended = new Promise<{ socket: object }>((resolve) => {
      server.on('session', (session) => {
        const { socket } = session;
        session.on('close', () => resolve({ socket }));
      });
    });
    const connection = http2.connect(`https://127.0.0.1:${await listen(server)}`, { rejectUnauthorized: false });
    await once(connection, 'connect');
    connection.close();
    const { socket } = await ended;
    expect(() => (socket as net.Socket).remoteAddress).toThrow(
      expect.objectContaining({ code: 'ERR_HTTP2_SOCKET_UNBOUND' }),
    );
    expect(resumption.connection(socket)).toBeUndefined();
  });

  describe('while a lookup is on its way', () => {
    const slow = () => {
      const held = new Map<string, Uint8Array>();
      let arrived: () => void = () => {};
      let answer: (() => void) | undefined;
      const asked = new Promise<void>((resolve) => {
        arrived = resolve;
      });
      const store: SessionStore = {
        set: (key, value) => void held.set(String(key), Buffer.from(value)),
        delete: (key) => void held.delete(String(key)),
        get: (key) => {
          arrived();
          return new Promise((resolve) => {
            answer = () => resolve(held.get(String(key)));
          });
        },
      };
      return { store, asked, answer: () => answer?.() };
    };

    it.each<[string, (running: Running) => void]>([
      ['a context is added', ({ server }) => server.addContext('a.test', { key: server2.key, cert: server2.cert })],
      ['the guard is rotated', ({ resumption }) => resumption.guard.rotate('test')],
      [
        'the certificate is replaced',
        ({ server }) => server.setSecureContext({ key: server2.key, cert: server2.cert }),
      ],
    ])('and %s, its session is not resumed', async (_what, change) => {
      const { store, asked, answer } = slow();
      const cache = new SessionCache({ mode: 0x302, external: store });
      const running = await start({}, { cache, lookupTimeout: 5_000 });
      const { session } = await visit(running.port, { servername: 'a.test' });
      const second = visit(running.port, { servername: 'a.test', session });
      await asked;
      change(running);
      answer();
      expect(await second).toMatchObject({ resumed: false, received: 'hello' });
      expect(running.seen[1]?.reason).toBe('unknown');
    });
  });

  it('forgets a session for good that it removes while a connection has it on loan', async () => {
    const { port, resumption, seen } = await start({}, { singleUse: true });
    const { session } = await visit(port, { ...only('TLSv1.2'), servername: 'a.test' });
    const context = resumption.guard.contextFor(seen[0] as ResumptionConnection);
    const offered = parseClientHello(await clientHelloOf({ ...only('TLSv1.2'), servername: 'a.test', session }));
    const key = resumption.guard.keyFor(context, offered?.sessionId as Buffer);
    expect(resumption.cache.get(key)).toBeDefined();
    const raw = net.connect(port, '127.0.0.1');
    raw.write(await clientHelloOf({ ...only('TLSv1.2'), servername: 'a.test', session }));
    raw.on('error', () => {});
    await once(raw, 'data');
    expect(resumption.cache.get(key)).toBeUndefined();
    resumption.cache.remove(key);
    raw.destroy();
    await visit(port, { ...only('TLSv1.2'), servername: 'a.test' });
    expect(resumption.cache.get(key)).toBeUndefined();
  });

  it('shares no session between servers of different policies over a context that nobody knows', async () => {
    const resumption = new ServerResumption();
    const context = tls.createSecureContext({ key: server1.key, cert: server1.cert });
    const ports: number[] = [];
    for (const rejectUnauthorized of [true, false]) {
      const options = { key: server1.key, cert: server1.cert, requestCert: !rejectUnauthorized, rejectUnauthorized };
      const server = tls.createServer(resumption.secure(options), (socket) => socket.end('hello'));
      server.addContext('a.test', context);
      cleanups.push(() => close(server));
      resumption.attach(server);
      ports.push(await listen(server));
    }
    const { session } = await visit(ports[0] as number, { servername: 'a.test' });
    expect(await visit(ports[0] as number, { servername: 'a.test', session })).toMatchObject({ resumed: true });
    expect(await visit(ports[1] as number, { servername: 'a.test', session })).toMatchObject({ resumed: false });
  });
});

describe('secure', () => {
  const resumption = new ServerResumption();
  it.each([
    [{ sessionTimeout: 604_801 }, RangeError, '"sessionTimeout" expected 1 to 604800 seconds, got number 604801'],
    [{ sessionTimeout: 1.5 }, RangeError, '"sessionTimeout" expected an integer of seconds'],
    [{ sessionIdContext: 'other' }, RangeError, '"sessionIdContext" expected to be absent or the guard\'s name'],
    [{ secureOptions: 'x' }, TypeError, '"secureOptions" expected a number, got'],
    [{ ticketKeys: Buffer.alloc(16) }, RangeError, '"ticketKeys" expected 48 bytes, got Buffer of 16 bytes'],
    [{ ticketKeys: 'x' }, TypeError, '"ticketKeys" expected a Buffer of 48 bytes'],
    [{ SNICallback: 'x' }, TypeError, '"SNICallback" expected a function'],
    [{ handshakeTimeout: -1 }, RangeError, '"handshakeTimeout" expected 1 to'],
    [undefined, TypeError, '"options" expected an object, got undefined'],
  ])('refuses %j', (options, type, message) => {
    expect(() => resumption.secure(options as never)).toThrow(type as never);
    expect(() => resumption.secure(options as never)).toThrow(message);
  });

  it('keeps what it was given and adds what resumption needs', () => {
    const options = resumption.secure({
      key: 'k',
      cert: 'c',
      secureOptions: 4,
      sessionTimeout: 60,
      ALPNProtocols: ['h2'],
    });
    expect(options).toMatchObject({
      key: 'k',
      cert: 'c',
      sessionTimeout: 60,
      sessionIdContext: 'tls-resumption',
      ALPNProtocols: ['h2'],
    });
    expect(options.secureOptions).toBe(4 | 0x4000 | 0x40000000);
    expect(new ServerResumption({ renegotiation: true }).secure({}).secureOptions).toBe(0x4000);
    expect(resumption.secure({}).sessionTimeout).toBe(300);
  });
});

describe('ServerResumption', () => {
  it.each([
    [null, TypeError, '"options" expected an object, got null'],
    [{ cache: {} }, TypeError, '"cache" expected a SessionCache'],
    [{ guard: {} }, TypeError, '"guard" expected a SessionIdContextGuard'],
    [{ maxHelloBytes: 16_385 }, RangeError, '"maxHelloBytes" expected 512 to 16384 bytes, got number 16385'],
    [{ maxWaitingHellos: 0 }, RangeError, '"maxWaitingHellos"'],
    [{ lookupTimeout: 0 }, RangeError, '"lookupTimeout" expected 1 to 10000 milliseconds'],
    [{ clock: 1 }, TypeError, '"clock" expected a function'],
    [{ singleUse: 1 }, TypeError, '"singleUse" expected a boolean, got number 1'],
    [{ renegotiation: 'no' }, TypeError, '"renegotiation" expected a boolean'],
  ])('refuses %j', (options, type, message) => {
    expect(() => new ServerResumption(options as never)).toThrow(type as never);
    expect(() => new ServerResumption(options as never)).toThrow(message);
  });
});

/** The first flight of a client, which is then gone. */
async function clientHelloOf(options: tls.ConnectionOptions): Promise<Buffer> {
  const [near, far] = duplexPair();
  const socket = tls.connect({ socket: near, rejectUnauthorized: false, ...options });
  socket.on('error', () => {});
  const [bytes] = await once(far, 'data');
  socket.destroy();
  return bytes as Buffer;
}
