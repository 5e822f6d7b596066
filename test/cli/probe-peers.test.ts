/** The verdict of `probe` on other programs is what they are configured to do. */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseTicketKeys } from '../../src/index.js';
import { makeCertificate } from '../../src/testing.js';
import { playground } from '../examples/processes.js';
import {
  haproxy,
  nginx,
  opensslServer,
  type PeerServers,
  peerServers,
  type ServerProgram,
} from '../support/peer-servers.js';
import { probe, run } from './fake-io.js';

const site = makeCertificate({ names: ['localhost', '127.0.0.1', 'a.test'] });
let servers: PeerServers;

beforeAll(async () => {
  servers = await peerServers();
});
afterEach(() => servers.stopAll());
afterAll(() => servers.remove());

async function probed(program: ServerProgram, more: string, ticketKeys: Uint8Array | string = '', args: string[] = []) {
  const { port } = await servers.start(program, { ...site, more, ticketKeys });
  return probe([`127.0.0.1:${port}`, '--servername', 'a.test', ...args]);
}

function openssl(...args: string[]): ServerProgram {
  return { ...opensslServer, args: (file, place) => [...opensslServer.args(file, place), ...args] };
}

const NONE: string[] = [];

opensslServer.describe('probe of openssl s_server', () => {
  it.each([
    [[], ['session-id', 'ticket'], ['ticket']],
    [['-no_ticket'], ['session-id'], ['stateful-ticket']],
    [['-no_cache'], ['ticket'], ['ticket']],
    [['-no_cache', '-no_ticket'], NONE, NONE],
    [['-tls1_2'], ['session-id', 'ticket'], undefined],
    [['-tls1_3', '-no_ticket'], undefined, ['stateful-ticket']],
  ])('%j', async (args, over12, over13) => {
    const { ways, lanes } = await probed(openssl(...args), '');
    expect([ways['TLSv1.2'], ways['TLSv1.3']]).toEqual([over12, over13]);
    expect(lanes.find(({ given }) => given === 'stateful-ticket')?.ticketBytes ?? 32).toBe(32);
  });

  it.each([0, 1, 5])('tells that it hands out %i tickets', async (count) => {
    const { lanes } = await probed(openssl('-tls1_3', '-num_tickets', String(count)), '');
    expect(lanes.at(-1)).toMatchObject({ ticketCount: count, given: count === 0 ? null : 'ticket' });
  });

  // OpenSSL makes stateful tickets single-use only where it takes early data (SSL_OP_NO_ANTI_REPLAY).
  it('tells that it resumes either ticket twice', async () => {
    const stateful = await probed(openssl('-tls1_3', '-no_ticket'), '');
    const stateless = await probed(openssl('-tls1_3'), '');
    expect([stateful.lanes.at(-1)?.twice, stateless.lanes.at(-1)?.twice]).toEqual([true, true]);
  });
});

nginx.describe('probe of nginx', () => {
  const key = randomBytes(48);

  it.each([
    ['', ['ticket'], ['ticket']],
    ['ssl_session_cache shared:tls:1m;', ['session-id', 'ticket'], ['ticket']],
    ['ssl_session_cache shared:tls:1m; ssl_session_tickets off;', ['session-id'], ['stateful-ticket']],
    ['ssl_session_tickets off;', NONE, NONE],
    ['ssl_session_cache off; ssl_session_tickets off;', NONE, NONE],
  ])('%s', async (more, over12, over13) => {
    const { ways } = await probed(nginx, more, key);
    expect([ways['TLSv1.2'], ways['TLSv1.3']]).toEqual([over12, over13]);
  });

  it('tells lifetime and key name of its tickets', async () => {
    const { lanes } = await probed(nginx, 'ssl_session_timeout 123s;', key);
    for (const lane of lanes.filter(({ given }) => given === 'ticket')) {
      expect(lane).toMatchObject({ ticketLifetime: 123, keyNames: [key.toString('hex', 0, 16)] });
    }
    expect(lanes.at(-1)?.ticketCount).toBe(2);
  });
});

haproxy.describe('probe of HAProxy', () => {
  const keys = Array.from({ length: 3 }, () => randomBytes(48));
  const file = keys.map((key) => `${key.toString('base64')}\n`).join('');

  it.each([
    ['', ['session-id', 'ticket'], ['ticket']],
    ['no-tls-tickets', ['session-id'], ['stateful-ticket']],
    ['ssl-max-ver TLSv1.2', ['session-id', 'ticket'], undefined],
    ['ssl-min-ver TLSv1.3', undefined, ['ticket']],
  ])('%s', async (more, over12, over13) => {
    const { ways, lanes } = await probed(haproxy, more, file);
    expect([ways['TLSv1.2'], ways['TLSv1.3']]).toEqual([over12, over13]);
    // The last key but one seals.
    const names = lanes.flatMap(({ given, keyNames }) => (given === 'ticket' ? keyNames : []));
    expect(new Set(names)).toEqual(new Set(names.length > 0 ? [keys[1]?.toString('hex', 0, 16)] : []));
  });
});

describe('probe of the playground', () => {
  it.each([
    [[], ['session-id'], ['stateful-ticket']],
    [['--store', 'lmdb:'], ['session-id'], ['stateful-ticket']],
    [['--mode', 'tickets'], ['session-id', 'ticket'], ['ticket']],
    [['--mode', 'none'], NONE, NONE],
    [['--max', 'TLSv1.2', '--timeout', '77'], ['session-id'], undefined],
    [['--mode', 'tickets', '--min', 'TLSv1.3', '--timeout', '77'], undefined, ['ticket']],
  ])('%j', async (given, over12, over13) => {
    const args = given.map((each) => (each === 'lmdb:' ? `lmdb:${servers.folder}/sessions` : each));
    const port = await playground('--serve', ...args).port();
    const { ways, lanes, findings } = await probe([`localhost:${port}`, '--address', '127.0.0.1', '--returns', '5']);
    expect([ways['TLSv1.2'], ways['TLSv1.3']]).toEqual([over12, over13]);
    // A store that is late on a busy machine costs a return its resumption.
    const warnings = findings.filter(({ severity, code }) => severity === 'warning' && code !== 'RETURNS_DIFFER');
    expect(warnings).toEqual([]);
    if (over12 === undefined) expect(lanes.at(-1)?.ticketLifetime).toBe(77);
  });

  it('with a key file that keys generate made', async () => {
    const file = join(servers.folder, 'keys');
    await run(['keys', 'generate', '--format', 'haproxy', '--out', file]);
    const [sealing] = parseTicketKeys(await readFile(file), 'haproxy');
    const mode = ['--mode', 'tickets', '--ticket-keys', file, '--ticket-key-format', 'haproxy'];
    const port = await playground('--serve', ...mode).port();
    const { lanes } = await probe([`127.0.0.1:${port}`]);
    expect(lanes.at(-1)).toMatchObject({ given: 'ticket', keyNames: [sealing?.name.toString('hex')] });
  });
});
