import { createClient } from 'redis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type RedisClient, type RedisSharedState, redisSharedState, redisStore } from '../../src/stores/redis.js';
import { sharedStateConformance } from '../../src/testing.js';
import { describeRedis, type RedisServer, type StoreServers, storeServers, until } from '../support/store-servers.js';
import { CLIENTS, type ClientKind, type ClientOptions, PASS, VARIANTS } from './redis-clients.js';

const KEY = 'tls-resumption:facts';
/** An interval that no test lives to see the end of. */
const NEVER = 3600;

let servers: StoreServers;
let server: RedisServer;
const closing: (() => unknown)[] = [];

async function open(kind: ClientKind, options: ClientOptions = {}, port = server.port): Promise<RedisClient> {
  const { client, close } = await kind.open(port, options);
  closing.push(close);
  return client;
}

const pass = async (seconds: number): Promise<void> => {
  expect(await server.ask('EVAL', PASS, '0', String(seconds))).toBe('passed');
};
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString();
const bytes = (value: string): Buffer => Buffer.from(value);

/** Remembers what it is told, in order. */
function watch(state: RedisSharedState, prefix = '') {
  const told: string[] = [];
  const failures: unknown[] = [];
  const watching = state.watch(
    prefix,
    (name, value) => void told.push(`${name}=${text(value)}`),
    (error) => void failures.push(error),
  );
  closing.push(() => watching[Symbol.dispose]());
  return { told, failures, end: () => watching[Symbol.dispose]() };
}

const seen = (told: readonly string[], fact: string): Promise<void> =>
  vi.waitFor(() => expect(told).toContain(fact), { timeout: 5000, interval: 5 });

describeRedis('a shared state over Redis', () => {
  beforeAll(async () => {
    servers = await storeServers();
    server = await servers.redis();
  });
  afterAll(() => servers?.remove());

  describe.each([...CLIENTS, ...VARIANTS])('by $name', (kind) => {
    const clients: Promise<{ client: RedisClient; close(): Promise<void> }>[] = [];
    const client = async (n: 0 | 1): Promise<RedisClient> => {
      clients[n] ??= kind.open(server.port, { keyPrefix: 'app:' });
      return (await clients[n]).client;
    };
    afterAll(async () => {
      for (const each of clients) await (await each).close();
    });
    for (const { name, run } of sharedStateConformance(
      async () => redisSharedState(await client(0), { prefix: `${kind.name.replaceAll(' ', '-')}:`, interval: 0.05 }),
      {
        peer: async () =>
          redisSharedState(await client(1), { prefix: `${kind.name.replaceAll(' ', '-')}:`, interval: 0.05 }),
        advance: pass,
      },
    )) {
      it(name, run);
    }
  });

  describe.each(CLIENTS)('by $name', (kind) => {
    beforeEach(async () => {
      await server.ask('FLUSHALL');
    });
    afterEach(async () => {
      for (const close of closing.splice(0).reverse()) await close();
    });

    it('hears at once of what another host has changed, whatever the interval', async () => {
      const [one, other] = [
        redisSharedState(await open(kind, { keyPrefix: 'app:' }), { interval: NEVER }),
        redisSharedState(await open(kind, { keyPrefix: 'app:' })),
      ];
      const { told, failures } = watch(one, 'epoch/');
      // It may take a moment until it listens; what comes before that is found when it does.
      await other.set('epoch/a', bytes('1'));
      await seen(told, 'epoch/a=1');
      await other.set('epoch/a', bytes('2'));
      await seen(told, 'epoch/a=2');
      await other.setIfAbsent('epoch/b', bytes('3'));
      await seen(told, 'epoch/b=3');
      expect(failures).toEqual([]);
      one.close();
    });

    it('learns of changes at the interval when it may not listen', async () => {
      await server.ask('ACL', 'SETUSER', 'default', 'resetchannels');
      const client = await open(kind);
      const [one, other] = [redisSharedState(client, { interval: 0.02 }), redisSharedState(client)];
      const { told } = watch(one);
      for (const value of ['1', '2', '3']) {
        await other.set('epoch/a', bytes(value));
        await seen(told, `epoch/a=${value}`);
      }
      one.close();
      await server.ask('ACL', 'SETUSER', 'default', 'allchannels');
    });

    it('reads all facts only when something has changed', async () => {
      const state = redisSharedState(await open(kind), { interval: 0.01 });
      await state.set('epoch/a', bytes('1'));
      const calls = async (): Promise<Record<string, number>> => {
        const counts = (await server.ask('INFO', 'commandstats')).matchAll(/cmdstat_(\w+):calls=(\d+)/g);
        return Object.fromEntries([...counts].map(([, name, count]) => [name, Number(count)]));
      };
      const { told } = watch(state);
      await seen(told, 'epoch/a=1');
      const before = await calls();
      await until('twenty looks', async () => {
        const { hget = 0 } = await calls();
        expect(hget - (before['hget'] ?? 0)).toBeGreaterThan(20);
      });
      const after = await calls();
      // One more may have been on its way: listening began.
      expect((after['hgetall'] ?? 0) - (before['hgetall'] ?? 0)).toBeLessThanOrEqual(1);
      expect(told).toEqual(['epoch/a=1']);
      state.close();
    });

    it('tells that facts are gone when the server comes back empty, and hears again of new ones', async () => {
      const other = await servers.redis();
      const client = await open(kind, {}, other.port);
      const state = redisSharedState(client, { interval: 0.02 });
      await state.set('epoch/a', bytes('1'));
      const { told, failures } = watch(state);
      await seen(told, 'epoch/a=1');
      await other.restart();
      await seen(told, 'epoch/a=undefined');
      // Some looks may have failed or waited for too long meanwhile, none of them failed for another reason.
      const away = expect.stringMatching(/^ERR_STORE_(UNAVAILABLE|TIMEOUT)$/);
      for (const error of failures) expect(error).toMatchObject({ code: away });
      await state.set('epoch/a', bytes('2'));
      await seen(told, 'epoch/a=2');
      state.close();
      await other.kill();
    });

    it('goes on watching after the server stood still, and says that it did', async () => {
      const other = await servers.redis();
      const [state, writer] = [
        redisSharedState(await open(kind, {}, other.port), { interval: 0.02 }),
        redisSharedState(await open(kind, {}, other.port)),
      ];
      const { told, failures } = watch(state);
      await writer.set('epoch/a', bytes('1'));
      await seen(told, 'epoch/a=1');
      other.freeze();
      await vi.waitFor(
        () => expect(failures).toContainEqual(expect.objectContaining({ code: 'ERR_STORE_TIMEOUT' })),
        10_000,
      );
      other.thaw();
      await writer.set('epoch/a', bytes('2'));
      await seen(told, 'epoch/a=2');
      state.close();
      await other.kill();
    });

    it('is refused by a server that may evict facts', async () => {
      const other = await servers.redis('--maxmemory', '20mb', '--maxmemory-policy', 'allkeys-lru');
      const state = redisSharedState(await open(kind, {}, other.port));
      const refusal = {
        code: 'ERR_STORE_UNAVAILABLE',
        message: expect.stringContaining('set its maxmemory-policy to noeviction'),
      };
      await expect(state.set('epoch/a', bytes('1'))).rejects.toMatchObject(refusal);
      await expect(state.setIfAbsent('epoch/a', bytes('1'))).rejects.toMatchObject(refusal);
      await expect(state.entries('')).rejects.toMatchObject(refusal);
      for (const policy of ['volatile-lru', 'noeviction']) {
        await other.ask('CONFIG', 'SET', 'maxmemory-policy', policy);
        await state.set('epoch/a', bytes(policy));
        expect(text(await state.get('epoch/a'))).toBe(policy);
      }
      await other.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
      await other.ask('CONFIG', 'SET', 'maxmemory', '0');
      expect((await state.entries('')).size).toBe(1);
      await other.kill();
    });

    it('loses no fact while sessions are evicted', async () => {
      const other = await servers.redis('--maxmemory', '6mb', '--maxmemory-policy', 'volatile-ttl');
      const client = await open(kind, {}, other.port);
      const [state, store] = [redisSharedState(client), redisStore(client, { seal: false })];
      for (let n = 0; n < 100; n++) await state.set(`epoch/${n}`, bytes(`${n}`));
      const session = Buffer.alloc(1000, 's');
      for (let round = 0; round < 10; round++) {
        const keys = Array.from({ length: 1000 }, (_, n) => Buffer.alloc(32, `${round} ${n} `));
        await Promise.all(keys.map((key) => store.set(key, session, 300)));
      }
      expect(Number(/evicted_keys:(\d+)/.exec(await other.ask('INFO', 'stats'))?.[1])).toBeGreaterThan(1000);
      expect((await state.entries('epoch/')).size).toBe(100);
      await other.kill();
    });

    it('fails to write, and forgets nothing, when there is no room', async () => {
      const state = redisSharedState(await open(kind), { maxFacts: 3 });
      const full = { code: 'ERR_SHARED_STATE_FULL' };
      for (const name of ['a', 'b']) await state.set(name, bytes(name));
      await state.set('c', bytes('c'), 2);
      await expect(state.set('d', bytes('d'))).rejects.toMatchObject(full);
      await expect(state.setIfAbsent('d', bytes('d'))).rejects.toMatchObject(full);
      await state.set('a', bytes('again'));
      expect(text(await state.setIfAbsent('b', bytes('other')))).toBe('b');
      expect([...(await state.entries('')).keys()].sort()).toEqual(['a', 'b', 'c']);
      await pass(4);
      await state.set('d', bytes('d'));
      expect([...(await state.entries('')).keys()].sort()).toEqual(['a', 'b', 'd']);
    });

    it('fails to write when the server is out of memory', async () => {
      const other = await servers.redis('--maxmemory', '5mb');
      const state = redisSharedState(await open(kind, {}, other.port));
      await state.set('epoch/a', bytes('1'));
      await other.ask('CONFIG', 'SET', 'maxmemory', '1');
      await expect(state.set('epoch/b', bytes('2'))).rejects.toMatchObject({ code: 'ERR_SHARED_STATE_FULL' });
      expect(text(await state.get('epoch/a'))).toBe('1');
      await other.kill();
    });
  });

  describe('in its hash', () => {
    let state: RedisSharedState;
    let close: () => Promise<void>;
    beforeEach(async () => {
      await server.ask('FLUSHALL');
      const opened = await (CLIENTS[0] as ClientKind).open(server.port);
      close = opened.close;
      state = redisSharedState(opened.client);
    });
    afterEach(() => close());

    it('removes what is over as other facts are set', async () => {
      for (let n = 0; n < 300; n++) await state.set(`revoked/${n}`, Buffer.alloc(100), 10);
      await pass(20);
      expect(await server.ask('HLEN', KEY)).toBe(':302');
      for (let n = 0; n < 30; n++) await state.set('epoch', bytes(`${n}`));
      expect(await server.ask('HLEN', KEY)).toBe(':3');
      expect([...(await state.entries('')).keys()]).toEqual(['epoch']);
    });

    it('takes nothing for a fact that is none of its own, and does not overlook it', async () => {
      for (const foreign of ['', 'text', ':', 'x:text', '-:']) {
        await server.ask('HSET', KEY, 'epoch', foreign);
        const error = { code: 'ERR_STORE_UNAVAILABLE', message: expect.stringContaining('MALFORMED') };
        await expect(state.get('epoch')).rejects.toMatchObject(error);
        await expect(state.setIfAbsent('epoch', bytes('1'))).rejects.toMatchObject(error);
        await expect(state.entries('')).rejects.toMatchObject(error);
        await state.set('epoch', bytes('1'));
        expect(text(await state.get('epoch'))).toBe('1');
      }
    });

    it('rejects when the key is of another type', async () => {
      await server.ask('SET', KEY, 'text');
      const error = { code: 'ERR_STORE_UNAVAILABLE', message: expect.stringContaining('WRONGTYPE') };
      await expect(state.get('epoch')).rejects.toMatchObject(error);
      await expect(state.set('epoch', bytes('1'))).rejects.toMatchObject(error);
      await expect(state.entries('')).rejects.toMatchObject(error);
    });

    it('counts versions on though a thousand writes come in one millisecond', async () => {
      const versions = new Set<string>();
      for (let n = 0; n < 50; n++) {
        await state.set('epoch', bytes('the same'));
        versions.add(await server.ask('HGET', KEY, ' version'));
      }
      expect(versions.size).toBe(50);
    });
  });

  it('ends its connection with the watching, and with the client', async () => {
    const clients = async (): Promise<number> =>
      (await server.ask('CLIENT', 'LIST')).split('\n').filter((line) => /\bsub=1\b/.test(line)).length;
    for (const kind of CLIENTS) {
      const { client, close } = await kind.open(server.port);
      const state = redisSharedState(client, { interval: 0.02 });
      const { end } = watch(state);
      await until('listening', async () => expect(await clients()).toBe(1));
      end();
      await until('the end of listening', async () => expect(await clients()).toBe(0));
      watch(state);
      await until('listening again', async () => expect(await clients()).toBe(1));
      await close();
      await until('the end of listening', async () => expect(await clients()).toBe(0));
      state.close();
    }
    closing.length = 0;
  });
});

describe('redisSharedState', () => {
  const client = createClient();
  it.each([
    [() => redisSharedState(undefined as never), TypeError],
    [() => redisSharedState(client, 1 as never), TypeError],
    [() => redisSharedState(client, { prefix: 1 as never }), TypeError],
    [() => redisSharedState(client, { prefix: 'é' }), RangeError],
    [() => redisSharedState(client, { interval: 0 }), RangeError],
    [() => redisSharedState(client, { interval: '1' as never }), TypeError],
    [() => redisSharedState(client, { maxFacts: 0 }), RangeError],
    [() => redisSharedState(client, { maxFacts: 1.5 }), RangeError],
    [() => redisSharedState(client).watch('é', () => {}), RangeError],
    [() => redisSharedState(client).watch('', 1 as never), TypeError],
    [() => redisSharedState(client).watch('', () => {}, 1 as never), TypeError],
  ])('refuses wrong arguments (%#)', (call, error) => {
    expect(call).toThrow(error);
  });
});
