/** The examples: each is run as a user would run it, and real clients come back to it. */

import { once } from 'node:events';
import * as http2 from 'node:http2';
import * as tls from 'node:tls';
import { describe, expect, test } from 'vitest';
import { comeBack, only, VERSIONS, type Version, visit } from '../support/visits.js';
import { runTypeScript } from './processes.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

async function http2Visit(port: number, options: tls.ConnectionOptions) {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'], ...options });
  const closed = once(socket, 'close');
  let session: Buffer | undefined;
  socket.on('session', (bytes: Buffer) => {
    session = bytes;
  });
  const client = http2.connect(`https://127.0.0.1:${port}`, { createConnection: () => socket });
  await once(client, 'connect');
  const resumed = socket.isSessionReused();
  const request = client.request({ ':path': '/' }).setEncoding('utf8');
  let received = '';
  for await (const chunk of request) received += chunk;
  client.close();
  await closed;
  return { resumed, session, received };
}

describe('tls-server', () => {
  test.each(VERSIONS)('resumes over %s and closes on SIGTERM', async (version) => {
    const program = runTypeScript('examples/tls-server.ts');
    const [first, second] = await comeBack(await program.port(), only(version));
    expect(first).toMatchObject({ resumed: false, received: `${version}, full handshake\n` });
    expect(second).toMatchObject({ resumed: true, received: `${version}, ${WAYS[version]}\n` });
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('https-server', () => {
  test.each(VERSIONS)('resumes over %s and closes on SIGTERM', async (version) => {
    const program = runTypeScript('examples/https-server.ts');
    const port = await program.port();
    const [first, second] = await comeBack(port, { ...only(version), servername: 'localhost', send: GET });
    expect(first.resumed).toBe(false);
    expect(first.received).toContain('"way":null,"servername":"localhost"');
    expect(second.resumed).toBe(true);
    expect(second.received).toContain(`"way":"${WAYS[version]}","servername":"localhost"`);
    expect(second.received).toContain('"hits":1');
    // An idle keep-alive connection does not hold it up.
    const idle = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    idle.on('error', () => {});
    idle.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(idle, 'data');
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('http2-server', () => {
  test.each(VERSIONS)('resumes over %s and closes on SIGTERM', async (version) => {
    const program = runTypeScript('examples/http2-server.ts');
    const port = await program.port();
    const first = await http2Visit(port, only(version));
    const second = await http2Visit(port, { ...only(version), ...(first.session && { session: first.session }) });
    expect(first).toMatchObject({ resumed: false, received: 'HTTP/2.0, full handshake\n' });
    expect(second).toMatchObject({ resumed: true, received: `HTTP/2.0, ${WAYS[version]}\n` });
    const open = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    await once(open, 'connect');
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
    open.destroy();
  });

  test('answers HTTP/1.1', async () => {
    const program = runTypeScript('examples/http2-server.ts');
    const [, second] = await comeBack(await program.port(), { send: GET });
    expect(second.received).toContain('HTTP/1.1, stateful-ticket');
  });
});

describe('cluster', () => {
  test.each(VERSIONS)('resumes over %s where the client was before', async (version) => {
    const program = runTypeScript('examples/cluster.ts', { env: { WORKERS: '2' } });
    const port = await program.port();
    const first = await visit(port, { ...only(version), send: GET });
    expect(first.resumed).toBe(false);
    const home = first.received.match(/worker \d/)?.[0] as string;
    const workers = new Map<string, boolean>();
    let session = first.session;
    // Connections are dealt out in turn, so the client meets both workers soon.
    for (let attempt = 0; attempt < 6 && workers.size < 2; attempt++) {
      const next = await visit(port, { ...only(version), session, send: GET });
      const worker = next.received.match(/worker \d/)?.[0] as string;
      workers.set(worker, next.resumed);
      expect(next.received).toContain(next.resumed ? WAYS[version] : 'full handshake');
      // A worker that does not know the session leaves it as it was.
      if (next.resumed) session = next.session ?? session;
    }
    expect(workers.get(home)).toBe(true);
    expect([...workers.values()].sort()).toEqual([false, true]);
    const ended = await program.stop();
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toMatch(/^[1-9]\d* of [1-9]\d* handshakes resumed$/m);
  });

  test('with one worker every return resumes', async () => {
    const program = runTypeScript('examples/cluster.ts', { env: { WORKERS: '1' } });
    const port = await program.port();
    const [, second] = await comeBack(port, { send: GET });
    expect(second.resumed).toBe(true);
    expect((await program.stop()).stdout).toContain('1 of 2 handshakes resumed');
  });
});
