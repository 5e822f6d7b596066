/** What Prometheus would read, after visits of which each is known. */

import { describe, expect, test } from 'vitest';
import { only, VERSIONS, visit } from '../support/visits.js';
import { bodyOf, get } from './http.js';
import { runTypeScript } from './processes.js';

describe('prometheus', () => {
  test('shows what resumed, what was refused and why, what was stored and forgotten', async () => {
    const program = runTypeScript('examples/prometheus.ts');
    const port = await program.port();
    const [, url] = await program.printed(/^metrics are on (\S+)$/m);
    const scrape = async (): Promise<string> => (await fetch(url as string)).text();
    const come = (version: 'TLSv1.2' | 'TLSv1.3', session?: Buffer) =>
      visit(port, { ...only(version), servername: 'localhost', session, send: get('/') });

    const sessions = new Map<string, Buffer | undefined>();
    for (const version of VERSIONS) {
      const { session } = await come(version);
      sessions.set(version, session);
      expect(bodyOf(await come(version, session))).not.toBe('full handshake\n');
    }
    const before = await scrape();
    expect(before).toContain('tls_resumption_resumed_total{guard="shop",way="session-id"} 1');
    expect(before).toContain('tls_resumption_resumed_total{guard="shop",way="stateful-ticket"} 1');
    // One of the handshake in TLS 1.2, two and one of those in TLS 1.3.
    expect(before).toContain('tls_resumption_stored_total{side="server"} 4');
    expect(before).toContain('tls_resumption_sessions 4');
    expect(before).not.toContain('tls_resumption_refused_total{');

    process.kill(program.pid, 'SIGHUP');
    while (!(await scrape()).includes('tls_resumption_rotated_total{guard="shop",scope="all"} 1')) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const version of VERSIONS) {
      expect(bodyOf(await come(version, sessions.get(version)))).toBe('full handshake\n');
    }
    expect(await scrape()).toContain('tls_resumption_refused_total{guard="shop",reason="unknown"} 2');
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });
});
