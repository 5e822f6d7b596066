/**
 * New sessions without end: what holds them stays within its bounds, and the process does not grow.
 * `FLOOD_SESSIONS=2000000` is the size of the table in docs/store-outages.md, whose rows it prints.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeRedis, type RedisServer, type StoreServers, storeServers } from '../support/store-servers.js';
import type { Place } from './fleet-stores.js';
import type { Flood, FloodReport } from './flood-process.js';
import { newFolder } from './lmdb-folder.js';

const SESSIONS = Number(process.env['FLOOD_SESSIONS'] ?? 60_000);
const MIB = 2 ** 20;
/** Small enough that many times as many sessions come as find room. */
const STORE_BYTES = (SESSIONS >= 1_000_000 ? 64 : 8) * MIB;
const TIMEOUT = 120_000 + SESSIONS;
/** V8 doubles the tables of 20 480 sessions, 0.9 MiB, for the last time at the 32 768th that comes. */
const SETTLED_TENTHS = 6;
/** Of live objects after that: 44 bytes a session in the least of floods. */
const GROWTH = MIB;

const FILE = fileURLToPath(new URL('./flood-process.ts', import.meta.url));

async function flood(place?: Place): Promise<FloodReport> {
  const order: Flood = { sessions: SESSIONS, ...(place && { place }) };
  const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', FILE], {
    env: { ...process.env, FLOOD: JSON.stringify(order) },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  try {
    const ended = once(child, 'exit').then(() => Promise.reject(new Error('the flood has ended')));
    return ((await Promise.race([once(child, 'message'), ended])) as [FloodReport])[0];
  } finally {
    child.kill('SIGKILL');
  }
}

const mib = (bytes: number): string => (bytes / MIB).toFixed(1);

/** @param store how many bytes it takes, and of how many at most */
function judge(name: string, { levels, held, failed, seconds }: FloodReport, store: readonly [number, number]): void {
  const [settled, last] = [levels[SETTLED_TENTHS - 1], levels.at(-1)] as const;
  const cells = [
    name,
    `${held.sessions} sessions, ${mib(held.bytes)}`,
    `${mib(store[0])} of ${mib(store[1])}`,
    levels.map(({ resident }) => (resident / MIB).toFixed(0)).join(' '),
    levels.map(({ live }) => mib(live)).join(' '),
    failed,
    seconds.toFixed(0),
  ];
  console.log(`| ${cells.join(' | ')} |`);
  expect(levels).toHaveLength(10);
  expect(held.sessions).toBe(20_480);
  expect(held.bytes).toBeLessThan(64 * MIB);
  expect(store[0]).toBeLessThanOrEqual(store[1]);
  expect((last?.live ?? Number.NaN) - (settled?.live ?? Number.NaN)).toBeLessThan(GROWTH);
}

describe('a flood of new sessions stays within bounds', () => {
  let servers: StoreServers;
  beforeAll(async () => {
    servers = await storeServers();
    console.log(
      `| ${SESSIONS} sessions | in memory, MiB | store, MiB | resident, MiB, by tenths | live, MiB | failed | seconds |`,
    );
  });
  afterAll(() => servers?.remove());

  it('in memory', async () => judge('memory', await flood(), [0, 0]), TIMEOUT);

  describe('in LMDB', () => {
    const path = newFolder();
    afterAll(() => rmSync(path, { recursive: true, force: true }));

    it(
      'and on its disk',
      async () => {
        const report = await flood({ engine: 'lmdb', path, maxBytes: STORE_BYTES });
        const bytes = readdirSync(path).map((name) => 512 * statSync(join(path, name)).blocks);
        const sum = bytes.reduce((a, b) => a + b, 0);
        // Beside the file of sessions one of locks.
        judge('LMDB', report, [sum, STORE_BYTES + 64 * 1024]);
        expect(report.failed).toBe(0);
        expect(sum).toBeGreaterThan(STORE_BYTES / 4);
      },
      TIMEOUT,
    );
  });

  describeRedis('in Redis', () => {
    it(
      'that evicts',
      async () => {
        const args = ['--maxmemory', String(STORE_BYTES), '--maxmemory-policy', 'allkeys-lru'];
        const redis: RedisServer = await servers.redis(...args);
        const report = await flood({ engine: 'redis', port: redis.port });
        const field = (said: string, name: string): number => Number(new RegExp(`${name}:(\\d+)`).exec(said)?.[1]);
        // Beside its keys it has what it needs for those who are connected.
        judge('Redis', report, [field(await redis.ask('INFO', 'memory'), 'used_memory'), STORE_BYTES + MIB]);
        expect(report.failed).toBe(0);
        expect(field(await redis.ask('INFO', 'stats'), 'evicted_keys')).toBeGreaterThan(SESSIONS / 4);
      },
      TIMEOUT,
    );
  });
});
