/** Contexts by name, what is refused, who else changes contexts, and what is told. */

import { randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import * as tls from 'node:tls';
import { inspect } from 'node:util';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import type { ReloadOptions } from '../../src/server/reload.js';
import type { ServerTlsOptions } from '../../src/server/secure-options.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { MemorySharedState } from '../../src/stores/memory-shared-state.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { close, listen, only, VERSIONS, type Visit, visit } from '../support/visits.js';
import {
  type Certificates,
  certificates,
  echo,
  MODES,
  type Reloadable,
  startReloadable,
  stopAll,
} from './fixtures/reloading.js';

let all: Certificates;
let first: ServerTlsOptions;
let second: ServerTlsOptions;
let ofB: ServerTlsOptions;

beforeAll(async () => {
  all = await certificates();
  first = { key: all.a.key, cert: all.a.cert };
  second = { key: all.renewed.key, cert: all.renewed.cert };
  ofB = { key: all.b.key, cert: all.b.cert };
});

afterEach(stopAll);

const entries = (server: tls.Server): unknown[] => (server as unknown as { _contexts: unknown[] })._contexts;

/** Who answers to a name. */
function subjectOf(port: number, servername: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false });
    socket.on('error', reject);
    socket.once('secureConnect', () => {
      resolve(socket.getPeerX509Certificate()?.subject ?? '');
      socket.destroy();
    });
  });
}

describe.each(MODES)('contexts by name, %s', (mode) => {
  describe.each(VERSIONS)('over %s', (version) => {
    it('are replaced, and nothing of the others is forgotten', async () => {
      const { server, resumption, come } = await startReloadable({}, { mode });
      const [a, b] = [(await come(version, 'a.test')).session, (await come(version, 'b.test')).session];
      const report = await resumption.reload(server, { contexts: { 'b.test': second } });
      expect(report.changed).toEqual([
        {
          name: 'b.test',
          changes: [
            { setting: 'certificate', change: 'replaced' },
            { setting: 'key', change: 'replaced' },
          ],
        },
      ]);
      expect((await come(version, 'b.test', b)).resumed).toBe(false);
      expect((await come(version, 'a.test', a)).resumed).toBe(true);
      await resumption.reload(server, { contexts: { 'b.test': ofB } });
      expect((await come(version, 'b.test', b)).resumed).toBe(false);
      expect((await come(version, 'a.test', a)).resumed).toBe(true);
    });

    it('lose nothing where another context had the same settings, and find nothing again when they come back', async () => {
      const { server, resumption, come } = await startReloadable({}, { mode });
      server.addContext('c.test', first);
      const [a, c] = [(await come(version, 'a.test')).session, (await come(version, 'c.test')).session];
      await resumption.reload(server, { contexts: { 'c.test': second } });
      expect((await come(version, 'c.test', c)).resumed).toBe(false);
      expect((await come(version, 'a.test', a)).resumed).toBe(true);
      await resumption.reload(server, { contexts: { 'c.test': first } });
      expect((await come(version, 'c.test', c)).resumed).toBe(false);
    });

    it('forget for good when an application changes them by itself', async () => {
      const { server, resumption, come } = await startReloadable({}, { mode });
      const old = (await come(version, 'b.test')).session;
      server.addContext('b.test', second);
      expect((await come(version, 'b.test', old)).resumed).toBe(false);
      server.addContext('b.test', ofB);
      await resumption.idle();
      const renewed = await come(version, 'b.test', old);
      expect(renewed.resumed).toBe(false);
      expect((await come(version, 'b.test', renewed.session)).resumed).toBe(true);
    });

    it('that were made elsewhere are forgotten for good too, and keep what they have under other names', async () => {
      const { server, resumption, come } = await startReloadable({}, { mode });
      const stranger = tls.createSecureContext(second);
      for (const name of ['b.test', 'c.test']) server.addContext(name, stranger);
      // In TLS 1.2 a context made elsewhere gives tickets from its second connection on.
      for (const name of ['b.test', 'c.test']) await come(version, name);
      const [b, c] = [(await come(version, 'b.test')).session, (await come(version, 'c.test')).session];
      expect((await come(version, 'b.test', b)).resumed).toBe(true);
      await resumption.reload(server, { contexts: { 'b.test': ofB } });
      expect((await come(version, 'b.test', b)).resumed).toBe(false);
      expect((await come(version, 'c.test', c)).resumed).toBe(true);
      await resumption.reload(server, { contexts: { 'b.test': stranger } });
      expect((await come(version, 'b.test', b)).resumed).toBe(false);
      const again = await come(version, 'b.test');
      server.addContext('c.test', ofB);
      server.addContext('b.test', ofB);
      server.addContext('b.test', stranger);
      expect((await come(version, 'b.test', again.session)).resumed).toBe(false);
    });

    it('of the server: forget for good when an application calls setSecureContext, and keep what is equal', async () => {
      const { server, come } = await startReloadable({}, { mode });
      const [a, b] = [(await come(version, 'a.test')).session, (await come(version, 'b.test')).session];
      server.setSecureContext(first);
      expect((await come(version, 'a.test', a)).resumed).toBe(true);
      server.setSecureContext(second);
      server.setSecureContext(first);
      expect((await come(version, 'a.test', a)).resumed).toBe(false);
      expect((await come(version, 'b.test', b)).resumed).toBe(true);
    });
  });

  it('stand where they stood, and do not pile up', async () => {
    const { port, server, resumption } = await startReloadable({}, { mode });
    server.addContext('*.wild.test', first);
    server.addContext('x.wild.test', ofB);
    const count = entries(server).length;
    const wild = await makeCertificate({ names: ['*.wild.test'] });
    await resumption.reload(server, { contexts: { '*.wild.test': { key: wild.key, cert: wild.cert } } });
    expect(await subjectOf(port, 'x.wild.test')).toBe('CN=b.test');
    expect(await subjectOf(port, 'y.wild.test')).toBe('CN=*.wild.test');
    for (let i = 0; i < 3; i++) await resumption.reload(server, { contexts: { 'b.test': i % 2 ? ofB : second } });
    for (let i = 0; i < 3; i++) server.addContext('b.test', i % 2 ? ofB : second);
    expect(entries(server)).toHaveLength(count);
    expect(await subjectOf(port, 'b.test')).toBe('CN=a.test');
  });

  it('are added when they are new, or given as a context that is made', async () => {
    const { port, server, resumption } = await startReloadable({}, { mode });
    const made = resumption.secureContext(ofB);
    const report = await resumption.reload(server, { contexts: { 'new.test': made, 'b.test': made } });
    expect(report.changed).toEqual([{ name: 'new.test', changes: [{ setting: 'context', change: 'added' }] }]);
    expect(report.unchanged).toEqual(['b.test']);
    expect(await subjectOf(port, 'new.test')).toBe('CN=b.test');
    const strangers = await resumption.reload(server, { contexts: { 'b.test': tls.createSecureContext(ofB) } });
    expect(strangers.changed).toEqual([{ name: 'b.test', changes: [{ setting: 'context', change: 'replaced' }] }]);
  });
});

describe('what cannot be reloaded', () => {
  const refusals: readonly [string, ServerTlsOptions, RegExp][] = [
    ['requestCert', { requestCert: true }, /another requestCert:/],
    ['rejectUnauthorized', { rejectUnauthorized: false }, /another rejectUnauthorized:/],
    ['ALPNProtocols', { ALPNProtocols: ['h2'] }, /another ALPNProtocols:/],
    ['SNICallback', { SNICallback: (_name, done) => done(null) }, /another SNICallback:/],
    ['handshakeTimeout', { handshakeTimeout: 1 }, /another handshakeTimeout:/],
    ['ticketKeys', { ticketKeys: Buffer.alloc(48, 1) }, /another ticketKeys:/],
    ['several', { requestCert: true, ALPNProtocols: ['h2'], cert: '' }, /another requestCert, ALPNProtocols:/],
  ];
  it.each(refusals)('is refused before anything is changed: %s', async (_title, options, message) => {
    const { server, resumption, come } = await startReloadable({ ALPNProtocols: ['http/1.1'] });
    const { session } = await come('TLSv1.3', 'a.test');
    await expect(resumption.reload(server, { options: { ...second, ...options } })).rejects.toMatchObject({
      code: 'ERR_NEEDS_NEW_SERVER',
      message: expect.stringMatching(message),
    });
    expect((await come('TLSv1.3', 'a.test', session)).resumed).toBe(true);
  });

  it('is taken where it is what it was', async () => {
    const options: ServerTlsOptions = {
      requestCert: false,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: 5000,
      pskIdentityHint: 'hint',
    };
    const { server, resumption } = await startReloadable(options);
    const report = await resumption.reload(server, { options: { ...options, ...first } });
    expect(report.changed).toEqual([]);
    await resumption.reload(server, { options: { requestCert: undefined, handshakeTimeout: 5000 } });
  });

  it('is what tls does not take: nothing is lost', async () => {
    const { server, resumption, come, port } = await startReloadable();
    const [a, b] = [(await come('TLSv1.3', 'a.test')).session, (await come('TLSv1.3', 'b.test')).session];
    const bad: ReloadOptions[] = [
      { options: { cert: 'no certificate' } },
      { options: { key: all.b.key } },
      { options: { ciphers: 'none-such' } },
      { options: { sessionTimeout: 604_801 } },
      { options: { sessionIdContext: 'another' } },
      { options: second, contexts: { 'b.test': { key: all.a.key, cert: all.b.cert } } },
      { options: second, contexts: { 'b.test': 'text' as never } },
      { options: second, contexts: { '': ofB } },
      { options: second, contexts: { 'new.test': { cert: 'no certificate' } } },
      { options: second, handshakes: 'none' as never },
      { options: second, hard: 1 as never },
      { options: 1 as never },
    ];
    for (const each of bad) await expect(resumption.reload(server, each)).rejects.toThrow();
    await expect(resumption.reload(server, undefined as never)).rejects.toThrow(TypeError);
    await expect(resumption.reload({} as never, {})).rejects.toThrow(TypeError);
    expect(await subjectOf(port, 'a.test')).toBe('CN=a.test');
    expect((await come('TLSv1.3', 'a.test', a)).resumed).toBe(true);
    expect((await come('TLSv1.3', 'b.test', b)).resumed).toBe(true);
    expect((server as unknown as { cert: unknown }).cert).toBe(all.a.cert);
  });

  it('are contexts by name where an SNICallback chooses them', async () => {
    const { server, resumption } = await startReloadable({ SNICallback: (_name, done) => done(null) });
    await expect(resumption.reload(server, { contexts: { 'b.test': ofB } })).rejects.toThrow(RangeError);
  });

  it('is a server that is not attached here', async () => {
    const { server, resumption, attached } = await startReloadable();
    const elsewhere = new ServerResumption().reload(server, { options: second });
    await expect(elsewhere).rejects.toMatchObject({ code: 'ERR_NOT_ATTACHED' });
    attached[Symbol.dispose]();
    await expect(resumption.reload(server, {})).rejects.toMatchObject({ code: 'ERR_NOT_ATTACHED' });
  });

  it('are contexts that would share tickets and differ in who may issue client certificates', async () => {
    const [ca, otherCa] = [all.authority.cert, all.otherAuthority.cert];
    const resumption = new ServerResumption({ tickets: TicketKeyRing.generate() });
    const server = tls.createServer(resumption.secure({ ...first, requestCert: true, ca }));
    resumption.attach(server);
    server.addContext('b.test', { ...ofB, ca });
    const contexts = { 'b.test': { ...ofB, ca: otherCa } };
    for (const each of [{ contexts }, { options: { ca: otherCa } }]) {
      await expect(resumption.reload(server, each)).rejects.toMatchObject({ code: 'ERR_TICKETS_UNSAFE' });
    }
    const both = await resumption.reload(server, { contexts, options: { ca: otherCa } });
    expect(both.changed.map(({ name }) => name)).toEqual([null, 'b.test']);
  });
});

describe('a reload', () => {
  it('takes options off that are given as undefined, and a pfx for a certificate', async () => {
    const { server, resumption } = await startReloadable({ sigalgs: 'ecdsa_secp256r1_sha256', ecdhCurve: 'P-256' });
    const report = await resumption.reload(server, { options: { sigalgs: undefined, ecdhCurve: undefined } });
    expect(report.changed[0]?.changes).toEqual([
      expect.objectContaining({ setting: 'ecdhCurve' }),
      { setting: 'sigalgs', change: 'removed' },
    ]);
    await expect(resumption.reload(server, { options: { pfx: 'not one' } })).rejects.toThrow();
    expect((await resumption.reload(server, { options: { pfx: undefined } })).changed).toEqual([]);
    expect((server as unknown as { pfx: unknown }).pfx).toBeUndefined();
  });

  it('does not take a key for another because it is written in another way', async () => {
    const { server, resumption } = await startReloadable();
    const { createPrivateKey } = await import('node:crypto');
    const key = createPrivateKey(all.a.key);
    const sec1 = key.export({ type: 'sec1', format: 'pem' }) as string;
    const encrypted = key.export({
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase: 'secret',
    }) as string;
    expect((await resumption.reload(server, { options: { key: sec1 } })).changed).toEqual([]);
    const report = await resumption.reload(server, { options: { key: encrypted, passphrase: 'secret' } });
    expect(report.changed).toEqual([]);
  });

  it('counts the sessions that were made under what is over, and tells it to who listens, without secrets', async () => {
    const { server, resumption, come } = await startReloadable();
    await come('TLSv1.3', 'a.test');
    await come('TLSv1.2', 'a.test');
    await come('TLSv1.3', 'b.test');
    const told: unknown[] = [];
    const listener = (message: unknown): void => void told.push(message);
    subscribe('tls-resumption:reloaded', listener);
    const report = await resumption.reload(server, { options: second });
    unsubscribe('tls-resumption:reloaded', listener);
    expect(told).toEqual([report]);
    expect(report).toEqual({
      guard: 'tls-resumption',
      changed: [{ name: null, changes: expect.any(Array) }],
      unchanged: [],
      sessions: 3,
      handshakes: { ended: 0, finishing: 0 },
      connections: { closed: 0, goOn: 0 },
    });
    const again = await resumption.reload(server, { options: first, contexts: { 'b.test': second } });
    expect(again.sessions).toBe(2);
    for (const each of [report, resumption]) {
      const text = inspect(each, { depth: 20, showHidden: true, getters: true });
      expect(text).not.toMatch(/PRIVATE KEY|BEGIN CERTIFICATE/);
    }
  });

  it('does not know how many tickets there are', async () => {
    const { server, resumption } = await startReloadable({}, { mode: 'tickets' });
    expect((await resumption.reload(server, { options: second })).sessions).toBeUndefined();
  });

  it('says of a name what the server’s own context decides for it', async () => {
    const { server, resumption } = await startReloadable();
    const ciphers = { options: { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }, contexts: { 'b.test': ofB } };
    const changes = [{ setting: 'ciphers', change: 'removed' }];
    expect(await resumption.reload(server, ciphers)).toMatchObject({
      changed: [
        { name: null, changes },
        { name: 'b.test', changes },
      ],
      unchanged: [],
    });
  });

  it('runs after another one', async () => {
    const { server, resumption, port } = await startReloadable();
    const reports = await Promise.all([second, first, second].map((options) => resumption.reload(server, { options })));
    expect(reports.map(({ changed }) => changed.length)).toEqual([1, 1, 1]);
    expect((await resumption.reload(server, { options: second })).changed).toEqual([]);
    expect(await subjectOf(port, 'a.test')).toBe('CN=a.test');
  });

  it.each(VERSIONS)('takes from Node its one key where it has one at a time (%s)', async (version) => {
    const { server, resumption, come } = await startReloadable({}, { mode: 'tickets', ticketKeyCallback: false });
    const { session } = await come(version, 'a.test');
    await resumption.reload(server, { options: first });
    expect((await come(version, 'a.test', session)).resumed).toBe(true);
    await resumption.reload(server, { options: second });
    const after = await come(version, 'a.test', session);
    expect(after.resumed).toBe(false);
    expect((await come(version, 'a.test', after.session)).resumed).toBe(true);
    server.setSecureContext(second);
    expect((await come(version, 'a.test', session)).resumed).toBe(false);
    resumption.tickets?.rotate();
    const rotated = await come(version, 'a.test');
    expect((await come(version, 'a.test', rotated.session)).resumed).toBe(true);
  });

  it.each(VERSIONS)('forgets the tickets of other servers that have the keys, too (%s)', async (version) => {
    const key = randomBytes(48);
    const resumption = new ServerResumption({ tickets: TicketKeyRing.fromKeys([key]) });
    const server = tls.createServer(resumption.secure(first), echo);
    resumption.attach(server);
    const elsewhere = tls.createServer(
      { ...first, ticketKeys: key, sessionIdContext: 'tls-resumption', sessionTimeout: 3600 },
      echo,
    );
    const [port, port2] = [await listen(server), await listen(elsewhere)];
    const come = (at: number, session?: Buffer): Promise<Visit> =>
      visit(at, { ...only(version), session, send: 'bye' });
    const { session } = await come(port2);
    expect((await come(port, session)).resumed).toBe(true);
    await resumption.reload(server, { options: second });
    expect((await come(port, session)).resumed).toBe(false);
    await Promise.all([close(server), close(elsewhere)]);
  });

  it.each(VERSIONS)('on one host is known to another that shares its state (%s)', async (version) => {
    const state = new MemorySharedState();
    const cache = new SessionCache();
    const host = (): Promise<Reloadable> =>
      startReloadable({}, { cache, guard: new SessionIdContextGuard({ name: 'shop', state }) });
    const [here, there] = [await host(), await host()];
    const [a, b] = [(await here.come(version, 'a.test')).session, (await here.come(version, 'b.test')).session];
    expect((await there.come(version, 'a.test', a)).resumed).toBe(true);
    await here.resumption.reload(here.server, { options: second });
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect((await there.come(version, 'a.test', a)).resumed).toBe(false);
    expect((await there.come(version, 'b.test', b)).resumed).toBe(true);
    for (const { resumption } of [here, there]) resumption.guard[Symbol.dispose]();
  });
});
