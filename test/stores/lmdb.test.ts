import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LmdbStore, type LmdbStoreOptions, lmdbStore } from '../../src/stores/lmdb.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { collectGarbage } from '../support/garbage.js';
import { runModule } from '../tickets/child.js';
import { faultless, newFolder } from './lmdb-folder.js';

const MIB = 1024 * 1024;
const clock = stoppedClock();

let path: string;
const stores: LmdbStore[] = [];
const open = (options: Partial<LmdbStoreOptions> = {}): LmdbStore => {
  const store = lmdbStore({ path, clock, delay: 0, onFault: faultless, ...options });
  stores.push(store);
  return store;
};
const fillWith = async (store: LmdbStore, count: number, bytes = 160): Promise<Buffer[]> => {
  const keys: Buffer[] = [];
  while (keys.length < count) {
    const some = Array.from({ length: Math.min(250, count - keys.length) }, () => randomBytes(32));
    await Promise.all(some.map((key) => store.set(key, randomBytes(bytes), 300)));
    keys.push(...some);
  }
  return keys;
};
const found = (store: LmdbStore, keys: readonly Buffer[]): number =>
  keys.filter((key) => store.get(key) !== undefined).length;

beforeEach(() => {
  path = newFolder();
});
afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
  rmSync(path, { recursive: true, force: true });
});

describe('a store over LMDB', () => {
  it('answers without a turn of the event loop, and takes what is not there at once', async () => {
    const store = open();
    const [key] = (await fillWith(store, 1)) as [Buffer];
    expect(store.get(key)).toBeInstanceOf(Uint8Array);
    expect(store.get(randomBytes(32))).toBeUndefined();
    expect(store.take(randomBytes(32))).toBeUndefined();
    expect(store.delete(randomBytes(32))).toBeUndefined();
    await expect(store.take(key)).resolves.toBeInstanceOf(Uint8Array);
  });

  it('begins no timer to look a session up, and leaves setTimeout as it was', async () => {
    const store = open();
    const [key] = (await fillWith(store, 1)) as [Buffer];
    const original = globalThis.setTimeout;
    const timers = vi.spyOn(globalThis, 'setTimeout');
    const spied = globalThis.setTimeout;
    const timeouts = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timeouts();
    for (let i = 0; i < 20; i++) expect(store.get(i % 2 === 0 ? key : randomBytes(32)) !== undefined).toBe(i % 2 === 0);
    expect(timeouts()).toBe(before);
    expect(timers).not.toHaveBeenCalled();
    expect(globalThis.setTimeout).toBe(spied);
    timers.mockRestore();
    expect(globalThis.setTimeout).toBe(original);
  });

  it('keeps its sessions over a restart, with what was on its way when it was closed', async () => {
    const store = open({ delay: 1000 });
    const keys = await fillWith(store, 10);
    const late = randomBytes(32);
    void store.set(late, Buffer.from('late'), 300);
    await store.close();
    const again = open();
    expect(found(again, keys)).toBe(10);
    expect(Buffer.from(again.get(late) as Uint8Array).toString()).toBe('late');
  });

  it('keeps no process alive, and writes what waits before that ends', async () => {
    const ended = await runModule(`
      import { lmdbSharedState, lmdbStore } from './src/stores/lmdb.ts';
      const store = lmdbStore({ path: ${JSON.stringify(path)}, delay: 100 });
      lmdbSharedState({ path: ${JSON.stringify(path)} }).watch('', () => {});
      await store.set(Buffer.alloc(32, 1), Buffer.from('first'), 60);
      void store.set(Buffer.alloc(32, 2), Buffer.from('second'), 60);
    `);
    expect(ended).toMatchObject({ code: 0, stdout: '', stderr: '' });
    const store = open({ clock: Date.now });
    expect(Buffer.from(store.get(Buffer.alloc(32, 2)) as Uint8Array).toString()).toBe('second');
  });

  it('gathers writes into one transaction', async () => {
    const store = open({ delay: 5 });
    await fillWith(store, 1);
    const order: string[] = [];
    const first = store.set(randomBytes(32), randomBytes(160), 300).then(() => order.push('first'));
    const second = store.set(randomBytes(32), randomBytes(160), 300).then(() => order.push('second'));
    await Promise.all([first, second]);
    expect(order).toEqual(['first', 'second']);
    expect(store.statistics).toMatchObject({ sessions: 3, written: 3, dropped: 0 });
  });

  it('lets the oldest go when there are too many', async () => {
    const store = open({ maxSessions: 1000 });
    const keys = await fillWith(store, 3000);
    expect(store.statistics).toMatchObject({ sessions: 1000, written: 3000, evicted: 2000 });
    expect(found(store, keys.slice(0, 2000))).toBe(0);
    expect(found(store, keys.slice(2000))).toBe(1000);
  });

  it('lets the oldest go when the file is full', async () => {
    const store = open({ maxBytes: 4 * MIB });
    const keys = await fillWith(store, 20_000);
    const { sessions, bytes, evicted } = store.statistics;
    expect(evicted).toBe(20_000 - sessions);
    expect(sessions).toBeGreaterThan(2000);
    expect(bytes).toBeLessThanOrEqual(4 * MIB);
    expect(statSync(join(path, 'sessions-1.mdb')).size).toBeLessThanOrEqual(4 * MIB);
    expect(found(store, keys.slice(-sessions))).toBe(sessions);
    expect(found(store, keys.slice(0, -sessions))).toBe(0);
  });

  it('stays within its bounds under a flood of new sessions, and so does the memory', async () => {
    const store = open({ maxSessions: 5000, maxBytes: 8 * MIB });
    await fillWith(store, 10_000);
    collectGarbage();
    const { rss } = process.memoryUsage();
    const keys = await fillWith(store, 40_000);
    const { sessions, bytes, dropped, written } = store.statistics;
    expect({ sessions, dropped, written }).toEqual({ sessions: 5000, dropped: 0, written: 50_000 });
    expect(bytes).toBeLessThanOrEqual(8 * MIB);
    expect(found(store, keys.slice(-5000))).toBe(5000);
    collectGarbage();
    // 40 000 sessions and their keys are 8 MiB: the rest is what the engine and LMDB keep for the next flood.
    expect(process.memoryUsage().rss - rss).toBeLessThan(96 * MIB);
  });

  it('does not keep a session that would take a large part of the file, nor what was there before it', async () => {
    const store = open({ maxBytes: 4 * MIB });
    const [key] = (await fillWith(store, 1)) as [Buffer];
    await store.set(key, randomBytes(65_537), 300);
    expect(store.get(key)).toBeUndefined();
    expect(store.statistics).toMatchObject({ sessions: 0, dropped: 1 });
  });

  it('removes expired sessions when told to, whichever order they came in', async () => {
    const store = open();
    for (let n = 0; n < 600; n++) void store.set(randomBytes(32), randomBytes(50), n % 3 === 0 ? 1000 : 10);
    const [kept] = await fillWith(store, 1);
    clock.now += 11_000;
    expect(await store.sweep()).toBe(400);
    expect(store.statistics).toMatchObject({ sessions: 201, expired: 400 });
    expect(store.get(kept as Buffer)).toBeInstanceOf(Uint8Array);
  });

  it('removes expired sessions in slices, and lets the event loop turn between them', async () => {
    const store = open();
    await fillWith(store, 6000, 1);
    clock.now += 301_000;
    const seen = new Set<number>();
    const turn = (): void => {
      seen.add(store.statistics.sessions);
      next = setImmediate(turn);
    };
    let next = setImmediate(turn);
    expect(await store.sweep()).toBe(6000);
    clearImmediate(next);
    // However fast the machine is: no slice is of much more than a thousand.
    expect(seen.size).toBeGreaterThan(5);
  });

  it('removes expired sessions in the background', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] });
    try {
      const store = open({ interval: 30 });
      await fillWith(store, 20);
      clock.now += 301_000;
      await vi.advanceTimersByTimeAsync(29_000);
      expect(store.statistics.sessions).toBe(20);
      await vi.advanceTimersByTimeAsync(2000);
      vi.useRealTimers();
      await vi.waitFor(() => expect(store.statistics).toMatchObject({ sessions: 0, expired: 20 }), 10_000);
    } finally {
      vi.useRealTimers();
    }
  });

  it('does as a map would', async () => {
    const keys = Array.from({ length: 4 }, () => randomBytes(32));
    const index = fc.nat(keys.length - 1);
    const step = fc.oneof(
      fc.record({ what: fc.constant('set' as const), index, value: fc.uint8Array({ minLength: 1, maxLength: 400 }) }),
      fc.record({ what: fc.constantFrom('delete' as const, 'take' as const), index }),
      fc.record({ what: fc.constant('pass' as const), seconds: fc.nat(40) }),
    );
    const store = open();
    const hex = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString('hex');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), async (steps, waits) => {
        const model = new Map<number, { value: Uint8Array; endsAt: number }>();
        const expected = (n: number): string | undefined => {
          const entry = model.get(n);
          return entry && clock.now <= entry.endsAt ? hex(entry.value) : undefined;
        };
        const act = async (each: typeof step extends fc.Arbitrary<infer Step> ? Step : never, last: unknown) => {
          if (each.what === 'pass') {
            await last;
            clock.now += each.seconds * 1000;
            return undefined;
          }
          const key = keys[each.index] as Buffer;
          if (each.what === 'set') {
            model.set(each.index, { value: each.value, endsAt: clock.now + 60_000 });
            return store.set(key, each.value, 60);
          }
          const before = expected(each.index);
          model.delete(each.index);
          if (each.what === 'delete') return store.delete(key);
          return expect(hex(await store.take(key))).toBe(before);
        };
        let last: unknown = Promise.all(keys.map((key) => store.delete(key)));
        for (const each of steps) {
          const done = act(each, last);
          if (waits || each.what !== 'set') await done;
          last = done;
        }
        await last;
        for (const [n, key] of keys.entries()) expect(hex(store.get(key))).toBe(expected(n));
      }),
      { numRuns: 100 },
    );
  });

  it('shares the file with other stores of the process, until the last is closed', async () => {
    const [one, other] = [open(), open()];
    const keys = await fillWith(one, 5);
    expect(found(other, keys)).toBe(5);
    await one.close();
    expect(found(other, await fillWith(other, 5))).toBe(5);
    expect(one.get(keys[0] as Buffer)).toBeUndefined();
  });

  it('shows neither keys nor sessions, and seals them where it is told to', async () => {
    const [key, session] = [randomBytes(32), randomBytes(160)];
    const seal = new TicketCodec(TicketKeyRing.generate());
    const store = open({ seal });
    await store.set(key, session, 300);
    expect(Buffer.from(store.get(key) as Uint8Array)).toEqual(session);
    expect(inspect(store, { depth: 9 })).not.toContain(session.toString('hex').slice(0, 8));
    expect(inspect(open(), { depth: 9 })).toMatch(/^LmdbStore \{\s+sessions: 1/);
    await store.close();
    const file = readFileSync(join(path, 'sessions-1.mdb'));
    expect(file.includes(key)).toBe(true);
    for (let at = 0; at < session.length; at += 16) expect(file.includes(session.subarray(at, at + 16))).toBe(false);
  });

  it('is for its user alone', () => {
    path = join(path, 'new');
    open();
    expect(statSync(path).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(path))
      expect([name, statSync(join(path, name)).mode & 0o777]).toEqual([name, 0o600]);
  });

  it('refuses a directory that it cannot use, or that every user may write to', () => {
    const [file, shared] = [join(path, 'file'), join(path, 'shared')];
    writeFileSync(file, '');
    mkdirSync(shared);
    chmodSync(shared, 0o777);
    const unavailable = expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(() => open({ path: file })).toThrow(unavailable);
    expect(() => open({ path: join(file, 'below') })).toThrow(unavailable);
    expect(() => open({ path: shared })).toThrow(unavailable);
  });

  it.each([
    [{ path: 1 }, TypeError],
    [{ maxSessions: 0 }, RangeError],
    [{ maxBytes: MIB }, RangeError],
    [{ delay: -1 }, RangeError],
    [{ interval: 0 }, RangeError],
    [{ clock: 1 }, TypeError],
    [{ onFault: 'warn' }, TypeError],
    [{ seal: true }, TypeError],
  ])('refuses %o', (options, error) => {
    expect(() => open(options as Partial<LmdbStoreOptions>)).toThrow(error);
  });

  it('refuses wrong keys, sessions and timeouts at once', () => {
    const store = open();
    expect(() => store.get(randomBytes(31))).toThrow(RangeError);
    expect(() => store.set(randomBytes(32), new Uint8Array(), 1)).toThrow(RangeError);
    expect(() => store.set(randomBytes(32), randomBytes(1), 604_801)).toThrow(RangeError);
    expect(() => store.take('key' as unknown as Uint8Array)).toThrow(TypeError);
  });
});
