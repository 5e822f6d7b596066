/** The playground with ticket keys from files: shared by processes, replaced, spoilt. */

import { randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatTicketKeys, type TicketKeyFormat } from 'tls-resumption';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { haproxy, type PeerServers, peerServers, saidResumed } from '../support/peer-servers.js';
import { type Visit, visit } from '../support/visits.js';
import { get, jsonOf } from './http.js';
import { type Program, playground } from './processes.js';
import { clients, keysOf, untilKeys } from './ticket-clients.js';

let servers: PeerServers;
beforeAll(async () => {
  servers = await peerServers();
});
afterEach(() => servers.stopAll());
afterAll(() => servers.remove());

const serveWith = (file: string, format: TicketKeyFormat): Program =>
  playground('--serve', '--mode', 'tickets', '--ticket-keys', file, '--ticket-key-format', format);

const newKey = (): Buffer => randomBytes(48);
const nameOf = (key: Buffer): string => key.toString('hex', 0, 16);

let files = 0;

/** Puts a file of keys into place at once, as whoever distributes keys does. */
async function put(keys: readonly Buffer[], format: TicketKeyFormat, path?: string): Promise<string> {
  const draft = join(servers.folder, `keys-${files++}`);
  await writeFile(draft, formatTicketKeys(keys, format));
  if (path !== undefined) await rename(draft, path);
  return path ?? draft;
}

describe('--ticket-keys', () => {
  test.each([2, 4])('%i processes with one key file: a client resumes at any of them', async (hosts) => {
    const file = await put([newKey()], 'node');
    const ports = await Promise.all(Array.from({ length: hosts }, () => serveWith(file, 'node').port()));
    for (const client of clients()) {
      const ways: (string | null)[] = [];
      for (const port of [...ports, ...ports.toReversed()]) ways.push(await client.come(port));
      expect(ways).toEqual([null, ...Array(2 * hosts - 1).fill('ticket')]);
    }
    const stranger = await serveWith(await put([newKey()], 'node'), 'node').port();
    for (const client of clients()) {
      await client.visit(ports[0] as number);
      expect(await client.come(stranger)).toBeNull();
    }
  });

  test('reads one key as each format has it', async () => {
    const key = newKey();
    const others = [newKey(), newKey()];
    const formats: [TicketKeyFormat, Buffer[]][] = [
      ['nginx', [key]],
      ['apache', [key]],
      ['ats', [key, ...others]],
      ['haproxy', [key, ...others]],
    ];
    const programs = formats.map(async ([format, keys]) => serveWith(await put(keys, format), format));
    const ports = await Promise.all(programs.map(async (program) => (await program).port()));
    for (const client of clients()) {
      const ways: (string | null)[] = [];
      for (const port of ports) {
        ways.push(await client.come(port));
        expect(client.keyName).toBe(nameOf(key));
      }
      expect(ways).toEqual([null, 'ticket', 'ticket', 'ticket']);
    }
    const { next } = await keysOf(ports[3] as number);
    expect(next).toEqual([nameOf(others[0] as Buffer)]);
  });

  test('follows the file as it is replaced: old tickets resume, and those of who is ahead', async () => {
    const [one, two] = [newKey(), newKey()];
    const file = await put([one], 'node');
    const port = await serveWith(file, 'node').port();
    const old = clients();
    for (const client of old) await client.visit(port);
    await put([two], 'node', file);
    const early = clients();
    const ahead = await serveWith(file, 'node').port();
    for (const client of early) await client.visit(ahead);
    expect(early.map(({ keyName }) => keyName)).toEqual([nameOf(two), nameOf(two)]);
    await untilKeys(port, ({ current, next }) => [current, ...next].includes(nameOf(two)));
    for (const client of [...old, ...early]) expect(await client.come(port)).toBe('ticket');
    await untilKeys(port, ({ current }) => current === nameOf(two));
    for (const client of [...old, ...early]) expect(await client.come(port)).toBe('ticket');
    expect(await keysOf(port)).toMatchObject({ next: [], previous: [nameOf(one)], rotations: 1 });
    expect(old.at(-1)?.keyName).toBe(nameOf(two));
  });

  test('goes on with the keys before when the file is not good, says so once, and then takes a good one', async () => {
    const [one, two] = [newKey(), newKey()];
    const file = await put([one], 'node');
    const program = serveWith(file, 'node');
    const port = await program.port();
    const old = clients();
    for (const client of old) await client.visit(port);
    await writeFile(file, one.subarray(0, 47));
    await program.printed(/^playground: .* cannot be used: .*47 bytes.*\n/m);
    for (const client of old) expect(await client.come(port)).toBe('ticket');
    await rm(file);
    await program.printed(/^playground: .* cannot be used: ENOENT.*\n/m);
    for (const client of old) expect(await client.come(port)).toBe('ticket');
    await put([two], 'node', file);
    await untilKeys(port, ({ current, next }) => [current, ...next].includes(nameOf(two)));
    for (const client of old) expect(await client.come(port)).toBe('ticket');
    const { code, stderr } = await program.stop();
    expect(code).toBe(0);
    expect(stderr.split('\n')).toHaveLength(3);
  });

  test('shows names of keys and nothing else of them', async () => {
    const key = newKey();
    const program = serveWith(await put([key], 'node'), 'node');
    const port = await program.port();
    const answers: Visit[] = [];
    for (const path of ['/', '/connection', '/statistics']) answers.push(await visit(port, { send: get(path) }));
    const { stdout, stderr } = await program.stop();
    const said = [...answers.map(({ received }) => received), stdout, stderr].join('\n');
    expect(said).toContain(nameOf(key));
    for (const secret of [key.subarray(16, 32), key.subarray(32)]) {
      for (const encoding of ['hex', 'base64', 'latin1'] as const) {
        expect(said).not.toContain(secret.toString(encoding).slice(0, 12));
      }
    }
  });

  test('says in one line what is wrong with a file, and leaves with exit code 1', async () => {
    const lines = `${'A'.repeat(64)}\n`.repeat(3);
    const bad: [TicketKeyFormat, Buffer | string | undefined, RegExp][] = [
      ['node', undefined, /ENOENT/],
      ['node', randomBytes(47), /'node' is 48 bytes; it is 47 bytes/],
      ['nginx', lines, /the format 'nginx' is .*; it looks like/],
      ['haproxy', randomBytes(48), /the format 'haproxy' is 3 lines or more.*; it/],
      ['apache', Buffer.alloc(48), /all zero/],
      ['nginx', randomBytes(80), /80 bytes each, and Node takes 48/],
    ];
    await Promise.all(
      bad.map(async ([format, content, message]) => {
        const file = join(servers.folder, `bad-${files++}`);
        if (content !== undefined) await writeFile(file, content);
        const { code, stdout, stderr } = await serveWith(file, format).ended;
        expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
        expect(stderr).toMatch(/^playground: .*\n$/);
        expect(stderr).toContain(file);
        expect(stderr).toMatch(message);
      }),
    );
  });
});

haproxy.describe('--ticket-keys beside HAProxy', () => {
  test('with its file a client of one resumes at the other', async () => {
    const keys = [newKey(), newKey(), newKey()];
    const { key, cert } = await makeCertificate({ names: ['localhost'] });
    const other = await servers.start(haproxy, { key, cert, ticketKeys: formatTicketKeys(keys, 'haproxy') });
    const port = await serveWith(await put(keys, 'haproxy'), 'haproxy').port();
    for (const route of ['HPHP', 'PHPH']) {
      for (const client of clients()) {
        const resumed: (boolean | undefined)[] = [];
        for (const stop of route) {
          const visited = await client.visit(stop === 'P' ? port : other.port);
          resumed.push(stop === 'P' ? jsonOf(visited).resumed : saidResumed(visited.received));
        }
        expect(resumed).toEqual([false, true, true, true]);
      }
    }
  });
});
