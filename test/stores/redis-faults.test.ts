import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DeadlineStore } from '../../src/stores/deadline-store.js';
import { redisStore } from '../../src/stores/redis.js';
import { sealEnvelope } from '../../src/stores/session-envelope.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import {
  describeRedis,
  listening,
  type RedisServer,
  type StoreServers,
  storeServers,
  until,
} from '../support/store-servers.js';
import { CLIENTS, type ClientKind, type OpenClient } from './redis-clients.js';

const seal = new TicketCodec(TicketKeyRing.generate());
const key = (): Buffer => randomBytes(32);
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString();
const unavailable = (said: RegExp) => ({ code: 'ERR_STORE_UNAVAILABLE', message: expect.stringMatching(said) });

let servers: StoreServers;
const uncaught: unknown[] = [];
const onUncaught = (error: unknown): void => void uncaught.push(error);

describeRedis('a store over Redis, when', () => {
  beforeAll(async () => {
    servers = await storeServers();
    process.on('uncaughtExceptionMonitor', onUncaught);
    process.on('unhandledRejection', onUncaught);
  });
  afterAll(async () => {
    process.off('uncaughtExceptionMonitor', onUncaught);
    process.off('unhandledRejection', onUncaught);
    await servers?.remove();
  });

  describe.each(CLIENTS)('by $name', (kind) => {
    let server: RedisServer;
    let opened: OpenClient;
    let store: SessionStore;
    const set = (session = 'session', asked = key()): Promise<Buffer> =>
      Promise.resolve(store.set(asked, Buffer.from(session), 300)).then(() => asked);

    beforeEach(async () => {
      server = await servers.redis();
      opened = await kind.open(server.port, { failFast: true });
      store = redisStore(opened.client, { seal });
    });
    afterEach(async () => {
      await opened.close();
      await server.kill();
      expect(uncaught.splice(0)).toEqual([]);
    });

    it('it is killed, fails at once, and is used again when it is back, empty', async () => {
      const asked = await set();
      await server.kill();
      await until('the loss of the connection', () => expect(store.get(asked)).rejects.toBeDefined());
      for (const call of [
        () => store.get(asked),
        () => store.set(asked, Buffer.from('s'), 1),
        () => store.delete(asked),
      ]) {
        await expect(call()).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
      }
      await server.restart();
      await until('the connection', async () => store.get(asked));
      expect(await store.get(asked)).toBeUndefined();
      await set('again', asked);
      expect(text(await store.get(asked))).toBe('again');
    });

    it('it stands still, keeps nobody waiting behind a deadline, and is used again within a period', async () => {
      const bounded = new DeadlineStore(store, { deadline: 250, writeDeadline: 250, period: 250, failures: 3 });
      const asked = await set();
      expect(text(await store.get(asked))).toBe('session');
      server.freeze();
      for (let n = 0; n < 20; n++) await Promise.resolve(bounded.get(asked)).catch(() => undefined);
      // Three deadlines, and what the breaker lets through in that time; not twenty.
      expect(bounded.statistics.reads.timeouts).toBeLessThan(10);
      server.thaw();
      await until('the next try', async () => expect(text(await bounded.get(asked))).toBe('session'));
      expect(bounded.statistics.reads.state).toBe('closed');
    });

    it('it is emptied, finds nothing', async () => {
      const asked = await set();
      await server.ask('FLUSHALL');
      expect(await store.get(asked)).toBeUndefined();
      expect(await store.take?.(asked)).toBeUndefined();
      await store.delete(asked);
    });

    it('its memory is full and nothing may go, refuses to set, and still finds, takes and deletes', async () => {
      const keys = [await set('one'), await set('two')] as const;
      await server.ask('CONFIG', 'SET', 'maxmemory', '1');
      await expect(set('three')).rejects.toMatchObject(unavailable(/^Redis SET failed: OOM /));
      expect(text(await store.get(keys[0]))).toBe('one');
      expect(text(await store.take?.(keys[0]))).toBe('one');
      await store.delete(keys[1]);
      expect(await store.get(keys[1])).toBeUndefined();
      await server.ask('CONFIG', 'SET', 'maxmemory', '0');
      await set('three');
    });

    it('its memory is full and the oldest may go, stays within it and finds the newest', async () => {
      await server.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
      await server.ask('CONFIG', 'SET', 'maxmemory', '4mb');
      const asked: Buffer[] = [];
      for (let round = 0; round < 20; round++) {
        asked.push(...(await Promise.all(Array.from({ length: 500 }, () => set('x'.repeat(1000))))));
      }
      const memory = await server.ask('INFO', 'memory');
      expect(Number(/used_memory:(\d+)/.exec(memory)?.[1])).toBeLessThan(6 * 2 ** 20);
      const found = (await Promise.all(asked.map((each) => store.get(each)))).map((each) => each !== undefined);
      const [oldest, newest] = [found.slice(0, 500), found.slice(-500)].map((each) => each.filter(Boolean).length);
      expect(newest).toBeGreaterThan((oldest as number) + 100);
      expect(text(await store.get(await set('the very newest')))).toBe('the very newest');
    });

    it('values are garbage, cut short, altered or of another key, finds nothing', async () => {
      const [asked, other] = [await set('mine'), await set('other')];
      const name = (of: Buffer): string => `tls-resumption:${of.toString('base64url')}`;
      const raw = redisStore(opened.client, { seal: false });
      const sealed = Buffer.from((await raw.get(asked)) as Uint8Array);
      const altered = Buffer.from(sealed);
      altered[40] = (altered[40] as number) ^ 1;
      for (const value of [
        Buffer.from('garbage'),
        Buffer.alloc(0),
        sealed.subarray(0, -1),
        altered,
        randomBytes(500),
      ]) {
        await raw.set(asked, value, 60);
        expect(await store.get(asked)).toBeUndefined();
      }
      expect(await server.ask('COPY', name(other), name(asked), 'REPLACE')).toBe(':1');
      expect(await store.get(asked)).toBeUndefined();
      expect(await store.take?.(asked)).toBeUndefined();
      await raw.set(asked, sealed, 60);
      expect(text(await store.get(asked))).toBe('mine');
    });
  });

  it.each(CLIENTS)('what answers is no Redis ($name), fails and throws nothing past the store', async (kind) => {
    const server = await servers.redis();
    const opened = await kind.open(server.port, { failFast: true });
    const store = redisStore(opened.client, { seal: false });
    await store.get(key());
    await server.kill();
    const failed = (error: unknown): void => {
      expect(error).toMatchObject({ name: 'ResumptionError', message: expect.not.stringMatching(/SECRET/) });
    };
    for (const words of [undefined, ...GARBAGE]) {
      const liar = await lie(server.port, words);
      const bounded = new DeadlineStore(store, { deadline: 20, writeDeadline: 20, period: 10 });
      // Some words leave a client waiting for more: then it does not come again.
      for (let calls = 0; calls < 10 || liar.heard < 1; calls++) {
        await Promise.resolve(bounded.get(key())).catch(failed);
        await Promise.resolve(bounded.set(key(), Buffer.from('SECRET'), 60)).catch(failed);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await bounded.close();
      await liar.close();
    }
    await opened.close();
    expect(uncaught.splice(0)).toEqual([]);
  });

  it('someone reads what it holds: no byte of a session or of its envelope is there', async () => {
    const server = await servers.redis('--rdbcompression', 'no');
    const { client, close } = await (CLIENTS[0] as ClientKind).open(server.port);
    const [sealed, clear] = [redisStore(client, { seal }), redisStore(client, { seal: false })];
    const sessions = Array.from({ length: 20 }, () => ({ id: key(), session: randomBytes(160) }));
    const dump = async (): Promise<Buffer> => {
      await server.ask('SAVE');
      return readFile(join(server.folder, 'dump.rdb'));
    };
    const keep = (store: SessionStore) =>
      Promise.all(
        sessions.map(async ({ id, session }) => store.set(id, sealEnvelope(id, session, 0, Date.now()), 300)),
      );
    /** How many runs of eight bytes, of all sessions and keys, are in the dump. */
    const leaked = (held: Buffer): number => {
      let found = 0;
      for (const secret of sessions.flatMap(({ id, session }) => [id, session])) {
        for (let at = 0; at + 8 <= secret.length; at++) if (held.includes(secret.subarray(at, at + 8))) found++;
      }
      return found;
    };
    await keep(sealed);
    expect(await server.ask('DBSIZE')).toBe(':20');
    expect(leaked(await dump())).toBe(0);
    await keep(clear);
    expect(leaked(await dump())).toBe(20 * (25 + 153));
    await close();
  });
});

const GARBAGE = [
  'HTTP/1.1 400 Bad Request\r\n\r\n',
  '$5\r\nab',
  '*-7\r\n',
  '-',
  '\0'.repeat(100),
  '$x\r\n',
  ':1\r\n',
  '+SECRET\r\n',
];

/** Something that says the same to all that they ask, or repeats what it hears. */
async function lie(port: number, words: string | undefined): Promise<{ heard: number; close(): Promise<void> }> {
  const liar = { heard: 0, close: async () => {} };
  const { close } = await listening((socket) => {
    socket.on('data', (chunk) => {
      liar.heard++;
      socket.write(words ?? chunk);
    });
  }, port);
  liar.close = close;
  return liar;
}
