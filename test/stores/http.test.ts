import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer, request as httpsRequest } from 'node:https';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { DeadlineStore } from '../../src/stores/deadline-store.js';
import { type FetchLike, httpStore } from '../../src/stores/http.js';
import { readObject, writeObject } from '../../src/stores/http-object.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { sessionStoreConformance } from '../../src/testing.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import {
  describeNginx,
  listening,
  type StoreServer,
  type StoreServers,
  storeServers,
  until,
} from '../support/store-servers.js';
import { close, listen } from '../support/visits.js';

const seal = new TicketCodec(TicketKeyRing.generate());
const key = (): Buffer => randomBytes(32);
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString();
const unavailable = (message: string | RegExp) => ({
  code: 'ERR_STORE_UNAVAILABLE',
  message: expect.stringMatching(message),
});

describeNginx('a store over HTTP and nginx with WebDAV', () => {
  let servers: StoreServers;
  let server: StoreServer;
  const clock = { now: Date.now() };
  const base = (port = server.port): string => `http://127.0.0.1:${port}/sessions/`;
  const file = (id: Uint8Array): string => join(server.folder, 'root', 'sessions', Buffer.from(id).toString('hex'));

  beforeAll(async () => {
    servers = await storeServers();
    server = await servers.nginx();
  });
  afterAll(() => servers?.remove());

  describe('as a store', () => {
    const open = (): SessionStore => httpStore(base(), { seal, clock: () => clock.now });
    const advance = (seconds: number): void => {
      clock.now += seconds * 1000;
    };
    for (const { name, run } of sessionStoreConformance(open, { take: false, peer: open, advance })) it(name, run);
  });

  describe('in clear, at a base without a slash', () => {
    const open = (): SessionStore => httpStore(new URL(base().slice(0, -1)), { seal: false });
    for (const { name, run } of sessionStoreConformance(open, { take: false })) it(name, run);
  });

  it('keeps an object for each session, and removes it', async () => {
    const store = httpStore(base(), { seal: false });
    const asked = Buffer.alloc(32, 0xab);
    await store.set(asked, Buffer.from('session'), 60);
    const object = await readFile(file(asked));
    expect(object.subarray(9).toString()).toBe('session');
    expect(await readdir(join(server.folder, 'root', 'sessions'))).toContain('ab'.repeat(32));
    await store.delete(asked);
    expect(await readdir(join(server.folder, 'root', 'sessions'))).not.toContain('ab'.repeat(32));
  });

  it('has no byte of a session or its key in a sealed object, and does not open one that was moved', async () => {
    const store = httpStore(base(), { seal });
    const [asked, other, session] = [key(), key(), randomBytes(160)];
    await store.set(asked, session, 60);
    await store.set(other, randomBytes(160), 60);
    const object = await readFile(file(asked));
    for (const secret of [session, asked]) {
      for (let at = 0; at + 8 <= secret.length; at++) expect(object.includes(secret.subarray(at, at + 8))).toBe(false);
    }
    await writeFile(file(other), object);
    expect(await store.get(other)).toBeUndefined();
    object[9] = 0;
    await writeFile(file(asked), object);
    expect(await store.get(asked)).toBeUndefined();
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('<!DOCTYPE html><title>404</title>')],
    ['a header without a session', Buffer.alloc(9, 1)],
    ['another version', Buffer.from(`\x02${'\xff'.repeat(8)}session`, 'latin1')],
    ['too much', Buffer.concat([Buffer.from([1]), Buffer.alloc(65_536, 0xff)])],
  ])('rejects an object of %s', async (_what, object) => {
    const store = httpStore(base(), { seal: false });
    const asked = key();
    await writeFile(file(asked), object);
    await expect(store.get(asked)).rejects.toMatchObject(unavailable(/^HTTP GET failed: the object is /));
  });

  it('rejects while the server is away or refuses, and goes on when it is back', async () => {
    const other = await servers.nginx('location /closed/ { return 403; } location /full/ { return 507; }');
    const store = httpStore(base(other.port), { seal });
    const asked = key();
    await store.set(asked, Buffer.from('session'), 60);
    for (const [place, status] of [
      ['closed', 403],
      ['full', 507],
    ] as const) {
      const refused = httpStore(`http://127.0.0.1:${other.port}/${place}`, { seal });
      for (const [call, method] of [
        [() => refused.get(asked), 'GET'],
        [() => refused.set(asked, Buffer.from('session'), 60), 'PUT'],
        [() => refused.delete(asked), 'DELETE'],
      ] as const) {
        await expect(call()).rejects.toMatchObject(
          unavailable(`HTTP ${method} failed: the server answered with ${status}`),
        );
      }
    }
    await other.kill();
    await expect(store.get(asked)).rejects.toMatchObject(unavailable(/ECONNREFUSED/));
    await expect(store.set(asked, Buffer.from('session'), 60)).rejects.toMatchObject(unavailable(/ECONNREFUSED/));
    await expect(store.delete(asked)).rejects.toMatchObject(unavailable(/ECONNREFUSED/));
    await other.restart();
    // What was on its disk is still there.
    expect(text(await store.get(asked))).toBe('session');
    await other.kill();
  });

  it('keeps nobody waiting behind a deadline while the server stands still', async () => {
    const other = await servers.nginx();
    const store = new DeadlineStore(httpStore(base(other.port), { seal, deadline: 200 }), { period: 50 });
    const asked = key();
    await store.set(asked, Buffer.from('session'), 60);
    other.freeze();
    for (let n = 0; n < 20; n++) await Promise.resolve(store.get(asked)).catch(() => undefined);
    // The deadlines that open the circuit, and what it lets through in that time; not twenty.
    expect(store.statistics.reads.timeouts).toBeLessThan(10);
    other.thaw();
    await until('the next try', async () => expect(text(await store.get(asked))).toBe('session'));
    await other.kill();
  });
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

describe('a store over HTTP', () => {
  const running: Server[] = [];
  afterEach(async () => {
    for (const server of running.splice(0)) await close(server);
  });
  async function serve(handler: Handler): Promise<{ url: string; server: Server; asked: IncomingMessage[] }> {
    const asked: IncomingMessage[] = [];
    const server = createServer((request, response) => {
      asked.push(request);
      handler(request, response);
    });
    running.push(server);
    return { url: `http://127.0.0.1:${await listen(server)}/cache`, server, asked };
  }
  const stored = (value: string, expiresAt = Date.now() + 60_000): Buffer =>
    Buffer.from(writeObject(Buffer.from(value), expiresAt));

  it('asks with the methods, paths and headers that an HTTP cache goes by', async () => {
    const bodies: Buffer[] = [];
    const { url, asked } = await serve(async (request, response) => {
      bodies.push(Buffer.concat(await request.toArray()));
      response.writeHead(204).end();
    });
    const store = httpStore(url, { seal: false, headers: { authorization: 'Bearer token' }, clock: () => 1_000_000 });
    const id = Buffer.alloc(32, 0xcd);
    await store.set(id, Buffer.from('session'), 299.5);
    await store.delete(id);
    await expect(store.get(id)).rejects.toMatchObject(unavailable('HTTP GET failed: the server answered with 204'));
    const path = `/cache/${'cd'.repeat(32)}`;
    expect(asked.map(({ method, url }) => [method, url])).toEqual([
      ['PUT', path],
      ['DELETE', path],
      ['GET', path],
    ]);
    for (const { headers } of asked) expect(headers.authorization).toBe('Bearer token');
    const [put, , get] = asked;
    expect(put?.headers).toMatchObject({
      'cache-control': 'max-age=300',
      'content-type': 'application/octet-stream',
      'content-length': '16',
    });
    expect(bodies[0]).toEqual(stored('session', 1_299_500));
    expect(get?.headers['accept-encoding']).toBe('identity');
  });

  it('answers with nothing for 404 and 410', async () => {
    for (const status of [404, 410]) {
      const { url } = await serve((_request, response) => void response.writeHead(status).end('not here'));
      const store = httpStore(url, { seal });
      expect(await store.get(key())).toBeUndefined();
      await store.delete(key());
      await expect(store.set(key(), Buffer.from('s'), 1)).rejects.toMatchObject(unavailable(`answered with ${status}`));
    }
  });

  it.each([201, 203, 206, 300, 304, 400, 401, 403, 500, 503])(
    'rejects a get that is answered with %i',
    async (status) => {
      const { url } = await serve((_request, response) => void response.writeHead(status).end());
      const store = httpStore(url, { seal });
      await expect(store.get(key())).rejects.toMatchObject(unavailable(`answered with ${status}`));
    },
  );

  it.each([301, 302, 303, 307, 308])('does not follow a redirection (%i)', async (status) => {
    let followed = 0;
    const { url: there } = await serve((_request, response) => {
      followed++;
      response.end(stored('another session'));
    });
    const { url } = await serve((_request, response) => void response.writeHead(status, { location: there }).end());
    const store = httpStore(url, { seal: false });
    await expect(store.get(key())).rejects.toMatchObject(unavailable(/^HTTP GET failed/));
    await expect(store.set(key(), Buffer.from('session'), 60)).rejects.toMatchObject(unavailable(/^HTTP PUT failed/));
    await expect(store.delete(key())).rejects.toMatchObject(unavailable(/^HTTP DELETE failed/));
    expect(followed).toBe(0);
  });

  it('uses its connections again, also for those that are answered with pages', async () => {
    let [connections, n] = [0, 0];
    const { url, server } = await serve((request, response) => {
      request.resume();
      response.writeHead([200, 404, 500][n++ % 3] as number).end(n % 3 === 1 ? stored('session') : 'x'.repeat(5000));
    });
    server.on('connection', () => connections++);
    const store = httpStore(url, { seal: false });
    for (let i = 0; i < 30; i++) await Promise.resolve(store.get(key())).catch(() => undefined);
    expect(n).toBe(30);
    // Not one each; a second one may be opened while the first is not free again.
    expect(connections).toBeLessThan(4);
  });

  it('stops reading after 64 KiB, be it a flood without end', async () => {
    let sent = 0;
    const { url } = await serve((_request, response) => {
      const flood = Readable.from(
        (function* () {
          for (;;) {
            sent += 65_536;
            yield Buffer.alloc(65_536, 1);
          }
        })(),
      );
      flood.pipe(response);
      response.on('close', () => flood.destroy());
    });
    const store = httpStore(url, { seal: false });
    await expect(store.get(key())).rejects.toMatchObject(unavailable('the object is longer than 65536 bytes'));
    // What sockets and streams hold on both sides, not more.
    expect(sent).toBeLessThan(2 ** 26);
  });

  it('reads nothing that is packed', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(stored('session'));
    });
    await expect(httpStore(url, { seal: false }).get(key())).rejects.toMatchObject(unavailable(/^HTTP GET failed/));
  });

  it('keeps no session that it could not read again', async () => {
    const { url, asked } = await serve((_request, response) => void response.end());
    const store = httpStore(url, { seal: false });
    await expect(store.set(key(), new Uint8Array(65_528), 60)).rejects.toMatchObject(unavailable('bytes are too many'));
    expect(asked).toEqual([]);
    await store.set(key(), new Uint8Array(65_527), 60);
    expect(asked).toHaveLength(1);
  });

  it.each([
    ['the head', (_request: IncomingMessage) => {}],
    ['the body', (_request: IncomingMessage, response: ServerResponse) => void response.writeHead(200).write('x')],
  ] as [string, Handler][])('ends a request whose answer lacks %s by its deadline', async (_what, handler) => {
    const { url } = await serve(handler);
    const store = httpStore(url, { seal: false, deadline: 30 });
    await expect(store.get(key())).rejects.toMatchObject({
      code: 'ERR_STORE_TIMEOUT',
      message: 'HTTP GET did not end within 30 ms',
    });
  });

  it('rejects what is no HTTP, and says nothing of what it sent', async () => {
    for (const words of [undefined, 'nonsense\r\n\r\n', 'HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort', '']) {
      const liar = await listening((socket) => {
        socket.once('data', (chunk) => {
          // Else the answer may come before all was sent, which is another failure.
          setImmediate(() => socket.end(words ?? chunk));
        });
      });
      const url = `http://127.0.0.1:${liar.port}/cache`;
      const store = httpStore(url, { seal: false, headers: { authorization: 'SECRET' } });
      for (const call of [
        () => store.get(key()),
        () => store.set(key(), Buffer.from('SECRET'), 60),
        () => store.delete(key()),
      ]) {
        const error = await Promise.resolve(call() as Promise<unknown>).catch((caught: unknown) => caught);
        expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
        expect(inspect(error, { depth: 9 })).not.toMatch(/SECRET|cache\//);
      }
      await liar.close();
    }
  });

  it('takes another fetch: an authority of its own over HTTPS', async () => {
    const authority = await makeCertificate({ isAuthority: true });
    const { key: tlsKey, cert } = await makeCertificate({ names: ['127.0.0.1'], issuer: authority });
    const held = new Map<string, Buffer>();
    const server = createHttpsServer({ key: tlsKey, cert }, async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      if (request.method === 'PUT') held.set(request.url as string, body);
      const found = held.get(request.url as string);
      response.writeHead(found ? 200 : 404).end(request.method === 'GET' ? found : '');
    });
    running.push(server);
    const url = `https://127.0.0.1:${await listen(server)}`;
    const fetchOver =
      (ca: string | undefined): FetchLike =>
      (address, { method, headers, body, signal }) =>
        new Promise((resolve, reject) => {
          const request = httpsRequest(address, { method, headers, signal, agent: false, ...(ca && { ca }) });
          request.on('error', reject).on('response', (response) => {
            resolve({ status: response.statusCode ?? 0, body: Readable.toWeb(response) as ReadableStream });
          });
          request.end(body && Buffer.from(body));
        });
    const store = httpStore(url, { seal, fetch: fetchOver(authority.cert) });
    const asked = key();
    await store.set(asked, Buffer.from('session'), 60);
    expect(text(await store.get(asked))).toBe('session');
    await expect(httpStore(url, { seal }).get(asked)).rejects.toMatchObject(
      unavailable(/UNABLE_TO_VERIFY|certificate/i),
    );
  });

  it('rejects once it is closed', async () => {
    const store = httpStore('http://127.0.0.1:1/', { seal });
    store.close?.();
    store.close?.();
    for (const call of [
      () => store.get(key()),
      () => store.set(key(), Buffer.from('s'), 1),
      () => store.delete(key()),
    ]) {
      await expect(call()).rejects.toMatchObject(unavailable('the store is closed'));
    }
  });
});

describe('an object over HTTP', () => {
  const body = (...chunks: Uint8Array[]) => ({
    status: 200,
    body: new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    }),
  });

  it('is read as it was written, in whatever pieces it comes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 2000 }),
        fc.integer({ min: 0, max: 2 ** 45 }),
        fc.array(fc.nat(2009), { maxLength: 5 }),
        async (value, expiresAt, cuts) => {
          const object = new Uint8Array(writeObject(value, expiresAt));
          const ends = [0, ...cuts.map((at) => Math.min(at, object.length)).sort((a, b) => a - b), object.length];
          const read = await readObject(body(...ends.slice(1).map((end, n) => object.subarray(ends[n], end))));
          expect(read.expiresAt).toBe(expiresAt);
          expect(Buffer.compare(read.value, value)).toBe(0);
        },
      ),
    );
  });

  it('is an error or an object, whatever there is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 50 }), async (bytes) => {
        const read = await readObject(body(bytes)).catch((error: Error) => error);
        if (bytes.length > 9 && bytes[0] === 1) expect(read).toMatchObject({ expiresAt: expect.any(Number) });
        else expect(read).toMatchObject({ message: 'the object is none of ours' });
      }),
    );
    await expect(readObject({ status: 200, body: null })).rejects.toThrow('the object is none of ours');
    await expect(readObject(body('text' as never))).rejects.toThrow('the body is not of bytes');
  });
});

describe('httpStore', () => {
  const url = 'http://127.0.0.1/';
  it.each([
    [() => httpStore(undefined as never, { seal }), TypeError],
    [() => httpStore('not a URL', { seal }), RangeError],
    [() => httpStore('ftp://127.0.0.1/', { seal }), RangeError],
    [() => httpStore('http://user@127.0.0.1/', { seal }), RangeError],
    [() => httpStore('http://:password@127.0.0.1/', { seal }), RangeError],
    [() => httpStore('http://127.0.0.1/?query', { seal }), RangeError],
    [() => httpStore('http://127.0.0.1/#fragment', { seal }), RangeError],
    [() => httpStore(url, undefined as never), TypeError],
    [() => httpStore(url, {} as never), TypeError],
    [() => httpStore(url, { seal, deadline: 0 }), RangeError],
    [() => httpStore(url, { seal, deadline: '1' as never }), TypeError],
    [() => httpStore(url, { seal, headers: 1 as never }), TypeError],
    [() => httpStore(url, { seal, headers: { name: 1 as never } }), TypeError],
    [() => httpStore(url, { seal, headers: { 'not a name': 'value' } }), TypeError],
    [() => httpStore(url, { seal, headers: { name: 'x\r\nPASSWORD' } }), TypeError],
    [() => httpStore(url, { seal, fetch: 1 as never }), TypeError],
    [() => httpStore(url, { seal, clock: 1 as never }), TypeError],
  ])('refuses wrong arguments, and does not repeat them (%#)', (call, error) => {
    expect(call).toThrow(error);
    expect(call).not.toThrow(/password/i);
  });

  it('has no take', () => {
    expect(httpStore(url, { seal }).take).toBeUndefined();
  });
});
