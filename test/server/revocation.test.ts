import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import type * as tls from 'node:tls';
import * as x509 from '@peculiar/x509';
import {
  MemorySharedState,
  type Revocation,
  SessionIdContextGuard,
  type SessionIdContextGuardOptions,
  TicketKeyRing,
} from 'tls-resumption';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { MemoryStore } from '../stores/memory-store.js';
import { shownId } from '../support/raw-clients.js';
import { only, VERSIONS, visit } from '../support/visits.js';
import { CELLS, type Fleet, type Host, type Mode, startHost } from './guarded-server.js';

const HOUR = 3_600_000;

let authority: IssuedCertificate;
let server: IssuedCertificate;
let alice: IssuedCertificate;
let bob: IssuedCertificate;

beforeAll(async () => {
  authority = await makeCertificate({ isAuthority: true, commonName: 'test CA' });
  [server, alice, bob] = await Promise.all([
    makeCertificate({ names: ['a.test', 'b.test'], issuer: authority }),
    makeCertificate({ commonName: 'alice', issuer: authority }),
    makeCertificate({ commonName: 'bob', issuer: authority }),
  ]);
});

let now = 0;
const clock = (): number => now;

beforeEach(() => {
  now = Date.now();
});

afterEach(() => {
  vi.useRealTimers();
});

const guardOf = (options: Partial<SessionIdContextGuardOptions> = {}): SessionIdContextGuard =>
  new SessionIdContextGuard({ name: 'shop', clock, ...options });

function fleetOf(mode: Mode, singleUse = false): Fleet {
  const ring = TicketKeyRing.generate({ clock, interval: false, lifetime: 86_400 });
  return { mode, store: new MemoryStore(clock), clock, ring, singleUse };
}

const mutual = (): tls.TlsOptions => ({
  key: server.key,
  cert: server.cert,
  ca: authority.cert,
  requestCert: true,
  rejectUnauthorized: true,
});

const fingerprintOf = ({ cert }: IssuedCertificate): string => new X509Certificate(cert).fingerprint256;

describe.each(CELLS)('revoked, %s, %s', (version, mode) => {
  const client = (servername = 'a.test', certificate?: IssuedCertificate): tls.ConnectionOptions => ({
    ...only(version),
    servername,
    ...(certificate && { key: certificate.key, cert: certificate.cert }),
  });

  const start = (guard: SessionIdContextGuard, options?: tls.TlsOptions, singleUse?: boolean): Promise<Host> =>
    startHost(fleetOf(mode, singleUse), guard, { key: server.key, cert: server.cert, ...options });

  async function back(host: Host, session: Buffer | undefined, options = client()): Promise<string | null | undefined> {
    const visited = await visit(host.port, { ...options, session });
    expect(visited.received).toBe('hello');
    await host.resumption.idle();
    return host.last();
  }

  it('by its ID one session is refused, and no other', async () => {
    const guard = guardOf();
    const host = await start(guard);
    const [mine, theirs] = [await visit(host.port, client()), await visit(host.port, client())];
    expect(await back(host, mine.session)).toBeNull();
    guard.revoke({ id: shownId(mine.session) });
    expect(await back(host, mine.session)).toBe('revoked');
    expect(await back(host, mine.session)).toBe('revoked');
    expect(await back(host, theirs.session)).toBeNull();
  });

  it('by its connection all that descend from its full handshake are: those beside it, renewed before and after', async () => {
    const guard = guardOf();
    const host = await start(guard);
    const theirs = await visit(host.port, client());
    now += 5000;
    const mine = await visit(host.port, client());
    const connection = host.seen.at(-1) as NonNullable<(typeof host.seen)[number]>;
    expect(connection.fullHandshakeTime).toBe(mode === 'tickets' ? Math.floor(now / 1000) * 1000 : now);
    now += 5000;
    const renewed = await visit(host.port, { ...client(), session: mine.session });
    expect(host.seen.at(-1)).toMatchObject({ resumed: true, fullHandshakeTime: connection.fullHandshakeTime });
    guard.revoke({ connection: version === 'TLSv1.3' ? connection : (host.seen.at(-1) ?? connection) });
    for (const session of [mine.session, renewed.session].filter((each) => each !== undefined)) {
      expect(await back(host, session)).toBe('revoked');
    }
    expect(await back(host, theirs.session)).toBeNull();
    const anew = await visit(host.port, client());
    expect(await back(host, anew.session)).toBeNull();
  });

  it.each(['as Node shows it', 'without colons, in small letters'])(
    'by the fingerprint of its client certificate %s, all of that client are, until a later full handshake',
    async (form) => {
      const guard = guardOf();
      const host = await start(guard, mutual());
      const [mine, theirs] = [
        await visit(host.port, client('a.test', alice)),
        await visit(host.port, client('a.test', bob)),
      ];
      const renewed = await visit(host.port, { ...client('a.test', alice), session: mine.session });
      now += 1000;
      const fingerprint = fingerprintOf(alice);
      guard.revoke({
        peerFingerprint: form.startsWith('as') ? fingerprint : fingerprint.replaceAll(':', '').toLowerCase(),
      });
      for (const session of [mine.session, renewed.session].filter((each) => each !== undefined)) {
        expect(await back(host, session, client('a.test', alice))).toBe('revoked');
      }
      expect(await back(host, theirs.session, client('a.test', bob))).toBeNull();
      now += 1000;
      const { session } = await visit(host.port, client('a.test', alice));
      expect(await back(host, session, client('a.test', alice))).toBeNull();
    },
  );

  it('by a server name, all under it are, and under names that share with it', async () => {
    const guard = guardOf({ shareAcross: ['a.test', 'also.test'] });
    const host = await start(guard);
    const [a, b, none] = [
      await visit(host.port, client('a.test')),
      await visit(host.port, client('b.test')),
      await visit(host.port, only(version)),
    ];
    now += 1000;
    expect(await back(host, a.session)).toBeNull();
    guard.revoke({ servername: 'also.test' });
    expect(await back(host, a.session)).toBe('revoked');
    expect(await back(host, b.session, client('b.test'))).toBeNull();
    expect(await back(host, none.session, only(version))).toBeNull();
    guard.revoke({ servername: 'A.test' });
    now += 1000;
    const { session } = await visit(host.port, client('a.test'));
    expect(await back(host, session)).toBeNull();
  });

  it('on one host, on all that share the state; with what a store gave and was copied inside', async () => {
    if (mode === 'memory') return;
    const state = new MemorySharedState();
    const fleet = fleetOf(mode);
    const guards = [guardOf({ state }), guardOf({ state })] as const;
    const options = { key: server.key, cert: server.cert };
    const [one, two] = [await startHost(fleet, guards[0], options), await startHost(fleet, guards[1], options)];
    const { session } = await visit(one.port, client());
    await one.resumption.idle();
    expect(await back(two, session)).toBeNull();
    if (mode === 'copied inside') expect(two.resumption.cache.size).toBeGreaterThan(0);
    guards[0].revoke({ id: shownId(session) });
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await back(two, session)).toBe('revoked');
    const later = await visit(one.port, client());
    await one.resumption.idle();
    guards[0].revoke({ servername: 'a.test' });
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await back(two, later.session)).toBe('revoked');
    // A restart finds both.
    const third = await startHost(fleet, guardOf({ state }), options);
    expect(await back(third, later.session)).toBe('revoked');
    for (const guard of [...guards, third.resumption.guard]) guard[Symbol.dispose]();
  });

  it('with a state is also what is made up to 5 seconds later, as clocks of hosts differ', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const pass = (milliseconds: number): void => {
      now += milliseconds;
      vi.advanceTimersByTime(milliseconds);
    };
    const guard = guardOf({ state: new MemorySharedState() });
    const host = await start(guard);
    guard.revoke({ servername: 'a.test' });
    for (const [wait, expected] of [
      [4000, 'revoked'],
      [2500, null],
    ] as const) {
      pass(wait);
      const { session } = await visit(host.port, client());
      expect(await back(host, session)).toBe(expected);
    }
    guard[Symbol.dispose]();
  });

  it('is what its client shows still when it was taken for single use', async () => {
    if (mode === 'tickets') return;
    const guard = guardOf();
    const host = await start(guard, {}, true);
    const { session } = await visit(host.port, client());
    guard.revoke({ id: shownId(session) });
    expect(await back(host, session)).toBe('revoked');
    expect(await back(host, session)).toBe('revoked');
  });

  it('is what a list of the authority says: a changed CRL is another context', async () => {
    const listing = async (...revoked: IssuedCertificate[]): Promise<string> => {
      const crl = await x509.X509CrlGenerator.create({
        issuer: authority.x509.subject,
        signingKey: authority.privateKey,
        signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
        thisUpdate: new Date(Date.now() - HOUR),
        nextUpdate: new Date(Date.now() + 24 * HOUR),
        entries: revoked.map((each) => ({
          serialNumber: each.x509.serialNumber,
          revocationDate: new Date(Date.now() - HOUR),
        })),
      });
      // What OpenSSL calls it.
      return crl.toString('pem').replaceAll('CRL-----', 'X509 CRL-----');
    };
    const [first, second] = [await listing(bob), await listing(bob, alice)];
    const host = await start(guardOf(), { ...mutual(), crl: first });
    const mine = await visit(host.port, client('a.test', alice));
    expect(await back(host, mine.session, client('a.test', alice))).toBeNull();
    host.server.setSecureContext({ ...mutual(), crl: second });
    const rejected = new Promise((resolve) => host.server.once('tlsClientError', resolve));
    const seen = host.seen.length;
    // TLS 1.3 clients learn it after their handshake.
    await visit(host.port, { ...client('a.test', alice), session: mine.session }).catch(() => {});
    // Had it resumed, nobody would have looked at the list.
    await rejected;
    expect(host.seen.length).toBe(seen);
    // Who is on neither list comes in, in full.
    const others = await makeCertificate({ commonName: 'carol', issuer: authority });
    expect(await back(host, undefined, client('a.test', others))).toBe('not-offered');
  });
});

describe.each(VERSIONS)('a revocation over %s', (version) => {
  it('is over when nothing from before can come back', async () => {
    const state = new MemorySharedState({ clock });
    const guard = guardOf({ state, maxChainAge: 3600 });
    const host = await startHost({ mode: 'memory', clock }, guard, { key: server.key, cert: server.cert });
    guard.revoke({ servername: 'a.test' });
    expect(state.entries('').size).toBe(2);
    now += 2 * HOUR + 1000;
    expect(state.entries('').size).toBe(1);
    const again = guardOf({ state, maxChainAge: 3600 });
    expect(again.refusalOf('a.test', Buffer.alloc(1), now - 2 * HOUR, undefined)).toBeUndefined();
    expect(again.withinChainAge(now - 2 * HOUR, now)).toBe(false);
    await visit(host.port, only(version));
    guard[Symbol.dispose]();
    again[Symbol.dispose]();
  });
});

describe('SessionIdContextGuard.revoke', () => {
  it.each([
    [undefined, TypeError, '"revocation" expected an object, got undefined'],
    [{}, TypeError, '"revocation" expected one of "id", "connection", "peerFingerprint" or "servername"'],
    [{ id: Buffer.alloc(1), servername: 'a' }, RangeError, '"revocation" expected one of'],
    [{ connection: 7 }, TypeError, '"connection" expected an object'],
    [{ connection: {} }, TypeError, '"fullHandshakeTime" expected a number of ms'],
    [{ connection: { servername: 7, fullHandshakeTime: 1 } }, TypeError, '"servername" expected a string'],
    [{ connection: { fullHandshakeTime: -1 } }, RangeError, '"fullHandshakeTime" expected 0 to'],
    [{ id: 'a' }, TypeError, '"id" expected a Uint8Array'],
    [{ id: Buffer.alloc(0) }, RangeError, '"id" expected 1 to 65535 bytes'],
    [{ peerFingerprint: 1 }, TypeError, '"peerFingerprint" expected a string'],
    [{ peerFingerprint: 'AB:CD' }, RangeError, '"peerFingerprint" expected 32 bytes in hexadecimal'],
    [{ peerFingerprint: 'x'.repeat(64) }, RangeError, '"peerFingerprint" expected 32 bytes'],
    [{ servername: 1 }, TypeError, '"servername" expected a string'],
    [{ servername: '' }, RangeError, '"servername" expected a name, got an empty string'],
  ])('refuses %j', (revocation, type, message) => {
    const revoke = () => guardOf().revoke(revocation as never as Revocation);
    expect(revoke).toThrow(type as never);
    expect(revoke).toThrow(message);
  });

  it('has nothing to do for a connection that made no session', () => {
    const state = new MemorySharedState();
    const guard = guardOf({ state });
    guard.revoke({ connection: { servername: 'a.test', fullHandshakeTime: null } });
    guard[Symbol.dispose]();
    expect(state.entries('').size).toBe(1);
  });

  it('tells the state hashes, never a session ID', () => {
    const state = new MemorySharedState();
    const guard = guardOf({ state });
    const id = Buffer.from('0123456789abcdef0123456789abcdef');
    guard.revoke({ id });
    guard.revoke({ servername: 'secret.test' });
    guard[Symbol.dispose]();
    const told = [...state.entries('')].flatMap(([name, value]) => [name, Buffer.from(value).toString('latin1')]);
    expect(told.join()).not.toMatch(/secret|0123456789abcdef|3031323334/);
  });
});
