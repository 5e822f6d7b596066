/** The examples of clients, run as a user would run them: what the server saw is what counts. */

import { mkdtempSync, rmSync } from 'node:fs';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { close, listen, VERSIONS, type Version } from '../support/visits.js';
import { runTypeScript } from './processes.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** A server that closes every connection after its answer, and what it saw. */
async function target(version: Version, create: typeof https.createServer | typeof http2.createSecureServer) {
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  const resumption = new ServerResumption();
  const options = resumption.secure({ key, cert, minVersion: version, maxVersion: version });
  const server = (create as typeof https.createServer)(options, (request, response) => {
    if (request.httpVersionMajor === 1) response.setHeader('Connection', 'close');
    response.end('hello\n');
  });
  resumption.attach(server);
  const resumed: boolean[] = [];
  server.on('secureConnection', (socket: TLSSocket) => resumed.push(socket.isSessionReused()));
  cleanups.push(() => close(server));
  return { url: `https://localhost:${await listen(server)}/`, ca: cert, resumed };
}

describe.each(VERSIONS)('over %s', (version) => {
  test.each([
    ['sealed', Buffer.from('0123456789abcdef0123456789abcdef').toString('base64')],
    ['in clear', ''],
  ])('client-across-runs resumes what its last run left, %s', async (_how, SECRET) => {
    const { url, ca, resumed } = await target(version, https.createServer);
    const SESSIONS = mkdtempSync(join(tmpdir(), 'client-sessions-'));
    cleanups.push(() => rmSync(SESSIONS, { recursive: true, force: true }));
    const run = () =>
      runTypeScript('examples/client-across-runs.ts', { args: [url], env: { SESSIONS, SECRET, CA: ca } }).ended;
    expect(await run()).toMatchObject({ code: 0, stdout: '200, full handshake\n', stderr: '' });
    for (let i = 0; i < 3; i++) expect(await run()).toMatchObject({ code: 0, stdout: '200, resumed\n', stderr: '' });
    expect(resumed).toEqual([false, true, true, true]);
  });

  test('client-agent resumes by https.get and by fetch', async () => {
    const { url, ca, resumed } = await target(version, https.createServer);
    const program = runTypeScript('examples/client-agent.ts', { env: { TARGET: url, CA: ca } });
    const stdout = 'https.get: full handshake\nhttps.get: resumed\nhttps.get: resumed\nfetch: 2 of 3 resumed\n';
    expect(await program.ended).toMatchObject({ code: 0, stdout, stderr: '' });
    expect(resumed).toEqual([false, true, true, false, true, true]);
  });

  test('http2-client resumes', async () => {
    const { url, ca, resumed } = await target(version, http2.createSecureServer);
    const program = runTypeScript('examples/http2-client.ts', { env: { TARGET: url, CA: ca } });
    const stdout = '200, full handshake\n200, resumed\n200, resumed\n';
    expect(await program.ended).toMatchObject({ code: 0, stdout, stderr: '' });
    expect(resumed).toEqual([false, true, true]);
  });
});

test('client-agent and http2-client play a target when they have none', async () => {
  for (const file of ['client-agent', 'http2-client']) {
    const { code, stdout, stderr } = await runTypeScript(`examples/${file}.ts`).ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('resumed');
  }
});

test('client-across-runs says why it has no answer', async () => {
  const SESSIONS = mkdtempSync(join(tmpdir(), 'client-sessions-'));
  cleanups.push(() => rmSync(SESSIONS, { recursive: true, force: true }));
  const { url } = await target('TLSv1.3', https.createServer);
  const ended = await runTypeScript('examples/client-across-runs.ts', { args: [url], env: { SESSIONS } }).ended;
  expect(ended).toMatchObject({ code: 1, stdout: '' });
  expect(ended.stderr).toMatch(/self-signed/);
});
