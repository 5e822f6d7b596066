import { once } from 'node:events';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import type * as net from 'node:net';
import type { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { IssuedCertificate } from '../../examples/support/certificates.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { record, returningHello13, toRecords } from '../support/hello-builder.js';
import { closed, dial, RawClient13 } from '../support/raw-clients.js';
import { duplexPair, waitUntil } from '../support/streams.js';
import { close, listen, only, VERSIONS, visit } from '../support/visits.js';
import { KINDS, type Kind, serverCertificate } from './fixtures/servers.js';

/** The longest that a test waits for a timeout of the server. */
const HANDSHAKE_TIMEOUT = 500;
const EVENTS = [
  'connection',
  'secureConnection',
  'tlsClientError',
  'clientError',
  'sessionError',
  'unknownProtocol',
  'error',
];

let certificate: IssuedCertificate;
const cleanups: (() => unknown)[] = [];
const uncaught: unknown[] = [];
const onUncaught = (error: unknown): void => void uncaught.push(error);

beforeAll(async () => {
  certificate = await serverCertificate();
});

beforeEach(() => {
  uncaught.length = 0;
  process.on('uncaughtExceptionMonitor', onUncaught);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  process.off('uncaughtExceptionMonitor', onUncaught);
  expect(uncaught).toEqual([]);
});

interface Watched {
  readonly server: tls.Server;
  readonly port: number;
  /** Every event of the server that tells of a connection, in their order. */
  readonly events: string[];
}

type Flavour = 'tls' | 'https' | 'http2';
const FLAVOURS: readonly Flavour[] = ['tls', 'https', 'http2'];

function makeServer(flavour: Flavour, options: tls.TlsOptions): tls.Server {
  if (flavour === 'https') return https.createServer(options, (_request, response) => response.end('hello'));
  if (flavour === 'http2') return http2.createSecureServer(options);
  return tls.createServer(options, (socket) => {
    socket.on('error', () => {});
    socket.end('hello');
  });
}

async function watch(kind: Kind, flavour: Flavour = 'tls', options: tls.TlsOptions = {}): Promise<Watched> {
  const { key, cert } = certificate;
  const resumption = new ServerResumption();
  const all = { key, cert, ...options };
  const server = makeServer(flavour, kind === 'plain' ? all : resumption.secure(all));
  if (kind === 'attached') resumption.attach(server);
  const events: string[] = [];
  const emit = server.emit;
  server.emit = function (this: tls.Server, name: string, ...args: unknown[]): boolean {
    if (EVENTS.includes(name)) events.push([name, ...describeError(name, args)].join(' '));
    return Reflect.apply(emit, this, [name, ...args]);
  } as typeof emit;
  cleanups.push(() => close(server));
  return { server, port: await listen(server), events };
}

function describeError(name: string, [error, socket]: unknown[]): string[] {
  if (!/Error/.test(name)) return [];
  const { code, message } = error as NodeJS.ErrnoException;
  return [
    String(code),
    code === undefined ? message : '',
    socket instanceof tls.TLSSocket ? 'TLSSocket' : typeof socket,
  ];
}

function openConnections(server: net.Server): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Until the server has seen a connection, has none left, and has said all that it will say. */
async function settled({ server, events }: Watched): Promise<void> {
  while (!events.includes('connection') || (await openConnections(server)) > 0) await turns(1);
  await turns(20);
}

type Behaviour = (port: number) => Promise<void>;

/** Without extensions that matter: what plain tls makes of it is what counts. */
const hello = (): Buffer => record(returningHello13(Buffer.alloc(32, 1)));
const half = (): Buffer => hello().subarray(0, 100);
const realHello = (): Buffer => record(RawClient13.firstHello({ servername: 'a.test' }));

/** Sends, and waits for the server to close. */
const sends =
  (bytes: () => Uint8Array): Behaviour =>
  async (port) => {
    const socket = await dial(port, bytes());
    socket.resume();
    await closed(socket);
  };

const leaves =
  (how: 'end' | 'resetAndDestroy', bytes?: () => Uint8Array): Behaviour =>
  async (port) => {
    const socket = await dial(port, bytes?.());
    socket.resume();
    socket[how]();
    await closed(socket);
  };

const largeHello = (count: number) => (): Buffer => {
  const message = returningHello13(Buffer.alloc(32, 1), {
    extraExtensions: [{ type: 21, data: Buffer.alloc(20_000) }],
  });
  const step = Math.ceil(message.length / count);
  return toRecords(
    message,
    Array.from({ length: count - 1 }, (_, i) => (i + 1) * step),
  );
};

const behaviours: [string, Behaviour][] = [
  ['leaves without a byte', leaves('end')],
  ['resets without a byte', leaves('resetAndDestroy')],
  ['sends one byte and leaves', leaves('end', () => hello().subarray(0, 1))],
  ['sends half a hello and leaves', leaves('end', half)],
  ['sends half a hello and resets', leaves('resetAndDestroy', half)],
  [
    'sends a record and a half of a hello and leaves',
    leaves('end', () => toRecords(returningHello13(Buffer.alloc(32)), [60]).subarray(0, 120)),
  ],
  ['sends garbage', sends(() => Buffer.alloc(300, 0xa5))],
  ['sends a single byte of garbage and leaves', leaves('end', () => Buffer.of(0xff))],
  ['sends garbage and resets', leaves('resetAndDestroy', () => Buffer.alloc(300, 0xa5))],
  ['sends an HTTP request', sends(() => Buffer.from('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n'))],
  ['sends an HTTP CONNECT request', sends(() => Buffer.from('CONNECT a.test:443 HTTP/1.1\r\n\r\n'))],
  ['sends a PROXY protocol line', sends(() => Buffer.from('PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n'))],
  ['sends an alert', sends(() => Buffer.of(21, 3, 1, 0, 2, 2, 40))],
  ['sends close_notify', leaves('end', () => Buffer.of(21, 3, 1, 0, 2, 1, 0))],
  ['sends an empty record and leaves', leaves('end', () => Buffer.of(22, 3, 1, 0, 0))],
  ['sends an empty record, then a hello', sends(() => Buffer.concat([Buffer.of(22, 3, 1, 0, 0), hello()]))],
  ['sends an SSLv2 hello', sends(() => Buffer.concat([Buffer.of(0x80, 0x2e, 1, 0, 2), Buffer.alloc(43, 1)]))],
  [
    'sends an SSLv2 hello that offers TLS',
    sends(() => Buffer.concat([Buffer.of(0x80, 0x1c, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 0x2f), Buffer.alloc(16, 1)])),
  ],
  [
    'sends a record longer than records are',
    sends(() => Buffer.concat([Buffer.of(22, 3, 1, 0xff, 0xff, 1), Buffer.alloc(200)])),
  ],
  [
    'sends a message that is no hello',
    sends(() => record(Buffer.concat([Buffer.of(2, 0, 0, 100), Buffer.alloc(100)]))),
  ],
  ['sends application data', sends(() => Buffer.concat([Buffer.of(23, 3, 3, 0, 100), Buffer.alloc(100)]))],
  ['sends a hello of 20 KB in two records', sends(largeHello(2))],
  ['sends a hello of 20 KB in 100 records', sends(largeHello(100))],
  ['sends half of a hello of 20 KB and leaves', leaves('end', () => largeHello(2)().subarray(0, 17_000))],
  ['sends half of a hello of 20 KB and resets', leaves('resetAndDestroy', () => largeHello(2)().subarray(0, 17_000))],
  [
    'sends a hello and something else in one record',
    sends(() => record(Buffer.concat([returningHello13(Buffer.alloc(32)), Buffer.alloc(50, 7)]))),
  ],
  [
    'sends a hello of no versions that the server has',
    sends(() => record(returningHello13(Buffer.alloc(32), { supportedVersions: [0x7f00] }))),
  ],
  ['sends a malformed hello', sends(() => record(Buffer.concat([Buffer.of(1, 0, 0, 60), Buffer.alloc(60, 0xff)])))],
  ['sends a hello and resets', leaves('resetAndDestroy', realHello)],
  ['sends a hello and leaves', leaves('end', realHello)],
  ['sends a hello, then garbage', sends(() => Buffer.concat([realHello(), Buffer.alloc(300, 0xa5)]))],
];

async function eventsOf(
  kind: Kind,
  behaviour: (watched: Watched) => Promise<unknown>,
  flavour: Flavour = 'tls',
  options: tls.TlsOptions = {},
): Promise<string[]> {
  const watched = await watch(kind, flavour, options);
  await behaviour(watched);
  await settled(watched);
  return watched.events;
}

/** Runs it on both servers and returns what both said. */
async function same(
  behaviour: (watched: Watched) => Promise<unknown>,
  flavour?: Flavour,
  options?: tls.TlsOptions,
): Promise<string[]> {
  const plain = await eventsOf('plain', behaviour, flavour, options);
  const attached = await eventsOf('attached', behaviour, flavour, options);
  expect(attached).toEqual(plain);
  return plain;
}

describe.each(FLAVOURS)('the events of a server of %s are those without the library when a client', (flavour) => {
  it.each(behaviours)('%s', async (_what, behaviour) => {
    const events = await same(({ port }) => behaviour(port), flavour);
    expect(events).toContain('connection');
  });
});

describe('a server that allows half-open connections says what it says without the library when a client', () => {
  it.each<[string, 'end' | 'resetAndDestroy', () => Buffer]>([
    ['leaves without a byte', 'end', () => Buffer.alloc(0)],
    ['sends half a hello and leaves', 'end', half],
    ['sends half a hello and resets', 'resetAndDestroy', half],
    ['sends a hello and leaves', 'end', realHello],
    ['sends a hello and resets', 'resetAndDestroy', realHello],
    ['sends garbage and leaves', 'end', () => Buffer.alloc(300, 0xa5)],
  ])('%s', async (_what, leave, bytes) => {
    const options = { allowHalfOpen: true, handshakeTimeout: HANDSHAKE_TIMEOUT } as tls.TlsOptions;
    await same(
      async ({ server, port, events }) => {
        const accepted: net.Socket[] = [];
        server.on('connection', (socket) => accepted.push(socket));
        const socket = await dial(port, bytes());
        socket.resume()[leave]();
        // Plain tls keeps such a connection open, even after its handshakeTimeout.
        await waitUntil(() => events.length > 1);
        for (const each of [socket, ...accepted]) each.destroy();
      },
      'tls',
      options,
    );
  });
});

describe('the handshakeTimeout', () => {
  const options = { handshakeTimeout: HANDSHAKE_TIMEOUT };
  const timedOut = 'tlsClientError ERR_TLS_HANDSHAKE_TIMEOUT  TLSSocket';

  /** Waits for the server to say so, then leaves: plain tls does not close the connection of itself. */
  const outwaits =
    (bytes: () => Uint8Array, count = 1) =>
    async ({ port, events }: Watched): Promise<void> => {
      const sockets = await Promise.all(Array.from({ length: count }, () => dial(port, bytes())));
      await waitUntil(() => events.filter((event) => event === timedOut).length === count);
      for (const socket of sockets) socket.destroy();
    };

  it.each<[string, () => Buffer]>([
    ['is silent', () => Buffer.alloc(0)],
    ['sends half a hello and waits', half],
    ['sends half of a hello of 20 KB and waits', () => largeHello(2)().subarray(0, 17_000)],
  ])('fails a connection that %s', async (_what, bytes) => {
    expect(await same(outwaits(bytes), 'tls', options)).toEqual(['connection', timedOut]);
  });

  it('fails a connection whose hello comes too slowly', async () => {
    const drip = async (watched: Watched): Promise<void> => {
      const socket = await dial(watched.port);
      const bytes = hello();
      let sent = 0;
      const timer = setInterval(() => socket.write(bytes.subarray(sent, ++sent)), 5);
      await waitUntil(() => watched.events.includes(timedOut));
      clearInterval(timer);
      socket.destroy();
    };
    expect(await same(drip, 'tls', options)).toEqual(['connection', timedOut]);
  });

  it('fails a connection whose SNICallback never answers', async () => {
    const silent = { ...options, SNICallback: () => {} };
    expect(await same(outwaits(realHello), 'tls', silent)).toEqual(['connection', timedOut]);
  });

  it('fails many at once, each with one error', async () => {
    const events = await same(outwaits(half, 30), 'tls', options);
    expect(events.filter((event) => event === timedOut)).toHaveLength(30);
  });

  it('closes the connection whose hello did not come', async () => {
    const watched = await watch('attached', 'tls', options);
    await sends(half)(watched.port);
    await settled(watched);
    expect(watched.events).toEqual(['connection', timedOut]);
  });
});

describe("the application's own connection listeners", () => {
  it('run at the same moment and in the same order', async () => {
    const orders: string[][] = [];
    for (const kind of KINDS) {
      const { server, port } = await watch(kind);
      const order: string[] = [];
      const marked = (name: string) => (socket: net.Socket) => {
        order.push(name, `${socket.bytesRead} bytes read`, `${socket.listenerCount('error') > 0}`);
        queueMicrotask(() => order.push(`${name}, microtask`));
      };
      server.prependListener('connection', marked('before'));
      server.on('connection', marked('after'));
      server.once('connection', marked('once'));
      server.on('secureConnection', () => order.push('secureConnection'));
      await visit(port);
      await visit(port);
      orders.push(order);
    }
    expect(orders[1]?.filter(isNoListenerCount)).toEqual(orders[0]?.filter(isNoListenerCount));
  });

  const isNoListenerCount = (entry: string): boolean => entry !== 'true' && entry !== 'false';

  const add = (how: 'prependListener' | 'on', listener: (socket: net.Socket) => void) => async (watched: Watched) => {
    watched.server[how]('connection', listener as never);
    await sends(half)(watched.port);
  };

  for (const how of ['prependListener', 'on'] as const) {
    const when = how === 'on' ? "after Node's" : "before Node's";
    it(`may destroy the socket ${when}`, async () => {
      await same(add(how, (socket) => socket.destroy()));
    });

    it(`may destroy the socket with an error ${when}`, async () => {
      // Added before Node's listener, nobody else is there to hear of the error.
      await same(
        add(how, (socket) => {
          if (how === 'prependListener') socket.on('error', () => {});
          socket.destroy(new Error('no'));
        }),
      );
    });

    it(`may destroy the socket later, ${when}`, async () => {
      await same(add(how, (socket) => void setImmediate(() => socket.destroy())));
    });

    it(`may reset the socket later, ${when}`, async () => {
      await same(add(how, (socket) => void setImmediate(() => socket.resetAndDestroy())));
    });

    it(`may end the socket later, ${when}`, async () => {
      await same(add(how, (socket) => void setImmediate(() => socket.end())));
    });

    it(`may give the socket a timeout, ${when}`, async () => {
      await same(add(how, (socket) => void socket.setTimeout(50, () => socket.destroy())));
    });
  }
});

describe('server.close()', () => {
  it.each(FLAVOURS)('waits for a client whose hello is awaited, as without the library (%s)', async (flavour) => {
    await same(async ({ server, port, events }) => {
      const socket = await dial(port, half());
      while (events.length === 0) await turns(1);
      let isClosed = false;
      const closing = new Promise<void>((resolve) =>
        server.close(() => {
          isClosed = true;
          resolve();
        }),
      );
      await turns(20);
      expect(isClosed).toBe(false);
      socket.end();
      await closing;
    }, flavour);
  });

  it.each(VERSIONS)('lets a hello that is awaited become a handshake (%s)', async (version) => {
    const all = await same(async ({ server, port, events }) => {
      const [near, far] = quietPair();
      const socket = tls.connect({ socket: near, rejectUnauthorized: false, ...only(version) });
      const [bytes] = (await once(far, 'data')) as [Buffer];
      const raw = await dial(port, bytes.subarray(0, 50));
      await waitUntil(() => events.length > 0);
      const closing = new Promise((resolve) => server.close(resolve));
      raw.on('data', (chunk) => far.write(chunk));
      raw.on('end', () => far.end());
      far.on('data', (chunk) => raw.write(chunk));
      raw.write(bytes.subarray(50));
      let received = '';
      socket.on('data', (chunk) => {
        received += chunk;
      });
      await once(socket, 'end');
      expect(received).toBe('hello');
      socket.destroy();
      raw.destroy();
      await closing;
    });
    expect(all).toContain('secureConnection');
  });
});

const nameOf = (event: string): string => event.split(' ')[0] as string;

/** A pair whose errors are seen by the server's events alone. */
function quietPair(options: Parameters<typeof duplexPair>[0] = {}): [Duplex, Duplex] {
  const ends = duplexPair(options);
  for (const end of ends) end.on('error', () => {});
  return ends;
}

describe.each([true, false])('a duplex with allowHalfOpen %s that is emitted as a connection', (allowHalfOpen) => {
  const emitted =
    (act: (far: Duplex, near: Duplex) => void, bytes: Buffer = half(), wait = 20) =>
    async ({ server, events }: Watched): Promise<void> => {
      const [near, far] = quietPair({ allowHalfOpen });
      server.emit('connection', far);
      if (bytes.length > 0) near.write(bytes);
      await turns(wait);
      act(far, near);
      await turns(20);
      events.push('(destroyed)');
      far.destroy();
    };

  const acts: [string, (far: Duplex, near: Duplex) => void][] = [
    ['is destroyed', (far) => far.destroy()],
    ['is destroyed with an error', (far) => far.destroy(Object.assign(new Error('broken'), { code: 'EBROKEN' }))],
    ['emits an error', (far) => far.emit('error', Object.assign(new Error('broken'), { code: 'EBROKEN' }))],
    ['ends', (_far, near) => near.end()],
    ['ends both ways', (far, near) => void [near.end(), far.end()]],
    ['gets garbage', (_far, near) => near.write(Buffer.alloc(100, 0xa5))],
  ];

  describe.each<[string, Buffer]>([
    ['after half a hello', half()],
    ['before the first byte', Buffer.alloc(0)],
    ['after garbage', Buffer.alloc(100, 0xa5)],
  ])('and %s', (_when, bytes) => {
    it.each(acts)('%s raises what plain tls raises', async (_what, act) => {
      await same(emitted(act, bytes));
    });

    it.each(acts)('%s in the same turn raises as many errors as plain tls raises', async (_what, act) => {
      // Which of the two comes first, the bytes or what happens to the stream, is nobody's promise.
      const [plain, attached] = [
        await eventsOf('plain', emitted(act, bytes, 0)),
        await eventsOf('attached', emitted(act, bytes, 0)),
      ];
      expect(attached.map(nameOf)).toEqual(plain.map(nameOf));
    });
  });

  it('is destroyed already raises what plain tls raises', async () => {
    await same(async ({ server }) => {
      const [, far] = quietPair({ allowHalfOpen });
      far.destroy();
      server.emit('connection', far);
    });
  });

  it('ended already raises what plain tls raises', async () => {
    await same(async ({ server }) => {
      const [near, far] = quietPair({ allowHalfOpen });
      near.end();
      far.resume();
      await turns(5);
      server.emit('connection', far);
      await turns(5);
      far.destroy();
    });
  });

  it('that announces no close raises what plain tls raises, and completes', async () => {
    for (const version of VERSIONS) {
      const events = await same(async ({ server }) => {
        const [near, far] = quietPair({ allowHalfOpen, emitClose: false });
        server.emit('connection', far);
        const socket = tls.connect({ socket: near, rejectUnauthorized: false, ...only(version) });
        socket.resume();
        await once(socket, 'end');
        socket.destroy();
      });
      expect(events).toEqual(['connection', 'secureConnection']);
    }
  });
});

describe('https without listeners for clientError', () => {
  it('closes the connection, as without the library', async () => {
    for (const kind of KINDS) {
      const { port, events } = await watch(kind, 'https');
      await sends(() => Buffer.alloc(300, 0xa5))(port);
      await leaves('resetAndDestroy', half)(port);
      expect(events.length).toBeGreaterThan(2);
    }
  });

  it('lets a clientError listener answer on the socket, whatever is left of it', async () => {
    await same(async ({ server, port }) => {
      server.on('clientError', (_error: Error, socket: Duplex) => {
        if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
      });
      await leaves('resetAndDestroy', half)(port);
      await leaves('end', half)(port);
    }, 'https');
  });
});
