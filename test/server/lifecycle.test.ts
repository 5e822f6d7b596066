import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import * as https from 'node:https';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { collectGarbage } from '../support/garbage.js';
import { record } from '../support/hello-builder.js';
import { closed, dial, RawClient13 } from '../support/raw-clients.js';
import { waitUntil } from '../support/streams.js';
import { close, comeBack, listen, only, VERSIONS, type Version, visit } from '../support/visits.js';
import { closeAll, KINDS, serverCertificate, startServer } from './fixtures/servers.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await closeAll();
});

const wayOf = (version: Version): string => (version === 'TLSv1.3' ? 'stateful-ticket' : 'session-id');
const halfHello = (): Buffer => record(RawClient13.firstHello({ servername: 'a.test' })).subarray(0, 100);

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe('cluster workers', () => {
  it('resume the sessions that they made, close, and leave', async () => {
    const { key, cert } = await serverCertificate();
    const main = fork(fileURLToPath(new URL('fixtures/cluster-server.ts', import.meta.url)), {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, SERVER_KEY: key, SERVER_CERT: cert },
    });
    cleanups.push(() => main.kill());
    const [{ port }] = (await once(main, 'message')) as [{ port: number }];
    for (const version of VERSIONS) {
      const sessions = new Map<number, Buffer>();
      const told: { worker: number; way: string | null }[] = [];
      const come = async (session?: Buffer): Promise<void> => {
        const visited = await visit(port, { ...only(version), session });
        const answer = JSON.parse(visited.received);
        told.push(answer);
        if (visited.session !== undefined && !sessions.has(answer.worker)) {
          sessions.set(answer.worker, visited.session);
        }
      };
      while (sessions.size < 2) await come();
      for (let i = 0; i < 4; i++) for (const session of [...sessions.values()]) await come(session);
      const workers = new Set(told.map(({ worker }) => worker));
      for (const worker of workers) {
        const ways = told.filter((each) => each.worker === worker).map(({ way }) => way);
        expect(ways).toContain(wayOf(version));
      }
      expect(workers.size).toBe(2);
    }
    main.send('leave');
    const [code] = await once(main, 'exit');
    expect(code).toBe(0);
  });
});

describe('server.close()', () => {
  it.each(VERSIONS)('resolves once the last connection is gone (%s)', async (version) => {
    const { server, port } = await startServer('attached');
    await comeBack(port, only(version));
    const socket = await dial(port, halfHello());
    let isClosed = false;
    const closing = new Promise<void>((resolve) =>
      server.close(() => {
        isClosed = true;
        resolve();
      }),
    );
    await turns(10);
    expect(isClosed).toBe(false);
    socket.destroy();
    await closing;
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const [, second] = await comeBack(port, only(version));
    expect(second.resumed).toBe(true);
  });

  it('of https closes while a hello is awaited that never comes', async () => {
    const { key, cert } = await serverCertificate();
    const resumption = new ServerResumption();
    const server = https.createServer(resumption.secure({ key, cert, handshakeTimeout: 100 }));
    resumption.attach(server);
    const port = await listen(server);
    const arrived = once(server, 'connection');
    const socket = await dial(port, halfHello());
    await arrived;
    await new Promise((resolve) => server.close(resolve));
    await closed(socket.resume());
  });
});

describe('maxConnections', () => {
  it('drops as many connections as without the library', async () => {
    const counts: number[][] = [];
    for (const kind of KINDS) {
      const { server, port } = await startServer(kind);
      server.maxConnections = 3;
      const heard = { connection: 0, drop: 0 };
      for (const name of ['connection', 'drop'] as const) server.on(name, () => void heard[name]++);
      const sockets = await Promise.all(Array.from({ length: 8 }, () => dial(port, halfHello())));
      await waitUntil(() => heard.connection + heard.drop === 8);
      counts.push([heard.connection, heard.drop]);
      for (const socket of sockets) socket.destroy();
      const count = () => new Promise<number>((resolve) => server.getConnections((_error, open) => resolve(open)));
      while ((await count()) > 0) await turns(1);
      expect((await visit(port)).received).toBe('hello');
    }
    expect(counts).toEqual([
      [3, 5],
      [3, 5],
    ]);
  });
});

describe('detaching', () => {
  it.each(VERSIONS)('in the middle of 200 handshakes lets all of them complete (%s)', async (version) => {
    const { server, port, attached, seen } = await startServer('attached');
    const { session } = await visit(port, only(version));
    let connections = 0;
    server.on('connection', () => {
      if (++connections === 100) attached?.[Symbol.dispose]();
    });
    const visits = await Promise.all(
      Array.from({ length: 200 }, (_, i) => visit(port, { ...only(version), ...(i % 2 && { session }) })),
    );
    expect(visits.map(({ received }) => received)).toEqual(visits.map(() => 'hello'));
    expect(connections).toBe(200);
    expect(seen.length).toBeLessThan(201);
  });

  it.each(VERSIONS)('between the parts of hellos lets all of them complete (%s)', async (version) => {
    const { server, port, attached } = await startServer('attached');
    const { session } = await visit(port, only(version));
    let held = 0;
    const halves = await slowly(port, () => held++);
    const visits = Array.from({ length: 50 }, (_, i) =>
      visit(halves.port, { ...only(version), ...(i % 2 && { session }) }),
    );
    await waitUntil(() => held === 50);
    await turns(5);
    attached?.[Symbol.dispose]();
    expect(server.listenerCount('resumeSession')).toBe(0);
    halves.goOn();
    expect((await Promise.all(visits)).map(({ received }) => received)).toEqual(visits.map(() => 'hello'));
  });

  it.each(VERSIONS)('and attaching again finds the sessions of before (%s)', async (version) => {
    const { server, port, attached, resumption } = await startServer('attached');
    const { session } = await visit(port, only(version));
    attached?.[Symbol.dispose]();
    expect((await visit(port, { ...only(version), session })).resumed).toBe(false);
    const again = resumption.attach(server);
    expect((await visit(port, { ...only(version), session })).resumed).toBe(true);
    again[Symbol.dispose]();
  });

  it('1 000 times leaves neither listeners nor memory', async () => {
    const { server, resumption, attached } = await startServer('attached');
    attached?.[Symbol.dispose]();
    const shape = () => server.eventNames().map((name) => [name, server.rawListeners(name)]);
    const before = shape();
    const refs: WeakRef<object>[] = [];
    for (let i = 0; i < 1000; i++) {
      const disposable = resumption.attach(server);
      refs.push(new WeakRef(disposable));
      disposable[Symbol.dispose]();
    }
    expect(shape()).toEqual(before);
    for (let round = 0; round < 10; round++) {
      await turns(2);
      collectGarbage();
    }
    expect(refs.filter((ref) => ref.deref() !== undefined).length).toBeLessThanOrEqual(2);
  });

  it('by a server that is forgotten leaves nothing of it', async () => {
    const { key, cert } = await serverCertificate();
    const resumption = new ServerResumption();
    const refs = Array.from({ length: 50 }, () => {
      const server = tls.createServer(resumption.secure({ key, cert }));
      resumption.attach(server);
      return new WeakRef(server);
    });
    for (let round = 0; round < 10; round++) {
      await turns(2);
      collectGarbage();
    }
    expect(refs.filter((ref) => ref.deref() !== undefined).length).toBeLessThanOrEqual(2);
  });
});

/** A proxy that sends half of what clients begin with, and the rest once it is told to go on. */
async function slowly(port: number, halfSent: () => void): Promise<{ port: number; goOn: () => void }> {
  const waiting: (() => void)[] = [];
  const proxy = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    for (const socket of [near, far]) socket.on('error', () => {});
    near.once('data', (hello) => {
      near.pause();
      far.write(hello.subarray(0, hello.length / 2), halfSent);
      waiting.push(() => {
        far.write(hello.subarray(hello.length / 2));
        near.pipe(far);
      });
    });
    far.pipe(near);
  });
  cleanups.push(() => close(proxy));
  return { port: await listen(proxy), goOn: () => waiting.forEach((go) => void go()) };
}

describe.each(VERSIONS)('options of the server on %s', (version) => {
  it('pauseOnConnect holds the application data back until it is asked for', async () => {
    const { key, cert } = await serverCertificate();
    for (const kind of KINDS) {
      const resumption = new ServerResumption();
      const options = { key, cert, pauseOnConnect: true };
      const server = tls.createServer(kind === 'plain' ? options : resumption.secure(options), async (socket) => {
        socket.on('error', () => {});
        let asked = false;
        socket.on('data', (chunk) => socket.end(`${asked} ${chunk} ${resumption.connection(socket)?.way}`));
        expect(socket.isPaused()).toBe(true);
        await turns(5);
        asked = true;
        socket.resume();
      });
      if (kind === 'attached') resumption.attach(server);
      cleanups.push(() => close(server));
      const [first, second] = await comeBack(await listen(server), { ...only(version), send: 'ping' });
      expect(first.received).toBe(`true ping ${kind === 'plain' ? undefined : null}`);
      expect(second.received).toBe(`true ping ${kind === 'plain' ? undefined : wayOf(version)}`);
    }
  });

  it('ALPNProtocols are agreed on in full and resumed handshakes', async () => {
    const { port, server, seen } = await startServer('attached', { ALPNProtocols: ['h2', 'x/1'] });
    const agreed: unknown[] = [];
    server.on('secureConnection', (socket) => agreed.push(socket.alpnProtocol));
    await comeBack(port, { ...only(version), ALPNProtocols: ['x/1'] });
    expect(agreed).toEqual(['x/1', 'x/1']);
    expect(seen.map((each) => each.resumed)).toEqual([false, true]);
    expect(seen[1]?.hello?.alpnProtocols).toEqual(['x/1']);
  });

  it('maxWaitingHellos lets the connections beyond it through, in full', async () => {
    const { server, port, seen } = await startServer('attached', {}, { maxWaitingHellos: 1 });
    const { session } = await visit(port, only(version));
    const arrived = once(server, 'connection');
    const socket = await dial(port, halfHello());
    await arrived;
    expect(await visit(port, { ...only(version), session })).toMatchObject({ resumed: false, received: 'hello' });
    expect(seen).toHaveLength(1);
    const failed = once(server, 'tlsClientError');
    socket.destroy();
    await failed;
    expect((await visit(port, { ...only(version), session })).resumed).toBe(true);
  });

  it('handshakeTimeout does not touch a connection whose handshake is complete', async () => {
    const { server, port } = await startServer('attached', { handshakeTimeout: 1000 });
    server.removeAllListeners('secureConnection');
    const complete = once(server, 'secureConnection');
    const visited = visit(port, only(version));
    const [socket] = (await complete) as [tls.TLSSocket];
    const timedOut = once(server, 'tlsClientError');
    // It comes later: when its time is over, so is that of the first.
    await dial(port, halfHello());
    expect(await timedOut).toMatchObject([{ code: 'ERR_TLS_HANDSHAKE_TIMEOUT' }, {}]);
    socket.end('late');
    expect((await visited).received).toBe('late');
  });

  it('secureConnection listeners added before and after attach() find the connection', async () => {
    const { key, cert } = await serverCertificate();
    const resumption = new ServerResumption();
    const server = tls.createServer(resumption.secure({ key, cert }));
    const found: [string, unknown][] = [];
    const listener = (name: string) => (socket: tls.TLSSocket) => {
      found.push([name, resumption.connection(socket)?.way]);
      if (name === 'after') socket.end('bye');
    };
    server.on('secureConnection', listener('before'));
    resumption.attach(server);
    server.prependListener('secureConnection', listener('prepended'));
    server.on('secureConnection', listener('after'));
    cleanups.push(() => close(server));
    await comeBack(await listen(server), only(version));
    const names = found.map(([name]) => name);
    expect(names).toEqual(['prepended', 'before', 'after', 'prepended', 'before', 'after']);
    for (const name of ['before', 'after']) {
      expect(found.filter((each) => each[0] === name).map(([, way]) => way)).toEqual([null, wayOf(version)]);
    }
  });
});

describe('the sources', () => {
  it('use nothing that slows every promise of the process down', () => {
    const directory = fileURLToPath(new URL('../../src', import.meta.url));
    const sources = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    );
    expect(sources.length).toBeGreaterThan(10);
    for (const name of sources) {
      const text = readFileSync(`${directory}/${name}`, 'utf8');
      expect(text.match(/AsyncLocalStorage|createHook|executionAsyncResource|process\.binding/g), name).toBeNull();
    }
  });
});
