/**
 * Servers whose sessions are in a store that fails, while clients go on coming. Times are printed, not judged, but for
 * this: no lookup outlasts a bare timer of the deadline. Beside them others come to a service of the same process that
 * has no sessions: what a handshake takes on this machine now.
 * `OUTAGE_RATE=500 OUTAGE_SECONDS=10 OUTAGE_DEADLINE=50` is the size of the table in docs/store-outages.md, whose rows it
 * prints.
 */

import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  describeMemcached,
  describeRedis,
  listening,
  type RedisServer,
  type StoreServers,
  storeServers,
  until,
} from '../support/store-servers.js';
import { Fleet } from './fleet.js';
import type { Report } from './fleet-process.js';
import type { Place } from './fleet-stores.js';
import { newFolder } from './lmdb-folder.js';
import { type Summary, summary, Traffic } from './outage.js';

/** Connections a second. */
const RATE = Number(process.env['OUTAGE_RATE'] ?? 40);
/** That an outage lasts. */
const SECONDS = Number(process.env['OUTAGE_SECONDS'] ?? 1);
/** Milliseconds: long where a busy machine is not to be taken for a store that is away. */
const DEADLINE = Number(process.env['OUTAGE_DEADLINE'] ?? 500);
const CROWD = Math.max(8, Math.ceil(RATE / 4));
/** Connections to the store for one to the service without. */
const BESIDE = 10;
const TIMEOUT = 120_000 + 5000 * SECONDS;

const pass = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

interface Outage {
  readonly name: string;
  readonly place: Place;
  /** What runs the processes of the servers. */
  readonly wrapper?: readonly string[];
  begin(fleet: Fleet): unknown;
  /** Nothing: it ends by itself. */
  end?(fleet: Fleet): unknown;
  /** What must be true of those who came meanwhile, besides that none failed. */
  meanwhile(summary: Summary, report: Report): void;
}

const noneResumes = ({ resumed, full }: Summary): void => {
  expect(resumed).toBe(0);
  expect(full).toBeGreaterThan(0);
};
const someDoNot = ({ full }: Summary): void => expect(full).toBeGreaterThan(0);

let fleet: Fleet | undefined;

async function reportOf(fleet: Fleet): Promise<Report> {
  return ((await fleet.ask('report'))[0] as [Report])[0];
}

/** So that they can be compared with those of other processes. */
const now = (): number => performance.timeOrigin + performance.now();

async function survive({ name, place, wrapper = [], begin, end, meanwhile }: Outage): Promise<void> {
  fleet = await Fleet.start({
    services: [{ place, storeAlone: true, deadline: { deadline: DEADLINE } }, { place: 'none' }],
    processes: 1,
    wrapper,
  });
  const running = fleet;
  const [port, portBeside] = running.ports as [number, number];
  const traffic = new Traffic(port, RATE, CROWD);
  const beside = new Traffic(portBeside, RATE / BESIDE, Math.ceil(CROWD / BESIDE));
  await traffic.comeOnce();
  await running.idle();
  const start = now();
  const moments = { beginning: 0, begun: 0, ending: 0, ended: 0 };
  const reports: Report[] = [];
  const course = async (): Promise<void> => {
    await pass(SECONDS / 2);
    reports.push(await reportOf(running));
    moments.beginning = now();
    await begin(running);
    moments.begun = now();
    await pass(SECONDS);
    moments.ending = now();
    reports.push(await reportOf(running));
    await end?.(running);
    moments.ended = end ? now() : moments.begun;
    await until('all to resume', async () => expect(traffic.allResume).toBe(true), 60_000);
    reports.push(await reportOf(running));
  };
  const over = course();
  await Promise.all([traffic.run(over), beside.run(over)]);

  const { comings } = traffic;
  const before = summary(comings, start, moments.beginning);
  const during = summary(comings, moments.begun, moments.ending);
  const duringBeside = summary(beside.comings, moments.begun, moments.ending);
  const lastFull = comings.findLast(({ began, how }) => how === 'full' && began >= moments.ended)?.began;
  const [early, late, last] = reports as [Report, Report, Report];
  const all = summary(comings, start);
  const ms = (...times: number[]): string => times.map((time) => Math.max(0, time).toFixed(0)).join(' / ');
  const cells = [
    name,
    `${before.resumed} of ${before.connections}`,
    `${during.resumed} of ${during.connections}`,
    `${all.failed} of ${all.connections}`,
    `${late.timeouts - early.timeouts} + ${late.errors - early.errors}`,
    `${last.overdue}, ${ms(late.longestLookup)}`,
    ms(...during.times),
    ms(...duringBeside.times),
    ms(last.lastAway - moments.ended),
    ms((lastFull ?? moments.ended) - moments.ended),
  ];
  console.log(`| ${cells.join(' | ')} |`);
  expect([...comings, ...beside.comings].filter(({ how }) => how === 'failed')).toEqual([]);
  expect(last.overdue).toBe(0);
  expect(before.resumed).toBeGreaterThan(0);
  // On a busy machine few handshakes end meanwhile: full ones count to the end.
  meanwhile({ ...during, full: summary(comings, moments.begun).full }, late);
}

afterEach(async () => {
  await fleet?.stop();
  fleet = undefined;
});

describe('none who comes is lost, and all resume again in the end, when', () => {
  let servers: StoreServers;
  beforeAll(async () => {
    servers = await storeServers();
    console.log(`| ${RATE} connections a second, ${SECONDS} s, deadline ${DEADLINE} ms | resumed before | resumed meanwhile | failed |
 lookups given up + errors | lookups overdue, longest in ms | ms of handshakes meanwhile: half / 99 % / all | without store |
 ms until the last lookup without answer | until the last full handshake |`);
  });
  afterAll(() => servers?.remove());

  describeRedis('Redis', () => {
    interface RedisOutage extends Pick<Outage, 'name' | 'meanwhile'> {
      begin(redis: RedisServer): unknown;
      end?(redis: RedisServer): unknown;
    }
    let liar: { close(): Promise<void> } | undefined;
    const outages: readonly RedisOutage[] = [
      { name: 'Redis killed', begin: (redis) => redis.kill(), end: (redis) => redis.restart(), meanwhile: noneResumes },
      { name: 'Redis stopped', begin: (redis) => redis.freeze(), end: (redis) => redis.thaw(), meanwhile: noneResumes },
      {
        name: 'Redis answering garbage',
        async begin(redis) {
          await redis.kill();
          liar = await listening((socket) => socket.on('data', () => socket.write('HTTP/1.1 400\r\n\r\n')), redis.port);
        },
        async end(redis) {
          await liar?.close();
          await redis.restart();
        },
        meanwhile: noneResumes,
      },
      {
        name: 'Redis out of memory',
        begin: (redis) => redis.ask('CONFIG', 'SET', 'maxmemory', '1'),
        end: (redis) => redis.ask('CONFIG', 'SET', 'maxmemory', '0'),
        // What it holds can still be read: TLS 1.2 clients show it again and again.
        meanwhile: ({ resumed, full }) => expect([resumed > 0, full > 0]).toEqual([true, true]),
      },
      { name: 'Redis restarted empty', begin: (redis) => redis.restart(), meanwhile: someDoNot },
    ];
    it.each(outages)(
      '$name',
      async ({ name, begin, end, meanwhile }) => {
        const redis = await servers.redis();
        const place = { engine: 'redis', port: redis.port } as const;
        await survive({ name, place, begin: () => begin(redis), ...(end && { end: () => end(redis) }), meanwhile });
        await redis.kill();
      },
      TIMEOUT,
    );

    it(
      'Redis Cluster: a master lost, and its replica takes over',
      async () => {
        const { nodes, ports } = await servers.redisCluster({ replicas: true });
        const [lost, other] = nodes as [RedisServer, RedisServer];
        await survive({
          name: 'Redis Cluster: a master lost, failed over',
          place: { engine: 'redis-cluster', ports },
          begin: () => lost.kill(),
          // Which sessions it had is chance: more come meanwhile.
          end: () => pass(2),
          meanwhile: someDoNot,
        });
        await until('another master', async () => {
          const known = await other.ask('CLUSTER', 'NODES');
          expect(known.match(/ (myself,)?master - /g)).toHaveLength(3);
        });
      },
      TIMEOUT,
    );
  });

  describeMemcached('memcached', () => {
    it(
      'restarted',
      async () => {
        const memcached = await servers.memcached();
        await survive({
          name: 'memcached killed and restarted',
          place: { engine: 'memcached', port: memcached.port },
          begin: () => memcached.kill(),
          end: () => memcached.restart(),
          meanwhile: noneResumes,
        });
      },
      TIMEOUT,
    );
  });

  describe('LMDB', () => {
    const folder = newFolder();
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    /** A disk of its own, that only the fleet sees. */
    const disk = ['unshare', '-rm', 'sh', '-c', 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"', folder] as const;
    const [command, ...args] = disk;
    const canMount = spawnSync(command, [...args, 'true']).status === 0;

    it.skipIf(!canMount)(
      'has no room on its disk',
      () =>
        survive({
          name: 'LMDB: disk full',
          place: { engine: 'lmdb', path: join(folder, 'sessions') },
          wrapper: disk,
          begin: (fleet) => fleet.ask({ fill: join(folder, 'ballast') }),
          end: (fleet) => fleet.ask({ free: join(folder, 'ballast') }),
          meanwhile(_, { errors }) {
            expect(errors).toBeGreaterThan(0);
          },
        }),
      TIMEOUT,
    );
  });
});
