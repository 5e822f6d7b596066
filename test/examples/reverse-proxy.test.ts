/** The reverse proxy, run as a user would run it: who resumes is said by the servers. */

import * as https from 'node:https';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { close, listen, only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { runTypeScript } from './processes.js';

const GET = 'GET /path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };

const servers: https.Server[] = [];
afterEach(() => Promise.all(servers.splice(0).map(close)));

const front = ({ received }: Visit): string | undefined => /^Front: (.*)\r$/im.exec(received)?.[1];

describe('reverse-proxy', () => {
  test.each(VERSIONS)('resumes in front over %s, and behind with its certificate', async (version) => {
    const program = runTypeScript('examples/reverse-proxy.ts');
    const port = await program.port();
    let last = await visit(port, { ...only(version), servername: 'localhost', send: GET });
    expect(front(last)).toBe('full handshake');
    expect(last.received).toContain('behind: full handshake, authorized');
    for (let again = 0; again < 5; again++) {
      const { session } = last;
      const next = await visit(port, { ...only(version), servername: 'localhost', send: GET, session });
      expect(front(next)).toBe(WAYS[version]);
      expect(next.received).toContain('behind: stateful-ticket, authorized');
      last = { ...next, session: next.session ?? session };
    }
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });

  test.each(VERSIONS)('resumes before a target that it is told, over %s', async (version) => {
    const authority = await makeCertificate({ isAuthority: true, commonName: 'CA' });
    const { key, cert } = await makeCertificate({ names: ['127.0.0.1'], issuer: authority });
    const seen: boolean[] = [];
    const target = https.createServer({ key, cert, minVersion: version, maxVersion: version }, (request, response) => {
      seen.push((request.socket as TLSSocket).isSessionReused());
      response.setHeader('Connection', 'close');
      response.end(request.url);
    });
    servers.push(target);
    const env = { TARGET: `https://127.0.0.1:${await listen(target)}`, KEY: key, CERT: cert, CA: authority.cert };
    const program = runTypeScript('examples/reverse-proxy.ts', { env });
    const port = await program.port();
    for (let i = 0; i < 5; i++) expect((await visit(port, { send: GET })).received).toContain('/path');
    // Node gives two TLS 1.3 tickets after a full handshake, none after a resumed one, and each is used once.
    expect(seen).toEqual([false, true, true, version === 'TLSv1.2', true]);
    await close(target);
    servers.length = 0;
    expect((await visit(port, { send: GET })).received).toMatch(/^HTTP\/1\.1 502 /);
    expect((await program.stop()).code).toBe(0);
  });
});
