/** The playground, run from outside as its contract says: `npm start -- …`. */

import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { decodeSslSession } from 'tls-resumption';
import { describe, expect, test } from 'vitest';
import { comeBack, only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { Program, runTypeScript } from './processes.js';

const MAIN = 'examples/playground/main.ts';
const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };
const CIPHERS: Record<Version, RegExp> = { 'TLSv1.2': /^TLS_ECDHE_ECDSA_WITH_/, 'TLSv1.3': /^TLS_AES_/ };

const npmStart = (...args: string[]): Program => new Program('npm', ['start', '--', ...args]);
const playground = (...args: string[]): Program => runTypeScript(MAIN, { args });

const get = (path: string, ...lines: string[]): string =>
  [`GET ${path} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...lines, '', ''].join('\r\n');

const bodyOf = ({ received }: Visit): string => received.slice(received.indexOf('\r\n\r\n') + 4);
const jsonOf = (answer: Visit) => JSON.parse(bodyOf(answer));
const statusOf = ({ received }: Visit): number => Number(received.match(/^HTTP\/1\.1 (\d{3}) /)?.[1]);

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

  test('prints the table and leaves, with --exit', { timeout: 60_000 }, async () => {
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

  test('after the table it goes on serving until SIGTERM', { timeout: 60_000 }, async () => {
    const program = playground('--min', 'TLSv1.3');
    await program.printed(/See your own browser resume/);
    expect(jsonOf(await visit(await program.port(), { send: get('/connection') })).protocol).toBe('TLSv1.3');
    const ended = await program.stop();
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stdout).not.toContain('session-id');
  });
});

describe('HTTP', () => {
  test.each(VERSIONS)('GET /connection says how a client came back over %s', async (version) => {
    const program = playground('--serve');
    const port = await program.port();
    const client = { ...only(version), servername: 'localhost', ALPNProtocols: ['http/1.1'], send: get('/connection') };
    const [first, second] = await comeBack(port, client);
    expect(jsonOf(first)).toEqual({
      protocol: version,
      cipher: expect.stringMatching(CIPHERS[version]),
      resumed: false,
      way: null,
      servername: 'localhost',
      alpn: 'http/1.1',
    });
    expect(second.resumed).toBe(true);
    expect(jsonOf(second)).toEqual({ ...jsonOf(first), resumed: true, way: WAYS[version] });
  });

  test('without a server name and ALPN both are null', async () => {
    const program = playground('--serve');
    const answer = jsonOf(await visit(await program.port(), { send: get('/connection') }));
    expect(answer).toMatchObject({ servername: null, alpn: null });
  });

  test.each(VERSIONS)('with --mode none nothing resumes over %s', async (version) => {
    const program = playground('--serve', '--mode', 'none');
    const [first, second] = await comeBack(await program.port(), { ...only(version), send: get('/connection') });
    expect(first.session).toBeDefined();
    expect(second.resumed).toBe(false);
    expect(jsonOf(second)).toMatchObject({ protocol: version, resumed: false, way: null });
  });

  test('--timeout is how long a session lives', async () => {
    const program = playground('--serve', '--timeout', '77');
    const { session } = await visit(await program.port(), { ...only('TLSv1.3'), send: get('/connection') });
    expect(decodeSslSession(session as Buffer)?.ticketLifetimeHint).toBe(77);
  });

  test('--min, --max and --key', async () => {
    const program = playground('--serve', '--max', 'TLSv1.2', '--key', 'rsa');
    const port = await program.port();
    expect(jsonOf(await visit(port, { send: get('/connection') }))).toMatchObject({
      protocol: 'TLSv1.2',
      cipher: expect.stringMatching(/^TLS_ECDHE_RSA_/),
    });
    await expect(visit(port, only('TLSv1.3'))).rejects.toThrow();
  });

  test('GET /statistics counts', async () => {
    const program = playground('--serve');
    const port = await program.port();
    await comeBack(port, { send: get('/connection') });
    expect(jsonOf(await visit(port, { send: get('/statistics') }))).toMatchObject({
      accept: 3,
      acceptGood: 3,
      hits: 1,
      misses: 0,
    });
  });

  test('GET / is a page that needs nothing from elsewhere', async () => {
    const program = playground('--serve');
    const page = await visit(await program.port(), { send: get('/') });
    expect(page.received).toMatch(/^content-type: text\/html; charset=utf-8\r$/im);
    expect(page.received).toMatch(/^content-security-policy: default-src 'none'/im);
    expect(bodyOf(page)).toMatch(/^<!doctype html>/);
    expect(bodyOf(page)).not.toMatch(/https?:\/\//);
  });

  test('GET /events tells of new handshakes, and does not hold up the end', async () => {
    const program = playground('--serve');
    const port = await program.port();
    const events = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    events.on('error', () => {});
    events.setEncoding('utf8').write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    let received = '';
    events.on('data', (text) => {
      received += text;
    });
    await once(events, 'data');
    await comeBack(port, { ...only('TLSv1.2'), send: get('/connection') });
    while (!received.includes('"way":"session-id"')) await once(events, 'data');
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });

  test('other paths are 404, other methods 405', async () => {
    const program = playground('--serve');
    const port = await program.port();
    expect(statusOf(await visit(port, { send: get('/other') }))).toBe(404);
    expect(statusOf(await visit(port, { send: get('/__proto__') }))).toBe(404);
    for (const path of ['/', '/connection', '/statistics']) {
      const answer = await visit(port, { send: get(path).replace('GET', 'DELETE') });
      expect(statusOf(answer)).toBe(405);
      expect(answer.received).toMatch(/^allow: GET, HEAD\r$/im);
    }
    expect(statusOf(await visit(port, { send: get('/connection?a=b') }))).toBe(200);
  });

  test('HTTP/1.0, Connection: close and keep-alive', async () => {
    const program = playground('--serve');
    const port = await program.port();
    const old = await visit(port, { send: 'GET /connection HTTP/1.0\r\n\r\n' });
    expect(statusOf(old)).toBe(200);
    expect(old.received).toMatch(/^connection: close\r$/im);
    expect(jsonOf(old).resumed).toBe(false);
    const named = await visit(port, { send: 'GET /connection HTTP/1.0\r\n\r\n', ALPNProtocols: ['http/1.0'] });
    expect(jsonOf(named).alpn).toBe('http/1.0');
    const closing = await visit(port, { send: get('/statistics') });
    expect(closing.received).toMatch(/^connection: close\r$/im);
    const kept = await stay(port);
    kept.write(get('/connection'));
    const [again] = await once(kept, 'data');
    expect(String(again)).toContain('HTTP/1.1 200');
    kept.destroy();
  });
});

describe('arguments', () => {
  test.each([
    ['--port abc', '--port expected an integer from 0 to 65535, got "abc"'],
    ['--port=', '--port expected an integer from 0 to 65535, got ""'],
    ['--port 65536', '--port expected an integer from 0 to 65535, got "65536"'],
    ['--port -1', '--port expected a value, got "-1"'],
    ['--port', '--port expected a value, got nothing'],
    ['--host a/b', '--host expected an IP address or a host name, got "a/b"'],
    ['--mode tickets', '--mode expected stateful or none, got "tickets"'],
    ['--min TLSv1', '--min expected TLSv1.2 or TLSv1.3, got "TLSv1"'],
    ['--min TLSv1.3 --max TLSv1.2', '--min expected at most --max (TLSv1.2), got "TLSv1.3"'],
    ['--key dsa', '--key expected ecdsa or rsa, got "dsa"'],
    ['--timeout 0', '--timeout expected an integer from 1 to 604800, got "0"'],
    ['--serve=yes', '--serve expected no value, got "yes"'],
    ['--serve --exit', '--exit expected a table to leave after, got "--serve" too'],
    ['here', 'expected options only, got "here"'],
  ])('%s', async (line, message) => {
    expect(await playground(...line.split(' ')).ended).toEqual({
      code: 2,
      signal: null,
      stdout: '',
      stderr: `playground: ${message}\n`,
    });
  });

  test('an option that does not exist names those that do', async () => {
    const { code, stderr } = await playground('--prot', '1').ended;
    expect(code).toBe(2);
    expect(stderr).toMatch(/^playground: expected one of --port, --host, .*, got "--prot"\n$/);
  });

  test('--help', async () => {
    const { code, stdout } = await playground('--help').ended;
    expect(code).toBe(0);
    for (const option of ['port', 'host', 'mode', 'min', 'max', 'key', 'timeout', 'serve', 'exit']) {
      expect(stdout).toContain(`  --${option} `);
    }
  });

  test('a port in use is said in one line', async () => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as net.AddressInfo;
    const { code, stderr } = await playground('--serve', '--port', String(port)).ended;
    taken.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`^playground: .*EADDRINUSE.*:${port}\n$`));
  });
});
