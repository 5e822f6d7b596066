/** Who wants a ticket opened where it does not belong: by timing, by overload, and by what else a hello can show. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import type { ResumptionConnection } from '../../src/server/connection.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { closed, dial, pskOf, RAW_CIPHER, RawClient13 } from '../support/raw-clients.js';
import { waitUntil } from '../support/streams.js';
import { close, listen, only, underName, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';

const HOUR = 3_600_000;
/** Virtual hosts whose TLS 1.2 handshakes can be under way at once, and more than these. */
const MAX_TWINS = 64;
const MANY_HOSTS = 70;

let authority: IssuedCertificate;
let other: IssuedCertificate;
let hostA: IssuedCertificate;
let hostB: IssuedCertificate;
let client: IssuedCertificate;
let hosts: ReadonlyMap<string, IssuedCertificate>;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  authority = await makeCertificate({ isAuthority: true, commonName: 'test CA' });
  other = await makeCertificate({ isAuthority: true, commonName: 'other CA' });
  [hostA, hostB, client] = await Promise.all([
    makeCertificate({ names: ['a.test'], issuer: authority }),
    makeCertificate({ names: ['b.test'], issuer: authority }),
    makeCertificate({ commonName: 'client', issuer: authority, notAfter: new Date(Date.now() + 2 * HOUR) }),
  ]);
  const names = Array.from({ length: MANY_HOSTS }, (_, i) => `h${i}.test`);
  hosts = new Map(
    await Promise.all(names.map(async (name) => [name, await makeCertificate({ names: [name] })] as const)),
  );
});

afterEach(async () => {
  vi.restoreAllMocks();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Running {
  readonly port: number;
  readonly server: tls.Server;
  readonly resumption: ServerResumption;
  readonly ring: TicketKeyRing;
  readonly seen: (ResumptionConnection | undefined)[];
  readonly attach: () => Disposable;
}

interface Setting extends ServerResumptionOptions {
  readonly ring?: TicketKeyRing;
  /** Has `b.test` beside the server's own context. */
  readonly twoHosts?: boolean;
  readonly attachLater?: boolean;
}

async function start(options: tls.TlsOptions = {}, setting: Setting = {}): Promise<Running> {
  const { ring = TicketKeyRing.generate({ interval: false }), twoHosts, attachLater, ...rest } = setting;
  const resumption = new ServerResumption({ tickets: ring, ...rest });
  const server = tls.createServer(resumption.secure({ key: hostA.key, cert: hostA.cert, ...options }));
  if (twoHosts) server.addContext('b.test', resumption.secureContext({ key: hostB.key, cert: hostB.cert }));
  const attach = () => resumption.attach(server);
  if (!attachLater) attach();
  const seen: (ResumptionConnection | undefined)[] = [];
  server.on('secureConnection', (socket) => {
    seen.push(resumption.connection(socket));
    socket.on('error', () => {});
    socket.end('hello');
  });
  cleanups.push(() => close(server));
  return { port: await listen(server), server, resumption, ring, seen, attach };
}

const host = (version: Version, servername = 'a.test'): tls.ConnectionOptions => ({ ...only(version), servername });

/** A client with the session of another, under any name. */
function show(port: number, version: Version, servername: string, { session }: Pick<Visit, 'session'>): Promise<Visit> {
  return visit(port, { ...host(version, servername), session: underName(session, servername) });
}

interface HoldingProxy {
  readonly port: number;
  /** Resolves when so many clients have answered the server's first flight, and wait. */
  held(count: number): Promise<void>;
  release(): void;
}

/** A TCP proxy that lets the ClientHello of each connection pass, and holds what the client sends next. */
async function holdingProxy(port: number): Promise<HoldingProxy> {
  let waiting: (() => void)[] | undefined = [];
  let connections = 0;
  const proxy = net.createServer({ noDelay: true }, (near) => {
    const far = net.connect({ port, host: '127.0.0.1', noDelay: true });
    let hold = false;
    near.on('data', (chunk) => {
      if (hold && waiting !== undefined) waiting.push(() => far.write(chunk));
      else far.write(chunk);
      if (!hold) connections++;
      hold = true;
    });
    near.on('end', () => far.end());
    far.pipe(near);
    for (const [one, another] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => another.destroy());
    }
  });
  cleanups.push(() => close(proxy));
  return {
    port: await listen(proxy),
    held: (count) => waitUntil(() => connections >= count && (waiting?.length ?? 0) >= count),
    release() {
      const all = waiting ?? [];
      waiting = undefined;
      for (const each of all) each();
    },
  };
}

describe.each(VERSIONS)('a handshake of %s that is under way', (version) => {
  /** Its ticket, when `change` happened before the client's second flight. */
  async function straddling({ port }: Running, options: tls.ConnectionOptions, change: () => void): Promise<Visit> {
    const proxy = await holdingProxy(port);
    const pending = visit(proxy.port, { ...only(version), ...options });
    await proxy.held(1);
    change();
    proxy.release();
    return pending;
  }

  it('when setSecureContext changes who may issue client certificates gets a ticket that opens nowhere', async () => {
    const running = await start({ requestCert: true, ca: authority.cert });
    const { port, server, seen } = running;
    const known = { servername: 'a.test', key: client.key, cert: client.cert };
    const use = ({ cert: ca }: IssuedCertificate) => server.setSecureContext({ key: hostA.key, cert: hostA.cert, ca });
    const { session } = await straddling(running, known, () => use(other));
    expect(seen).toHaveLength(1);
    // In TLS 1.3 the client is done before the server refuses it.
    await visit(port, { ...only(version), ...known, session }).catch(() => {});
    expect(seen).toHaveLength(1);
    use(authority);
    await visit(port, { ...only(version), ...known, session });
    expect(seen.map((each) => each?.reason)).toEqual(['not-offered', 'ticket-key-unknown']);
  });

  it('when the guard rotates gets a ticket that opens nowhere', async () => {
    const running = await start();
    const { port, resumption, seen } = running;
    const visited = await straddling(running, host(version), () => resumption.guard.rotate('revoked'));
    await show(port, version, 'a.test', visited);
    expect(seen.map((each) => each?.reason)).toEqual(['not-offered', 'ticket-key-unknown']);
  });

  it('when its host gets another context gets a ticket that opens nowhere', async () => {
    const running = await start({}, { twoHosts: true });
    const { port, resumption, server, seen } = running;
    const options = { key: hostB.key, cert: hostB.cert };
    const visited = await straddling(running, host(version, 'b.test'), () =>
      server.addContext('b.test', resumption.secureContext({ ...options, ciphers: 'ECDHE+AESGCM' })),
    );
    await show(port, version, 'b.test', visited);
    server.addContext('b.test', resumption.secureContext(options));
    await show(port, version, 'b.test', visited);
    expect(seen.slice(1).map((each) => each?.reason)).toEqual(['ticket-key-unknown', 'ticket-key-unknown']);
  });

  it.each(['before the server is attached', 'between one attachment and the next'])(
    '%s gets a ticket that opens nowhere',
    async (when) => {
      const running = await start({}, { twoHosts: true, attachLater: true });
      const { port, seen, attach } = running;
      if (when !== 'before the server is attached') attach()[Symbol.dispose]();
      const visited = await straddling(running, host(version, 'b.test'), attach);
      for (const name of ['a.test', 'b.test']) await show(port, version, name, visited);
      expect(seen).toEqual([
        undefined,
        expect.objectContaining({ resumed: false, reason: 'ticket-key-unknown' }),
        expect.objectContaining({ resumed: false, reason: 'ticket-key-unknown' }),
      ]);
    },
  );
});

describe.each(VERSIONS)('a connection of %s beyond maxWaitingHellos', (version) => {
  /** A connection that has sent nothing, and its end at the server. */
  async function idle({ server, port }: Running): Promise<{ near: net.Socket; far: net.Socket }> {
    const accepted = once(server, 'connection');
    const near = await dial(port);
    const [far] = (await accepted) as [net.Socket];
    return { near, far };
  }

  it('gets a full handshake, and a ticket that opens nowhere', async () => {
    const running = await start({}, { twoHosts: true, maxWaitingHellos: 1 });
    const { port, seen } = running;
    const before = await visit(port, host(version, 'b.test'));
    const waiting = await idle(running);
    const beyond = await visit(port, host(version, 'b.test'));
    await show(port, version, 'b.test', before);
    waiting.near.destroy();
    await closed(waiting.far);
    for (const name of ['a.test', 'b.test']) await show(port, version, name, beyond);
    await show(port, version, 'b.test', before);
    expect(seen.map((each) => each?.reason)).toEqual([
      'not-offered',
      'unreadable-hello',
      'unreadable-hello',
      'ticket-key-unknown',
      'ticket-key-unknown',
      null,
    ]);
  });

  it('does not open the ticket that another connection has open at that moment', async () => {
    const running = await start({}, { twoHosts: true, maxWaitingHellos: 1 });
    const visited = await visit(running.port, host(version));
    const over = (socket: net.Socket, servername: string): Promise<boolean> =>
      new Promise((resolve, reject) => {
        const session = underName(visited.session, servername);
        const options = { ...host(version, servername), session, rejectUnauthorized: false };
        const secure = tls.connect({ socket, ...options, checkServerIdentity: () => undefined });
        secure.on('secureConnect', () => resolve(secure.isSessionReused()));
        secure.on('error', reject);
        secure.resume();
      });
    const ATTEMPTS = 40;
    const resumed = { own: 0, elsewhere: 0 };
    for (let i = 0; i < ATTEMPTS; i++) {
      const judged = await idle(running);
      const beyond = await idle(running);
      const [own, elsewhere] = await Promise.all([over(judged.near, 'a.test'), over(beyond.near, 'b.test')]);
      resumed.own += Number(own);
      resumed.elsewhere += Number(elsewhere);
      await Promise.all([closed(judged.far), closed(beyond.far)]);
    }
    expect(resumed).toEqual({ own: ATTEMPTS, elsewhere: 0 });
  });
});

describe('a change that makes tickets unsafe', () => {
  const unsafe = expect.objectContaining({ code: 'ERR_TICKETS_UNSAFE' });

  it('is refused where tickets are not bound to a virtual host, and the context is not added', async () => {
    const { server, port, resumption, seen } = await start({}, { ticketKeyCallback: false });
    const context = resumption.secureContext({ key: hostB.key, cert: hostB.cert });
    expect(() => server.addContext('b.test', context)).toThrow(unsafe);
    expect(() => server.addContext('b.test', { key: hostB.key, cert: hostB.cert })).toThrow(unsafe);
    for (const version of VERSIONS) {
      const asking = { ...host(version, 'b.test'), ca: authority.cert, rejectUnauthorized: true };
      await expect(visit(port, asking)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
      const own = { ...host(version), ca: authority.cert, rejectUnauthorized: true };
      expect((await visit(port, own)).received).toBe('hello');
    }
    expect(seen.every((each) => each?.resumed === false)).toBe(true);
  });

  it('is refused before it takes effect: the authority of some contexts only', async () => {
    const { server, port, resumption, seen } = await start({ requestCert: true, ca: authority.cert });
    server.addContext('b.test', resumption.secureContext({ key: hostB.key, cert: hostB.cert, ca: authority.cert }));
    const differing = { key: hostB.key, cert: hostB.cert, ca: other.cert };
    expect(() => server.setSecureContext(differing)).toThrow(unsafe);
    expect(() => server.addContext('c.test', differing)).toThrow(unsafe);
    for (const version of VERSIONS) {
      for (const servername of ['a.test', 'b.test']) {
        const checked = { ca: authority.cert, rejectUnauthorized: true, key: client.key, cert: client.cert };
        const first = await visit(port, { ...host(version, servername), ...checked });
        await visit(port, { ...host(version, servername), ...checked, session: first.session });
      }
    }
    expect(seen.map((each) => each?.way)).toEqual([null, 'ticket', null, 'ticket', null, 'ticket', null, 'ticket']);
    server.setSecureContext({ key: hostA.key, cert: hostA.cert, ca: authority.cert });
  });
});

describe('virtual hosts without number', () => {
  const SEQUENTIAL = 100;

  it.each(VERSIONS)('whose contexts are made for each connection of %s resume, in few contexts', async (version) => {
    let resumption: ServerResumption | undefined;
    const SNICallback: tls.TlsOptions['SNICallback'] = (name, done) => {
      const { key, cert } = hosts.get(name) as IssuedCertificate;
      done(null, resumption?.secureContext({ key, cert }));
    };
    const running = await start({ SNICallback });
    const { port, seen } = running;
    resumption = running.resumption;
    const made = vi.spyOn(tls.Server.prototype, 'setSecureContext');
    for (let i = 0; i < MANY_HOSTS; i++) {
      const visited = await visit(port, host(version, `h${i}.test`));
      await show(port, version, `h${i}.test`, visited);
      await show(port, version, `h${(i + 1) % MANY_HOSTS}.test`, visited);
    }
    expect(seen.map((each) => each?.reason)).toEqual(
      Array(MANY_HOSTS).fill(['not-offered', null, 'other-context']).flat(),
    );
    expect(made.mock.calls.length).toBeLessThanOrEqual(2);
  });

  it.each(VERSIONS)('whose contexts are made elsewhere for each connection of %s complete in full', async (version) => {
    const { key, cert } = hostB;
    const { port, seen } = await start({
      SNICallback: (_name, done) => done(null, tls.createSecureContext({ key, cert })),
    });
    const made = vi.spyOn(tls.Server.prototype, 'setSecureContext');
    for (let i = 0; i < SEQUENTIAL; i++) {
      const visited = await visit(port, host(version, `x${i}.test`));
      if (i % 10 === 0) await show(port, version, `x${i}.test`, visited);
    }
    expect(seen.map((each) => each?.resumed)).toEqual(Array(SEQUENTIAL + SEQUENTIAL / 10).fill(false));
    expect(made.mock.calls.length).toBeLessThanOrEqual(2);
  });

  it('of which more are under way than have a context complete; the others get tickets that open nowhere', async () => {
    const { port, server, resumption, seen } = await start();
    const names = [...hosts.keys()];
    for (const [name, { key, cert }] of hosts) server.addContext(name, resumption.secureContext({ key, cert }));
    const made = vi.spyOn(tls.Server.prototype, 'setSecureContext');
    const proxy = await holdingProxy(port);
    const pending = names.map((name) => visit(proxy.port, host('TLSv1.2', name)));
    await proxy.held(MANY_HOSTS);
    proxy.release();
    const visited = await Promise.all(pending);
    expect(seen.map((each) => each?.resumed)).toEqual(Array(MANY_HOSTS).fill(false));
    seen.length = 0;
    const again: Visit[] = [];
    for (const [i, name] of names.entries()) {
      await show(port, 'TLSv1.2', names[(i + 1) % MANY_HOSTS] as string, visited[i] as Visit);
      expect(seen.at(-1)?.resumed).toBe(false);
      again.push(await show(port, 'TLSv1.2', name, visited[i] as Visit));
    }
    const own = seen.filter((_, i) => i % 2 === 1).map((each) => each?.reason);
    expect(own.filter((reason) => reason === null)).toHaveLength(MAX_TWINS);
    expect(own.filter((reason) => reason === 'ticket-key-unknown')).toHaveLength(MANY_HOSTS - MAX_TWINS);
    const resumed: boolean[] = [];
    for (const [i, name] of names.entries()) {
      if (own[i] !== null) resumed.push((await show(port, 'TLSv1.2', name, again[i] as Visit)).resumed);
    }
    expect(resumed).toEqual(Array(MANY_HOSTS - MAX_TWINS).fill(true));
    expect(made.mock.calls.length).toBeLessThanOrEqual(MAX_TWINS + 1);
  });
});

describe('an identity before the ticket', () => {
  it.each([1, 8, 31, 32, 200])('of %i bytes does not hide it', async (length) => {
    const { port, seen } = await start();
    const { session } = await visit(port, { ...host('TLSv1.3'), ciphers: RAW_CIPHER });
    const psks = [{ identity: randomBytes(length), secret: randomBytes(32) }, pskOf(session)];
    for (const [servername, kind] of [
      ['b.test', 'full'],
      ['a.test', 'resumed'],
    ]) {
      const raw = await RawClient13.connect(port);
      expect((await raw.ask({ servername: servername as string, psks })).kind).toBe(kind);
      expect(await raw.finish()).toBe('hello');
    }
    expect(seen.slice(1).map((each) => each?.reason)).toEqual(['other-context', null]);
  });
});

describe.each(VERSIONS)('a ticket of %s that another server made with the same key', (version) => {
  const KEY = Buffer.from(Array.from({ length: 48 }, (_, i) => i + 1));
  const known = () => ({ ...host(version), key: client.key, cert: client.cert });

  /** One of a plain server of Node. */
  async function unstamped(): Promise<Visit> {
    const { key, cert } = hostA;
    const plain = tls.createServer({ key, cert, ticketKeys: KEY, sessionIdContext: 'shared' }, (socket) => {
      socket.on('error', () => {}).end('hello');
    });
    cleanups.push(() => close(plain));
    return visit(await listen(plain), known());
  }

  const here = (options: tls.TlsOptions = {}, setting: Setting = {}): Promise<Running> => {
    const guard = new SessionIdContextGuard({ name: 'shared' });
    return start(options, { guard, ring: TicketKeyRing.fromKeys([KEY]), ...setting });
  };

  it('resumes where there is one context, until the guard rotates', async () => {
    const { port, resumption, seen } = await here();
    const { session } = await unstamped();
    await visit(port, { ...known(), session });
    resumption.guard.rotate('forget');
    await visit(port, { ...known(), session });
    expect(seen.map((each) => each?.way)).toEqual(['ticket', null]);
  });

  it.each<[string, () => Promise<Running>]>([
    ['with several contexts', () => here({}, { twoHosts: true })],
    ['with an SNICallback', () => here({ SNICallback: (_name, done) => done(null) })],
    ['that asks for client certificates', () => here({ requestCert: true, ca: authority.cert })],
    ['of another name', () => here({}, { guard: new SessionIdContextGuard({ name: 'other' }) })],
  ])('does not resume at a server %s', async (_what, begin) => {
    const { port, seen } = await begin();
    const { session } = await unstamped();
    await visit(port, { ...known(), session });
    expect(seen.map((each) => each?.resumed)).toEqual([false]);
  });
});

describe('clients of many hosts at once', () => {
  const NAMES = 15;
  const CLIENTS_OF_EACH = 2;
  const ROUNDS = 3;
  const AT_ONCE = 40;
  const VISITS_OF_A_KEY = 50;

  /** Runs all, some at once, in an order that mixes them. */
  async function mixed(visits: readonly (() => Promise<void>)[]): Promise<void> {
    // No common divisor with any number of clients here: each comes once.
    const order = visits.map((_, i) => visits[(i * 37) % visits.length] as () => Promise<void>);
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < order.length) await order[next++]?.();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  it.each(['addContext', 'a slow SNICallback'])(
    'resume at their own, and nowhere else, while keys rotate (contexts by %s)',
    async (how) => {
      const contexts = new Map<string, tls.SecureContext>();
      const SNICallback: tls.TlsOptions['SNICallback'] = (name, done) =>
        setTimeout(() => done(null, contexts.get(name)), name.length % 3);
      const { port, server, resumption, ring, seen } = await start(how === 'addContext' ? {} : { SNICallback });
      // The first two have no context of their own.
      const names = ['a.test', 'nobody.test', ...[...hosts.keys()].slice(0, NAMES - 2)];
      for (const name of names.slice(2)) {
        const { key, cert } = hosts.get(name) as IssuedCertificate;
        const context = resumption.secureContext({ key, cert });
        if (how === 'addContext') server.addContext(name, context);
        else contexts.set(name, context);
      }
      let rotations = 0;
      server.on('secureConnection', () => {
        if (seen.length % VISITS_OF_A_KEY !== 0) return;
        ring.rotate();
        rotations++;
      });
      const clients = names.flatMap((name) =>
        VERSIONS.flatMap((version) =>
          Array.from({ length: CLIENTS_OF_EACH }, () => ({ name, version, session: undefined as Buffer | undefined })),
        ),
      );
      const resumed = { first: 0, own: 0, elsewhere: 0 };
      const come =
        (each: (typeof clients)[number], kind: keyof typeof resumed, name = each.name) =>
        async () => {
          const visited = await visit(port, {
            ...host(each.version, name),
            session: kind === 'first' ? undefined : underName(each.session, name),
          });
          resumed[kind] += Number(visited.resumed);
          if (kind !== 'elsewhere') each.session = visited.session ?? each.session;
        };
      await mixed(clients.map((each) => come(each, 'first')));
      for (let round = 1; round <= ROUNDS; round++) {
        await mixed(clients.map((each) => come(each, 'own')));
        const elsewhere = (name: string) => names[(names.indexOf(name) + 1 + round) % NAMES] as string;
        await mixed(clients.map((each) => come(each, 'elsewhere', elsewhere(each.name))));
      }
      expect(resumed).toEqual({ first: 0, own: ROUNDS * clients.length, elsewhere: 0 });
      expect(seen).toHaveLength((1 + 2 * ROUNDS) * clients.length);
      expect(rotations).toBe(Math.floor(seen.length / VISITS_OF_A_KEY));
      expect(ring.previous).toHaveLength(rotations);
    },
  );
});
