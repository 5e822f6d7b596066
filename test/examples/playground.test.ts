/** The playground, run from outside as its contract says: `npm start -- …`. */

import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { describe, expect, test } from 'vitest';
import { VERSIONS, type Version, visit } from '../support/visits.js';
import { get, jsonOf } from './http.js';
import { Program, playground } from './processes.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };

const npmStart = (...args: string[]): Program => new Program('npm', ['start', '--', ...args]);

/** A socket that has made one request and stays open. */
async function stay(port: number): Promise<tls.TLSSocket> {
  const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  socket.on('error', () => {});
  socket.write('GET /connection HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(socket, 'data');
  return socket;
}

describe('npm start', () => {
  test('prints one line when it is ready; SIGTERM to npm ends all of it with exit code 0', async () => {
    const program = npmStart('--serve');
    const port = await program.port();
    const silent = net.connect(port, '127.0.0.1').on('error', () => {});
    const open = [await stay(port), silent];
    const ended = await program.stop('SIGTERM');
    expect(ended.code).toBe(0);
    expect(ended.stdout.match(/^listening on https:\/\/127\.0\.0\.1:\d+$/gm)).toHaveLength(1);
    const after = net.connect(port, '127.0.0.1');
    await expect(once(after, 'connect')).rejects.toThrow('ECONNREFUSED');
    for (const socket of open) socket.destroy();
  });

  test('SIGINT to npm ends it with exit code 0 while the table is being measured', async () => {
    const program = npmStart();
    await program.printed(/measuring TLSv1\.2/);
    const ended = await program.stop('SIGINT');
    expect(ended.code).toBe(0);
    expect(ended.stdout).not.toContain('median time');
  });

  test('prints the table and leaves, with --exit', async () => {
    const { code, stdout, stderr } = await npmStart('--exit').ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(/measuring TLSv1\.2[\s\S]*measuring TLSv1\.3/);
    const rows = stdout.split('\n').map((line) => line.split(/ {2,}/));
    expect(rows).toContainEqual([
      'way',
      'protocol',
      'handshake',
      'number',
      'share',
      'median time',
      'server CPU',
      'bytes',
    ]);
    for (const version of VERSIONS) {
      const full = rows.find(
        ([way, protocol, kind]) => way === WAYS[version] && protocol === version && kind === 'full',
      );
      const resumed = rows.find(
        ([way, protocol, kind]) => way === WAYS[version] && protocol === version && kind === 'resumed',
      );
      expect(full?.slice(3)).toEqual([
        expect.stringMatching(/^\d{2,}$/),
        expect.stringMatching(/^\d+\.\d\d ms$/),
        expect.stringMatching(/^\d+ µs$/),
        expect.stringMatching(/^\d+$/),
      ]);
      expect(resumed?.slice(3)).toEqual([
        expect.stringMatching(/^\d{2,}$/),
        '100 %',
        expect.stringMatching(/^\d+\.\d\d ms$/),
        expect.stringMatching(/^\d+ µs$/),
        expect.stringMatching(/^\d+$/),
      ]);
      expect(Number(resumed?.at(-1))).toBeLessThan(Number(full?.at(-1)));
    }
  });
});

describe('signals', () => {
  test('two of them, as npm and the terminal send, are one', async () => {
    const program = playground();
    await program.printed(/measuring TLSv1\.2/);
    process.kill(program.pid, 'SIGINT');
    expect(await program.stop('SIGINT')).toMatchObject({ code: 0, signal: null });
  });

  test('after the table it goes on serving until SIGTERM', async () => {
    const program = playground('--min', 'TLSv1.3');
    await program.printed(/See your own browser resume/);
    expect(jsonOf(await visit(await program.port(), { send: get('/connection') })).protocol).toBe('TLSv1.3');
    const ended = await program.stop();
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stdout).not.toContain('session-id');
  });
});
