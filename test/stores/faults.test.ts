/** Real servers over a Redis that fails in every way: counts are printed, times are not judged. */

import { createServer, type Server } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { DeadlineStore } from '../../src/stores/deadline-store.js';
import { redisStore } from '../../src/stores/redis.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import {
  describeRedis,
  listening,
  type RedisServer,
  type StoreServers,
  storeServers,
} from '../support/store-servers.js';
import { close, listen, only, VERSIONS, type Version, visit } from '../support/visits.js';
import { CLIENTS, type ClientKind } from './redis-clients.js';

/** Long, so that a loop that is busy with servers and clients is not taken for a store that does not answer. */
const DEADLINE = 1000;
const PERIOD = 200;
const FAILURES = 3;
/** Clients that come back at the same time, and visits of a phase. */
const CROWD = 4;
const VISITS = 60;
/** ioredis and iovalkey are one code here. */
const KINDS = CLIENTS.filter(({ name }) => name !== 'iovalkey');

let servers: StoreServers;
let redis: RedisServer;
let certificate: IssuedCertificate;
const cleanups: (() => unknown)[] = [];

/** A server whose sessions are in Redis alone, and what stands between. */
interface Host {
  readonly port: number;
  readonly resumption: ServerResumption;
  readonly bounded: DeadlineStore;
}

async function host(
  kind: ClientKind,
  options: { seal?: TicketCodec; singleUse?: boolean; clock?: () => number } = {},
): Promise<Host> {
  const { seal = new TicketCodec(TicketKeyRing.generate()), singleUse = false, clock = Date.now } = options;
  const { client, close: closeClient } = await kind.open(redis.port, { failFast: true });
  const bounded = new DeadlineStore(redisStore(client, { seal }), {
    deadline: DEADLINE,
    writeDeadline: DEADLINE,
    period: PERIOD,
    failures: FAILURES,
  });
  const mode = SessionCacheMode.Server | SessionCacheMode.NoInternal;
  const cache = new SessionCache({ mode, external: bounded, clock });
  const resumption = new ServerResumption({ cache, singleUse, clock, lookupTimeout: 2 * DEADLINE });
  const { key, cert } = certificate;
  const server: Server = createServer(resumption.secure({ key, cert }), (socket) => {
    socket.on('error', () => {});
    socket.end('hello');
  });
  resumption.attach(server);
  cleanups.push(
    closeClient,
    () => bounded.close(),
    () => close(server),
  );
  return { port: await listen(server), resumption, bounded };
}

interface Phase {
  readonly resumed: number;
  readonly full: number;
  readonly failed: number;
  /** Milliseconds from the first byte to the last. */
  readonly median: number;
  readonly longest: number;
}

/** Clients that come again and again, several at a time, each with the session that it got last. */
class Crowd {
  readonly #port: number;
  readonly #sessions: (Buffer | undefined)[] = new Array(CROWD).fill(undefined);

  constructor(port: number) {
    this.#port = port;
  }

  async come(visits = VISITS): Promise<Phase> {
    const counts = { resumed: 0, full: 0, failed: 0 };
    const times: number[] = [];
    let left = visits;
    const comeAgain = async (_: unknown, n: number): Promise<void> => {
      while (left-- > 0) {
        const session = this.#sessions[n];
        const began = performance.now();
        try {
          const back = await visit(this.#port, { ...only(VERSIONS[n % 2] as Version), session });
          counts[back.resumed ? 'resumed' : 'full']++;
          this.#sessions[n] = back.session ?? session;
        } catch {
          counts.failed++;
        }
        times.push(performance.now() - began);
      }
    };
    await Promise.all(this.#sessions.map(comeAgain));
    times.sort((a, b) => a - b);
    return { ...counts, median: times[times.length >> 1] as number, longest: times.at(-1) as number };
  }

  /** Comes until as many resume as in good times. */
  async comeUntilResumed(): Promise<{ visits: number; milliseconds: number; failed: number }> {
    const began = performance.now();
    for (let [visits, failed] = [0, 0]; ; ) {
      const phase = await this.come(CROWD);
      visits += CROWD;
      failed += phase.failed;
      if (phase.resumed === CROWD) return { visits, milliseconds: performance.now() - began, failed };
      expect(performance.now() - began, 'resumption is not back').toBeLessThan(20_000);
    }
  }
}

const print = (kind: string, what: string, phase: Phase): void => {
  const { resumed, full, failed, median, longest } = phase;
  console.log(
    `${kind}, ${what}: ${resumed} resumed, ${full} full, ${failed} failed; ${median.toFixed(1)} ms median, ${longest.toFixed(1)} longest`,
  );
};

describeRedis('servers over Redis', () => {
  beforeAll(async () => {
    servers = await storeServers();
    certificate = await makeCertificate({ names: ['localhost'] });
  });
  beforeEach(async () => {
    redis = await servers.redis();
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    await redis.kill();
  });
  afterAll(() => servers?.remove());

  interface Fault {
    readonly name: string;
    begin(): unknown;
    /** What must be true of its phase, besides that nothing fails. */
    during(phase: Phase): void;
    end(): unknown;
  }
  const none = ({ resumed }: Phase): void => expect(resumed).toBe(0);
  let liar: { close(): Promise<void> } | undefined;
  const FAULTS: readonly Fault[] = [
    { name: 'killed', begin: () => redis.kill(), during: none, end: () => redis.restart() },
    { name: 'stopped', begin: () => redis.freeze(), during: none, end: () => redis.thaw() },
    {
      name: 'out of memory',
      begin: () => redis.ask('CONFIG', 'SET', 'maxmemory', '1'),
      // What it holds can still be read; a TLS 1.3 client whose new session was refused comes with one that is not there.
      during: ({ resumed, full }) => expect([resumed > 0, full > 0]).toEqual([true, true]),
      end: () => redis.ask('CONFIG', 'SET', 'maxmemory', '0'),
    },
    {
      name: 'restarted empty',
      begin: () => redis.restart(),
      during: ({ full }) => expect(full).toBeGreaterThan(0),
      end: () => {},
    },
    {
      name: 'answering garbage',
      begin: async () => {
        await redis.kill();
        liar = await listening((socket) => socket.on('data', () => socket.write('HTTP/1.1 400\r\n\r\n')), redis.port);
      },
      during: none,
      end: async () => {
        await liar?.close();
        await redis.restart();
      },
    },
  ];

  describe.each(KINDS)('by $name', (kind) => {
    it.each(FAULTS)(
      'lose no connection while it is $name, and resume again after it',
      async ({ name, begin, during, end }) => {
        const { port, resumption, bounded } = await host(kind);
        const crowd = new Crowd(port);
        await crowd.come(2 * CROWD);
        await resumption.idle();
        const before = await crowd.come();
        print(kind.name, `before it is ${name}`, before);
        expect(before).toMatchObject({ resumed: VISITS, full: 0, failed: 0 });

        const timeouts = bounded.statistics.reads.timeouts;
        await begin();
        const phase = await crowd.come();
        print(kind.name, name, phase);
        expect(phase).toMatchObject({ failed: 0 });
        expect(phase.resumed + phase.full).toBe(VISITS);
        during(phase);
        // Of all visits only those waited for a deadline that were there when the circuit opened, and one a period.
        const waited = bounded.statistics.reads.timeouts - timeouts;
        expect(waited).toBeLessThanOrEqual(CROWD + FAILURES + Math.ceil((phase.longest * VISITS) / CROWD / PERIOD));

        await end();
        const back = await crowd.comeUntilResumed();
        console.log(
          `${kind.name}, after it was ${name}: ${back.milliseconds.toFixed(0)} ms until all resume, ${back.visits} visits`,
        );
        expect(back.failed).toBe(0);
        const after = await crowd.come();
        print(kind.name, `after it was ${name}`, after);
        expect(after).toMatchObject({ resumed: VISITS, failed: 0 });
      },
    );
  });

  it.each(VERSIONS)('resume a single-use session once, of 100 attempts at two hosts at once (%s)', async (version) => {
    const seal = new TicketCodec(TicketKeyRing.generate());
    const hosts = await Promise.all([0, 1].map((n) => host(CLIENTS[n] as ClientKind, { seal, singleUse: true })));
    const [{ port, resumption }] = hosts as [Host];
    for (let round = 0; round < 3; round++) {
      const { session } = await visit(port, only(version));
      await resumption.idle();
      const attempts = await Promise.all(
        Array.from({ length: 100 }, (_, n) => visit((hosts[n % 2] as Host).port, { ...only(version), session })),
      );
      expect(attempts.filter(({ resumed }) => resumed)).toHaveLength(1);
    }
  });

  it.each(VERSIONS)('make a full handshake of values that were moved, altered or are over (%s)', async (version) => {
    const clock = { now: Date.now() };
    const { port, resumption } = await host(CLIENTS[0] as ClientKind, { clock: () => clock.now });
    const come = (session?: Buffer) => visit(port, { ...only(version), session });
    const [one, other] = [await come(), await come()];
    await resumption.idle();
    const { client, close: closeClient } = await (CLIENTS[0] as ClientKind).open(redis.port);
    cleanups.push(closeClient);
    const raw = redisStore(client, { seal: false });
    const names = (await redis.ask('KEYS', 'tls-resumption:*')).match(/tls-resumption:\S+/g) ?? [];
    const held = await Promise.all(
      names.map(async (name) => {
        const key = Buffer.from(name.slice('tls-resumption:'.length), 'base64url');
        return { key, value: (await raw.get(key)) as Uint8Array };
      }),
    );
    expect(held.length).toBe(version === 'TLSv1.2' ? 2 : 4);
    const put = (choose: (n: number) => Uint8Array): Promise<unknown> =>
      Promise.all(held.map(async ({ key }, n) => raw.set(key, choose(n), 600)));
    const resumed = async (): Promise<boolean[]> => [
      (await come(one.session)).resumed,
      (await come(other.session)).resumed,
    ];

    await put((n) => (held[(n + 1) % held.length] as { value: Uint8Array }).value);
    expect(await resumed()).toEqual([false, false]);
    await put((n) =>
      Uint8Array.from((held[n] as { value: Uint8Array }).value, (byte, at) => (at === 50 ? byte ^ 1 : byte)),
    );
    expect(await resumed()).toEqual([false, false]);
    await put((n) => (held[n] as { value: Uint8Array }).value);
    expect(await resumed()).toEqual([true, true]);
    // What was kept aside is as good as ever but for its time.
    clock.now += 301_000;
    await put((n) => (held[n] as { value: Uint8Array }).value);
    expect(await resumed()).toEqual([false, false]);
  });
});
