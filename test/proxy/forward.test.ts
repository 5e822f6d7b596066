import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { type Forwarded, type ForwardOptions, SessionAffinity } from '../../src/index.js';
import { buildHello, cutAt, record, toRecords } from '../support/hello-builder.js';
import { waitUntil } from '../support/streams.js';
import { only, VERSIONS } from '../support/visits.js';
import { type Backend, cert, closeAll, connectTo, key, listening, travel } from './balancing.js';

const HELLO = record(buildHello({ servername: 'a.test' }));
const sockets = new Set<net.Socket>();

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await closeAll();
});

function own(socket: net.Socket): net.Socket {
  sockets.add(socket);
  return socket.on('error', () => {});
}

/** A back end that hands its connections over. */
async function plainBackend(name: string, serve: (socket: net.Socket) => void = () => {}): Promise<Backend> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => serve(own(socket)));
  return { name, port: await listening(server) };
}

/** A port where nobody is. */
async function refusing(name: string): Promise<Backend> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  return { name, port };
}

interface Setup extends ForwardOptions {
  readonly connect?: (backend: Backend) => net.Socket;
}

/** A balancer before these back ends, and what became of its connections. */
async function setUp(backends: readonly Backend[], { connect = connectTo, ...options }: Setup = {}) {
  const affinity = new SessionAffinity({ backends });
  const outcomes: Promise<Forwarded<Backend> | undefined>[] = [];
  const clients: net.Socket[] = [];
  const server = net.createServer((client) => {
    clients.push(client);
    const outcome = affinity.forward(client, connect, options);
    outcome.catch(() => {});
    outcomes.push(outcome);
  });
  const port = await listening(server);
  const dial = (): net.Socket => own(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
  return { affinity, outcomes, clients, dial };
}

async function received(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => socket.once('end', resolve).once('close', resolve));
  return Buffer.concat(chunks);
}

/** Sends to a back end what it got, with a mark before it. */
const echo = (socket: net.Socket): void => {
  void received(socket).then((bytes) => socket.end(Buffer.concat([Buffer.from('got '), bytes])));
};

describe('what passes through', () => {
  it.each([
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n')],
    ['a hello and what follows it', Buffer.concat([HELLO, randomBytes(5000)])],
    ['a hello that is malformed', record(Buffer.from('0100000501020304ff', 'hex'))],
    ['a hello that is too large', Buffer.concat([record(Buffer.from('0100ffff', 'hex')), randomBytes(70_000)])],
    ['an SSLv2 hello', Buffer.from('802b0103010012000000100100800700c0', 'hex')],
    ['noise', randomBytes(100_000)],
    ['one byte', Buffer.from('x')],
  ])('%s, unchanged, and the answer after the client has ended', async (_, bytes) => {
    const { dial, outcomes } = await setUp([await plainBackend('a', echo)]);
    for (const cuts of [[], [1, 2, 3, 100]]) {
      const client = dial();
      for (const piece of cutAt(bytes, cuts)) {
        client.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      client.end();
      expect((await received(client)).equals(Buffer.concat([Buffer.from('got '), bytes]))).toBe(true);
    }
    expect((await outcomes[0])?.backend.name).toBe('a');
  });

  it('a hello in several records, as one', async () => {
    const { dial, outcomes } = await setUp([await plainBackend('a', echo)]);
    const client = dial();
    client.end(toRecords(HELLO.subarray(5), [10, 20]));
    expect(await received(client)).toEqual(Buffer.concat([Buffer.from('got '), HELLO]));
    expect((await outcomes[0])?.hello?.servername).toBe('a.test');
  });

  it('what the client says after the server has ended', async () => {
    const said: Promise<Buffer>[] = [];
    const { dial } = await setUp([
      await plainBackend('a', (socket) => {
        said.push(received(socket));
        socket.end('bye');
      }),
    ]);
    const client = dial();
    client.write(HELLO);
    expect(await received(client)).toEqual(Buffer.from('bye'));
    client.end('and then');
    await waitUntil(() => said.length === 1);
    expect(await said[0]).toEqual(Buffer.concat([HELLO, Buffer.from('and then')]));
  });

  it('many bytes to a client that reads late, without being held', async () => {
    const size = 64 * 1024 * 1024;
    const block = randomBytes(1024 * 1024);
    const sent = createHash('sha256');
    for (let i = 0; i < size; i += block.length) sent.update(block);
    let written = 0;
    const { dial, outcomes } = await setUp([
      await plainBackend('a', (socket) => {
        const write = (): void => {
          while (written < size) {
            written += block.length;
            if (!socket.write(block)) return void socket.once('drain', write);
          }
          socket.end();
        };
        write();
      }),
    ]);
    const client = dial();
    client.pause().write(HELLO);
    await waitUntil(() => outcomes.length === 1);
    const { server } = (await outcomes[0]) as Forwarded<Backend>;
    // Until the kernel's buffers are full, and the stream of the balancer has stopped.
    await waitUntil(() => server.isPaused());
    expect(server.bytesRead).toBeLessThan(size / 2);
    expect(server.readableLength).toBeLessThan(1024 * 1024);
    const got = createHash('sha256');
    client.on('data', (chunk: Buffer) => got.update(chunk)).resume();
    await once(client, 'end');
    expect(got.digest('hex')).toBe(sent.digest('hex'));
    client.end();
  });

  it.each(VERSIONS)('after the first flight of %s unlooked at', async (version) => {
    // It answers what comes after the handshake, so that more than one chunk follows.
    const server = tls.createServer({ key, cert }, (socket) => {
      own(socket).once('data', () => socket.end('{}'));
    });
    const affinity = new SessionAffinity({ backends: [{ name: 'a', port: await listening(server) }] });
    const observe = affinity.observe.bind(affinity);
    const looks: boolean[] = [];
    affinity.observe = (...args) => {
      const observer = observe(...args);
      return {
        push(chunk) {
          looks.push(observer.push(chunk));
          return looks.at(-1) as boolean;
        },
      };
    };
    let chunks = 0;
    const balancer = net.createServer(async (client) => {
      const forwarded = await affinity.forward(client, connectTo);
      forwarded?.server.on('data', () => chunks++);
    });
    await travel(await listening(balancer), only(version));
    expect(looks.length).toBeGreaterThan(0);
    expect(looks.indexOf(false)).toBe(looks.length - 1);
    expect(chunks).toBeGreaterThan(looks.length);
  });
});

describe('a client that does not say hello', () => {
  it('is passed on after a time, with half a hello or with nothing', async () => {
    const { dial, outcomes } = await setUp([await plainBackend('a', (socket) => socket.write('220 ready'))], {
      helloTimeout: 30,
    });
    for (const bytes of [HELLO.subarray(0, 20), Buffer.alloc(0)]) {
      const client = dial();
      client.write(bytes);
      expect((await once(client, 'data'))[0]).toEqual(Buffer.from('220 ready'));
      expect(await outcomes.pop()).toMatchObject({ by: 'key', hello: undefined });
    }
  });

  it('and leaves, is forgotten', async () => {
    const { dial, outcomes } = await setUp([await plainBackend('a')]);
    const client = dial();
    client.end(HELLO.subarray(0, 20));
    await once(client.resume(), 'end');
    expect(await outcomes[0]).toBeUndefined();
    const silent = dial();
    await waitUntil(() => outcomes.length === 2);
    silent.destroy();
    expect(await outcomes[1]).toBeUndefined();
  });

  it('a flood of half hellos and of hellos with made-up sessions leaves nothing behind', async () => {
    let accepted = 0;
    const backend = await plainBackend('a', (socket) => {
      accepted++;
      socket.end();
    });
    const { dial, outcomes, affinity, clients } = await setUp([backend], { helloTimeout: 50 });
    const flood = Array.from({ length: 400 }, async (_, i) => {
      const client = dial();
      client.write(i % 2 === 0 ? HELLO.subarray(0, 40) : record(buildHello({ sessionId: randomBytes(32) })));
      await received(client);
      client.end();
    });
    await Promise.all(flood);
    await Promise.all(outcomes);
    expect(accepted).toBe(400);
    expect(affinity.statistics).toMatchObject({ entries: 0, learned: 0, key: 400 });
    await waitUntil(() => clients.every((client) => client.closed));
  });
});

describe('back ends', () => {
  it('that refuse are passed over', async () => {
    const backends = [await refusing('a'), await refusing('b'), await plainBackend('c', echo)];
    const { dial, outcomes } = await setUp(backends);
    for (let i = 0; i < 5; i++) {
      const client = dial();
      client.end(HELLO);
      expect((await received(client)).subarray(4)).toEqual(HELLO);
      expect((await outcomes[i])?.backend.name).toBe('c');
    }
  });

  it('that do not answer are passed over in time', async () => {
    const silent: net.Socket[] = [];
    const backends = [{ name: 'a', port: 0, weight: 1_000_000 }, await plainBackend('b', echo)];
    const { dial, outcomes } = await setUp(backends, {
      connectTimeout: 30,
      connect: (backend) => {
        if (backend.name === 'b') return connectTo(backend);
        const socket = Object.defineProperty(new net.Socket(), 'connecting', { value: true });
        silent.push(socket);
        return socket;
      },
    });
    const client = dial();
    client.end(HELLO);
    expect((await received(client)).subarray(4)).toEqual(HELLO);
    expect((await outcomes[0])?.backend.name).toBe('b');
    expect(silent.map(({ destroyed }) => destroyed)).toEqual([true]);
  });

  it('none of which is there end the connection', async () => {
    const { dial, outcomes, affinity } = await setUp([await refusing('a')]);
    const client = dial();
    client.write(HELLO);
    await once(client.resume(), 'end');
    expect(await outcomes[0]).toBeUndefined();
    affinity.markDown('a');
    const again = dial();
    again.write(HELLO);
    await once(again.resume(), 'end');
    expect(await outcomes[1]).toBeUndefined();
  });

  it('are left alone when the client has gone meanwhile', async () => {
    const waiting: net.Socket[] = [];
    const { dial, outcomes } = await setUp([{ name: 'a', port: 0 }], {
      connect: () => {
        const socket = Object.defineProperty(new net.Socket(), 'connecting', { value: true });
        waiting.push(socket);
        return socket;
      },
    });
    const client = dial();
    client.write(HELLO);
    await waitUntil(() => waiting.length === 1);
    client.resetAndDestroy();
    // Nobody reads from it yet, but a reset is noticed.
    expect(await outcomes[0]).toBeUndefined();
    expect(waiting[0]?.destroyed).toBe(true);
  });

  it('get first what connect writes', async () => {
    const { dial } = await setUp([await plainBackend('a', echo)], {
      connect: (backend) => {
        const socket = connectTo(backend);
        socket.write('PROXY UNKNOWN\r\n');
        return socket;
      },
    });
    const client = dial();
    client.end(HELLO);
    expect(await received(client)).toEqual(Buffer.concat([Buffer.from('got PROXY UNKNOWN\r\n'), HELLO]));
  });
});

describe('ends', () => {
  it('a reset of one side destroys the other', async () => {
    const served: net.Socket[] = [];
    const { dial, clients, outcomes } = await setUp([
      await plainBackend('a', (socket) => served.push(socket.resume())),
    ]);
    const first = dial();
    first.resume().write(HELLO);
    await waitUntil(() => served.length === 1);
    served[0]?.resetAndDestroy();
    expect(await once(first, 'error')).toMatchObject([{ code: 'ECONNRESET' }]);
    const second = dial();
    second.write(HELLO);
    await waitUntil(() => served.length === 2);
    second.resetAndDestroy();
    expect(await once(served[1] as net.Socket, 'error')).toMatchObject([{ code: 'ECONNRESET' }]);
    await waitUntil(() => clients.every((client) => client.closed));
    for (const outcome of outcomes) expect((await outcome)?.server.destroyed).toBe(true);
  });

  it('a connection on which nothing happens any more ends', async () => {
    const { dial, outcomes, clients } = await setUp([await plainBackend('a')], { idleTimeout: 30 });
    const client = dial();
    client.write(HELLO);
    await once(client.resume(), 'end');
    const forwarded = await outcomes[0];
    await waitUntil(() => forwarded?.server.closed === true && clients[0]?.closed === true);
  });
});

describe('arguments', () => {
  it('wrong ones are refused', async () => {
    const affinity = new SessionAffinity({ backends: [{ name: 'a', port: 1 }] });
    const socket = own(new net.Socket());
    await expect(affinity.forward({} as never, connectTo)).rejects.toThrow(TypeError);
    await expect(affinity.forward(socket, 7 as never)).rejects.toThrow(TypeError);
    await expect(affinity.forward(socket, connectTo, { helloTimeout: 0 })).rejects.toThrow(RangeError);
    await expect(affinity.forward(socket, connectTo, { connectTimeout: 2 ** 31 })).rejects.toThrow(RangeError);
    await expect(affinity.forward(socket, connectTo, { idleTimeout: -1 })).rejects.toThrow(RangeError);
    await expect(affinity.forward(socket, connectTo, { key: 7 as never })).rejects.toThrow(TypeError);
    await expect(affinity.forward(socket, connectTo, null as never)).rejects.toThrow(TypeError);
  });

  it.each([
    [
      'connect throws',
      {
        connect: () => {
          throw new Error('no such host');
        },
      },
      'no such host',
    ],
    ['connect gives no socket', { connect: () => ({}) as net.Socket }, 'net.Socket'],
    [
      'key throws',
      {
        key: () => {
          throw new Error('no key');
        },
      },
      'no key',
    ],
  ])('when %s the client is destroyed, and the error told', async (_, options, message) => {
    const { dial, outcomes } = await setUp([{ name: 'a', port: 1 }], options);
    const client = dial();
    client.write(HELLO);
    await once(client.resume(), 'end');
    await expect(outcomes[0]).rejects.toThrow(message);
  });
});
