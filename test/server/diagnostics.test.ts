import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import * as tls from 'node:tls';
import {
  DiagnosticsChannels,
  type FlushedMessage,
  MemorySharedState,
  type RefusedMessage,
  type ResumedMessage,
  ServerResumption,
  SessionCache,
  SessionCacheMode,
  SessionFlusher,
  SessionIdContextGuard,
  type StoredMessage,
  type StoreErrorMessage,
} from 'tls-resumption';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { whyNotTaken } from '../../src/server/not-taken.js';
import { ScriptedState } from '../guard/scripted-state.js';
import { MemoryStore } from '../stores/memory-store.js';
import { hear } from '../support/diagnostics.js';
import { P256, pskOf, RAW_CIPHER, RawClient13 } from '../support/raw-clients.js';
import { comeBack, only, underName, VERSIONS, visit } from '../support/visits.js';
import { afterwards, CELLS, type Fleet, startHost } from './guarded-server.js';

let certificate: IssuedCertificate;
beforeAll(async () => {
  certificate = await makeCertificate({ names: ['a.test'] });
});

const unlisten: (() => void)[] = [];
afterEach(() => {
  for (const each of unlisten.splice(0)) each();
});

const listen = <T>(channel: string) => hear<T>(channel, unlisten);

const guardOf = (): SessionIdContextGuard => new SessionIdContextGuard({ name: 'shop' });
const options = (): tls.TlsOptions => ({ key: certificate.key, cert: certificate.cert });

describe.each(CELLS)('connections, %s, %s', (version, mode) => {
  it('are told when they resume and when they were refused, with the reason; first visits are not', async () => {
    const fleet: Fleet = { mode, store: new MemoryStore() };
    const host = await startHost(fleet, guardOf(), options());
    const [resumed, refused] = [
      listen<ResumedMessage>(DiagnosticsChannels.Resumed),
      listen<RefusedMessage>(DiagnosticsChannels.Refused),
    ];
    const client = { ...only(version), servername: 'a.test' };
    const [first] = await comeBack(host.port, client);
    expect([resumed.length, refused.length]).toEqual([1, 0]);
    host.resumption.guard.rotate('test');
    await visit(host.port, { ...client, session: first.session });
    expect([resumed.length, refused.length]).toEqual([1, 1]);
    const way = mode === 'tickets' ? 'ticket' : version === 'TLSv1.3' ? 'stateful-ticket' : 'session-id';
    expect(resumed[0]).toEqual({ guard: 'shop', servername: 'a.test', way, socket: expect.any(tls.TLSSocket) });
    const reason = mode === 'tickets' ? 'other-context' : 'unknown';
    expect(refused[0]).toEqual({ guard: 'shop', servername: 'a.test', reason, socket: expect.any(tls.TLSSocket) });
    expect(host.resumption.connection(refused[0]?.socket as object)?.reason).toBe(reason);
  });
});

describe.each(VERSIONS)('reasons that a person can act on, %s', (version) => {
  const client = (servername = 'a.test'): tls.ConnectionOptions => ({ ...only(version), servername });

  it('a session whose time is over is expired; one that never was is unknown', async () => {
    let now = Date.now();
    const cache = new SessionCache({ timeout: 60, clock: () => now });
    const resumption = new ServerResumption({ cache });
    const host = await startHost({ mode: 'memory', clock: () => now }, guardOf(), options());
    const server = tls.createServer(resumption.secure(options()), (socket) => socket.end('hello'));
    resumption.attach(server);
    afterwards(() => server.close());
    const seen: unknown[] = [];
    server.on('secureConnection', (socket) => seen.push(resumption.connection(socket)?.reason));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const { session } = await visit(port, client());
    now += 61_000;
    await visit(port, { ...client(), session });
    await visit(port, { ...client(), session });
    await visit(port, { ...client(), session: (await visit(host.port, client())).session });
    expect(seen).toEqual(['not-offered', 'expired', 'unknown', 'unknown']);
  });

  it('a session that OpenSSL takes for over is expired', async () => {
    const kept: Buffer[] = [];
    const external = {
      get: () => undefined,
      set: (_: Uint8Array, envelope: Uint8Array) => void kept.push(Buffer.from(envelope)),
      delete: () => {},
    };
    const host = await startHost({ mode: 'external', store: external }, guardOf(), {
      ...options(),
      sessionTimeout: 60,
    });
    await visit(host.port, client());
    const session = (kept[0] as Buffer).subarray(49);
    const cipher = (standardName: string) => ({ getCipher: () => ({ standardName }) }) as tls.TLSSocket;
    const why = (name: string) => whyNotTaken(cipher(name), version === 'TLSv1.3', session);
    expect(why('TLS_AES_256_GCM_SHA384')).toBe(version === 'TLSv1.3' ? 'hello-retry-request' : 'not-taken');
    expect(why('TLS_AES_128_GCM_SHA256')).toBe(version === 'TLSv1.3' ? 'cipher-suite' : 'not-taken');
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 62_000 });
    expect(why('TLS_AES_256_GCM_SHA384')).toBe('expired');
    vi.useRealTimers();
    expect(whyNotTaken(cipher('x'), true, Buffer.alloc(3))).toBe('unreadable-session');
  });

  it('a name of another virtual host is another session', async () => {
    const host = await startHost({ mode: 'memory' }, guardOf(), options());
    const { session } = await visit(host.port, client());
    const refused = listen<RefusedMessage>(DiagnosticsChannels.Refused);
    await visit(host.port, { ...client('b.test'), session: underName(session, 'b.test') });
    expect(refused.map(({ servername, reason }) => [servername, reason])).toEqual([['b.test', 'unknown']]);
  });
});

describe('a HelloRetryRequest', () => {
  it('is told as the reason', async () => {
    const host = await startHost({ mode: 'memory' }, guardOf(), { ...options(), ecdhCurve: 'P-256' });
    const { session } = await visit(host.port, {
      ...only('TLSv1.3'),
      servername: 'a.test',
      ecdhCurve: 'P-256',
      ciphers: RAW_CIPHER,
    });
    const refused = listen<RefusedMessage>(DiagnosticsChannels.Refused);
    const raw = await RawClient13.connect(host.port);
    const psks = [pskOf(session as Buffer)];
    expect((await raw.ask({ servername: 'a.test', psks, keyShareGroups: [29] })).kind).toBe('retry');
    expect((await raw.ask({ servername: 'a.test', psks, keyShareGroups: [P256] })).kind).toBe('full');
    await raw.finish();
    expect(refused.map(({ reason }) => reason)).toEqual(['hello-retry-request']);
  });
});

describe('a session cache', () => {
  it('tells what it keeps, and where, without the session', async () => {
    const stored = listen<StoredMessage>(DiagnosticsChannels.Stored);
    const external = { get: () => undefined, set: () => {}, delete: () => {} };
    const cache = new SessionCache({ mode: SessionCacheMode.Both, external });
    const outside = new SessionCache({ mode: SessionCacheMode.Server | SessionCacheMode.NoInternal, external });
    const id = Buffer.from('an ID');
    await cache.store(id, Buffer.alloc(100, 's'));
    await cache.store(id, Buffer.alloc(50, 's'), 'client');
    await outside.store(id, Buffer.alloc(10, 's'));
    await outside.store(id, Buffer.alloc(10, 's'), 'client');
    await cache.store(id, Buffer.alloc(0));
    expect(stored).toEqual([
      { cache, side: 'server', bytes: 100, internal: true, external: true },
      { cache, side: 'client', bytes: 50, internal: true, external: true },
      { cache: outside, side: 'server', bytes: 10, internal: false, external: true },
    ]);
    expect(JSON.stringify(stored.map(({ cache: _, ...rest }) => rest))).not.toMatch(/an ID|ss/);
  });

  it('tells what it flushes and clears, by a flusher or of itself too', async () => {
    let now = 0;
    const flushed = listen<FlushedMessage>(DiagnosticsChannels.Flushed);
    const cache = new SessionCache({ timeout: 1, clock: () => now });
    const fill = (count: number): void => {
      for (let i = 0; i < count; i++) cache.store(Buffer.from(`${now} ${i}`), Buffer.alloc(10));
      now += 2000;
    };
    fill(3);
    cache.flush();
    cache.flush();
    fill(2);
    cache.clear();
    cache.clear();
    fill(1);
    await new SessionFlusher(cache).run();
    fill(100);
    fill(200);
    expect(flushed).toEqual([
      { cache, removed: 3, cause: 'expired' },
      { cache, removed: 2, cause: 'cleared' },
      { cache, removed: 1, cause: 'expired' },
      { cache, removed: 100, cause: 'expired' },
    ]);
  });

  it('tells of an external cache that fails', async () => {
    const errors = listen<StoreErrorMessage>(DiagnosticsChannels.StoreError);
    const broken = new Error('broken');
    const fail = (): never => {
      throw broken;
    };
    const cache = new SessionCache({ external: { get: fail, set: () => Promise.reject(broken), delete: fail } });
    await cache.store(Buffer.from('id'), Buffer.alloc(10));
    cache.clear();
    expect(cache.get(Buffer.from('id'))).toBeUndefined();
    await cache.lookup(Buffer.from('id'));
    await cache.take(Buffer.from('id'));
    cache.remove(Buffer.from('id'));
    await new Promise((resolve) => setImmediate(resolve));
    const liar = new SessionCache({ external: { get: () => Buffer.alloc(100), set: () => {}, delete: () => {} } });
    await liar.lookup(Buffer.from('id'));
    expect(errors.map(({ store, operation }) => [store, operation])).toEqual([
      ['sessions', 'set'],
      ['sessions', 'get'],
      ['sessions', 'get'],
      ['sessions', 'delete'],
      ['sessions', 'get'],
    ]);
    expect(errors[1]?.error).toBe(broken);
    expect(errors[4]?.error).toMatchObject({ code: 'ERR_STORE_CORRUPT' });
  });

  it('and a guard tell of a listener that throws nobody but the process', () => {
    const thrown: unknown[] = [];
    const listener = (): void => {
      throw new Error('listener');
    };
    subscribe(DiagnosticsChannels.Stored, listener);
    const catching = (error: unknown): void => void thrown.push(error);
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.once('uncaughtException', catching);
    new SessionCache().store(Buffer.from('id'), Buffer.alloc(10));
    unsubscribe(DiagnosticsChannels.Stored, listener);
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      process.removeListener('uncaughtException', catching);
      for (const each of others) process.on('uncaughtException', each);
      expect(thrown).toHaveLength(1);
    });
  });
});

describe('a guard', () => {
  it('tells of a state that fails', () => {
    const errors = listen<StoreErrorMessage>(DiagnosticsChannels.StoreError);
    const state = new ScriptedState(new MemorySharedState());
    state.way = () => 'throws';
    const guard = new SessionIdContextGuard({ name: 'shop', state });
    void guard.rotate('test');
    guard[Symbol.dispose]();
    expect(errors.map(({ store, operation }) => [store, operation])).toEqual([
      ['state', 'entries'],
      ['state', 'set'],
    ]);
  });
});
