import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lmdbStore } from '../../src/stores/lmdb.js';
import { faultOfFile } from '../../src/stores/lmdb-check.js';
import { endPeers, faultless, newFolder, Peer, startPeers } from './lmdb-folder.js';
import { startingAt } from './turns.js';

const SESSIONS = 'sessions-1.mdb';

let path: string;
beforeEach(() => {
  path = newFolder();
});
afterEach(async () => {
  await endPeers();
  rmSync(path, { recursive: true, force: true });
});

describe('several processes over one file', () => {
  it('make it at once, and each finds what the others set', async () => {
    for (let round = 0; round < 3; round++) {
      const peers = await startPeers(join(path, `${round}`));
      const keys = await Promise.all(peers.map((peer) => peer.do<string[]>({ what: 'set', count: 50 })));
      const found = await Promise.all(peers.map((peer) => peer.do({ what: 'find', keys: keys.flat() })));
      expect(found).toEqual([200, 200, 200, 200]);
      expect(await Promise.all(peers.map((peer) => peer.do({ what: 'close' })))).toEqual([[], [], [], []]);
      expect(readdirSync(join(path, `${round}`)).sort()).toEqual([SESSIONS, `${SESSIONS}-lock`]);
      await endPeers();
    }
  });

  it('hand a session to one of a hundred takes at once', async () => {
    const peers = await startPeers(path);
    const store = lmdbStore({ path, onFault: faultless });
    const winners = new Set<unknown>();
    for (let round = 0; round < 40; round++) {
      const key = randomBytes(32);
      await store.set(key, randomBytes(160), 60);
      const asked = startingAt(round, peers);
      const takes = asked.map((peer) => peer.do<number>({ what: 'take', key: key.toString('base64'), times: 25 }));
      const taken = await Promise.all(takes);
      expect(taken.reduce((sum, count) => sum + count)).toBe(1);
      winners.add(asked[taken.indexOf(1)]);
      expect(store.get(key)).toBeUndefined();
    }
    await store.close();
    // Else it was no contest.
    expect(winners.size).toBeGreaterThan(1);
  });

  it('agree on a fact', async () => {
    const peers = await startPeers(path);
    for (const name of ['epoch/a', 'epoch/b', 'epoch/c']) {
      const answers = await Promise.all(peers.map((peer) => peer.do<string>({ what: 'agree', name })));
      expect(new Set(answers).size).toBe(1);
    }
  });

  it('survive that writers among them are killed, and others open the file meanwhile', async () => {
    const [reader] = (await startPeers(path, 1)) as [Peer];
    let keys: string[] = [];
    for (let round = 0; round < 4; round++) {
      const writers = await startPeers(path, 3);
      for (const writer of writers) writer.begin({ what: 'flood' });
      const joining = await Peer.start(path);
      expect(await joining.do({ what: 'open' })).toEqual([]);
      const written = await joining.do<string[]>({ what: 'set', count: 50 });
      await Promise.all(writers.map((writer) => writer.kill()));
      expect(await reader.do({ what: 'find', keys: written })).toBe(50);
      // Those of earlier rounds have made room since.
      keys = [...(await joining.do<string[]>({ what: 'set', count: 20 })), ...written];
      expect(await joining.do({ what: 'close' })).toEqual([]);
    }
    expect(await reader.do({ what: 'close' })).toEqual([]);
    expect(faultOfFile(join(path, SESSIONS))).toBeUndefined();
    const store = lmdbStore({ path, onFault: faultless });
    const found = keys.filter((key) => store.get(Buffer.from(key, 'base64')) !== undefined);
    expect(found.length).toBe(keys.length);
    await store.close();
  });

  it.each([
    ['cut off', (file: string) => truncateSync(file, 20_000)],
    ['another program’s', (file: string) => writeFileSync(file, randomBytes(65_536))],
    ['spoilt in the middle', (file: string) => writeFileSync(file, randomBytes(65_536), { flag: 'r+' })],
  ])('set a file aside that is %s, and go on in a new one together', async (_what, spoil) => {
    const [first] = (await startPeers(path, 1)) as [Peer];
    await first.do({ what: 'set', count: 500 });
    await first.do({ what: 'close' });
    spoil(join(path, SESSIONS));
    const peers = await startPeers(path);
    const faults = await Promise.all(peers.map((peer) => peer.do<string[]>({ what: 'open' })));
    expect(faults.flat().length).toBeGreaterThan(0);
    for (const fault of faults.flat()) expect(fault).toMatch(/sessions-1\.mdb is corrupt and was set aside: /);
    const keys = await Promise.all(peers.map((peer) => peer.do<string[]>({ what: 'set', count: 50 })));
    const found = await Promise.all(peers.map((peer) => peer.do({ what: 'find', keys: keys.flat() })));
    expect(found).toEqual([200, 200, 200, 200]);
    expect(
      readdirSync(path)
        .filter((name) => !name.endsWith('-lock'))
        .sort(),
    ).toEqual([`${SESSIONS}.corrupt`, 'sessions-2.mdb']);
    expect(readFileSync(join(path, `${SESSIONS}.corrupt`)).length).toBeGreaterThan(0);
  });
});
