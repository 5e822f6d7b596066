/** The layer-4 balancer, run as a user would run it. */

import type { AddressInfo } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { close, listen, only, visit } from '../support/visits.js';
import { runTypeScript } from './processes.js';

const servers: tls.Server[] = [];
afterEach(() => Promise.all(servers.splice(0).map(close)));

describe('l4-balancer', () => {
  test('plays a client with a certificate that resumes from eight addresses', async () => {
    const program = runTypeScript('examples/l4-balancer.ts');
    await program.printed(/from 127\.0\.0\.108: .*$/m);
    const { code, stdout, stderr } = await program.stop();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const visits = [...stdout.matchAll(/^from (\S+): back end (\w), client 7, (.*)$/gm)];
    expect(new Set(visits.map(([, address]) => address)).size).toBe(8);
    expect(new Set(visits.map(([, , name]) => name)).size).toBe(1);
    expect(visits.map(([, , , how]) => how)).toEqual(['full handshake', ...Array(7).fill('resumed')]);
    expect(stdout).toContain('7 of 8 connections went to the server of their session');
  });

  test('passes connections on to the servers that it is told', async () => {
    const { key, cert } = await makeCertificate({ names: ['localhost'] });
    const backends: string[] = [];
    for (const name of ['a', 'b']) {
      const server = tls.createServer({ key, cert }, (socket) => {
        socket.on('error', () => {});
        socket.end(name);
      });
      servers.push(server);
      await listen(server);
      backends.push(`127.0.0.1:${(server.address() as AddressInfo).port}`);
    }
    const program = runTypeScript('examples/l4-balancer.ts', { env: { BACKENDS: backends.join() } });
    const port = await program.port();
    const met = new Set<string>();
    for (let i = 2; met.size < 2; i++) {
      const from = { ...only('TLSv1.2'), localAddress: `127.0.1.${i}` };
      const first = await visit(port, from);
      expect(first.resumed).toBe(false);
      met.add(first.received);
      for (let back = 2; back < 6; back++) {
        const elsewhere = { ...from, localAddress: `127.0.${back}.${i}`, session: first.session };
        expect(await visit(port, elsewhere)).toMatchObject({ resumed: true, received: first.received });
      }
    }
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });
});
