import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { createClient } from 'redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisClient, redisStore } from '../../src/stores/redis.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { sessionStoreConformance } from '../../src/testing.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { describeRedis, type RedisServer, type StoreServers, storeServers } from '../support/store-servers.js';
import { CLIENTS, type ClientKind, type ClientOptions, PASS, VARIANTS } from './redis-clients.js';

const seal = new TicketCodec(TicketKeyRing.generate());
const key = (): Buffer => randomBytes(32);
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString();
/** What a call was rejected with. */
const errorOf = (call: unknown): Promise<unknown> =>
  Promise.resolve(call).then(
    () => undefined,
    (error: unknown) => error,
  );

let servers: StoreServers;
let server: RedisServer;
const closing: (() => Promise<void>)[] = [];

async function open(kind: ClientKind, options: ClientOptions = {}, port = server.port): Promise<RedisClient> {
  const { client, close } = await kind.open(port, options);
  closing.push(close);
  return client;
}

const pass = async (seconds: number): Promise<void> => {
  expect(await server.ask('EVAL', PASS, '0', String(seconds))).toBe('passed');
};

describeRedis('a store over Redis', () => {
  beforeAll(async () => {
    servers = await storeServers();
    server = await servers.redis();
  });
  afterAll(async () => {
    for (const close of closing.splice(0)) await close();
    await servers?.remove();
  });

  describe.each([...CLIENTS, ...VARIANTS])('by $name', (kind) => {
    const clients: Promise<RedisClient>[] = [];
    const client = (n: 0 | 1): Promise<RedisClient> => {
      clients[n] ??= open(kind);
      return clients[n];
    };
    for (const { name, run } of sessionStoreConformance(async () => redisStore(await client(0), { seal }), {
      peer: async () => redisStore(await client(1), { seal }),
      advance: pass,
    })) {
      it(name, run);
    }
  });

  describe.each(CLIENTS)('by $name, in clear and with a prefix of the client', (kind) => {
    let client: Promise<RedisClient> | undefined;
    const create = async (): Promise<SessionStore> => {
      client ??= open(kind, { keyPrefix: 'app:' });
      return redisStore(await client, { seal: false, prefix: '' });
    };
    for (const { name, run } of sessionStoreConformance(create)) it(name, run);
  });

  describe.each(CLIENTS)('by $name', (kind) => {
    it('names a key by prefix and base64url, and lets the server end it', async () => {
      const store = redisStore(await open(kind), { seal: false, prefix: `${kind.name}:` });
      await store.set(Buffer.alloc(32, 0xfb), Buffer.from('session'), 7);
      const name = `${kind.name}:-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s`;
      expect(await server.ask('GET', name)).toBe('session');
      const left = Number((await server.ask('PTTL', name)).slice(1));
      expect(left).toBeGreaterThan(5000);
      expect(left).toBeLessThanOrEqual(7000);
    });

    it('keeps prefixes apart', async () => {
      const client = await open(kind);
      const [one, other] = [redisStore(client, { seal, prefix: 'a:' }), redisStore(client, { seal, prefix: 'b:' })];
      const asked = key();
      await one.set(asked, Buffer.from('session'), 60);
      expect(await other.get(asked)).toBeUndefined();
      expect(await other.take?.(asked)).toBeUndefined();
      expect(text(await one.get(asked))).toBe('session');
    });

    it('rejects when something else than a value is under its key, and overwrites it', async () => {
      const store = redisStore(await open(kind), { seal: false, prefix: '' });
      const asked = key();
      await server.ask('LPUSH', asked.toString('base64url'), 'one', 'two');
      const error = { code: 'ERR_STORE_UNAVAILABLE', message: expect.stringContaining('WRONGTYPE') };
      await expect(store.get(asked)).rejects.toMatchObject(error);
      await expect(store.take?.(asked)).rejects.toMatchObject(error);
      await store.set(asked, Buffer.from('session'), 60);
      expect(text(await store.get(asked))).toBe('session');
      await server.ask('DEL', asked.toString('base64url'));
      await server.ask('LPUSH', asked.toString('base64url'), 'one');
      await store.delete(asked);
      expect(await store.get(asked)).toBeUndefined();
    });

    it('takes by a script where there is no GETDEL, one of a hundred', async () => {
      const old = await servers.redis('--rename-command', 'GETDEL', '');
      const client = await open(kind, {}, old.port);
      for (const { name, run } of sessionStoreConformance(() => redisStore(client, { seal }), {
        peer: () => redisStore(client, { seal }),
      })) {
        if (/take/.test(name)) await run();
      }
      expect(await old.ask('INFO', 'commandstats')).toMatch(/cmdstat_eval:/);
      await old.kill();
    });

    it('rejects, and throws nothing, once the client is closed', async () => {
      const { client, close } = await kind.open(server.port);
      const store = redisStore(client, { seal });
      await close();
      for (const call of [
        () => store.get(key()),
        () => store.set(key(), Buffer.from('session'), 60),
        () => store.delete(key()),
        () => store.take?.(key()),
      ]) {
        await expect(call()).rejects.toMatchObject({
          code: 'ERR_STORE_UNAVAILABLE',
          message: expect.stringMatching(/clos/),
        });
      }
    });

    it('leaves the client open when it is closed', async () => {
      const client = await open(kind);
      const [store, other] = [redisStore(client, { seal }), redisStore(client, { seal })];
      await store.close?.();
      await expect(store.get(key())).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
      expect(await other.get(key())).toBeUndefined();
    });

    it('has no session, key or cause in its errors', async () => {
      const store = redisStore(await open(kind), { seal: false });
      const [asked, session] = [Buffer.from('the key that nobody must see 123'), Buffer.from('SECRET session bytes')];
      await server.ask('ACL', 'SETUSER', 'default', '-set', '-getdel');
      const full = await servers.redis('--rename-command', 'SET', '');
      const without = redisStore(await open(kind, {}, full.port), { seal: false });
      const errors = [
        await errorOf(store.set(asked, session, 60)),
        await errorOf(without.set(asked, session, 60)),
        await errorOf(store.take?.(asked)),
      ];
      await server.ask('ACL', 'SETUSER', 'default', '+@all');
      await full.kill();
      expect(errors.map((error) => (error as Error).message)).toEqual([
        expect.stringContaining('NOPERM'),
        'Redis SET failed: ERR unknown command',
        expect.stringContaining('NOPERM'),
      ]);
      for (const error of errors) {
        const shown = inspect(error, { depth: 10, showHidden: true });
        expect(shown).not.toMatch(/SECRET|nobody must see|53 45 43 52|tls-resumption:/);
        expect(shown).not.toContain(asked.toString('base64url'));
        expect((error as Error).cause).toBeUndefined();
      }
    });
  });

  it('does not let a client that loses its server end the process', async () => {
    const other = await servers.redis();
    const client = createClient({ socket: { host: '127.0.0.1', port: other.port, reconnectStrategy: false } });
    const store = redisStore(client, { seal });
    await client.connect();
    expect(await store.get(key())).toBeUndefined();
    const failed = new Promise((resolve) => client.once('end', resolve).once('error', resolve));
    await other.kill();
    await failed;
    await expect(store.get(key())).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(client.listenerCount('error')).toBe(1);
    redisStore(client, { seal });
    expect(client.listenerCount('error')).toBe(1);
  });
});

describe('redisStore', () => {
  const on = (): void => {};
  const fake = (more: object): RedisClient => {
    const reject = () => Promise.reject(new Error('not asked'));
    const all = { getBuffer: reject, getdelBuffer: reject, set: reject, del: reject, evalBuffer: reject, on };
    return { ...all, ...more } as unknown as RedisClient;
  };

  it.each([
    ['nothing', undefined],
    ['null', null],
    ['a URL', 'redis://localhost'],
    ['a Map', new Map()],
    ['a client of node-redis 4', { get() {}, set() {}, GETDEL() {}, on }],
    ['a client without withTypeMapping that answers', { withTypeMapping: () => ({ get() {} }), on }],
    ['an ioredis without bytes', { get() {}, set() {}, del() {}, on }],
  ])('refuses %s for a client, and says what it takes', (_, client) => {
    expect(() => redisStore(client as never, { seal })).toThrow(
      /"client" expected a client of ioredis, iovalkey or node-redis \(5 or later\), got /,
    );
    expect(() => redisStore(client as never, { seal })).toThrow(TypeError);
  });

  it.each([
    [() => redisStore(fake({}), undefined as never), TypeError],
    [() => redisStore(fake({}), {} as never), TypeError],
    [() => redisStore(fake({}), { seal: true as never }), TypeError],
    [() => redisStore(fake({}), { seal, prefix: 1 as never }), TypeError],
    [() => redisStore(fake({}), { seal, prefix: 'with space' }), RangeError],
    [() => redisStore(fake({}), { seal, prefix: 'x'.repeat(201) }), RangeError],
  ])('refuses wrong options (%#)', (call, error) => {
    expect(call).toThrow(error);
  });

  const thrown =
    (error: unknown): (() => Promise<never>) =>
    () => {
      throw error;
    };
  it.each([
    ['text', { getBuffer: async () => 'text' }, 'get', 'Redis GET failed: the answer is not bytes'],
    ['a number', { getdelBuffer: async () => 1 }, 'take', 'Redis GETDEL failed: the answer is not bytes'],
    ['nothing', { set: async () => null }, 'set', 'Redis SET failed: the answer is not OK'],
    ['a list', { set: async () => ['OK', 'OK'] }, 'set', 'Redis SET failed: the answer is not OK'],
    ['text', { del: async () => 'SECRET' }, 'delete', 'Redis DEL failed: the answer is not a number of keys'],
    ['a throw', { getBuffer: thrown(new Error("isn't there: 'SECRET'")) }, 'get', "Redis GET failed: isn't there"],
    ['a throw of nothing', { del: thrown(undefined) }, 'delete', 'Redis DEL failed: no reason was given'],
  ] as [string, object, 'get' | 'set' | 'delete' | 'take', string][])(
    'rejects when a client answers with %s (%#)',
    async (_, client, method, message) => {
      const store = redisStore(fake(client), { seal: false });
      const answer = store[method]?.(key(), Buffer.from('session'), 60) as Promise<unknown>;
      await expect(answer).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', message });
    },
  );

  it('takes what an answer says, not what it is a part of', async () => {
    const chunk = Buffer.from('another session, and this one');
    const store = redisStore(fake({ getBuffer: async () => chunk.subarray(21) }), { seal: false });
    const answer = (await store.get(key())) as Uint8Array;
    expect(Buffer.from(answer).toString()).toBe('this one');
    expect(answer.buffer.byteLength).toBe(8);
  });
});
