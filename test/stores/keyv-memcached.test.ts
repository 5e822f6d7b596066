import { randomBytes } from 'node:crypto';
import KeyvMemcache from '@keyv/memcache';
import Keyv from 'keyv';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { DeadlineStore } from '../../src/stores/deadline-store.js';
import { keyvStore } from '../../src/stores/keyv.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { sessionStoreConformance } from '../../src/testing.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import {
  describeMemcached,
  listening,
  type StoreServer,
  type StoreServers,
  storeServers,
  talk,
  until,
} from '../support/store-servers.js';

const seal = new TicketCodec(TicketKeyRing.generate());
const key = (): Buffer => randomBytes(32);
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString();
const unavailable = { code: 'ERR_STORE_UNAVAILABLE', name: 'ResumptionError' };
/** memjs writes to the console otherwise. */
const QUIET = { log() {} };

/** Lets seconds pass for Keyv, which looks at `Date.now` when it reads. */
function advance(seconds: number): void {
  if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + seconds * 1000);
}
afterEach(() => void vi.useRealTimers());

describeMemcached('a store over Keyv and memcached', () => {
  let servers: StoreServers;
  let server: StoreServer;
  const adapters: KeyvMemcache[] = [];
  beforeAll(async () => {
    servers = await storeServers();
    server = await servers.memcached('-m', '16');
  });
  afterAll(async () => {
    for (const adapter of adapters.splice(0)) adapter.client.quit();
    await servers?.remove();
  });
  const keyv = (options: object = {}, port = server.port): Keyv => {
    const adapter = new KeyvMemcache(`127.0.0.1:${port}`, {
      timeout: 0.5,
      retries: 1,
      logger: QUIET,
      // Else the adapter parses where nobody catches, and a value that is no JSON ends the process.
      deserialize: String,
      ...options,
    } as never);
    adapters.push(adapter);
    return new Keyv({ store: adapter, namespace: 'app' });
  };
  const ask = (command: string): Promise<string> =>
    talk(server.port, `${command}\r\n`, (said) => /(END|EN|OK|STORED|HD.*)\r\n$/s.test(said));

  describe('as a store', () => {
    const keyvs: Keyv[] = [];
    const open = (n: 0 | 1) => (): SessionStore => {
      keyvs[n] ??= keyv();
      return keyvStore(keyvs[n], { seal });
    };
    for (const { name, run } of sessionStoreConformance(open(0), { take: false, peer: open(1), advance })) {
      it(name, run);
    }
  });

  it('names a key by namespace, prefix and hexadecimal digits, and lets memcached end it too', async () => {
    const store = keyvStore(keyv(), { seal: false, prefix: 'p'.repeat(100) });
    const asked = key();
    await store.set(asked, Buffer.from('session'), 600_000);
    // Both Keyv and its adapter put the namespace there.
    const name = `app:app:${'p'.repeat(100)}${asked.toString('hex')}`;
    expect(Number(/^HD t(\d+)/.exec(await ask(`mg ${name} t`))?.[1])).toBeGreaterThan(599_990);
    expect(text(await store.get(asked))).toBe('session');
  });

  it('keeps namespaces and prefixes apart', async () => {
    const shared = keyv();
    const [one, other] = [keyvStore(shared, { seal, prefix: 'a:' }), keyvStore(shared, { seal, prefix: 'b:' })];
    const asked = key();
    await one.set(asked, Buffer.from('session'), 60);
    expect(await other.get(asked)).toBeUndefined();
    expect(text(await one.get(asked))).toBe('session');
  });

  it('keeps 700 000 bytes, and rejects what memcached does not take', async () => {
    const store = keyvStore(keyv(), { seal: false });
    const asked = key();
    const long = randomBytes(700_000);
    await store.set(asked, long, 60);
    expect(Buffer.from((await store.get(asked)) as Uint8Array).equals(long)).toBe(true);
    await expect(store.set(asked, randomBytes(1_000_000), 60)).rejects.toMatchObject(unavailable);
  });

  it('rejects values that are none of ours', async () => {
    const store = keyvStore(keyv(), { seal: false, prefix: 'x' });
    const asked = key();
    for (const garbage of ['garbage', '{', '', '{"value":"not base64"}', '{"value":7}', 'null']) {
      await ask(`set app:app:x${asked.toString('hex')} 0 60 ${garbage.length}\r\n${garbage}`);
      await expect(store.get(asked)).rejects.toMatchObject(unavailable);
    }
  });

  it('finds nothing once memcached was emptied', async () => {
    const store = keyvStore(keyv(), { seal });
    const asked = key();
    await store.set(asked, Buffer.from('session'), 60);
    await ask('flush_all');
    expect(await store.get(asked)).toBeUndefined();
    await store.delete(asked);
  });

  it('rejects while memcached is away, and goes on when it is back', async () => {
    const other = await servers.memcached();
    const store = keyvStore(keyv({}, other.port), { seal });
    const asked = key();
    await store.set(asked, Buffer.from('session'), 60);
    await other.kill();
    await until('the loss', () => expect(store.get(asked)).rejects.toMatchObject(unavailable));
    await expect(store.set(asked, Buffer.from('session'), 60)).rejects.toMatchObject(unavailable);
    await expect(store.delete(asked)).rejects.toMatchObject(unavailable);
    await other.restart();
    await until('the connection', async () => store.set(asked, Buffer.from('again'), 60));
    expect(text(await store.get(asked))).toBe('again');
    await other.kill();
  });

  it('keeps nobody waiting behind a deadline while memcached stands still', async () => {
    const other = await servers.memcached();
    const store = new DeadlineStore(keyvStore(keyv({}, other.port), { seal }), { period: 50 });
    const asked = key();
    await store.set(asked, Buffer.from('session'), 60);
    other.freeze();
    for (let n = 0; n < 20; n++) await Promise.resolve(store.get(asked)).catch(() => undefined);
    // The deadlines that open the circuit, and what it lets through in that time; not twenty.
    expect(store.statistics.reads.timeouts).toBeLessThan(10);
    other.thaw();
    await until('the next try', async () => expect(text(await store.get(asked))).toBe('session'));
    await other.kill();
  });

  it('throws nothing when what answers is no memcached', async () => {
    for (const words of ['HTTP/1.1 400 Bad Request\r\n\r\n', '\0'.repeat(100), 'ERROR\r\n', undefined]) {
      let heard = 0;
      const liar = await listening((socket) => {
        socket.on('data', (chunk) => {
          heard++;
          socket.write(words ?? chunk);
        });
      });
      // Some words leave memjs waiting for more, with no end but that of the deadline.
      const store = new DeadlineStore(keyvStore(keyv({ timeout: 0.05, retries: 0 }, liar.port), { seal: false }), {
        writeDeadline: 50,
      });
      for (let calls = 0; calls < 3 || heard === 0; calls++) {
        for (const call of [
          () => store.get(key()),
          () => store.set(key(), Buffer.from('SECRET'), 1),
          () => store.delete(key()),
        ]) {
          const end = await Promise.resolve(call()).catch((error: unknown) => error);
          if (end !== undefined) {
            expect(end).toMatchObject({
              name: 'ResumptionError',
              message: expect.not.stringMatching(/SECRET|U0VDUkVU/),
            });
          }
        }
      }
      await liar.close();
    }
  });
});
