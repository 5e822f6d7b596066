import { once } from 'node:events';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { NotResumedReason } from '../../src/guard/resumption-rules.js';
import type { ServerResumptionOptions } from '../../src/server/server-resumption.js';
import { extension, record, returningHello12, TLS13, uint, vector } from '../support/hello-builder.js';
import {
  type Answer,
  answerTo,
  decode,
  dial,
  editingProxy,
  type FlightEditor,
  forge,
  type Hello13,
  intoRecords,
  intoSegments,
  P256,
  type Psk,
  pskOf,
  RAW_CIPHER,
  RawClient13,
  recordsOf,
  SIGNATURE_ALGORITHMS,
  shownId,
} from '../support/raw-clients.js';
import { waitUntil } from '../support/streams.js';
import { close, only, VERSIONS, type Version, visit } from '../support/visits.js';
import { closeAll, KINDS, type Kind, type Started, startServer } from './fixtures/servers.js';

/** OpenSSL's SSL_OP_NO_EXTENDED_MASTER_SECRET. */
const NO_EXTENDED_MASTER_SECRET = 1;
const ILLEGAL_PARAMETER = 47;
const UNKNOWN: Psk = { identity: Buffer.alloc(32, 0xee), secret: Buffer.alloc(32, 1) };
/** Of another length than a session ID: OpenSSL does not ask for it. */
const TICKET: Psk = { identity: Buffer.alloc(200, 0xdd), secret: Buffer.alloc(32, 1) };

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await closeAll();
});

function client(version: Version, options: tls.ConnectionOptions = {}): tls.ConnectionOptions {
  const cipher = version === 'TLSv1.3' ? RAW_CIPHER : 'ECDHE-ECDSA-AES128-GCM-SHA256';
  return { ...only(version), servername: 'a.test', ciphers: cipher, ...options };
}

async function proxied(port: number, ...editors: FlightEditor[]): Promise<number> {
  const proxy = await editingProxy(port, ...editors);
  cleanups.push(() => close(proxy));
  return proxy.port;
}

/** What a client experiences: how its handshake went, or the code it died of. */
async function outcome(port: number, options: tls.ConnectionOptions): Promise<string> {
  try {
    return (await visit(port, options)).resumed ? 'resumed' : 'full';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  }
}

/** How the server answers the hello and, when it does not refuse, what its application sends in the end. */
async function ask13(port: number, spec: Hello13): Promise<Answer & { received?: string }> {
  const raw = await RawClient13.connect(port);
  try {
    const answer = await raw.ask({ servername: 'a.test', ...spec });
    return answer.kind === 'full' || answer.kind === 'resumed' ? { ...answer, received: await raw.finish() } : answer;
  } finally {
    raw.destroy();
  }
}

const full = { kind: 'full', received: 'hello' };
const resumed = { kind: 'resumed', received: 'hello' };

/** A started server with one session in it, of a client that came as `a.test`. */
async function withSession(
  version: Version,
  setting: ServerResumptionOptions = {},
  options: tls.TlsOptions = {},
): Promise<Started & { session: Buffer }> {
  const started = await startServer('attached', options, setting);
  const { session } = await visit(started.port, client(version));
  return { ...started, session: session as Buffer };
}

/** The proper owner of the session comes back: nothing that others did has cost it. */
async function expectOwnerResumes(
  { port, seen, session }: Started & { session: Buffer },
  version: Version,
  options: tls.ConnectionOptions = {},
): Promise<void> {
  expect(await outcome(port, client(version, { session, ...options }))).toBe('resumed');
  expect(seen.at(-1)).toMatchObject({ resumed: true, servername: 'a.test' });
}

const refusedHellos = (session: Buffer): [string, NotResumedReason, Hello13][] => {
  const psk = pskOf(session);
  return [
    ['the session after an unknown one', 'unknown', { psks: [UNKNOWN, psk] }],
    ['the session under another name', 'unknown', { psks: [psk], servername: 'b.test' }],
    ['the session with a dot after the name', 'unknown', { psks: [psk], servername: 'a.test.' }],
    ['the session under the name in capitals', 'unknown', { psks: [psk], servername: 'A.test' }],
    ['psk_ke alone', 'no-psk-dhe-ke', { psks: [psk], pskKeyExchangeModes: [0] }],
    ['an empty legacy session ID', 'no-legacy-session-id', { psks: [psk], sessionId: Buffer.alloc(0) }],
    ['an unknown session alone', 'unknown', { psks: [UNKNOWN] }],
    ['a ticket of the stateless kind', 'not-offered', { psks: [TICKET] }],
    ['its identity as the legacy session ID only', 'not-offered', { sessionId: psk.identity }],
    [
      'its identity as the legacy session ID, and an unknown one',
      'unknown',
      { sessionId: psk.identity, psks: [UNKNOWN] },
    ],
  ];
};

describe('PSK identities in TLS 1.3', () => {
  it('are answered when the first is the session, whatever stands behind it', async () => {
    const started = await withSession('TLSv1.3');
    const psk = pskOf(started.session);
    for (const psks of [[psk], [psk, UNKNOWN], [psk, psk], [psk, TICKET], [TICKET, psk]]) {
      expect(await ask13(started.port, { psks })).toMatchObject(resumed);
    }
    expect(started.seen.slice(1).every((each) => each.resumed)).toBe(true);
  });

  it('are a full handshake in every other shape, which completes', async () => {
    const started = await withSession('TLSv1.3');
    for (const [what, reason, hello] of refusedHellos(started.session)) {
      expect(await ask13(started.port, hello), what).toMatchObject(full);
      expect(started.seen.at(-1), what).toMatchObject({ resumed: false, reason });
    }
    await expectOwnerResumes(started, 'TLSv1.3');
  });

  it('of two known sessions, only the first is answered', async () => {
    const started = await withSession('TLSv1.3', { singleUse: true });
    const other = (await visit(started.port, client('TLSv1.3'))).session as Buffer;
    expect(await ask13(started.port, { psks: [pskOf(started.session), pskOf(other)] })).toMatchObject(resumed);
    expect(await ask13(started.port, { psks: [pskOf(started.session)] })).toMatchObject(full);
    expect(await ask13(started.port, { psks: [pskOf(other)] })).toMatchObject(resumed);
  });

  it('of two known sessions of different names, the other name gains nothing', async () => {
    const started = await withSession('TLSv1.3');
    const other = (await visit(started.port, client('TLSv1.3', { servername: 'b.test' }))).session as Buffer;
    const psks = [pskOf(other), pskOf(started.session)];
    expect(await ask13(started.port, { psks })).toMatchObject(full);
    expect(await ask13(started.port, { psks, servername: 'b.test' })).toMatchObject(resumed);
    expect(started.seen.at(-1)?.servername).toBe('b.test');
  });

  it('lose no single-use session when they are refused', async () => {
    const started = await withSession('TLSv1.3', { singleUse: true });
    for (const [, , hello] of refusedHellos(started.session)) await ask13(started.port, hello);
    await ask13(started.port, { psks: [{ ...pskOf(started.session), secret: Buffer.alloc(32, 1) }] });
    await expectOwnerResumes(started, 'TLSv1.3');
    expect(await outcome(started.port, client('TLSv1.3', { session: started.session }))).toBe('full');
  });

  it('with a wrong binder get the alert that OpenSSL gives for its own tickets', async () => {
    const started = await withSession('TLSv1.3');
    const plain = await startServer('plain');
    const { session: ticket } = await visit(plain.port, client('TLSv1.3'));
    const wrong = (session: Buffer | undefined): Hello13 => ({
      psks: [{ ...pskOf(session), secret: Buffer.alloc(32, 1) }],
    });
    const expected = await ask13(plain.port, wrong(ticket));
    expect(expected.kind).toBe('alert');
    expect(await ask13(started.port, wrong(started.session))).toEqual(expected);
    expect(started.seen).toHaveLength(1);
    await expectOwnerResumes(started, 'TLSv1.3');
  });

  it('in an extension that is not the last one get the alert that OpenSSL gives', async () => {
    const started = await withSession('TLSv1.3');
    const plain = await startServer('plain');
    const psk = pskOf(started.session);
    const last = extension(0xfafa, Buffer.alloc(1));
    const afterIt: Hello13 = { psks: [psk], edit: (message) => withExtensionBytes(message, last) };
    const answer = await ask13(started.port, afterIt);
    expect(answer).toEqual({ kind: 'alert', alert: ILLEGAL_PARAMETER });
    expect(await ask13(plain.port, afterIt)).toEqual(answer);
    expect(started.seen).toHaveLength(1);
    await expectOwnerResumes(started, 'TLSv1.3');
  });
});

/** The message with these bytes put behind its last extension. */
function withExtensionBytes(message: Buffer, more: Buffer): Buffer {
  let at = 39 + (message[38] as number);
  at += 2 + message.readUInt16BE(at);
  at += 1 + (message[at] as number);
  const extensions = Buffer.concat([message.subarray(at + 2), more]);
  const body = Buffer.concat([message.subarray(4, at), vector(2, extensions)]);
  return Buffer.concat([uint(1, 1), vector(3, body)]);
}

describe("sessions of one version shown as the other's", () => {
  it('do not resume: a TLS 1.2 session ID as a PSK identity', async () => {
    const started = await withSession('TLSv1.2');
    const { session: own } = await visit(started.port, client('TLSv1.3'));
    const identity = shownId(started.session);
    const lie = forge(own, (view) => void view.ticket?.set(identity));
    expect(shownId(lie)).toEqual(identity);
    expect(await outcome(started.port, client('TLSv1.3', { session: lie }))).toBe('full');
    expect(started.seen.at(-1)).toMatchObject({ resumed: false, reason: 'protocol-version' });
    const secret = decode(started.session).masterSecret.subarray(0, 32);
    expect(await ask13(started.port, { psks: [{ identity, secret }] })).toMatchObject(full);
    await expectOwnerResumes(started, 'TLSv1.2');
  });

  it('do not resume: a PSK identity as a TLS 1.2 session ID', async () => {
    const started = await withSession('TLSv1.3');
    const { session: own } = await visit(started.port, client('TLSv1.2'));
    const identity = shownId(started.session);
    const lie = forge(own, (view) => void view.sessionId.set(identity));
    expect(await outcome(started.port, client('TLSv1.2', { session: lie }))).toBe('full');
    expect(started.seen.at(-1)).toMatchObject({ resumed: false, reason: 'protocol-version' });
    expect(await answerTo(started.port, hello12(identity))).toMatchObject({ kind: 'full' });
    await expectOwnerResumes(started, 'TLSv1.3');
  });

  it('do not resume when the client offers both versions and a TLS 1.2 session', async () => {
    const started = await withSession('TLSv1.2');
    const both = { ...client('TLSv1.2'), maxVersion: 'TLSv1.3' as const, ciphers: undefined };
    expect(await outcome(started.port, { ...both, session: started.session })).not.toBe('resumed');
    expect(started.seen.at(-1)?.resumed).toBe(false);
    await expectOwnerResumes(started, 'TLSv1.2');
  });
});

/** A TLS 1.2 hello that a server would go on with. */
function hello12(sessionId: Uint8Array, spec: Parameters<typeof returningHello12>[1] = {}): Buffer {
  const { extraExtensions = [], ...rest } = spec;
  return record(
    returningHello12(sessionId, {
      cipherSuites: [0xc02b],
      supportedGroups: [29, P256],
      extraExtensions: [SIGNATURE_ALGORITHMS, ...extraExtensions],
      ...rest,
    }),
  );
}

describe("another's legacy session ID", () => {
  it('in TLS 1.2 leads as far as with plain tls: to a handshake that its thief cannot complete', async () => {
    const errors: Record<string, string[]> = {};
    for (const kind of KINDS) {
      // Without tickets, OpenSSL answers session IDs through the listeners of the application.
      const { server, port, seen } = await startServer(kind, { secureOptions: 0x4000 });
      if (kind === 'plain') answerSessionIds(server);
      const { session } = await visit(port, client('TLSv1.2'));
      const stolen = forge(session, (view) => view.masterSecret.fill(1));
      const failed = once(server, 'tlsClientError');
      const experience = await outcome(port, client('TLSv1.2', { session: stolen }));
      const [error] = (await failed) as [NodeJS.ErrnoException];
      errors[kind] = [experience, error.code as string];
      expect(seen.length).toBe(kind === 'plain' ? 0 : 1);
      expect(await outcome(port, client('TLSv1.2', { session: session as Buffer }))).toBe('resumed');
    }
    expect(errors['attached']).toEqual(errors['plain']);
  });

  it('in TLS 1.2 leads to a full handshake of its own under any other name', async () => {
    const started = await withSession('TLSv1.2');
    const id = shownId(started.session);
    for (const spec of [{ servername: 'b.test' }, { servername: 'A.TEST' }, { servername: 'a.test.' }]) {
      const answer = await answerTo(started.port, hello12(id, spec));
      expect(answer).toMatchObject({ kind: 'full' });
      expect(answer).not.toMatchObject({ sessionId: id.toString('hex') });
    }
    await expectOwnerResumes(started, 'TLSv1.2');
  });

  it('in TLS 1.2 costs its owner no single-use session', async () => {
    const started = await withSession('TLSv1.2', { singleUse: true });
    const stolen = forge(started.session, (view) => view.masterSecret.fill(1));
    for (let i = 0; i < 3; i++) {
      const failed = once(started.server, 'tlsClientError');
      expect(await outcome(started.port, client('TLSv1.2', { session: stolen }))).not.toMatch(/full|resumed/);
      await failed;
    }
    await expectOwnerResumes(started, 'TLSv1.2');
  });

  it('in TLS 1.3 disturbs neither the connection that it came from nor the one it is shown on', async () => {
    const started = await withSession('TLSv1.3');
    const { session: own } = await visit(started.port, client('TLSv1.3', { servername: 'b.test' }));
    const sessionId = Buffer.alloc(32, 0x5a);
    const connections = await Promise.all(Array.from({ length: 8 }, () => RawClient13.connect(started.port)));
    const hellos: Hello13[] = connections.map((_, i) =>
      i % 2 === 0
        ? { sessionId, psks: [pskOf(started.session)], servername: 'a.test' }
        : { sessionId, psks: [pskOf(own)], servername: i % 4 === 1 ? 'b.test' : 'a.test' },
    );
    const answers = await Promise.all(connections.map((raw, i) => raw.ask(hellos[i])));
    expect(answers.map(({ kind }) => kind)).toEqual(hellos.map((_, i) => (i % 4 === 3 ? 'full' : 'resumed')));
    expect(await Promise.all(connections.map((raw) => raw.finish()))).toEqual(connections.map(() => 'hello'));
    expect(started.seen.filter((each) => each.resumed && each.servername === 'b.test')).toHaveLength(2);
  });
});

/** What an application does by hand for TLS 1.2 session IDs. */
function answerSessionIds(server: tls.Server): void {
  const sessions = new Map<string, Buffer>();
  server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
    sessions.set(id.toString('hex'), session);
    done();
  });
  server.on('resumeSession', (id: Buffer, done: (error: null, session: Buffer | null) => void) =>
    done(null, sessions.get(id.toString('hex')) ?? null),
  );
}

describe('a server name that is hidden', () => {
  const name = (text: string): Buffer => vector(2, uint(1, 0), vector(2, Buffer.from(text, 'latin1')));
  const bare = (...bytes: Uint8Array[]) => ({ type: 0, data: Buffer.concat(bytes) });
  const hidings: [string, { type: number; data: Buffer }[]][] = [
    ['in an empty extension', [bare()]],
    ['in an empty list', [bare(vector(2))]],
    ['as an empty name', [bare(name(''))]],
    ['as a name of another type', [bare(vector(2, uint(1, 1), vector(2, Buffer.from('a.test'))))]],
    ['as the first of two names', [bare(vector(2, name('a.test').subarray(2), name('b.test').subarray(2)))]],
    ['before bytes that are too many', [bare(name('a.test'), Buffer.alloc(1))]],
    ['behind a length that is too long', [bare(uint(2, 90), name('a.test').subarray(2))]],
    ['behind a length that is too short', [bare(uint(2, 3), name('a.test').subarray(2))]],
    ['with a NUL in it', [bare(name('a.test\0b.test'))]],
    ['with a NUL behind it', [bare(name('a.test\0'))]],
    ['in 256 bytes', [bare(name('a'.repeat(256)))]],
    ['in two extensions', [bare(name('a.test')), bare(name('b.test'))]],
    ['in one extension sent twice', [bare(name('a.test')), bare(name('a.test'))]],
    ['by an extension of no name', []],
  ];

  it.each(hidings)('%s never resumes, and the server answers as plain tls does', async (_how, extraExtensions) => {
    const started = await withSession('TLSv1.3');
    const plain = await startServer('plain');
    const { session: session12 } = await visit(started.port, client('TLSv1.2'));
    const { session: nameless } = await visit(started.port, { ...client('TLSv1.3'), servername: '' });
    const before = started.seen.length;
    const hide = (session: Buffer | undefined): Hello13 => ({
      servername: undefined as never,
      extraExtensions,
      psks: [pskOf(session)],
    });
    const expected = await ask13(plain.port, hide(started.session));
    expect(await ask13(started.port, hide(started.session))).toEqual(expected);
    expect(started.seen.slice(before).map((each) => each.resumed)).not.toContain(true);

    const bytes = hello12(shownId(session12), { servername: undefined as never, extraExtensions });
    const [ours, theirs] = [await answerTo(started.port, bytes), await answerTo(plain.port, bytes)];
    expect([ours.kind, 'alert' in ours && ours.alert]).toEqual([theirs.kind, 'alert' in theirs && theirs.alert]);
    expect(ours.kind).not.toBe('resumed');

    if (extraExtensions.length === 0) {
      expect(await ask13(started.port, hide(nameless))).toMatchObject(resumed);
    } else {
      expect((await ask13(started.port, hide(nameless))).kind).not.toBe('resumed');
    }
  });
});

describe.each(VERSIONS)('a hello that is cut up, on %s', (version) => {
  const parts =
    (count: number): FlightEditor =>
    (flight) =>
      intoRecords(Math.ceil((flight.length - 5) / count))(flight);
  const [thirds, sixtieths] = [parts(3), parts(60)];
  it.each<[string, FlightEditor]>([
    ['one record in segments of 7 bytes', intoSegments(7)],
    ['one record, a byte a segment', intoSegments(1)],
    ['three records in one segment', thirds],
    ['three records in segments of 100 bytes', intoSegments(100, thirds)],
    ['three records, a byte a segment', intoSegments(1, thirds)],
    ['60 small records', sixtieths],
    ['60 small records in segments of 3 bytes', intoSegments(3, sixtieths)],
    ['a record for each byte', intoRecords(1)],
    ['a record for each byte, in segments of 100 bytes', intoSegments(100, intoRecords(1))],
    ['a record for each segment', (flight) => thirds(flight).flatMap(recordsOf)],
  ])('resumes: %s', async (_how, editor) => {
    const started = await withSession(version);
    const port = await proxied(started.port, editor);
    const back = await visit(port, client(version, { session: started.session }));
    expect(back).toMatchObject({ resumed: true, received: 'hello' });
    expect(started.seen.at(-1)).toMatchObject({ resumed: true, servername: 'a.test' });
  });

  it('resumes when the first hello was cut up too', async () => {
    const { port, seen } = await startServer('attached');
    const cut = await proxied(port, thirds);
    const { session } = await visit(cut, client(version));
    expect(await outcome(cut, client(version, { session }))).toBe('resumed');
    expect(seen.map((each) => each.resumed)).toEqual([false, true]);
  });
});

describe('a client that returns as another', () => {
  it('without its extended master secret goes through a full handshake', async () => {
    const started = await withSession('TLSv1.2', { singleUse: true });
    const { port, session } = started;
    const without = client('TLSv1.2', { secureOptions: NO_EXTENDED_MASTER_SECRET });
    expect(await outcome(port, { ...without, session })).toBe('full');
    expect(started.seen.at(-1)?.reason).toBe('extended-master-secret');
    const { session: bare } = await visit(port, without);
    expect(await outcome(port, client('TLSv1.2', { session: bare }))).toBe('full');
    expect(started.seen.at(-1)?.reason).toBe('extended-master-secret');
    expect(await outcome(port, { ...without, session: bare })).toBe('resumed');
    await expectOwnerResumes(started, 'TLSv1.2');
  });

  it.each(VERSIONS)("without its session's cipher suite goes through a full handshake (%s)", async (version) => {
    const started = await withSession(version, { singleUse: true });
    const { port, session } = started;
    const other = version === 'TLSv1.3' ? 'TLS_CHACHA20_POLY1305_SHA256' : 'ECDHE-ECDSA-AES256-GCM-SHA384';
    // Node's client leaves a session out that it cannot use: so it asks for the suite, and the hello is edited.
    const bytes = version === 'TLSv1.3' ? undefined : hello12(shownId(session), { cipherSuites: [0xc02c] });
    if (bytes === undefined) {
      const answer = await answer13(port, { psks: [pskOf(session)], cipherSuites: [0x1303] });
      expect(answer.kind).toBe('full');
    } else expect(await answerTo(port, bytes)).toMatchObject({ kind: 'full' });
    expect(await outcome(port, client(version, { session, ciphers: other }))).toBe('full');
    await expectOwnerResumes(started, version);
  });
});

/** Only what the server answers to the hello. */
async function answer13(port: number, spec: Hello13): Promise<Answer> {
  const raw = await RawClient13.connect(port);
  const answer = await raw.ask({ servername: 'a.test', ...spec });
  raw.destroy();
  return answer;
}

describe('renegotiation in TLS 1.2', () => {
  async function renegotiate(started: Started): Promise<Error | null> {
    const socket = tls.connect({
      host: '127.0.0.1',
      port: started.port,
      rejectUnauthorized: false,
      ...client('TLSv1.2'),
    });
    cleanups.push(() => socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    return new Promise((resolve) => {
      socket.once('error', resolve);
      socket.once('close', () => resolve(new Error('closed')));
      socket.renegotiate({ rejectUnauthorized: false }, (error) => resolve(error));
      socket.resume();
    });
  }

  /** Keeps connections open, so that there is one to renegotiate on. */
  function stay({ server }: Started): void {
    const [greet] = server.listeners('secureConnection').slice(-1);
    server.removeListener('secureConnection', greet as never);
    server.on('secureConnection', (socket) => {
      cleanups.push(() => socket.destroy());
      socket.on('error', () => {});
    });
  }

  it('is refused', async () => {
    const started = await startServer('attached');
    stay(started);
    expect(await renegotiate(started)).toBeInstanceOf(Error);
    expect(started.resumption.cache.size).toBe(1);
  });

  it('keeps no session where the application allows it', async () => {
    const started = await startServer('attached', {}, { renegotiation: true });
    stay(started);
    expect(await renegotiate(started)).toBeNull();
    expect(started.resumption.cache.size).toBe(1);
  });
});

describe.each(VERSIONS)('a single-use session on %s', (version) => {
  it('resumes exactly one of 20 connections that show it at once', async () => {
    const started = await withSession(version, { singleUse: true });
    const { port, session, seen } = started;
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => outcome(port, client(version, { session }))));
    expect(outcomes.filter((each) => each === 'resumed')).toHaveLength(1);
    expect(outcomes.filter((each) => each === 'full')).toHaveLength(19);
    expect(seen.filter((each) => each.resumed)).toHaveLength(1);
  });

  it('is not lost to a client that shows it and leaves', async () => {
    const started = await withSession(version, { singleUse: true });
    const { cache } = started.resumption;
    const kept = cache.size;
    for (const leave of ['end', 'resetAndDestroy'] as const) {
      const bytes =
        version === 'TLSv1.2'
          ? hello12(shownId(started.session))
          : record(RawClient13.firstHello({ servername: 'a.test', psks: [pskOf(started.session)] }));
      const socket = await dial(started.port, bytes);
      await once(socket, 'data');
      expect(cache.size).toBe(kept - 1);
      const failed = once(started.server, 'tlsClientError');
      socket[leave]();
      await failed;
      await waitUntil(() => cache.size === kept);
    }
    await expectOwnerResumes(started, version);
  });
});

describe('HelloRetryRequest', () => {
  const retrying: tls.TlsOptions = { ecdhCurve: 'P-256' };
  const owner = { ecdhCurve: 'P-256' };
  const first: Hello13 = { keyShareGroups: [29] };
  const second: Hello13 = { keyShareGroups: [P256] };

  async function retry(port: number, one: Hello13, two: Hello13): Promise<Answer & { received?: string }> {
    const raw = await RawClient13.connect(port);
    try {
      expect(await raw.ask({ servername: 'a.test', ...first, ...one })).toMatchObject({ kind: 'retry' });
      const answer = await raw.ask({ servername: 'a.test', ...second, ...two });
      return answer.kind === 'alert' || answer.kind === 'closed' ? answer : { ...answer, received: await raw.finish() };
    } finally {
      raw.destroy();
    }
  }

  async function withRetries(setting: ServerResumptionOptions = {}) {
    const started = await startServer('attached', retrying, setting);
    const { session } = await visit(started.port, client('TLSv1.3', owner));
    return { ...started, session: session as Buffer };
  }

  it('with a PSK is no worse than a full handshake, and costs no single-use session', async () => {
    const started = await withRetries({ singleUse: true });
    const psks = [pskOf(started.session)];
    expect(await retry(started.port, { psks }, { psks })).toMatchObject({ received: 'hello' });
    expect(started.seen.at(-1)).toMatchObject({ resumed: false, reason: 'hello-retry-request' });
    await expectOwnerResumes(started, 'TLSv1.3', owner);
  });

  it('lets nobody change to the name of a session, nor away from it', async () => {
    const started = await withRetries();
    const kept = started.resumption.cache.size;
    const psks = [pskOf(started.session)];
    for (const [one, two] of [
      ['a.test', 'b.test'],
      ['b.test', 'a.test'],
    ]) {
      const answer = await retry(
        started.port,
        { psks, servername: one as string },
        { psks, servername: two as string },
      );
      expect(answer.kind).not.toBe('resumed');
      expect(started.seen.filter((each) => each.resumed)).toHaveLength(0);
      // Made under a name that the hello did not have: no context is right for it.
      expect(started.resumption.cache.size).toBe(kept);
    }
    await expectOwnerResumes(started, 'TLSv1.3', owner);
  });

  it('lets nobody bring a session in the second hello only', async () => {
    const started = await withRetries();
    expect((await retry(started.port, {}, { psks: [pskOf(started.session)] })).kind).not.toBe('resumed');
    expect(started.seen.filter((each) => each.resumed)).toHaveLength(0);
    await expectOwnerResumes(started, 'TLSv1.3', owner);
  });

  it('dies on the transcript when somebody in the middle changes the name, and nothing resumes', async () => {
    const started = await withRetries();
    const rename: FlightEditor = (flight) => [
      Buffer.from(flight.toString('latin1').replace('a.test', 'b.test'), 'latin1'),
    ];
    const port = await proxied(started.port, (flight) => [flight], rename);
    const options = client('TLSv1.3', { session: started.session, ecdhCurve: 'X25519:P-256' });
    expect(await outcome(port, options)).not.toMatch(/full|resumed/);
    expect(started.seen).toHaveLength(1);
    await expectOwnerResumes(started, 'TLSv1.3', owner);
  });
});

describe('what a server never does', () => {
  it.each<Kind>(['attached'])('answers with a session that was made for another client identity (%s)', async (kind) => {
    const { port, seen } = await startServer(kind);
    const sessions = await Promise.all(
      ['a.test', 'b.test', 'c.test'].map(async (servername) => ({
        servername,
        session: (await visit(port, client('TLSv1.3', { servername }))).session as Buffer,
      })),
    );
    const before = seen.length;
    for (const { servername } of sessions) {
      for (const { servername: other, session } of sessions) {
        const answer = await ask13(port, { servername, psks: [pskOf(session)] });
        expect(answer.kind).toBe(servername === other ? 'resumed' : 'full');
      }
    }
    expect(seen.slice(before).filter((each) => each.resumed)).toHaveLength(3);
  });

  it('speaks TLS 1.3 to a hello that offers it among garbage versions, without a session', async () => {
    const started = await withSession('TLSv1.3');
    const hello: Hello13 = { psks: [pskOf(started.session)], supportedVersions: [0x7f1c, 0x0a0a, TLS13] };
    expect(await ask13(started.port, hello)).toMatchObject(resumed);
    expect((await answer13(started.port, { ...hello, supportedVersions: [0x0a0a] })).kind).toBe('alert');
    await expectOwnerResumes(started, 'TLSv1.3');
  });
});
