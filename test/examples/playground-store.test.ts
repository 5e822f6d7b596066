/** The playground with its sessions in a store: other processes find them, and so does the next one. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { describeRedis, type RedisServer, type StoreServers, storeServers } from '../support/store-servers.js';
import { VERSIONS, type Version, visit } from '../support/visits.js';
import { get, jsonOf } from './http.js';
import { type Program, playground } from './processes.js';
import { Client } from './ticket-clients.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };

const serve = (store: string): Program => playground('--serve', '--store', store);

/** A session is written behind the handshake that made it. */
const comes = (client: Client, port: number, version: Version): Promise<void> =>
  vi.waitFor(async () => expect(await client.come(port)).toBe(WAYS[version]), { timeout: 10_000 });

function sharing(storeOf: () => string): void {
  test.each(VERSIONS)('two processes and the next one resume one client over %s', async (version) => {
    const programs = [serve(storeOf()), serve(storeOf())] as const;
    const client = new Client(version);
    expect(await client.come(await programs[0].port())).toBeNull();
    for (const program of programs) await comes(client, await program.port(), version);
    const { number, callbackHits } = jsonOf(await visit(await programs[1].port(), { send: get('/statistics') }));
    expect({ number, callbackHits }).toEqual({ number: 0, callbackHits: 1 });
    for (const program of programs) expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
    const [next, { session }] = [await serve(storeOf()).port(), client];
    // An answer of the store that comes too late costs a full handshake, and another session.
    await vi.waitFor(async () => {
      client.session = session;
      expect(await client.come(next)).toBe(WAYS[version]);
    }, 10_000);
  });

  test('prints a table in which the clients that came back resumed', async () => {
    const { code, stdout } = await playground('--store', storeOf(), '--exit').ended;
    expect(code).toBe(0);
    const rows = stdout.split('\n').map((line) => line.split(/ {2,}/));
    for (const version of VERSIONS) {
      const resumed = rows.find(([, protocol, kind]) => protocol === version && kind === 'resumed');
      expect(resumed?.slice(0, 5)).toEqual([
        WAYS[version],
        version,
        'resumed',
        expect.stringMatching(/^[1-9]\d+$/),
        // All, but for those whom a busy machine answered after the deadline.
        expect.stringMatching(/^(100|9\d(\.\d)?) %$/),
      ]);
    }
  });
}

describe('--store lmdb:DIRECTORY', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'playground-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  sharing(() => `lmdb:${join(folder, 'sessions')}`);

  test('says in one line that the directory is none', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const { code, stdout, stderr } = await serve(`lmdb:${file}`).ended;
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^playground: [^\n]*directory[^\n]*\n$/);
  });
});

describeRedis('--store redis://', () => {
  let servers: StoreServers;
  let server: RedisServer;
  beforeAll(async () => {
    servers = await storeServers();
    server = await servers.redis();
  });
  afterAll(() => servers?.remove());

  sharing(() => `redis://127.0.0.1:${server.port}`);

  test('says in one line that Redis cannot be reached, and no password', async () => {
    const other = await servers.redis();
    await other.kill();
    const { code, stdout, stderr } = await serve(`redis://user:secret@127.0.0.1:${other.port}`).ended;
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe(`playground: Redis cannot be reached: connect ECONNREFUSED 127.0.0.1:${other.port}\n`);
  });

  test('serves while Redis is away, says so, and resumes again when it is back', async () => {
    const other = await servers.redis();
    const program = serve(`redis://127.0.0.1:${other.port}`);
    const port = await program.port();
    const client = new Client('TLSv1.3');
    await client.come(port);
    await comes(client, port, 'TLSv1.3');
    await other.kill();
    await program.printed(/Redis is away/);
    for (let n = 0; n < 5; n++) expect(await client.come(port)).toBeNull();
    await other.restart();
    await program.printed(/Redis is back/);
    await comes(client, port, 'TLSv1.3');
    const { code, stderr } = await program.stop();
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'playground: Redis is away: full handshakes until it is back\nplayground: Redis is back\n',
    });
  });
});
