/** What lives and what is under way while a server gets other settings. */

import { once } from 'node:events';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { ClientResumption } from '../../src/client/client-resumption.js';
import type { ServerTlsOptions } from '../../src/server/secure-options.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { type PausingProxy, pausingProxy } from '../support/pausing-proxy.js';
import { duplexPair } from '../support/streams.js';
import { close, listen, only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { type Certificates, certificates, MODES, startReloadable, stopAll } from './fixtures/reloading.js';

const cleanups: (() => unknown)[] = [];

let all: Certificates;
let other: ServerTlsOptions;

beforeAll(async () => {
  all = await certificates();
  other = { key: all.renewed.key, cert: all.renewed.cert };
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

async function proxied(port: number): Promise<PausingProxy> {
  const proxy = await pausingProxy(port);
  cleanups.push(() => proxy.close());
  return proxy;
}

/** A connection that stays. */
async function live(port: number, version: Version, servername: string): Promise<tls.TLSSocket> {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, servername, ...only(version) });
  cleanups.push(() => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'data');
  return socket;
}

async function echoes(socket: tls.TLSSocket, text: string): Promise<string> {
  socket.write(text);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString();
}

/** In TLS 1.3 the handshake is over for a client before it is for its server. */
const outcome = (visiting: Promise<Visit>): Promise<Visit | 'ended'> =>
  visiting.then(
    (visited) => (visited.received === '' ? 'ended' : visited),
    () => 'ended',
  );

describe.each(VERSIONS)('over %s', (version) => {
  it('leaves live connections alone, and counts those under what changed', async () => {
    const { port, server, resumption } = await startReloadable();
    const sockets = await Promise.all(['a.test', 'a.test', 'b.test'].map((name) => live(port, version, name)));
    const report = await resumption.reload(server, { options: other });
    expect(report).toMatchObject({ connections: { closed: 0, goOn: 2 }, handshakes: { ended: 0, finishing: 0 } });
    for (const socket of sockets) expect(await echoes(socket, 'still here')).toBe('still here');
  });

  it('closes the live connections under what changed, and no others, when it is to be hard', async () => {
    const { port, server, resumption } = await startReloadable();
    const [a, b] = [await live(port, version, 'a.test'), await live(port, version, 'b.test')];
    const closed = once(a, 'close');
    const report = await resumption.reload(server, { options: other, hard: true });
    await closed;
    expect(report.connections).toEqual({ closed: 1, goOn: 0 });
    expect(await echoes(b, 'still here')).toBe('still here');
  });

  it('counts no connection twice', async () => {
    const { port, server, resumption } = await startReloadable();
    const socket = await live(port, version, 'a.test');
    await resumption.reload(server, { options: other });
    const again = await resumption.reload(server, { options: { sessionTimeout: 100 }, hard: true });
    expect(again.connections).toEqual({ closed: 0, goOn: 0 });
    expect(await echoes(socket, 'still here')).toBe('still here');
  });

  describe.each(MODES)('with %s sessions', (mode) => {
    it('ends handshakes in progress under what changed, and lets the others finish with sessions', async () => {
      const { port, server, resumption, come } = await startReloadable({}, { mode });
      const proxy = await proxied(port);
      const names = ['a.test', 'b.test'];
      const visits = names.map((servername) =>
        outcome(visit(proxy.port, { ...only(version), servername, send: 'bye' })),
      );
      await proxy.held(2);
      const report = await resumption.reload(server, { options: other });
      expect(report.handshakes).toEqual({ ended: 1, finishing: 0 });
      proxy.release();
      const [a, b] = await Promise.all(visits);
      expect(a).toBe('ended');
      expect((await come(version, 'b.test', (b as Visit).session)).resumed).toBe(true);
    });

    it('lets handshakes finish, with nothing to come back with, when it is told to', async () => {
      const { port, server, resumption, come } = await startReloadable({}, { mode });
      const proxy = await proxied(port);
      const visiting = visit(proxy.port, { ...only(version), servername: 'a.test', send: 'bye' });
      await proxy.held(1);
      const report = await resumption.reload(server, { options: other, handshakes: 'finish' });
      expect(report.handshakes).toEqual({ ended: 0, finishing: 1 });
      proxy.release();
      const { session } = await visiting;
      expect((await come(version, 'a.test', session)).resumed).toBe(false);
      await resumption.reload(server, { options: { key: all.a.key, cert: all.a.cert } });
      expect((await come(version, 'a.test', session)).resumed).toBe(false);
    });

    it('ends a handshake that is resuming what is forgotten either way', async () => {
      const { port, server, resumption, come } = await startReloadable({}, { mode });
      const { session } = await come(version, 'a.test');
      const proxy = await proxied(port);
      const visiting = outcome(visit(proxy.port, { ...only(version), servername: 'a.test', session, send: 'bye' }));
      await proxy.held(1);
      const report = await resumption.reload(server, { options: other, handshakes: 'finish' });
      proxy.release();
      expect(report.handshakes).toEqual({ ended: 1, finishing: 0 });
      expect(await visiting).toBe('ended');
    });
  });

  it('refuses a session whose lookup was under way', async () => {
    const found: ((session: Uint8Array | undefined) => void)[] = [];
    const sessions = new Map<string, Uint8Array>();
    const external = {
      get: (key: Uint8Array) =>
        new Promise<Uint8Array | undefined>((resolve) =>
          found.push(() => resolve(sessions.get(Buffer.from(key).toString('hex')))),
        ),
      set: (key: Uint8Array, session: Uint8Array) =>
        void sessions.set(Buffer.from(key).toString('hex'), Uint8Array.from(session)),
      delete: () => {},
    };
    const cache = new SessionCache({
      mode: SessionCacheMode.Server | SessionCacheMode.NoInternal,
      external,
      externalDeadline: false,
    });
    const { server, resumption, come, seen } = await startReloadable({}, { cache, lookupTimeout: 10_000 });
    const { session } = await come(version, 'a.test');
    const visiting = come(version, 'a.test', session);
    while (found.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await resumption.reload(server, { options: other, handshakes: 'finish' });
    for (const answer of found) answer(undefined);
    expect((await visiting).resumed).toBe(false);
    expect(seen.at(-1)?.reason).toBe('unknown');
  });

  it('knows the handshakes over streams of the application, and holds none of them', async () => {
    const { server, resumption } = await startReloadable();
    const [there, here] = duplexPair();
    server.emit('connection', there);
    const socket = tls.connect({ socket: here, rejectUnauthorized: false, servername: 'a.test', ...only(version) });
    socket.on('error', () => {});
    await once(socket, 'data');
    const report = await resumption.reload(server, { options: other, hard: true });
    expect(report.connections.closed).toBe(1);
    expect(there.destroyed).toBe(true);
    socket.destroy();
  });

  describe.each(['https', 'http2'] as const)('an %s server', (kind) => {
    it('is reloaded as well', async () => {
      const resumption = new ServerResumption();
      const options = resumption.secure({ key: all.a.key, cert: all.a.cert });
      const answer = (request: { socket: unknown }, response: { end(text: string): void }): void =>
        response.end(String(resumption.connection(request.socket as object)?.resumed));
      const server =
        kind === 'https'
          ? https.createServer(options, answer as never)
          : http2.createSecureServer({ ...options, allowHTTP1: true }, answer as never);
      cleanups.push(() => close(server));
      resumption.attach(server);
      const port = await listen(server);
      const request = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
      const come = async (session?: Buffer): Promise<Visit> =>
        visit(port, { ...only(version), servername: 'a.test', session, send: request, ALPNProtocols: ['http/1.1'] });
      const { session } = await come();
      expect((await come(session)).received).toMatch(/true/);
      expect((await resumption.reload(server, { options: other })).changed).toHaveLength(1);
      const after = await come(session);
      expect(after.received).toMatch(/false/);
      expect((await come(after.session)).received).toMatch(/true/);
    });
  });
});

describe.each(VERSIONS)('a proxy over %s', (version) => {
  it('keeps its sessions of back ends, in the same cache too, when its front end is reloaded', async () => {
    const backEnd = await startReloadable();
    const cache = new SessionCache({ mode: SessionCacheMode.Both });
    const frontEnd = await startReloadable({}, { cache });
    const resumption = new ClientResumption({ cache });
    const { a, authority, intermediate } = all;
    const options = { host: '127.0.0.1', port: backEnd.port, servername: 'a.test', ...only(version) };
    const ca = [authority.cert, intermediate.cert];
    const connect = async (): Promise<boolean> => {
      const socket = resumption.connect({ ...options, ca, allowPartialTrustChain: true });
      await once(socket, 'secureConnect');
      const resumed = socket.isSessionReused();
      socket.write('bye');
      socket.resume();
      await once(socket, 'close');
      return resumed;
    };
    await connect();
    expect(await connect()).toBe(true);
    const { session } = await frontEnd.come(version, 'a.test');
    await frontEnd.resumption.reload(frontEnd.server, { options: other, hard: true });
    expect((await frontEnd.come(version, 'a.test', session)).resumed).toBe(false);
    expect(await connect()).toBe(true);
    await frontEnd.resumption.reload(frontEnd.server, { options: { key: a.key, cert: a.cert } });
    expect(await connect()).toBe(true);
  });
});

describe('a server that closes connections', () => {
  it('says nothing of an error that nobody expects', async () => {
    const { port, server, resumption } = await startReloadable();
    const errors: unknown[] = [];
    server.on('tlsClientError', (error) => errors.push((error as { code?: string }).code));
    const proxy = await proxied(port);
    const visiting = outcome(visit(proxy.port, { servername: 'a.test', send: 'bye' }));
    await proxy.held(1);
    await resumption.reload(server, { options: other });
    expect(await visiting).toBe('ended');
    expect(errors).toEqual(['ECONNRESET']);
  });
});
