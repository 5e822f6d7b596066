/** What the playground answers over HTTP. */

import { once } from 'node:events';
import * as tls from 'node:tls';
import { decodeSslSession } from 'tls-resumption';
import { describe, expect, test } from 'vitest';
import { comeBack, only, VERSIONS, type Version, visit } from '../support/visits.js';
import { bodyOf, get, jsonOf, statusOf } from './http.js';
import { playground } from './processes.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };
const CIPHERS: Record<Version, RegExp> = { 'TLSv1.2': /^TLS_ECDHE_ECDSA_WITH_/, 'TLSv1.3': /^TLS_AES_/ };

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
    const kept = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    kept.on('error', () => {});
    kept.write('GET /connection HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(kept, 'data');
    kept.write(get('/connection'));
    const [again] = await once(kept, 'data');
    expect(String(again)).toContain('HTTP/1.1 200');
    kept.destroy();
  });
});
