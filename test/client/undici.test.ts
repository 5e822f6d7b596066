/** undici over our connector: Client, Pool, Agent, the global dispatcher, its fetch and Node's. */

import * as http2 from 'node:http2';
import * as net from 'node:net';
import type * as tls from 'node:tls';
import {
  Agent,
  Client,
  type Dispatcher,
  getGlobalDispatcher,
  Pool,
  setGlobalDispatcher,
  fetch as undiciFetch,
} from 'undici';
import { afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { ClientResumption } from '../../src/client/client-resumption.js';
import { type UndiciConnectorOptions, undiciConnector } from '../../src/client/undici.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { close, listen, VERSIONS } from '../support/visits.js';
import { eventually, HOST, type Region, region, speaking } from './back-end.js';

let place: Region;
beforeAll(async () => {
  place = await region();
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await place.closeAll();
});

const originOf = ({ port }: { port: number }): string => `https://127.0.0.1:${port}`;

function connectorOf(options: UndiciConnectorOptions, resumption = new ClientResumption()) {
  return undiciConnector(resumption, { ca: place.authority.cert, servername: HOST, ...options });
}

function kept<D extends Dispatcher>(dispatcher: D): D {
  cleanups.push(() => dispatcher.destroy());
  return dispatcher;
}

async function ask(dispatcher: Dispatcher, origin: string, path = '/'): Promise<string> {
  const { body } = await dispatcher.request({ origin, path, method: 'GET' });
  return body.text();
}

async function turns(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe.each(VERSIONS)('undici over %s', (version) => {
  test.each([
    ['Client', (origin: string, options: object) => new Client(origin, options)],
    ['Pool', (origin: string, options: object) => new Pool(origin, options)],
    ['Agent', (_origin: string, options: object) => new Agent(options)],
  ])('resumes with a %s', async (_name, make) => {
    const backEnd = await place.start();
    const origin = originOf(backEnd);
    const dispatcher = kept(make(origin, { connect: connectorOf(speaking(version)) }));
    for (let i = 0; i < 4; i++) await ask(dispatcher, origin);
    expect(backEnd.resumed).toEqual([false, true, true, true]);
  });

  it("resumes with undici's fetch, and with Node's over the same dispatcher", async () => {
    const backEnd = await place.start();
    const dispatcher = kept(new Agent({ connect: connectorOf(speaking(version)) }));
    for (let i = 0; i < 2; i++) await (await undiciFetch(originOf(backEnd), { dispatcher })).text();
    for (let i = 0; i < 2; i++) await (await fetch(originOf(backEnd), { dispatcher } as object)).text();
    expect(backEnd.resumed).toEqual([false, true, true, true]);
  });

  it("resumes with the global dispatcher, which Node's fetch uses too", async () => {
    const before = getGlobalDispatcher();
    cleanups.push(() => setGlobalDispatcher(before));
    const backEnd = await place.start();
    setGlobalDispatcher(kept(new Agent({ connect: connectorOf(speaking(version)) })));
    for (let i = 0; i < 2; i++) await (await undiciFetch(originOf(backEnd))).text();
    for (let i = 0; i < 2; i++) await (await fetch(originOf(backEnd))).text();
    expect(backEnd.resumed).toEqual([false, true, true, true]);
  });

  it('keeps connections alive', async () => {
    const backEnd = await place.start({ keepAlive: true });
    const origin = originOf(backEnd);
    const dispatcher = kept(new Client(origin, { connect: connectorOf(speaking(version)) }));
    for (let i = 0; i < 4; i++) await ask(dispatcher, origin);
    expect(backEnd.resumed).toEqual([false]);
  });

  it('resumes over HTTP/2', async () => {
    const resumption = new ServerResumption();
    const { key, cert } = place.certificate;
    const server = http2.createSecureServer(resumption.secure({ key, cert }));
    resumption.attach(server);
    const resumed: boolean[] = [];
    server.on('secureConnection', (socket: tls.TLSSocket) => resumed.push(socket.isSessionReused()));
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('over h2');
    });
    cleanups.push(() => close(server));
    const port = await listen(server);
    const connect = connectorOf({ ...speaking(version), allowH2: true });
    for (let i = 0; i < 3; i++) {
      const dispatcher = new Client(`https://127.0.0.1:${port}`, { connect, allowH2: true });
      expect(await ask(dispatcher, `https://127.0.0.1:${port}`)).toBe('over h2');
      await dispatcher.destroy();
    }
    expect(resumed).toEqual([false, true, true]);
  });

  it('tries once more, without a session, when the handshake fails with one', async () => {
    const backEnd = await place.start();
    let connections = 0;
    const gate = net.createServer((socket) => {
      socket.on('error', () => {});
      if (++connections === 2) {
        socket.once('data', () => socket.destroy());
        return;
      }
      const back = net.connect(backEnd.port, '127.0.0.1').on('error', () => {});
      socket.pipe(back).pipe(socket);
    });
    cleanups.push(() => close(gate));
    const origin = originOf({ port: await listen(gate) });
    const dispatcher = kept(new Client(origin, { connect: connectorOf(speaking(version)) }));
    await ask(dispatcher, origin);
    const { statusCode, body } = await dispatcher.request({ path: '/', method: 'POST', body: 'x'.repeat(100_000) });
    await body.text();
    expect(statusCode).toBe(200);
    expect(connections).toBe(3);
    expect(backEnd.arrivals.map(({ offered }) => offered)).toEqual([[], []]);
  });

  it('reloads: what is idle closes, what is in use when it is idle, and neither is used again', async () => {
    let slowOnes = 0;
    let proceed = (): void => {};
    const held = new Promise<void>((resolve) => {
      proceed = resolve;
    });
    const backEnd = await place.start({
      keepAlive: true,
      tls: { requestCert: true, ca: place.authority.cert },
      answer: (path) => {
        if (path !== '/slow') return 'quick';
        slowOnes++;
        return held.then(() => 'slow');
      },
    });
    // Whose settings each request came under; and the server is not who ends what is idle.
    const peers: unknown[] = [];
    backEnd.server.keepAliveTimeout = 0;
    backEnd.server.on('request', ({ socket }: { socket: tls.TLSSocket }) => {
      peers.push(socket.getPeerCertificate().subject.CN);
    });
    const origin = originOf(backEnd);
    const resumption = new ClientResumption();
    const { key, cert } = place.client;
    const connect = connectorOf({ ...speaking(version), key, cert }, resumption);
    const dispatcher = kept(new Agent({ connect }));
    await ask(dispatcher, origin);
    const slow = ask(dispatcher, origin, '/slow');
    await eventually(() => expect(slowOnes).toBe(1));
    await ask(dispatcher, origin);
    // undici looks at what is next to do after the answer is read.
    await turns();
    const before = backEnd.arrivals.length;
    expect(resumption.reload(connect, { key, cert })).toEqual({ changed: [], sessions: 0, closed: 0, inUse: 0 });

    const next = await makeCertificate({ commonName: 'next', issuer: place.authority });
    const report = resumption.reload(connect, { key: next.key, cert: next.cert });
    expect(report).toMatchObject({ changed: ['cert', 'key'], closed: before - 1, inUse: 1 });
    expect(report.sessions).toBeGreaterThan(0);
    for (let i = 0; i < 2; i++) await ask(dispatcher, origin);
    proceed();
    expect(await slow).toBe('slow');
    await turns();
    expect(backEnd.arrivals[before]?.offered).toEqual([]);
    // The slow one's connection closes by itself, and nothing goes over it any more.
    await Promise.all([ask(dispatcher, origin), ask(dispatcher, origin)]);
    await eventually(() => expect(backEnd.accepted.slice(0, before).every(({ destroyed }) => destroyed)).toBe(true));
    expect(peers).toEqual(['client', 'client', 'client', 'next', 'next', 'next', 'next']);
  });
});

it('asks for the name in the Host header when it is told none, and for no address', async () => {
  const backEnd = await place.start();
  const connect = undiciConnector(new ClientResumption(), { ca: place.authority.cert });
  const dispatcher = kept(new Agent({ connect }));
  const names: (string | false | null)[] = [];
  backEnd.server.on('secureConnection', (socket: tls.TLSSocket) => names.push(socket.servername));
  for (const host of ['b.test', `b.test:${backEnd.port}`, '127.0.0.1']) {
    const { body } = await dispatcher.request({
      origin: originOf(backEnd),
      path: '/',
      method: 'GET',
      headers: { host },
    });
    await body.text();
  }
  expect(names).toEqual(['b.test', 'b.test', false]);
});

it('connects to plain servers as well', async () => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain'));
  });
  cleanups.push(() => close(server));
  const origin = `http://127.0.0.1:${await listen(server)}`;
  const dispatcher = kept(new Agent({ connect: connectorOf({}) }));
  expect(await ask(dispatcher, origin)).toBe('plain');
});

it('gives up after its timeout, with a session and without', async () => {
  const backEnd = await place.start();
  let connections = 0;
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    if (++connections !== 1) {
      socket.resume();
      return;
    }
    const back = net.connect(backEnd.port, '127.0.0.1').on('error', () => {});
    socket.pipe(back).pipe(socket);
  });
  const sockets: net.Socket[] = [];
  server.on('connection', (socket: net.Socket) => sockets.push(socket));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return close(server);
  });
  const origin = originOf({ port: await listen(server) });
  const resumption = new ClientResumption();
  const patient = kept(new Client(origin, { connect: connectorOf({}, resumption) }));
  await ask(patient, origin);
  for (const sessions of [resumption, new ClientResumption()]) {
    const hasty = kept(new Client(origin, { connect: connectorOf({ timeout: 100 }, sessions) }));
    await expect(ask(hasty, origin)).rejects.toMatchObject({ code: 'UND_ERR_CONNECT_TIMEOUT' });
  }
  await eventually(() =>
    expect(sockets.slice(1).map((socket) => socket.readableEnded || socket.destroyed)).toEqual([true, true]),
  );
});

it('passes on why there is no connection', async () => {
  const backEnd = await place.start();
  const strict = kept(new Agent({ connect: connectorOf({ servername: 'c.test' }) }));
  await expect(ask(strict, originOf(backEnd))).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  const [open] = [await place.start()];
  await open.close();
  const refused = kept(new Agent({ connect: connectorOf({}) }));
  await expect(ask(refused, originOf(open))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

it('refuses what it does not know by name', () => {
  const resumption = new ClientResumption();
  expect(() => undiciConnector({} as ClientResumption)).toThrow('"resumption.open" expected a function');
  expect(() => undiciConnector(resumption, 1 as never)).toThrow('"options" expected an object');
  expect(() => undiciConnector(resumption, { timeout: -1 })).toThrow(RangeError);
  expect(() => undiciConnector(resumption, { allowH2: 1 as never })).toThrow(TypeError);
});
