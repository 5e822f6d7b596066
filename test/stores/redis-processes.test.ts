import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { redisStore } from '../../src/stores/redis.js';
import { describeRedis, type RedisServer, type StoreServers, storeServers } from '../support/store-servers.js';
import { runModule } from '../tickets/child.js';
import { CLIENTS, type ClientKind } from './redis-clients.js';
import type { Booty, Order } from './redis-process.js';
import { startingAt } from './turns.js';

const FILE = fileURLToPath(new URL('./redis-process.ts', import.meta.url));
const ROUNDS = 50;
const PROCESSES = 4;

let servers: StoreServers;
let server: RedisServer;
const children: ChildProcess[] = [];

async function start(kind: number): Promise<ChildProcess> {
  const env = { ...process.env, KIND: String(kind), PORT: String(server.port) };
  const child = fork(FILE, { execArgv: ['--import', 'tsx'], env });
  children.push(child);
  expect((await answerOf(child))[0]).toBe('ready');
  return child;
}

async function answerOf(child: ChildProcess): Promise<unknown[]> {
  const waiting = new AbortController();
  const { signal } = waiting;
  try {
    return await Promise.race([
      once(child, 'message', { signal }),
      once(child, 'exit', { signal }).then(([code]) => Promise.reject(new Error(`ended with ${code}`))),
    ]);
  } finally {
    waiting.abort();
  }
}

async function order(child: ChildProcess, what: Order): Promise<Booty> {
  child.send(what);
  const [booty] = await answerOf(child);
  return booty as Booty;
}

describeRedis('several processes over one Redis', () => {
  beforeAll(async () => {
    servers = await storeServers();
    server = await servers.redis();
  });
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await servers?.remove();
  });

  it('hand a session to one of a hundred takes at once', async () => {
    const kinds = Array.from({ length: PROCESSES }, (_, n) => n % CLIENTS.length);
    const processes = await Promise.all(kinds.map(start));
    const { client, close } = await (CLIENTS[0] as ClientKind).open(server.port);
    const store = redisStore(client, { seal: false });
    const winners = new Set<unknown>();
    for (let round = 0; round < ROUNDS; round++) {
      const key = randomBytes(32);
      await store.set(key, Buffer.from(`session ${round}`), 60);
      const what = { key: key.toString('base64'), times: 100 / PROCESSES };
      const asked = startingAt(round, processes);
      const booties = await Promise.all(asked.map((child) => order(child, what)));
      expect(booties.flat()).toEqual([`session ${round}`]);
      winners.add(asked[booties.findIndex((booty) => booty.length > 0)]);
      expect(await store.get(key)).toBeUndefined();
    }
    await close();
    // Else it was no contest.
    expect(winners.size).toBeGreaterThan(1);
  });

  it.each(CLIENTS.map(({ name }, kind) => ({ name, kind })))('end though they watch ($name)', async ({ kind }) => {
    // Without its own connection the client keeps nothing alive; what watches has one too.
    const ended = await runModule(`
      import { redisSharedState } from './src/stores/redis.ts';
      import { CLIENTS } from './test/stores/redis-clients.ts';
      const { client } = await CLIENTS[${kind}].open(${server.port});
      const state = redisSharedState(client, { interval: 0.05 });
      await state.set('epoch', Buffer.from('1'));
      await new Promise((resolve) => {
        state.watch('', (name, value) => value.toString() === '1' ? void state.set(name, Buffer.from('2')) : resolve());
      });
      client.unref ? client.unref() : client.stream.unref();
      console.log('watching');
    `);
    expect(ended).toMatchObject({ code: 0, stdout: 'watching\n', stderr: '' });
  });
});
