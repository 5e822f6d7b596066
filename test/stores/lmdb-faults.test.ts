import { randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ResumptionError } from '../../src/errors.js';
import { lmdbSharedState, lmdbStore } from '../../src/stores/lmdb.js';
import { faultOfFile } from '../../src/stores/lmdb-check.js';
import { stoppedClock } from '../cache/counting-store.js';
import { endPeers, faultless, newFolder, Peer } from './lmdb-folder.js';

const SESSIONS = 'sessions-1.mdb';
const PAGE = 4096;
const MIB = 1024 * 1024;

let path: string;
const faults: ResumptionError[] = [];
const onFault = (fault: ResumptionError): void => void faults.push(fault);
const corrupt = (name: string) =>
  expect.objectContaining({
    code: 'ERR_STORE_CORRUPT',
    message: expect.stringContaining(`${name} is corrupt and was set aside: `),
  });
beforeEach(() => {
  path = newFolder();
});
afterEach(async () => {
  await endPeers();
  rmSync(path, { recursive: true, force: true });
  faults.length = 0;
});

describe('a file of LMDB', () => {
  let folder: string;
  let whole: Buffer;
  let inUse: number;
  beforeAll(async () => {
    folder = newFolder();
    const store = lmdbStore({ path: folder, delay: 0, maxSessions: 400, onFault: faultless });
    for (let n = 0; n < 10; n++) {
      const keys = Array.from({ length: 100 }, () => randomBytes(32));
      await Promise.all(keys.map((key, m) => store.set(key, randomBytes(m === 0 ? 9000 : 300), 300)));
    }
    inUse = store.statistics.used / PAGE;
    await store.close();
    whole = readFileSync(join(folder, SESSIONS));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const faultOf = (bytes: Uint8Array): string | undefined => {
    const file = join(path, 'file');
    writeFileSync(file, bytes);
    return faultOfFile(file);
  };

  it('is found to be whole when it is', () => {
    expect(faultOf(whole)).toBeUndefined();
    expect(faultOf(new Uint8Array())).toBeUndefined();
  });

  it('is found to be cut off', () => {
    for (let length = 1; length < whole.length / 2; length += 4093) {
      expect(faultOf(whole.subarray(0, length)), `${length} bytes`).toBeDefined();
    }
  });

  it('is found to be none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 20_000 }), (bytes) => faultOf(bytes) !== undefined),
      { numRuns: 50 },
    );
  });

  it('can be looked through whatever is in it', () => {
    const damage = fc.record({ at: fc.nat(whole.length - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 24 }) });
    const said = new Set<string>();
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), (all) => {
        const bytes = Buffer.from(whole);
        for (const each of all) bytes.set(each.bytes.subarray(0, whole.length - each.at), each.at);
        said.add(faultOf(bytes) ?? 'whole');
      }),
      { numRuns: 150 },
    );
    expect(said.size).toBeGreaterThan(1);
  });

  it('is found to be spoilt when a page that is in use is empty', () => {
    let found = 0;
    for (let at = 0; at < whole.length; at += PAGE) {
      if (faultOf(Buffer.from(whole).fill(0, at, at + PAGE)) !== undefined) found++;
    }
    // All but those in the middle of long values, of which there are few.
    expect(found).toBeGreaterThan(inUse - 20);
  });
});

describe('a store over LMDB', () => {
  it('sets a corrupt file aside, tells of it once, and keeps the last such file alone', async () => {
    for (let n = 1; n <= 3; n++) {
      const store = lmdbStore({ path, onFault });
      await store.set(randomBytes(32), randomBytes(160), 300);
      await store.close();
      writeFileSync(join(path, `sessions-${n}.mdb`), randomBytes(10_000));
      const [key, next] = [randomBytes(32), lmdbStore({ path, onFault })];
      await next.set(key, randomBytes(160), 300);
      expect(next.get(key)).toBeDefined();
      await next.close();
      expect(faults.splice(0)).toEqual([corrupt(`sessions-${n}.mdb`)]);
    }
    expect(readdirSync(path).sort()).toEqual(['sessions-3.mdb.corrupt', 'sessions-4.mdb', 'sessions-4.mdb-lock']);
  });

  it('warns of it where nobody listens', async () => {
    const warned = new Promise<Error & { code?: string }>((resolve) => process.once('warning', resolve));
    writeFileSync(join(path, SESSIONS), 'text');
    const store = lmdbStore({ path });
    expect(await warned).toMatchObject({ code: 'TLS_RESUMPTION_LMDB' });
    await store.close();
  });

  it('goes on in the new file when another process has set its own aside', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] });
    try {
      const store = lmdbStore({ path, onFault });
      await store.set(randomBytes(32), randomBytes(160), 300);
      renameSync(join(path, SESSIONS), join(path, `${SESSIONS}.corrupt`));
      await vi.advanceTimersByTimeAsync(5100);
      const key = randomBytes(32);
      await store.set(key, randomBytes(160), 300);
      expect(store.get(key)).toBeDefined();
      expect(existsSync(join(path, 'sessions-2.mdb'))).toBe(true);
      await store.close();
      expect(faults).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('sets a file aside that is spoilt while it is open, when LMDB says so', async () => {
    const store = lmdbStore({ path, delay: 0, onFault });
    const keys = Array.from({ length: 500 }, () => randomBytes(32));
    await Promise.all(keys.map((key) => store.set(key, randomBytes(160), 300)));
    const file = openSync(join(path, SESSIONS), 'r+');
    writeSync(file, Buffer.alloc(fstatSync(file).size - 2 * PAGE), 0, undefined, 2 * PAGE);
    closeSync(file);
    expect(() => store.get(keys[0] as Buffer)).toThrow(expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' }));
    await vi.waitFor(() => expect(faults).toEqual([corrupt(SESSIONS)]), 10_000);
    const key = randomBytes(32);
    await store.set(key, randomBytes(160), 300);
    expect(store.get(key)).toBeDefined();
    expect(readdirSync(path).sort()).toEqual([`${SESSIONS}.corrupt`, 'sessions-2.mdb', 'sessions-2.mdb-lock']);
    await store.close();
  });

  it('finds nothing and writes nothing while its file cannot be opened, and goes on when it can', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] });
    try {
      mkdirSync(join(path, SESSIONS));
      await lmdbStore({ path, onFault }).close();
      const [key, store] = [randomBytes(32), lmdbStore({ path, delay: 0, onFault })];
      const unavailable = expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' });
      expect(store.get(key)).toBeUndefined();
      await expect(store.set(key, randomBytes(160), 300)).rejects.toEqual(unavailable);
      rmdirSync(join(path, SESSIONS));
      await vi.advanceTimersByTimeAsync(5100);
      await store.set(key, randomBytes(160), 300);
      expect(store.get(key)).toBeDefined();
      await store.close();
      // Each was told once.
      expect(faults).toEqual([unavailable, unavailable]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('does not outgrow its bounds while a process stands still in a read, and goes on when that is gone', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] });
    try {
      const store = lmdbStore({ path, delay: 0, maxBytes: 4 * MIB, onFault });
      const fill = (): Promise<unknown> =>
        Promise.all(Array.from({ length: 50 }, () => store.set(randomBytes(32), randomBytes(300), 300)));
      await fill();
      const reader = await Peer.start(path);
      await reader.do({ what: 'hold' });
      const failed = (async () => {
        for (;;) await fill();
      })();
      await expect(failed).rejects.toThrow('the file is full: a process that reads it does not go on');
      expect(statSync(join(path, SESSIONS)).size).toBeLessThanOrEqual(4 * MIB);
      await reader.kill();
      await vi.advanceTimersByTimeAsync(5100);
      for (let n = 0; n < 20; n++) await fill();
      expect(statSync(join(path, SESSIONS)).size).toBeLessThanOrEqual(4 * MIB);
      await store.close();
      expect(faults).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('does not write while another process opens the file, and goes on when that is gone', async () => {
    const store = lmdbStore({ path, delay: 0, onFault });
    const [key, sign] = [randomBytes(32), join(path, `${SESSIONS}.opening-1`)];
    // Once nothing has changed in the directory for long, it is not looked through for every write.
    utimesSync(path, 1, 1);
    await store.set(randomBytes(32), randomBytes(160), 300);
    writeFileSync(sign, '');
    const written = store.set(key, randomBytes(160), 300);
    let looks = 0;
    await vi.waitFor(() => expect(++looks).toBeGreaterThan(10), 10_000);
    expect(store.get(key)).toBeUndefined();
    utimesSync(sign, 1, 1);
    await written;
    expect(store.get(key)).toBeDefined();
    expect(existsSync(sign)).toBe(false);
    await store.close();
  });

  it('loses the sessions that a full disk has no room for, and no others', async () => {
    const small = await Peer.start(path, 1024 * 1024);
    const kept: string[] = [];
    let failed: unknown;
    for (let n = 0; n < 200 && failed === undefined; n++) {
      const keys = await small.do<string[] | { error: string }>({ what: 'set', count: 50 });
      if (Array.isArray(keys)) kept.push(...keys);
      else failed = keys.error;
    }
    expect(failed).toMatch(/^LMDB write failed: /);
    expect(kept.length).toBeGreaterThan(500);
    expect(await small.do({ what: 'find', keys: kept })).toBe(kept.length);
    expect(await small.do({ what: 'close' })).toEqual([]);
    const other = await Peer.start(path);
    expect(await other.do({ what: 'find', keys: kept })).toBe(kept.length);
    expect(await other.do({ what: 'set', count: 500 })).toHaveLength(500);
    expect(await other.do({ what: 'close' })).toEqual([]);
  });
});

describe('a shared state over LMDB', () => {
  const clock = stoppedClock();
  const fact = Buffer.from('fact');

  it('keeps its facts over a restart, beside sessions', async () => {
    const store = lmdbStore({ path, onFault });
    const state = lmdbSharedState({ path, onFault });
    await state.set('epoch/a', fact);
    await Promise.all([state.close(), store.close()]);
    const again = lmdbSharedState({ path, onFault });
    expect(Buffer.from(again.get('epoch/a') as Uint8Array)).toEqual(fact);
    await again.close();
    expect(faults).toEqual([]);
  });

  it('evicts nothing: it is full, until facts are over', async () => {
    const state = lmdbSharedState({ path, maxFacts: 3, clock, onFault });
    await state.set('a', fact, 10);
    await state.set('b', fact);
    await state.setIfAbsent('c', fact);
    const full = { code: 'ERR_SHARED_STATE_FULL' };
    await expect(state.set('d', fact)).rejects.toMatchObject(full);
    await expect(state.setIfAbsent('d', fact)).rejects.toMatchObject(full);
    await state.set('b', Buffer.from('other'));
    clock.now += 11_000;
    await state.set('d', fact);
    expect([...state.entries('').keys()].sort()).toEqual(['b', 'c', 'd']);
    await state.close();
  });

  it('has no fact left after its file was corrupt, and says so', async () => {
    const state = lmdbSharedState({ path, onFault });
    await state.set('epoch/a', fact);
    await state.close();
    truncateSync(join(path, 'facts-1.mdb'), 5000);
    copyFileSync(join(path, 'facts-1.mdb'), join(path, 'kept'));
    const again = lmdbSharedState({ path, onFault });
    expect(faults).toEqual([corrupt('facts-1.mdb')]);
    expect(again.entries('')).toEqual(new Map());
    await again.set('epoch/a', fact);
    expect(again.get('epoch/a')).toBeDefined();
    await again.close();
    expect(readFileSync(join(path, 'facts-1.mdb.corrupt'))).toEqual(readFileSync(join(path, 'kept')));
  });
});
