import { once } from 'node:events';
import type * as net from 'node:net';
import { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import type { Attachment } from '../../src/server/attachment.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { collectGarbage } from '../support/garbage.js';
import { record } from '../support/hello-builder.js';
import { closed, dial, forge, RawClient13 } from '../support/raw-clients.js';
import { close, only, VERSIONS, type Version, visit } from '../support/visits.js';
import type { Kind } from './fixtures/servers.js';

const { attachments } = vi.hoisted(() => ({ attachments: [] as Attachment[] }));

vi.mock('../../src/server/attachment.js', async (original) => {
  const module = await original<typeof import('../../src/server/attachment.js')>();
  class Remembered extends module.Attachment {
    constructor(...parameters: ConstructorParameters<typeof Attachment>) {
      super(...parameters);
      attachments.push(this);
    }
  }
  return { ...module, Attachment: Remembered };
});

const PEOPLE = 24;
const BACKLOG = 4096;

interface Person {
  readonly name: string;
  readonly servername: string;
  readonly certificate: IssuedCertificate;
  readonly sessions: Map<Version, Buffer>;
}

let authority: IssuedCertificate;
let contexts: IssuedCertificate[];
let certificates: IssuedCertificate[];
const cleanups: (() => unknown)[] = [];
const accidents: unknown[] = [];
const onAccident = (error: unknown): void => void accidents.push(error);

beforeAll(async () => {
  authority = await makeCertificate({ isAuthority: true, commonName: 'test CA' });
  contexts = await Promise.all(['a', 'b', 'c'].map((name) => makeCertificate({ names: [`*.${name}.test`] })));
  certificates = await Promise.all(
    Array.from({ length: PEOPLE }, (_, i) => makeCertificate({ commonName: `person ${i}`, issuer: authority })),
  );
});

beforeEach(() => {
  accidents.length = 0;
  process.on('uncaughtExceptionMonitor', onAccident);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  process.off('uncaughtExceptionMonitor', onAccident);
  expect(accidents).toEqual([]);
});

/** Numbers from 0 up to, not including, 1: the same in every run (xorshift). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** A store that answers at once, in the next turn or up to 20 ms later, and fails every tenth time. */
function unreliableStore(next: () => number): SessionStore {
  const held = new Map<string, Uint8Array>();
  const answer = async <T>(act: () => T): Promise<T> => {
    const delay = next() * 30 - 10;
    if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
    else if (delay > -5) await new Promise((resolve) => setImmediate(resolve));
    if (next() < 0.1) throw new Error('the store is down');
    return act();
  };
  const name = (key: Uint8Array): string => Buffer.from(key).toString('hex');
  const get = (key: Uint8Array) => answer(() => held.get(name(key)));
  return {
    get,
    set: (key, session) => answer(() => void held.set(name(key), Buffer.from(session))),
    delete: (key) => answer(() => void held.delete(name(key))),
    take: async (key) => {
      const found = await get(key);
      return held.delete(name(key)) ? found : undefined;
    },
  };
}

interface Running {
  readonly port: number;
  readonly server: tls.Server;
  readonly resumption: ServerResumption;
  /** How often the callback of each newSession and resumeSession was called. */
  readonly answers: number[];
  readonly sockets: WeakRef<object>[];
}

/** Tells every client whom the server takes it for. */
async function start(kind: Kind, setting: ServerResumptionOptions, next: () => number): Promise<Running> {
  const resumption = new ServerResumption(setting);
  const [first] = contexts as [IssuedCertificate, ...IssuedCertificate[]];
  const made = contexts.map(({ key, cert }) => {
    const options = { key, cert, ca: authority.cert };
    return kind === 'plain' ? tls.createSecureContext(options) : resumption.secureContext(options);
  });
  const options: tls.TlsOptions = {
    key: first.key,
    cert: first.cert,
    ca: authority.cert,
    requestCert: true,
    rejectUnauthorized: false,
    SNICallback: (servername, callback) => {
      const context = made['abc'.indexOf(servername.at(-6) ?? '')];
      if (next() < 0.3) callback(null, context);
      else if (next() < 0.7) setImmediate(callback, null, context);
      else setTimeout(callback, 5 * next(), null, context);
    },
  };
  const server = tls.createServer(kind === 'plain' ? options : resumption.secure(options));
  if (kind === 'attached') resumption.attach(server);
  const sockets: WeakRef<object>[] = [];
  server.on('connection', (socket) => sockets.push(new WeakRef(socket)));
  server.on('secureConnection', (socket) => {
    sockets.push(new WeakRef(socket));
    socket.on('error', () => {});
    const mark: Mark = {
      servername: resumption.connection(socket)?.servername,
      certificate: socket.getPeerCertificate().subject?.CN as string | undefined,
      context: (socket.getCertificate() as Partial<tls.PeerCertificate> | null)?.subject?.CN as string | undefined,
      resumed: socket.isSessionReused(),
    };
    socket.end(JSON.stringify(mark));
  });
  const answers = kind === 'attached' ? countAnswers(server) : [];
  cleanups.push(() => close(server));
  server.listen({ port: 0, host: '127.0.0.1', backlog: BACKLOG });
  await once(server, 'listening');
  return { port: (server.address() as net.AddressInfo).port, server, resumption, answers, sockets };
}

interface Mark {
  readonly servername: string | undefined;
  readonly certificate: string | undefined;
  readonly context: string | undefined;
  readonly resumed: boolean;
}

function countAnswers(server: tls.Server): number[] {
  const answers: number[] = [];
  const emit = server.emit;
  server.emit = function (this: tls.Server, name: string, ...args: unknown[]): boolean {
    if (name === 'newSession' || name === 'resumeSession') {
      const callback = args.pop() as (...answer: unknown[]) => void;
      const event = answers.push(0) - 1;
      args.push((...answer: unknown[]) => {
        answers[event] = (answers[event] as number) + 1;
        callback(...answer);
      });
    }
    return Reflect.apply(emit, this, [name, ...args]);
  } as typeof emit;
  return answers;
}

function meet(): Person[] {
  return certificates.map((certificate, i) => ({
    name: `person ${i}`,
    servername: `p${i}.${'abc'[i % 3]}.test`,
    certificate,
    sessions: new Map(),
  }));
}

function options(person: Person, version: Version): tls.ConnectionOptions {
  const { key, cert } = person.certificate;
  return { ...only(version), servername: person.servername, key, cert };
}

/** Comes as this person; the connection that it gets, and for whom the server takes it. */
async function come(port: number, person: Person, version: Version, session?: Buffer): Promise<Mark> {
  const { resumed, received, session: given } = await visit(port, { ...options(person, version), session });
  const mark = JSON.parse(received) as Mark;
  expect(mark.resumed).toBe(resumed);
  if (given !== undefined && !person.sessions.has(version)) person.sessions.set(version, given);
  return mark;
}

/** The same, and must be taken for nobody else. */
async function comeAs(port: number, person: Person, version: Version, session?: Buffer): Promise<boolean> {
  const mark = await come(port, person, version, session);
  expect(mark.certificate).toBe(person.name);
  if (mark.servername !== undefined) expect(mark.servername).toBe(person.servername);
  if (!mark.resumed) expect(mark.context).toBe(`*.${person.servername.split('.')[1]}.test`);
  return mark.resumed;
}

function unknownSession(session: Buffer, next: () => number): Buffer {
  return forge(session, (view) => {
    const shown = view.ticket ?? view.sessionId;
    for (let i = 0; i < shown.length; i++) shown[i] = Math.floor(next() * 256);
  });
}

/** Bytes, and then gone. */
async function misbehave(port: number, bytes: Uint8Array, leave: 'end' | 'resetAndDestroy'): Promise<void> {
  const socket = await dial(port, bytes);
  socket.resume();
  socket[leave]();
  await closed(socket);
}

/** A real client that is gone in the middle of its handshake. */
async function vanish(port: number, person: Person, version: Version, session: Buffer): Promise<void> {
  const socket = tls.connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ...options(person, version),
    session,
  });
  socket.on('error', () => {});
  socket.on('connect', () => setImmediate(() => socket.destroy()));
  await closed(socket);
}

interface Tally {
  returning: number;
  resumed: number;
  /** Plain tls lets most of them in. */
  stolen: number;
}

type Deed = (person: Person, version: Version, other: Person) => Promise<unknown>;

/** What 1 000 clients do: how many of them do what. */
function deeds(port: number, next: () => number, tally: Tally): [number, Deed][] {
  const held = (person: Person, version: Version): Buffer => person.sessions.get(version) as Buffer;
  const hello = (): Buffer => record(RawClient13.firstHello({ servername: 'p0.a.test' }));
  return [
    [
      400,
      async (person, version) => {
        tally.returning++;
        if (await comeAs(port, person, version, held(person, version))) tally.resumed++;
      },
    ],
    [150, (person, version) => comeAs(port, person, version)],
    [
      100,
      async (person, version) => {
        expect(await comeAs(port, person, version, unknownSession(held(person, version), next))).toBe(false);
      },
    ],
    [
      50,
      async (person, version, other) => {
        const mark = await come(port, person, version, held(other, version));
        if (mark.resumed || mark.certificate !== person.name) tally.stolen++;
      },
    ],
    [100, () => misbehave(port, Buffer.alloc(1 + 400 * next(), 0xa5), 'end')],
    [50, () => misbehave(port, hello().subarray(0, 1 + 100 * next()), 'end')],
    [50, () => misbehave(port, hello().subarray(0, 1 + 100 * next()), 'resetAndDestroy')],
    [50, () => misbehave(port, hello(), 'resetAndDestroy')],
    [50, (person, version) => vanish(port, person, version, held(person, version))],
  ];
}

async function storm(running: Running, next: () => number): Promise<Tally> {
  const { port } = running;
  const people = meet();
  for (const version of VERSIONS) await Promise.all(people.map((person) => comeAs(port, person, version)));
  await running.resumption.idle();
  const tally: Tally = { returning: 0, resumed: 0, stolen: 0 };
  const all = deeds(port, next, tally).flatMap(([count, deed]) => Array.from({ length: count }, () => deed));
  expect(all).toHaveLength(1000);
  const order = all.map((deed) => ({ deed, at: next() })).sort((a, b) => a.at - b.at);
  const outcomes = await Promise.allSettled(
    order.map(({ deed }, i) => {
      const person = people[i % PEOPLE] as Person;
      const other = people[(i + 1 + Math.floor(next() * (PEOPLE - 1))) % PEOPLE] as Person;
      return deed(person, VERSIONS[Math.floor(i / PEOPLE) % 2] as Version, other);
    }),
  );
  expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
  return tally;
}

const tcpSockets = (): number => process.getActiveResourcesInfo().filter((type) => type === 'TCPSocketWrap').length;

function openConnections(server: net.Server): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Until nothing of 1 000 connections is left, which must come of itself. */
async function nothingLeft(running: Running, baseline: number): Promise<void> {
  const { server, resumption, sockets } = running;
  while ((await openConnections(server)) > 0 || tcpSockets() > baseline) await turns(1);
  await resumption.idle();
  await turns(20);
  for (const attachment of attachments.splice(0)) expect(attachment.pending).toBe(0);
  let alive = sockets.length;
  for (let round = 0; round < 20 && alive > 0; round++) {
    await turns(5);
    collectGarbage();
    alive = sockets.filter((socket) => socket.deref() !== undefined).length;
  }
  // The engine may keep what it used last.
  expect(alive).toBeLessThanOrEqual(5);
}

const settings: [string, Kind, (next: () => number) => ServerResumptionOptions][] = [
  ['a plain server', 'plain', () => ({})],
  ['a server with its cache', 'attached', () => ({})],
  [
    'a server with an unreliable store only',
    'attached',
    (next) => ({
      lookupTimeout: 10_000,
      cache: new SessionCache({
        mode: SessionCacheMode.Server | SessionCacheMode.NoInternal,
        external: unreliableStore(next),
      }),
    }),
  ],
  [
    'a server with an unreliable store, waited for 5 ms, and single use',
    'attached',
    (next) => ({
      lookupTimeout: 5,
      singleUse: true,
      cache: new SessionCache({ external: unreliableStore(next) }),
    }),
  ],
];

describe('1 000 clients at once', () => {
  it.each(settings)('are served by %s, and leave nothing behind', async (_what, kind, setting) => {
    const next = random(7);
    const baseline = tcpSockets();
    const running = await start(kind, setting(next), next);
    const { returning, resumed, stolen } = await storm(running, next);
    expect(returning).toBe(400);
    if (kind === 'attached') {
      expect(stolen).toBe(0);
      expect(resumed).toBeGreaterThan(0);
      expect(running.answers.length).toBeGreaterThan(1000);
      expect(running.answers.filter((count) => count !== 1)).toEqual([]);
    }
    if (running.resumption.cache.mode === SessionCacheMode.Server && setting.length === 0 && kind === 'attached') {
      expect(resumed).toBe(returning);
    }
    await nothingLeft(running, baseline);
  });
});

describe('a duplex that announces no close', () => {
  /** A handshake over one, which is then forgotten by everybody. */
  async function visitOver({ server }: Running): Promise<void> {
    const ends: Duplex[] = [];
    for (const other of [1, 0]) {
      ends.push(
        new Duplex({
          emitClose: false,
          read() {},
          write: (chunk, _encoding, done) => {
            ends[other]?.push(chunk);
            done();
          },
          final: (done) => {
            ends[other]?.push(null);
            done();
          },
        }),
      );
    }
    const [near, far] = ends as [Duplex, Duplex];
    server.emit('connection', far);
    const socket = tls.connect({ socket: near, rejectUnauthorized: false, servername: 'p0.a.test' });
    socket.resume();
    await once(socket, 'end');
    socket.destroy();
    far.destroy();
  }

  it('leaves nothing behind either', async () => {
    const running = await start('attached', {}, random(7));
    for (let i = 0; i < 10; i++) await visitOver(running);
    const [attachment] = attachments.splice(0) as [Attachment];
    for (let round = 0; round < 20 && attachment.pending > 0; round++) {
      await turns(5);
      collectGarbage();
    }
    // The engine may keep what it used last.
    expect(attachment.pending).toBeLessThanOrEqual(1);
  });
});
