import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { type ReadClientHelloOptions, readClientHello } from '../../src/server/read-client-hello.js';
import type { ClientHello } from '../../src/wire/client-hello.js';
import { buildHello, cutAt, record, toRecords } from '../support/hello-builder.js';

const { key, cert } = await makeCertificate();
const hello = record(buildHello({ servername: 'a.test' }));
const open: { destroy(): void }[] = [];
const servers: net.Server[] = [];

afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

async function listen<T extends net.Server>(server: T): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Both ends of a TCP connection. */
async function tcpPair(): Promise<[server: net.Socket, client: net.Socket]> {
  const server = net.createServer({ allowHalfOpen: true });
  const port = await listen(server);
  const client = net.connect(port, '127.0.0.1').on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  open.push(socket, client);
  return [socket, client];
}

/** Two streams that know nothing of sockets, each reading what the other writes. */
function memoryPair(): [server: Duplex, client: Duplex] {
  const ends: Duplex[] = [];
  const end = (peer: 0 | 1) =>
    new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        ends[peer]!.push(chunk);
        setImmediate(done);
      },
      final(done) {
        ends[peer]!.push(null);
        done();
      },
    });
  ends.push(end(1), end(0));
  open.push(...ends);
  return [ends[0]!, ends[1]!];
}

const pairs = { 'a net.Socket': tcpPair, 'any Duplex': async () => memoryPair() };

/** Sends what is written to it on, the first record cut into records and segments. */
function cutting(socket: Duplex, recordCuts: number[], segmentCuts: number[]): Duplex {
  let first = true;
  const cutter = new Duplex({
    read() {},
    async write(chunk: Buffer, _encoding, done) {
      const bytes = first ? toRecords(chunk.subarray(5), recordCuts) : chunk;
      const segments = first ? cutAt(bytes, segmentCuts) : [bytes];
      first = false;
      for (const segment of segments) {
        socket.write(segment);
        await turn();
        await turn();
      }
      done();
    },
    final: (done) => void socket.end(done),
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (chunk) => cutter.push(chunk)).on('end', () => cutter.push(null));
  open.push(cutter);
  return cutter;
}

function listenersOf(socket: Duplex): Record<string, number> {
  return Object.fromEntries(
    ['readable', 'data', 'end', 'close', 'error'].map((event) => [event, socket.listenerCount(event)]),
  );
}

/** Everything that the stream gives from here on until this many bytes. */
async function read(socket: Duplex, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  while (Buffer.concat(chunks).length < length) {
    const chunk: Buffer | null = socket.read();
    if (chunk) chunks.push(chunk);
    else await once(socket, 'readable');
  }
  return Buffer.concat(chunks);
}

/** Settles the read and checks that no listener stayed. */
async function outcome(socket: Duplex, options: ReadClientHelloOptions, act: () => unknown) {
  const before = listenersOf(socket);
  const result = readClientHello(socket, options).then(
    (value) => ({ hello: value, error: undefined }),
    (error) => ({ hello: undefined, error }),
  );
  await act();
  const settled = await result;
  expect(listenersOf(socket)).toEqual(before);
  return settled;
}

describe.each(Object.entries(pairs))('from %s', (_, pair) => {
  it.each([
    ['in one piece', [], []],
    ['in segments', [], [1, 4, 5, 6, 9, 10, 100, 200]],
    ['in records', [1, 2, 3, 4, 50, 51, 300], []],
    ['in both', [1, 3, 60, 200], [2, 5, 7, 12, 30, 100, 101, 150, 333]],
  ])('a hello %s is read, and the handshake that follows succeeds', async (_name, recordCuts, segmentCuts) => {
    const [socket, peer] = await pair();
    const read = readClientHello(socket);
    const client = tls.connect({
      socket: cutting(peer, recordCuts, segmentCuts),
      servername: 'a.test',
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    });
    open.push(client);
    const seen = (await read) as ClientHello;
    expect(seen.servername).toBe('a.test');
    expect(seen.alpnProtocols).toEqual(['http/1.1']);

    const secured = new tls.TLSSocket(socket, { isServer: true, key, cert });
    open.push(secured);
    secured.on('data', (data) => secured.end(`${data}!`));
    client.write('hello');
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(answer.toString()).toBe('hello!');
    expect(client.getProtocol()).toBe('TLSv1.3');
  });

  it('what is no hello is undefined, and read again as it came', async () => {
    const [socket, client] = await pair();
    const request = 'GET / HTTP/1.1\r\n\r\n';
    const { hello: seen, error } = await outcome(socket, {}, () => client.write(request));
    expect([seen, error]).toEqual([undefined, undefined]);
    expect((await read(socket, request.length)).toString()).toBe(request);
  });

  it('a hello that is too large, or malformed, is undefined, and read again as it came', async () => {
    const malformed = record(buildHello({ servername: '' }));
    for (const [bytes, maxBytes] of [
      [hello, 40],
      [malformed, 16_384],
    ] as const) {
      const [socket, client] = await pair();
      const { hello: seen, error } = await outcome(socket, { maxBytes }, () => client.write(bytes));
      expect([seen, error]).toEqual([undefined, undefined]);
      expect(await read(socket, bytes.length)).toEqual(bytes);
    }
  });

  it('after the timeout, what had come is read again', async () => {
    const [socket, client] = await pair();
    const { error } = await outcome(socket, { timeout: 60 }, () => client.write(hello.subarray(0, 20)));
    expect(error).toMatchObject({ name: 'ResumptionError', code: 'ERR_CLIENT_HELLO_TIMEOUT' });
    expect(await read(socket, 20)).toEqual(hello.subarray(0, 20));
  });

  it('after an abort, too', async () => {
    const [socket, client] = await pair();
    const controller = new AbortController();
    const reason = new Error('enough');
    const { error } = await outcome(socket, { signal: controller.signal }, async () => {
      client.write(hello.subarray(0, 20));
      await once(socket, 'readable');
      controller.abort(reason);
    });
    expect(error).toBe(reason);
    expect(await read(socket, 20)).toEqual(hello.subarray(0, 20));
    await expect(readClientHello(socket, { signal: controller.signal })).rejects.toBe(reason);
  });

  it.each([0, 20])('a connection that ends after %s bytes is an error', async (length) => {
    const [socket, client] = await pair();
    const { error } = await outcome(socket, {}, () => client.end(hello.subarray(0, length)));
    expect(error).toMatchObject({ name: 'ResumptionError', code: 'ERR_SOCKET_CLOSED' });
    await expect(readClientHello(socket)).rejects.toMatchObject({ code: 'ERR_SOCKET_CLOSED' });
  });

  it('a connection that fails is an error with its cause', async () => {
    const [socket] = await pair();
    const cause = new Error('cable cut');
    const { error } = await outcome(socket, {}, () => socket.destroy(cause));
    expect(error).toMatchObject({ code: 'ERR_SOCKET_CLOSED', cause });
    socket.on('error', () => {});
    await expect(readClientHello(socket)).rejects.toMatchObject({ code: 'ERR_SOCKET_CLOSED', cause });
  });

  it('a connection destroyed without an error is an error without a cause', async () => {
    const [socket] = await pair();
    const { error } = await outcome(socket, {}, () => socket.destroy());
    expect(error).toMatchObject({ code: 'ERR_SOCKET_CLOSED' });
    expect(error.cause).toBeUndefined();
  });

  it('a hello that is followed by the end at once is read, and read again before the end', async () => {
    const [socket, client] = await pair();
    client.end(hello);
    await turn();
    await new Promise((resolve) => setTimeout(resolve, 30));
    const { hello: seen } = await outcome(socket, {}, () => {});
    expect(seen?.servername).toBe('a.test');
    await turn();
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    await once(socket, 'end');
    expect(Buffer.concat(chunks)).toEqual(hello);
  });

  it('it can be piped on, and what comes later follows', async () => {
    const [socket, client] = await pair();
    const [there, backend] = memoryPair();
    client.write(toRecords(hello.subarray(5), [9]));
    const seen = await readClientHello(socket);
    expect(seen?.servername).toBe('a.test');
    socket.pipe(there);
    client.write('later');
    expect(await read(backend, hello.length + 5)).toEqual(Buffer.concat([hello, Buffer.from('later')]));
  });

  it('can be read twice', async () => {
    const [socket, client] = await pair();
    client.write(hello);
    const first = await readClientHello(socket);
    expect(await readClientHello(socket)).toEqual(first);
  });
});

describe('a TLS server', () => {
  it('serves the connection that it is given afterwards', async () => {
    const server = tls.createServer({ key, cert }, (socket) => socket.end(socket.servername || 'no name'));
    const port = await listen(
      net.createServer(async (socket) => {
        open.push(socket);
        await readClientHello(socket);
        server.emit('connection', socket);
      }),
    );
    const client = tls.connect({ port, host: '127.0.0.1', servername: 'b.test', rejectUnauthorized: false });
    open.push(client);
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(answer.toString()).toBe('b.test');
  });
});

describe('arguments', () => {
  it.each([
    [undefined, undefined, TypeError],
    [{}, {}, TypeError],
    [memoryPair()[0], null, TypeError],
    [memoryPair()[0], { timeout: '5' }, TypeError],
    [memoryPair()[0], { timeout: 0 }, RangeError],
    [memoryPair()[0], { timeout: 2 ** 31 }, RangeError],
    [memoryPair()[0], { timeout: Number.NaN }, RangeError],
    [memoryPair()[0], { maxBytes: 16_385 }, RangeError],
    [memoryPair()[0], { signal: {} }, TypeError],
    [new Duplex({ objectMode: true }), {}, TypeError],
    [memoryPair()[0].setEncoding('utf8'), {}, TypeError],
  ])('wrong ones are refused (%#)', async (socket, options, expected) => {
    await expect(readClientHello(socket as never, options as never)).rejects.toThrow(expected);
  });
});
