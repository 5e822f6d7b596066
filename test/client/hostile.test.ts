/** Servers that misbehave, and users who do: no connection is lost to it, nothing grows, and no session goes astray. */

import { once } from 'node:events';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { Agent } from 'undici';
import { afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import type { ClientTlsOptions } from '../../src/client/client-policy.js';
import { ClientResumption } from '../../src/client/client-resumption.js';
import { undiciConnector } from '../../src/client/undici.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import { opensslServer, peerServers, saidResumed } from '../support/peer-servers.js';
import { close, comeBack, listen, only, VERSIONS } from '../support/visits.js';
import { type BackEnd, drained, eventually, get, HOST, type Region, region, speaking } from './back-end.js';

let place: Region;
beforeAll(async () => {
  place = await region();
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await place.closeAll();
});

const to = ({ port }: { port: number }, more: ClientTlsOptions = {}): ClientTlsOptions => ({
  host: '127.0.0.1',
  port,
  servername: HOST,
  ca: place.authority.cert,
  ...more,
});

function agentOf(resumption: ClientResumption, options: https.AgentOptions = {}) {
  const agent = resumption.agent({ ca: place.authority.cert, ...options });
  cleanups.push(() => agent.destroy());
  return agent;
}

function dispatcherOf(resumption: ClientResumption, options: Parameters<typeof undiciConnector>[1] = {}) {
  const connect = undiciConnector(resumption, { ca: place.authority.cert, servername: HOST, ...options });
  const dispatcher = new Agent({ connect });
  cleanups.push(() => dispatcher.destroy());
  return dispatcher;
}

async function ask(dispatcher: Agent, origin: string): Promise<number> {
  const { statusCode, body } = await dispatcher.request({ origin, path: '/', method: 'GET' });
  await body.text();
  return statusCode;
}

const times = <T>(count: number, work: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => work(n));

describe.each(VERSIONS)('over %s', (version) => {
  it('a server that breaks every connection that wants to resume answers every request all the same', async () => {
    const { key, cert } = place.certificate;
    const server = https.createServer({ key, cert }, (_request, response) => {
      response.setHeader('Connection', 'close');
      response.end();
    });
    server.on('tlsClientError', () => {});
    server.on('connection', (socket: net.Socket) => socket.on('error', () => {}));
    server.prependListener('secureConnection', (socket: tls.TLSSocket) => {
      if (socket.isSessionReused()) socket.destroy();
    });
    const gate = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (hello) => {
        // A session ID or ticket makes the hello of TLS 1.2 longer, a PSK that of 1.3.
        lengths.push(hello.length);
        if (hello.length > (lengths[0] as number) + 20) {
          socket.destroy();
          return;
        }
        const back = net.connect(port, '127.0.0.1').on('error', () => socket.destroy());
        back.write(hello);
        socket.pipe(back).pipe(socket);
      });
    });
    const lengths: number[] = [];
    const port = await listen(server);
    const gatePort = await listen(gate);
    cleanups.push(
      () => close(gate),
      () => close(server),
    );
    const resumption = new ClientResumption();
    const agent = agentOf(resumption, speaking(version));
    for (let i = 0; i < 4; i++) expect((await get({ port: gatePort, agent })).status).toBe(200);
    expect(lengths).toHaveLength(7);
    const dispatcher = dispatcherOf(new ClientResumption(), speaking(version));
    for (let i = 0; i < 4; i++) expect(await ask(dispatcher, `https://127.0.0.1:${gatePort}`)).toBe(200);
    expect(lengths).toHaveLength(14);
    expect(resumption.cache.size).toBeLessThanOrEqual(8);
  });

  it('names in Host headers are kept apart, and paths are not', async () => {
    const backEnd = await place.start();
    const agent = agentOf(new ClientResumption(), speaking(version));
    const seen: unknown[] = [];
    backEnd.server.on('secureConnection', (socket: tls.TLSSocket) =>
      seen.push(socket.isSessionReused() || socket.servername),
    );
    for (const [host, path] of [
      [HOST, '/one'],
      ['b.test', '/one'],
      [HOST, '/two'],
      ['b.test', '/two'],
    ] as const) {
      await get({ port: backEnd.port, agent, servername: undefined, headers: { host }, path } as https.RequestOptions);
    }
    expect(seen).toEqual([HOST, 'b.test', true, true]);
  });

  it('IPv6 and Unix sockets resume like anything else', async () => {
    const { key, cert } = place.certificate;
    const resumed: boolean[] = [];
    const start = async (...where: [number, string] | [string]): Promise<https.Server> => {
      const server = https.createServer({ key, cert, ...speaking(version) }, (_request, response) => {
        response.setHeader('Connection', 'close');
        response.end();
      });
      server.on('secureConnection', (socket: tls.TLSSocket) => resumed.push(socket.isSessionReused()));
      server.listen(...(where as [number, string]));
      await once(server, 'listening');
      cleanups.push(() => close(server));
      return server;
    };
    const six = await start(0, '::1');
    const { port } = six.address() as net.AddressInfo;
    const socketPath = `\0tls-resumption-hostile-${process.pid}-${version}`;
    await start(socketPath);
    const agent = agentOf(new ClientResumption());
    const overPath = dispatcherOf(new ClientResumption(), { socketPath });
    const overSix = dispatcherOf(new ClientResumption());
    const visitors: (() => Promise<unknown>)[] = [
      () => drained(new6.connect(to({ port }, { host: '::1' }))),
      () => get({ host: '::1', port, agent }),
      () => ask(overSix, `https://[::1]:${port}`),
      () => get({ socketPath, agent }),
      () => ask(overPath, 'https://anything.test'),
    ];
    const new6 = new ClientResumption();
    for (const visitor of visitors) {
      resumed.length = 0;
      for (let i = 0; i < 3; i++) await visitor();
      expect(resumed).toEqual([false, true, true]);
    }
  });

  it('hundreds of requests at once are answered, no ticket is used twice, and nothing is left', async () => {
    const backEnd = await place.start();
    const agent = agentOf(new ClientResumption(), { ...speaking(version), maxSockets: 200 });
    for (let round = 0; round < 2; round++) {
      const answers = await Promise.all(times(200, () => get({ port: backEnd.port, agent })));
      expect(answers.every(({ status }) => status === 200)).toBe(true);
    }
    expect(backEnd.arrivals).toHaveLength(400);
    const shown = backEnd.arrivals.flatMap(({ offered }) => offered);
    if (version === 'TLSv1.3') expect(new Set(shown).size).toBe(shown.length);
    expect(shown.length).toBeGreaterThan(0);
    await eventually(() => expect(Object.keys(agent.sockets)).toEqual([]));
    expect((agent as unknown as { totalSocketCount: number }).totalSocketCount).toBe(0);
  });

  it('an agent that was destroyed with requests under way goes on afterwards', async () => {
    const backEnd = await place.start();
    const agent = agentOf(new ClientResumption(), { ...speaking(version), maxSockets: 3 });
    await get({ port: backEnd.port, agent });
    const settled = Promise.allSettled(times(10, () => get({ port: backEnd.port, agent })));
    agent.destroy();
    const results = await settled;
    expect(results.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0);
    expect((await get({ port: backEnd.port, agent })).status).toBe(200);
    await eventually(() => expect(Object.keys(agent.sockets)).toEqual([]));
    expect((agent as unknown as { totalSocketCount: number }).totalSocketCount).toBe(0);
  });

  it('an agent that is asked for a connection without a callback returns one', async () => {
    const backEnd = await place.start();
    const agent = agentOf(new ClientResumption(), speaking(version));
    const options = { ...to(backEnd, speaking(version)), path: undefined } as https.RequestOptions;
    for (let i = 0; i < 2; i++) await drained(agent.createConnection(options) as tls.TLSSocket);
    expect(backEnd.resumed).toEqual([false, true]);
  });

  it('http2.connect resumes over connect', async () => {
    const resumption = new ServerResumption();
    const { key, cert } = place.certificate;
    const server = http2.createSecureServer(resumption.secure({ key, cert }));
    resumption.attach(server);
    const resumed: boolean[] = [];
    server.on('secureConnection', (socket: tls.TLSSocket) => resumed.push(socket.isSessionReused()));
    server.on('stream', (stream) => stream.respond({ ':status': 204 }, { endStream: true }));
    const port = await listen(server);
    cleanups.push(() => close(server));
    const sessions = new ClientResumption();
    const options = to({ port }, { ...speaking(version), ALPNProtocols: ['h2'] });
    for (let i = 0; i < 3; i++) {
      const client = http2.connect(`https://${HOST}:${port}`, { createConnection: () => sessions.connect(options) });
      const [headers] = (await once(client.request(), 'response')) as [http2.IncomingHttpHeaders];
      expect(headers[':status']).toBe(204);
      client.close();
      await once(client, 'close');
    }
    expect(resumed).toEqual([false, true, true]);
  });

  it('a reload behind leaves the front end as it was', async () => {
    const backEnd = await place.start({ keepAlive: true });
    const behind = new ClientResumption();
    const agent = agentOf(behind, { ...speaking(version), keepAlive: true });
    const front = await place.start({
      answer: async () => `${(await get({ port: backEnd.port, agent })).reusedSocket}`,
    });
    const come = async (session?: Buffer) => {
      const send = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
      return comeBack(front.port, { ...only(version), send, ...(session && { session }) });
    };
    await come();
    expect(front.resumed).toEqual([false, true]);
    const ciphers = `${tls.DEFAULT_CIPHERS}:!ARIA128`;
    expect(behind.reload(agent, { ciphers })).toMatchObject({ changed: ['ciphers'], closed: 1, inUse: 0 });
    const [first] = await come();
    expect(first.received).toMatch(/false$/);
    expect(front.resumed).toEqual([false, true, false, true]);
    expect(backEnd.resumed).toEqual([false, false]);
    expect(front.arrivals.at(-1)?.resumed).toBe(true);
  });
});

describe('what a server says of its tickets', () => {
  /** A connection whose server sends sessions of our making. */
  async function withSessions(resumption: ClientResumption, make: (session: Buffer) => Buffer[]): Promise<BackEnd> {
    const backEnd = await place.start();
    const socket = resumption.connect(to(backEnd, speaking('TLSv1.3')));
    const came: Buffer[] = [];
    const keep = (session: Buffer): void => {
      came.push(Buffer.from(session));
    };
    socket.on('session', keep);
    await drained(socket);
    resumption.forget();
    const again = resumption.connect(to(backEnd, speaking('TLSv1.3')));
    await once(again, 'secureConnect');
    again.off('session', keep);
    for (const session of make(came[0] as Buffer)) again.emit('session', session);
    again.destroy();
    return backEnd;
  }

  /** The lifetime hint is the INTEGER under [9]. */
  function withLifetime(session: Buffer, seconds: number): Buffer {
    const { ticketLifetimeHint = 0 } = decodeSslSession(session) ?? {};
    const hint = Buffer.from([ticketLifetimeHint >> 8, ticketLifetimeHint & 0xff]);
    const tagged = Buffer.concat([Uint8Array.of(0xa9, 4, 2, 2), hint]);
    const at = session.indexOf(tagged);
    expect(at).toBeGreaterThan(0);
    const integer = Uint8Array.of(0xa9, 3, 2, 1, seconds);
    const copy = Buffer.concat([session.subarray(0, at), integer, session.subarray(at + tagged.length)]);
    // Newer Nodes write before it whom the certificate was checked for. The sequence is one byte shorter now.
    const start = copy[0] === 0 ? 24 + copy.readUInt16BE(22) : 0;
    expect(copy.readUInt16BE(start)).toBe(0x3082);
    copy.writeUInt16BE(copy.readUInt16BE(start + 2) - 1, start + 2);
    expect(decodeSslSession(copy)?.ticketLifetimeHint).toBe(seconds);
    return copy;
  }

  test.each([
    [0, 0],
    [1, 1],
  ])('a lifetime of %i seconds keeps %i', async (seconds, kept) => {
    const resumption = new ClientResumption();
    await withSessions(resumption, (session) => [withLifetime(session, seconds)]);
    expect(resumption.cache.size).toBe(kept);
  });

  test('a thousand of them keep eight', async () => {
    const resumption = new ClientResumption();
    await withSessions(resumption, (session) => times(1000, () => session));
    expect(resumption.cache.size).toBe(8);
  });

  test('garbage is nothing', async () => {
    const resumption = new ClientResumption();
    const garbage = (session: Buffer) => [
      Buffer.alloc(0),
      Buffer.alloc(70_000, 0x30),
      session.subarray(0, 50),
      Buffer.concat([session, session]),
    ];
    await withSessions(resumption, garbage);
    expect(resumption.cache.size).toBe(0);
  });

  test('what is larger than the cache may be is not kept, and costs nothing', async () => {
    const cache = new SessionCache({ mode: SessionCacheMode.Client, maxBytes: 64 });
    const backEnd = await place.start();
    const agent = agentOf(new ClientResumption({ cache }));
    for (let i = 0; i < 3; i++) expect((await get({ port: backEnd.port, agent })).status).toBe(200);
    expect(cache.size).toBe(0);
    expect(backEnd.arrivals.map(({ offered }) => offered)).toEqual([[], [], []]);
  });
});

opensslServer.describe('a server that sends no tickets', () => {
  it('is met with full handshakes', async () => {
    const servers = await peerServers();
    cleanups.push(() => servers.remove());
    const { key, cert } = place.certificate;
    const none = {
      ...opensslServer,
      args: (...given: Parameters<typeof opensslServer.args>) => [...opensslServer.args(...given), '-num_tickets', '0'],
    };
    const { port } = await servers.start(none, { key, cert });
    const resumption = new ClientResumption();
    for (let i = 0; i < 3; i++) {
      const { received } = await drained(resumption.connect(to({ port }, speaking('TLSv1.3'))));
      expect(saidResumed(received)).toBe(false);
    }
    expect(resumption.cache.size).toBe(0);
  });
});

test('a request that is given up while its connection is made ends', async () => {
  const backEnd = await place.start();
  const agent = agentOf(new ClientResumption());
  await get({ port: backEnd.port, agent });
  const controller = new AbortController();
  const failing = expect(get({ port: backEnd.port, agent, signal: controller.signal })).rejects.toThrow(/abort/i);
  controller.abort();
  await failing;
  expect((await get({ port: backEnd.port, agent })).status).toBe(200);
});
