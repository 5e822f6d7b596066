/** What those see who can read the stores of real servers, and what comes of what they write there. */

import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import {
  describeMemcached,
  describeRedis,
  type RedisServer,
  type StoreServer,
  type StoreServers,
  storeServers,
  talk,
} from '../support/store-servers.js';
import { only, VERSIONS, visit } from '../support/visits.js';
import { Fleet } from './fleet.js';
import type { Service } from './fleet-process.js';
import type { Place } from './fleet-stores.js';
import { newFolder } from './lmdb-folder.js';

const CLIENTS = 10;
/** Bytes in a row that no chance makes equal. */
const RUN = 8;

const deadline = { deadline: 10_000, writeDeadline: 10_000 };

/** A store of its own for each way of keeping sessions, and all that it holds. */
interface Holder {
  readonly place: Place;
  dump(): Promise<Buffer>;
}

async function visitors(fleet: Fleet, service: number): Promise<Buffer[]> {
  const secrets: Buffer[] = [];
  for (const version of VERSIONS) {
    for (let n = 0; n < CLIENTS; n++) {
      const { session } = await visit(fleet.ports[service] as number, { ...only(version), servername: 'localhost' });
      const decoded = decodeSslSession(session as Buffer, { masterSecret: true });
      expect(decoded?.masterSecret?.length).toBeGreaterThan(31);
      secrets.push(decoded?.masterSecret as Buffer);
      if (version === 'TLSv1.2') secrets.push(decoded?.sessionId as Buffer);
      else secrets.push(decoded?.ticket as Buffer);
    }
  }
  await fleet.idle();
  return secrets;
}

/** How many runs of bytes of the secrets are there, as they are or as text. */
function found(dump: Buffer, secrets: readonly Buffer[]): number {
  let count = 0;
  for (const secret of secrets) {
    for (let at = 0; at + RUN <= secret.length; at++) {
      const run = secret.subarray(at, at + RUN);
      if (dump.includes(run) || dump.includes(run.toString('hex'))) count++;
    }
  }
  return count;
}

async function dumpOfMemcached({ port }: StoreServer): Promise<Buffer> {
  const keys = await talk(port, 'lru_crawler metadump all\r\n', (said) => /END\r\n$/.test(said));
  const parts = [Buffer.from(keys)];
  for (const [, key] of keys.matchAll(/^key=(\S+)/gm)) {
    const value = await talk(port, `get ${decodeURIComponent(key as string)}\r\n`, (said) => /END\r\n$/.test(said));
    parts.push(Buffer.from(value, 'latin1'));
    // Base64 in JSON, as Keyv writes it.
    for (const [, text = ''] of value.matchAll(/"([A-Za-z0-9+/=]{40,})"/g)) parts.push(Buffer.from(text, 'base64'));
  }
  return Buffer.concat(parts);
}

describeRedis('the storage of real servers', () => {
  describeMemcached('holds no byte of a session', () => {
    let servers: StoreServers;
    let fleet: Fleet;
    const folders = [newFolder(), newFolder()];
    const holders: Holder[] = [];

    beforeAll(async () => {
      servers = await storeServers();
      for (const path of folders) {
        const redis = await servers.redis('--rdbcompression', 'no');
        const memcached = await servers.memcached();
        holders.push(
          { place: { engine: 'redis', port: redis.port }, dump: () => dumpOfRedis(redis) },
          { place: { engine: 'memcached', port: memcached.port }, dump: () => dumpOfMemcached(memcached) },
          { place: { engine: 'lmdb', path }, dump: async () => dumpOfFolder(path) },
        );
      }
      // The second three hold sessions in clear: what is looked for can be found.
      const services: Service[] = holders.map(({ place }, n) => ({ place, deadline, clear: n >= 3 }));
      fleet = await Fleet.start({ services, processes: 1 });
    });
    afterAll(async () => {
      await fleet?.stop();
      await servers?.remove();
      for (const path of folders) rmSync(path, { recursive: true, force: true });
    });

    it.each([
      ['Redis', 0],
      ['memcached', 1],
      ['LMDB', 2],
    ])(
      'that is sealed, in %s',
      async (_name, n) => {
        const sealed = await visitors(fleet, n);
        expect(found(await (holders[n] as Holder).dump(), sealed)).toBe(0);
        const clear = await visitors(fleet, n + 3);
        expect(found(await (holders[n + 3] as Holder).dump(), clear)).toBeGreaterThan(CLIENTS * VERSIONS.length * 20);
      },
      60_000,
    );
  });
});

async function dumpOfRedis(redis: RedisServer): Promise<Buffer> {
  await redis.ask('SAVE');
  return readFile(join(redis.folder, 'dump.rdb'));
}

function dumpOfFolder(path: string): Buffer {
  return Buffer.concat(readdirSync(path).map((name) => readFileSync(join(path, name))));
}
