/** The agent: an https.Agent in all that Node's is, whose new connections resume. */

import { once } from 'node:events';
import * as https from 'node:https';
import * as net from 'node:net';
import { afterEach, beforeAll, describe, expect, it, test, vi } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { ClientResumption } from '../../src/client/client-resumption.js';
import { close, listen, VERSIONS } from '../support/visits.js';
import { eventually, get, HOST, type Region, region, speaking } from './back-end.js';

let place: Region;
beforeAll(async () => {
  place = await region();
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await place.closeAll();
});

const agentOf = (resumption: ClientResumption, options: https.AgentOptions = {}) => {
  const agent = resumption.agent({ ca: place.authority.cert, ...options });
  cleanups.push(() => agent.destroy());
  return agent;
};

/** A TCP server that ends the first `count` connections as soon as a byte comes, and pipes later ones to a port. */
async function faulty(
  port: number,
  fails: (n: number) => boolean,
): Promise<{ port: number; connections: () => number }> {
  let connections = 0;
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    if (fails(++connections)) socket.once('data', () => socket.destroy());
    else {
      const back = net.connect(port, '127.0.0.1').on('error', () => socket.destroy());
      socket.pipe(back).pipe(socket);
    }
  });
  cleanups.push(() => close(server));
  return { port: await listen(server), connections: () => connections };
}

describe.each(VERSIONS)('an agent over %s', (version) => {
  it('resumes every new connection after the first', async () => {
    const backEnd = await place.start();
    const agent = agentOf(new ClientResumption(), speaking(version));
    for (let i = 0; i < 5; i++) expect((await get({ port: backEnd.port, agent })).status).toBe(200);
    expect(backEnd.resumed).toEqual([false, true, true, true, true]);
  });

  it('keeps connections alive, and resumes when one has ended', async () => {
    const backEnd = await place.start({ keepAlive: true });
    const agent = agentOf(new ClientResumption(), { ...speaking(version), keepAlive: true });
    const reused: boolean[] = [];
    for (let i = 0; i < 3; i++) reused.push((await get({ port: backEnd.port, agent })).reusedSocket);
    expect(reused).toEqual([false, true, true]);
    expect(backEnd.resumed).toEqual([false]);
    const gone = backEnd.accepted.map((socket) => once(socket, 'close'));
    for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
    await Promise.all(gone);
    expect((await get({ port: backEnd.port, agent })).reusedSocket).toBe(false);
    expect(backEnd.resumed).toEqual([false, true]);
  });

  it('makes no more connections than maxSockets, and serves all', async () => {
    const backEnd = await place.start({ keepAlive: true });
    const agent = agentOf(new ClientResumption(), { ...speaking(version), maxSockets: 2, keepAlive: true });
    let most = 0;
    backEnd.server.on('request', () => {
      most = Math.max(most, Object.values(agent.sockets).flat().length);
    });
    const ask = (times: number) =>
      Promise.all(Array.from({ length: times }, () => get({ port: backEnd.port, agent }).then(({ status }) => status)));
    await ask(1);
    // What is there to be used again is not: new connections are what can go wrong.
    const free = Object.values(agent.freeSockets).flat() as net.Socket[];
    await Promise.all(free.map((socket) => once(socket.destroy(), 'close')));
    expect(await ask(12)).toEqual(Array(12).fill(200));
    expect(backEnd.accepted).toHaveLength(3);
    expect(backEnd.resumed.slice(1)).toContain(true);
    expect(most).toBe(2);
    expect(Object.values(agent.requests).flat()).toEqual([]);
    expect(Object.values(agent.sockets).flat()).toEqual([]);
    expect((agent as unknown as { totalSocketCount: number }).totalSocketCount).toBe(2);

    const single = agentOf(new ClientResumption(), { ...speaking(version), maxSockets: 2 });
    const again = Array.from({ length: 12 }, () => get({ port: backEnd.port, agent: single }));
    expect((await Promise.all(again)).map(({ status }) => status)).toEqual(Array(12).fill(200));
  });

  it('tries once more, without a session, when the handshake fails with one', async () => {
    const backEnd = await place.start();
    const gate = await faulty(backEnd.port, (n) => n === 2);
    const agent = agentOf(new ClientResumption(), speaking(version));
    await get({ port: gate.port, agent });
    const post = https.request({ host: '127.0.0.1', servername: HOST, port: gate.port, agent, method: 'POST' });
    const body = 'x'.repeat(100_000);
    post.end(body);
    const [response] = (await once(post, 'response')) as [import('node:http').IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(200);
    expect(gate.connections()).toBe(3);
    expect(backEnd.arrivals.map(({ offered }) => offered)).toEqual([[], []]);
  });

  it('tries once more and not twice, and does not without a session', async () => {
    const backEnd = await place.start();
    const gate = await faulty(backEnd.port, (n) => n > 1);
    const agent = agentOf(new ClientResumption(), { ...speaking(version), maxSockets: 1 });
    await get({ port: gate.port, agent });
    await expect(get({ port: gate.port, agent })).rejects.toThrow(/disconnected|reset|hang up/i);
    expect(gate.connections()).toBe(3);
    const fresh = agentOf(new ClientResumption(), speaking(version));
    await expect(get({ port: gate.port, agent: fresh })).rejects.toThrow();
    expect(gate.connections()).toBe(4);
  });

  it('lets the next request go on when one fails', async () => {
    const backEnd = await place.start();
    const gate = await faulty(backEnd.port, (n) => n === 2 || n === 3);
    const agent = agentOf(new ClientResumption(), { ...speaking(version), maxSockets: 1 });
    await get({ port: gate.port, agent });
    const settled = await Promise.allSettled([1, 2, 3].map(() => get({ port: gate.port, agent })));
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
  });

  it('fails as Node does when nobody listens, after one attempt, and has its session still', async () => {
    const backEnd = await place.start();
    let attempts = 0;
    const lookup = (_host: string, _options: unknown, callback: (...result: unknown[]) => void): void => {
      attempts++;
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    };
    const resumption = new ClientResumption();
    const agent = agentOf(resumption, { ...speaking(version), lookup } as https.AgentOptions);
    const ask = () => get({ host: HOST, port: backEnd.port, agent });
    await ask();
    const { size } = resumption.cache;
    await backEnd.close();
    await expect(ask()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(attempts).toBe(2);
    await eventually(() => expect(resumption.cache.size).toBe(size));
  });

  it('keeps connections apart that differ in what Node does not tell apart', async () => {
    const backEnd = await place.start({ keepAlive: true });
    const agent = agentOf(new ClientResumption(), { ...speaking(version), keepAlive: true });
    const accepts = () => undefined;
    const acceptsToo = () => undefined;
    const ask = (options: https.RequestOptions) => get({ port: backEnd.port, agent, ...options });
    await ask({});
    for (const checkServerIdentity of [accepts, acceptsToo]) {
      expect((await ask({ checkServerIdentity })).reusedSocket).toBe(false);
    }
    const refuses = () => new Error('not this one');
    await expect(ask({ checkServerIdentity: refuses })).rejects.toThrow('not this one');
    expect(backEnd.resumed).not.toContain(true);
    expect((await ask({})).reusedSocket).toBe(true);
  });

  it('reloads: forgets what changed, closes what is idle, and uses what is in use no more', async () => {
    let proceed = (): void => {};
    const held = new Promise<void>((resolve) => {
      proceed = resolve;
    });
    const backEnd = await place.start({
      keepAlive: true,
      tls: { requestCert: true, ca: place.authority.cert },
      answer: (path) => (path === '/slow' ? held.then(() => 'slow') : 'quick'),
    });
    const other = await place.start({ keepAlive: true });
    const resumption = new ClientResumption();
    const { key, cert } = place.client;
    const agent = agentOf(resumption, { ...speaking(version), keepAlive: true, key, cert });
    const untouched = agentOf(resumption, { ...speaking(version), keepAlive: true });
    await get({ port: other.port, agent: untouched });
    const slow = get({ port: backEnd.port, agent, path: '/slow' });
    await eventually(() => expect(backEnd.resumed).toHaveLength(1));
    await get({ port: backEnd.port, agent });
    const before = backEnd.resumed.length;

    expect(resumption.reload(agent, { key, cert })).toEqual({ changed: [], sessions: 0, closed: 0, inUse: 0 });
    expect((await get({ port: backEnd.port, agent })).reusedSocket).toBe(true);

    const next = await makeCertificate({ commonName: 'next', issuer: place.authority });
    const report = resumption.reload(agent, { key: next.key, cert: next.cert });
    expect(report).toMatchObject({ changed: ['cert', 'key'], closed: 1, inUse: 1 });
    expect(report.sessions).toBeGreaterThan(0);
    expect((await get({ port: backEnd.port, agent })).reusedSocket).toBe(false);
    const last = backEnd.arrivals.at(-1);
    expect(last?.offered).toEqual([]);
    expect(last?.socket.getPeerCertificate().subject.CN).toBe('next');
    proceed();
    expect((await slow).body).toBe('slow');
    // The slow one's connection is not among those that are used again.
    await eventually(() => expect(Object.values(agent.sockets).flat()).toEqual([]));
    expect(Object.values(agent.freeSockets).flat()).toHaveLength(1);
    expect((await get({ port: backEnd.port, agent })).reusedSocket).toBe(true);
    expect(backEnd.resumed.slice(before)).toEqual([false]);
    // Another agent of the same object has what it had.
    expect((await get({ port: other.port, agent: untouched })).reusedSocket).toBe(true);
  });

  it('serves requests that waited for a connection when it was reloaded', async () => {
    const backEnd = await place.start({ keepAlive: true });
    const resumption = new ClientResumption();
    const agent = agentOf(resumption, { ...speaking(version), keepAlive: true, maxSockets: 1 });
    await get({ port: backEnd.port, agent });
    const answers = Array.from({ length: 5 }, () => get({ port: backEnd.port, agent }));
    resumption.reload(agent, { ciphers: `${(await import('node:tls')).DEFAULT_CIPHERS}:!AES128` });
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(Array(5).fill(200));
    expect((await get({ port: backEnd.port, agent })).reusedSocket).toBe(true);
  });
});

describe('a connection that hangs with a session', () => {
  const VERSION = speaking('TLSv1.3');

  /** Answers one connection, and leaves later ones to wait. */
  async function hanging() {
    const backEnd = await place.start();
    let connections = 0;
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      if (++connections > 1) return;
      const back = net.connect(backEnd.port, '127.0.0.1').on('error', () => {});
      socket.pipe(back).pipe(socket);
    });
    const sockets = new Set<net.Socket>();
    server.on('connection', (socket) => sockets.add(socket));
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      return close(server);
    });
    return listen(server);
  }

  test.each(['its own timeout', 'a timeout of the agent'])('is left to %s', async (whose) => {
    const port = await hanging();
    const agent = agentOf(new ClientResumption(), whose.includes('agent') ? { ...VERSION, timeout: 300 } : VERSION);
    await get({ port, agent });
    const request = https.get({ host: '127.0.0.1', servername: HOST, port, agent });
    request.setTimeout(300);
    request.on('error', () => {});
    await once(request, 'timeout');
    const closed = new Promise((resolve) => request.once('close', resolve));
    request.destroy();
    await closed;
  });

  test('ends with the agent, and its request fails', async () => {
    const port = await hanging();
    const agent = agentOf(new ClientResumption(), VERSION);
    await get({ port, agent });
    const failing = expect(get({ port, agent })).rejects.toMatchObject({ code: 'ECONNRESET' });
    await eventually(() => expect(Object.values(agent.sockets).flat()).toHaveLength(1));
    agent.destroy();
    await failing;
    expect((agent as unknown as { totalSocketCount: number }).totalSocketCount).toBe(0);
  });
});

test("an agent does not use Node's cache, and refuses a proxy", () => {
  const resumption = new ClientResumption();
  expect(agentOf(resumption, { maxCachedSessions: 50 } as https.AgentOptions)).toMatchObject({ maxCachedSessions: 0 });
  expect(() => resumption.agent({ proxyEnv: {} } as https.AgentOptions)).toThrow(RangeError);
  expect(() => resumption.agent(1 as never)).toThrow(TypeError);
});
