/** The playground's command line, and what it says of mistakes. */

import { once } from 'node:events';
import * as net from 'node:net';
import { describe, expect, test } from 'vitest';
import { playground } from './processes.js';

describe('arguments', () => {
  test.each([
    ['--port abc', '--port expected an integer from 0 to 65535, got "abc"'],
    ['--port=', '--port expected an integer from 0 to 65535, got ""'],
    ['--port 65536', '--port expected an integer from 0 to 65535, got "65536"'],
    ['--port -1', '--port expected a value, got "-1"'],
    ['--port', '--port expected a value, got nothing'],
    ['--host a/b', '--host expected an IP address or a host name, got "a/b"'],
    ['--mode ticket', '--mode expected stateful, none or tickets, got "ticket"'],
    ['--mode stateful --rotate 1', '--rotate expected --mode tickets, got "stateful"'],
    ['--mode none --ticket-keys k --ticket-key-format node', '--ticket-keys expected --mode tickets, got "none"'],
    ['--mode tickets --ticket-keys k', '--ticket-keys expected --ticket-key-format too, got nothing'],
    ['--mode tickets --ticket-key-format node', '--ticket-key-format expected --ticket-keys too, got nothing'],
    ['--ticket-keys= --ticket-key-format node', '--ticket-keys expected a path, got ""'],
    [
      '--ticket-keys k --ticket-key-format pem',
      '--ticket-key-format expected node, nginx, haproxy, apache or ats, got "pem"',
    ],
    [
      '--ticket-keys k --ticket-key-format node --rotate 1',
      '--rotate expected keys that the server makes, got "--ticket-keys" too',
    ],
    ['--rotate 0', '--rotate expected seconds from 0.3 to 604800 with a --timeout of 300, got "0"'],
    ['--rotate 1 --timeout 7200', '--rotate expected seconds from 7.2 to 604800 with a --timeout of 7200, got "1"'],
    ['--store disk', '--store expected memory, lmdb:DIRECTORY or redis://HOST:PORT, got "disk"'],
    ['--store lmdb:', '--store expected memory, lmdb:DIRECTORY or redis://HOST:PORT, got "lmdb:"'],
    ['--store redis://', '--store expected memory, lmdb:DIRECTORY or redis://HOST:PORT, got "redis://"'],
    [
      '--store redis://user:secret@host:port',
      '--store expected memory, lmdb:DIRECTORY or redis://HOST:PORT, got "...@host:port"',
    ],
    [
      '--store redis://host/path',
      '--store expected memory, lmdb:DIRECTORY or redis://HOST:PORT, got "redis://host/path"',
    ],
    ['--store memory --mode tickets', '--store expected --mode stateful, got "tickets"'],
    ['--store lmdb:sessions --mode none', '--store expected --mode stateful, got "none"'],
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
    for (const option of [
      'port',
      'host',
      'mode',
      'store',
      'ticket-keys',
      'ticket-key-format',
      'rotate',
      'min',
      'max',
      'key',
      'timeout',
      'serve',
      'exit',
    ]) {
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
