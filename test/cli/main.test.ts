import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import * as net from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Program, ROOT, runTypeScript } from '../examples/processes.js';
import { close, listen } from '../support/visits.js';
import { run } from './fake-io.js';

describe('the command', () => {
  it.each([['--help'], ['-h'], ['probe', '--help'], ['keys', 'generate', '-h']])('%j prints help', async (...args) => {
    const { code, out, err } = await run(args);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^Usage: tls-resumption COMMAND/);
    for (const line of out.split('\n')) expect(line.length).toBeLessThan(92);
  });

  it('prints its version', async () => {
    expect(await run(['--version'])).toEqual({ code: 0, out: '1.2.3\n', err: '' });
  });

  it.each([
    [[], 'expected probe, inspect, keys, got nothing'],
    [['prob'], 'got "prob"'],
    [['toString'], 'got "toString"'],
    [['--json'], 'got "--json"'],
  ])('refuses %j', async (args, message) => {
    const { code, out, err } = await run(args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(message);
    expect(err).toContain('--help');
  });

  it('says in its help what the options are', async () => {
    const { out } = await run(['--help']);
    for (const name of ['probe-options', 'inspect', 'keys']) {
      const source = await readFile(join(ROOT, 'src', 'cli', `${name}.ts`), 'utf8');
      const options = [...source.matchAll(/^ {2}'?([a-z-]+)'?: \{ type:/gm)].map(([, option]) => option);
      expect(options.length).toBeGreaterThan(3);
      for (const option of options) expect(out).toContain(`--${option}`);
    }
  });
});

describe('the program', () => {
  const program = (...args: string[]) => runTypeScript('src/cli.ts', { args, env: { NO_COLOR: undefined } }).ended;

  it('prints the version of the package', async () => {
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
    expect(await program('--version')).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('is quiet when nobody reads on, and gone when it is interrupted', async () => {
    const command = `${process.execPath} --import tsx src/cli.ts --help | true; echo "\${PIPESTATUS[0]}"`;
    expect(await new Program('bash', ['-c', command]).ended).toMatchObject({ stdout: '0\n', stderr: '' });
    const sockets = new Set<net.Socket>();
    const mute = net.createServer((socket) => void sockets.add(socket.on('error', () => {})));
    const port = await listen(mute);
    const connected = once(mute, 'connection');
    const probing = runTypeScript('src/cli.ts', { args: ['probe', `127.0.0.1:${port}`, '--timeout', '60'] });
    await connected;
    expect(await probing.stop('SIGINT')).toMatchObject({ signal: 'SIGINT', stdout: '', stderr: '' });
    for (const socket of sockets) socket.destroy();
    await close(mute);
  });

  it('ends with the code of what was asked', async () => {
    expect(await program('nothing')).toMatchObject({ code: 2, stdout: '' });
    const { code, stderr, stdout } = await program('probe', 'localhost:1', '--address', '127.0.0.1');
    expect([code, stdout]).toEqual([3, '']);
    expect(stderr).toBe('tls-resumption: cannot connect to localhost:1: nothing listens there (connection refused)\n');
  });
});
