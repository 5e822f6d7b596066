/** The example over LMDB: run as a user would run it, and real clients come back to whichever worker is next. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { only, VERSIONS, type Version, visit } from '../support/visits.js';
import { type Program, runTypeScript } from './processes.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };
const SEND = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const VISITS = 12;
/** A worker tells a client about its session before the session is in the file: some milliseconds. */
const GRACE = { timeout: 20_000, interval: 20 };

let store: string;
beforeAll(() => {
  store = mkdtempSync(join(tmpdir(), 'tls-resumption-cluster-'));
});
afterAll(() => rmSync(store, { recursive: true, force: true }));

const run = (): Program => runTypeScript('examples/cluster-lmdb.ts', { env: { STORE: store, WORKERS: '3' } });
const workerIn = (received: string): string => /worker (\d+)/.exec(received)?.[1] as string;

describe('cluster-lmdb', () => {
  test.each(VERSIONS)(
    'every return over %s resumes, at whichever worker, and after a restart of all',
    async (version) => {
      const options = { ...only(version), servername: 'localhost', send: SEND };
      let program = run();
      let port = await program.port();
      let { session, resumed, received } = await visit(port, options);
      expect(resumed).toBe(false);
      const workers = new Set<string>();
      const returns = async (): Promise<void> => {
        const back = await vi.waitFor(async () => {
          const answer = await visit(port, { ...options, session });
          expect(answer.resumed).toBe(true);
          return answer;
        }, GRACE);
        expect(back.received).toContain(WAYS[version]);
        workers.add(workerIn(back.received));
        received = back.received;
        // A resumed connection of TLS 1.2 has no new one.
        session = back.session ?? session;
      };
      // Which worker is next is the system's choice.
      for (let n = 0; n < VISITS || (workers.size < 3 && n < 10 * VISITS); n++) await returns();
      expect(workers.size).toBe(3);
      expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });

      const before = new Set(workers);
      workers.clear();
      program = run();
      port = await program.port();
      await returns();
      expect([...workers].filter((worker) => before.has(worker))).toEqual([]);
      expect(workerIn(received)).toBeDefined();
      expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
    },
  );
});
