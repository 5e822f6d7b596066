import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import Keyv from 'keyv';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type KeyvLike, keyvStore } from '../../src/stores/keyv.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { sessionStoreConformance } from '../../src/testing.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { temporaryFolder } from '../support/peers.js';
import { SqliteAdapter, sqlite } from './keyv-sqlite.js';

const seal = new TicketCodec(TicketKeyRing.generate());
const key = (): Buffer => randomBytes(32);
const unavailable = { code: 'ERR_STORE_UNAVAILABLE', name: 'ResumptionError' };

/** Lets seconds pass for Keyv, which looks at `Date.now` when it reads. */
function advance(seconds: number): void {
  if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + seconds * 1000);
}
afterEach(() => void vi.useRealTimers());

describe('a store over Keyv', () => {
  describe('in memory', () => {
    const held = new Map();
    const open = (): SessionStore => keyvStore(new Keyv({ store: held }), { seal });
    for (const { name, run } of sessionStoreConformance(open, { take: false, peer: open, advance })) it(name, run);
  });

  describe.skipIf(sqlite === undefined)('over the SQLite of Node (22.5 or later has it)', () => {
    let folder: Awaited<ReturnType<typeof temporaryFolder>>;
    const keyvs: Keyv[] = [];
    beforeAll(async () => {
      folder = await temporaryFolder();
    });
    afterAll(async () => {
      for (const keyv of keyvs) await keyv.disconnect();
      await folder.remove();
    });
    // Two connections to one file, as two processes have.
    const open = (n: 0 | 1) => (): SessionStore => {
      keyvs[n] ??= new Keyv({ store: new SqliteAdapter(join(folder.path, 'sessions.db')) });
      return keyvStore(keyvs[n], { seal: false });
    };
    for (const { name, run } of sessionStoreConformance(open(0), { take: false, peer: open(1), advance })) {
      it(name, run);
    }
  });

  describe('over an adapter', () => {
    class Failing extends EventEmitter {
      readonly opts = {};
      error: Error | undefined;
      answer: unknown;
      readonly held = new Map<string, unknown>();
      async get(name: string): Promise<never> {
        return (await this.#fail()) ?? ((this.answer ?? this.held.get(name)) as never);
      }
      async set(name: string, value: unknown): Promise<unknown> {
        await this.#fail();
        this.held.set(name, value);
        return this.answer;
      }
      async delete(name: string): Promise<boolean> {
        await this.#fail();
        return this.held.delete(name);
      }
      async clear(): Promise<void> {}
      async #fail(): Promise<undefined> {
        if (this.error !== undefined) throw this.error;
      }
    }
    const setup = (options: object = {}) => {
      const adapter = new Failing();
      const store = keyvStore(new Keyv({ store: adapter, ...options }), { seal: false });
      return { adapter, store };
    };

    it.each([[{}], [{ throwOnErrors: true }]])(
      'that rejects, rejects as well and says nothing of what it was given (%j)',
      async (options) => {
        const { adapter, store } = setup(options);
        const asked = key();
        adapter.error = Object.assign(new Error("INSERT failed: 'SECRET'"), { value: 'SECRET' });
        await expect(store.set(asked, Buffer.from('session'), 60)).rejects.toMatchObject({
          ...unavailable,
          message: 'Keyv set failed: INSERT failed',
        });
        await expect(store.get(asked)).rejects.toMatchObject({
          ...unavailable,
          message: 'Keyv get failed: INSERT failed',
        });
        await expect(store.delete(asked)).rejects.toMatchObject({
          ...unavailable,
          message: 'Keyv delete failed: INSERT failed',
        });
      },
    );

    it('that says false to a set, rejects', async () => {
      const { adapter, store } = setup();
      adapter.answer = false;
      await expect(store.set(key(), Buffer.from('session'), 60)).rejects.toMatchObject(unavailable);
    });

    it('that tells of an error and answers with nothing, takes it for a failure', async () => {
      const { adapter, store } = setup();
      adapter.get = async () => {
        adapter.emit('error', new Error('lost'));
        return undefined as never;
      };
      await expect(store.get(key())).rejects.toMatchObject({ message: 'Keyv get failed: lost' });
    });

    it.each([
      'text',
      '{"value":1}',
      '{"value":{"a":1}}',
      '{"value":""}',
      '{"value":"not base64"}',
      '{"value":"YWI"}',
      '[]',
      '{',
    ])('that answers with %s, has no session', async (answer) => {
      const { adapter, store } = setup();
      adapter.answer = answer;
      const found = await Promise.resolve(store.get(key())).catch((error: unknown) => error);
      if (found !== undefined) expect(found).toMatchObject(unavailable);
    });

    it('rejects once it is closed, and leaves the Keyv open', async () => {
      const keyv = new Keyv();
      const [store, other] = [keyvStore(keyv, { seal }), keyvStore(keyv, { seal })];
      store.close?.();
      await expect(store.get(key())).rejects.toMatchObject(unavailable);
      expect(await other.get(key())).toBeUndefined();
    });
  });
});

describe('keyvStore', () => {
  const keyv = new Keyv();
  it.each([
    [() => keyvStore(undefined as never, { seal }), '"keyv" expected a Keyv, got undefined'],
    [() => keyvStore(new Map() as never, { seal }), '"keyv.getRaw" expected a function, got undefined'],
    [() => keyvStore({ ...keyv } as never as KeyvLike, { seal }), '"keyv.getRaw" expected a function, got undefined'],
    [() => keyvStore(keyv, undefined as never), '"options" expected an object, got undefined'],
    [
      () => keyvStore(keyv, {} as never),
      '"seal" expected a TicketSealer, or false for sessions in clear, got undefined',
    ],
    [() => keyvStore(keyv, { seal, prefix: 1 as never }), '"prefix" expected a string, got number 1'],
  ])('refuses what is of another type (%#)', (call, message) => {
    expect(call).toThrow(new TypeError(message));
  });

  it.each(['with space', 'é', 'x'.repeat(101)])('refuses the prefix %j', (prefix) => {
    expect(() => keyvStore(keyv, { seal, prefix })).toThrow(RangeError);
  });

  it('has no take', () => {
    expect(keyvStore(keyv, { seal }).take).toBeUndefined();
    expect(keyvStore(keyv, { seal: false }).take).toBeUndefined();
  });
});
