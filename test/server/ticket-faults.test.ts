/** Rings, clocks and listeners that fail while handshakes are under way: these complete all the same. */

import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import type { ResumptionConnection } from '../../src/server/connection.js';
import { ServerResumption, type ServerResumptionOptions } from '../../src/server/server-resumption.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { close, comeBack, listen, only, VERSIONS, type Version, visit } from '../support/visits.js';
import { DEEDS, type Deed, type Outcome, VISITS } from './fixtures/rotating-ring.js';

let certificate: IssuedCertificate;
const cleanups: (() => unknown)[] = [];
const uncaught: unknown[] = [];
const onUncaught = (error: unknown): void => void uncaught.push(error);

beforeAll(async () => {
  certificate = await makeCertificate({ names: ['a.test'] });
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

interface Running {
  readonly port: number;
  readonly server: tls.Server;
  readonly seen: (ResumptionConnection | undefined)[];
}

async function start(setting: ServerResumptionOptions, options: tls.TlsOptions = {}): Promise<Running> {
  const { key, cert } = certificate;
  const resumption = new ServerResumption(setting);
  const server = tls.createServer(resumption.secure({ key, cert, ...options }));
  resumption.attach(server);
  const seen: (ResumptionConnection | undefined)[] = [];
  server.on('secureConnection', (socket) => {
    seen.push(resumption.connection(socket));
    socket.on('error', () => {});
    socket.end('hello');
  });
  cleanups.push(() => close(server));
  return { port: await listen(server), server, seen };
}

describe('a ring that rotates under handshakes, whose listener and key source', () => {
  // A connection that ends within OpenSSL's callback takes the process along.
  it.each(Object.keys(DEEDS) as Deed[])('%s: the process lives, and no other handshake fails', async (deed) => {
    const { key, cert } = certificate;
    const child = fork(fileURLToPath(new URL('fixtures/rotating-ring.ts', import.meta.url)), {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, SERVER_KEY: key, SERVER_CERT: cert, DEED: deed },
    });
    cleanups.push(() => child.kill());
    const outcomes: Outcome[] = [];
    child.on('message', (message) => outcomes.push(...(message as Outcome[])));
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(outcomes.map(({ cause, version }) => `${cause} ${version}`)).toEqual(
      ['seals', 'time', 'a key source'].flatMap((cause) => VERSIONS.map((version) => `${cause} ${version}`)),
    );
    for (const { cause, rotations, completed, destroyed, lost, uncaught } of outcomes) {
      // A key source that fails is asked again later.
      expect(rotations).toBeGreaterThanOrEqual(deed === 'throws' && cause === 'a key source' ? 1 : 6);
      expect(destroyed >= rotations).toBe(deed !== 'throws');
      expect(uncaught).toBe(deed === 'throws' ? rotations : 0);
      expect(lost).toBe(0);
      expect(completed).toBeGreaterThanOrEqual(VISITS - destroyed);
      expect(completed).toBeGreaterThan(0);
    }
  });
});

describe.each(VERSIONS)('a client of %s with an external PSK', (version) => {
  const psk = Buffer.alloc(32, 7);
  const ciphers = 'TLS_AES_128_GCM_SHA256:PSK-AES128-GCM-SHA256:DHE-PSK-AES128-GCM-SHA256:HIGH';
  const client = {
    ...only(version),
    servername: 'a.test',
    pskCallback: () => ({ psk, identity: 'joe' }),
    ciphers: version === 'TLSv1.3' ? 'TLS_AES_128_GCM_SHA256' : 'PSK',
    checkServerIdentity: () => undefined,
  };

  it.each([
    ['sessions', () => ({})],
    ['tickets', () => ({ tickets: TicketKeyRing.generate() })],
  ])('connects to a server with %s, and is not taken for one that comes back', async (_what, setting) => {
    const asked: string[] = [];
    // Tickets that are text by chance come here too, as identities.
    const pskCallback = (_socket: tls.TLSSocket, identity: string): Buffer | null => {
      asked.push(identity);
      return identity === 'joe' ? psk : null;
    };
    const { port, seen } = await start(setting(), { pskCallback, ciphers });
    for (let i = 0; i < 3; i++) expect((await visit(port, client)).received).toBe('hello');
    expect(asked).toEqual(['joe', 'joe', 'joe']);
    expect(seen).toEqual(Array(3).fill(expect.objectContaining({ resumed: false, way: null })));
    const [, again] = await comeBack(port, { ...only(version), servername: 'a.test' });
    expect(again.resumed).toBe(true);
  });
});

describe('a clock that', () => {
  const WRONG = {
    throws: () => {
      throw new Error('no time');
    },
    'says NaN': () => Number.NaN,
    'says Infinity': () => Number.POSITIVE_INFINITY,
  } satisfies Record<string, () => number>;
  type What = keyof typeof WRONG;
  const cases = (Object.keys(WRONG) as What[]).flatMap((what) => VERSIONS.map((version) => ({ what, version })));

  /** Says the right time until told, and again afterwards. */
  function clockThat(what: What): {
    readonly clock: () => number;
    during<T>(action: () => T | Promise<T>): Promise<T>;
  } {
    let wrong = false;
    return {
      clock: () => (wrong ? WRONG[what]() : Date.now()),
      async during(action) {
        wrong = true;
        try {
          return await action();
        } finally {
          wrong = false;
        }
      },
    };
  }

  /** Why a ticket of before did not resume during the fault and after it, and one of the time of the fault after it. */
  async function reasonsAround({ port, seen }: Running, version: Version, { during }: ReturnType<typeof clockThat>) {
    const client = { ...only(version), servername: 'a.test' };
    const before = await visit(port, client);
    const meanwhile = await during(async () => {
      await visit(port, { ...client, session: before.session });
      return visit(port, client);
    });
    await visit(port, { ...client, session: before.session });
    await visit(port, { ...client, session: meanwhile.session });
    return [1, 3, 4].map((i) => seen[i]?.reason);
  }

  it.each(cases)(
    '$what at the server of $version makes handshakes full, and tickets that do not resume',
    async ({ what, version }) => {
      const fault = clockThat(what);
      const running = await start({ tickets: TicketKeyRing.generate(), clock: fault.clock });
      expect(await reasonsAround(running, version, fault)).toEqual(
        what === 'throws' ? ['lookup-failed', null, 'ticket-key-unknown'] : ['chain-too-old', null, 'chain-too-old'],
      );
    },
  );

  it.each(cases)('$what at the ring fails no handshake of $version, and loses no key', async ({ what, version }) => {
    const fault = clockThat(what);
    const ring = TicketKeyRing.generate({ clock: fault.clock, interval: 60, lifetime: 120 });
    const { current } = ring;
    const running = await start({ tickets: ring });
    // A clock that says no number stands still.
    expect(await reasonsAround(running, version, fault)).toEqual([null, null, null]);
    expect(ring.keys).toEqual([current]);
  });

  it.each(['says NaN', 'says Infinity'] as const)(
    '%s loses no key of any ring: what was sealed opens',
    async (what) => {
      for (const make of [
        TicketKeyRing.generate,
        (options: object) => TicketKeyRing.fromSecret(randomBytes(32), options),
      ]) {
        const fault = clockThat(what);
        using ring = make({ clock: fault.clock, interval: 10, lifetime: 20 });
        const keys = ring.keys.length;
        const codec = new TicketCodec(ring);
        const text = Buffer.from('a session');
        const before = codec.seal(text);
        const meanwhile = await fault.during(() => {
          expect(codec.open(before)).toEqual(text);
          return codec.seal(text);
        });
        for (const ticket of [before, meanwhile]) expect(codec.open(ticket)).toEqual(text);
        expect(ring.keys).toHaveLength(keys);
      }
    },
  );
});

describe('a server without the ticket-key callback', () => {
  it.each(VERSIONS)(
    'completes handshakes of %s, and changes its context, when its ring is disposed of',
    async (version) => {
      const ring = TicketKeyRing.generate();
      const { port, server, seen } = await start({ tickets: ring, ticketKeyCallback: false });
      const client = { ...only(version), servername: 'a.test' };
      const { session } = await visit(port, client);
      ring[Symbol.dispose]();
      server.setSecureContext({ key: certificate.key, cert: certificate.cert });
      expect((await visit(port, { ...client, session })).received).toBe('hello');
      expect((await visit(port, client)).received).toBe('hello');
      expect(seen.map((each) => each?.resumed)).toEqual([false, false, false]);
    },
  );

  it('has the new key whatever other listeners of its ring throw', async () => {
    const caught: unknown[] = [];
    const catching = (error: unknown): void => void caught.push(error);
    const others = process.rawListeners('uncaughtException');
    process.removeAllListeners('uncaughtException').on('uncaughtException', catching);
    try {
      const ring = TicketKeyRing.generate();
      const thrown = new Error('a listener');
      const throwing = (): void => {
        throw thrown;
      };
      ring.on('rotate', throwing);
      const { port, server, seen } = await start({ tickets: ring, ticketKeyCallback: false });
      ring.on('rotate', throwing);
      ring.rotate();
      expect(server.getTicketKeys().subarray(0, 16)).toEqual(ring.current.name);
      server.setSecureContext({ key: certificate.key, cert: certificate.cert });
      for (const version of VERSIONS) await comeBack(port, { ...only(version), servername: 'a.test' });
      expect(seen.map((each) => each?.way)).toEqual([null, 'ticket', null, 'ticket']);
      expect(caught).toEqual([thrown, thrown]);
      uncaught.length = 0;
    } finally {
      process.removeListener('uncaughtException', catching);
      for (const other of others) process.on('uncaughtException', other as () => void);
    }
  });

  it('shares its ring with many others, without a warning', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on('warning', onWarning);
    cleanups.push(() => process.off('warning', onWarning));
    const ring = TicketKeyRing.generate();
    const all = await Promise.all(Array.from({ length: 12 }, () => start({ tickets: ring, ticketKeyCallback: false })));
    ring.rotate();
    await new Promise((resolve) => setImmediate(resolve));
    const names = all.map(({ server }) => server.getTicketKeys().subarray(0, 16));
    expect(names).toEqual(Array(12).fill(ring.current.name));
    expect(warnings).toEqual([]);
  });
});
