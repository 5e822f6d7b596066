/** The examples with stores: each is run as a user would run it, over a real Redis, and real clients come back. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { describeRedis, type RedisServer, type StoreServers, storeServers } from '../support/store-servers.js';
import { comeBack, only, VERSIONS, type Version, visit } from '../support/visits.js';
import { type Program, runTypeScript } from './processes.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };
const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const bodyOf = (received: string): string =>
  received.slice(received.indexOf('\r\n\r\n') + 4).replace(/^\w+\r\n|\r\n.*$/gs, '');

describeRedis('over Redis', () => {
  let servers: StoreServers;
  let server: RedisServer;
  beforeAll(async () => {
    servers = await storeServers();
    server = await servers.redis();
  });
  afterAll(() => servers?.remove());
  const url = (): string => `redis://127.0.0.1:${server.port}`;

  /** A client that was at `first` comes to `other`, again until the session is written. */
  async function travels(first: number, other: number, version: Version): Promise<void> {
    const options = { ...only(version), servername: 'localhost', send: GET };
    const { session, received, resumed } = await visit(first, options);
    expect(resumed).toBe(false);
    expect(bodyOf(received)).toMatch(/^host \d+, full handshake/);
    const answer = await vi.waitFor(async () => {
      const back = await visit(other, { ...options, session });
      expect(back.resumed).toBe(true);
      return bodyOf(back.received);
    }, 5000);
    expect(answer).toMatch(new RegExp(`^host \\d+, ${WAYS[version]}`));
    expect(answer.split(',')[0]).not.toBe(bodyOf(received).split(',')[0]);
  }

  describe('two-hosts-redis', () => {
    test('plays two hosts, and a client resumes at the other one', async () => {
      const program = runTypeScript('examples/two-hosts-redis.ts', { env: { REDIS_URL: url() } });
      const [all] = await program.printed(/(?:^listening on \S*:\d+$\s*){2}/m);
      const [one, two] = [...all.matchAll(/:(\d+)$/gm)].map(([, port]) => Number(port)) as [number, number];
      for (const version of VERSIONS) {
        await travels(one, two, version);
        await travels(two, one, version);
      }
      expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
    });

    test('serves while Redis is away, and resumes again when it is back', async () => {
      const other = await servers.redis();
      const { key, cert } = await makeCertificate({ names: ['localhost'] });
      const env = {
        REDIS_URL: `redis://127.0.0.1:${other.port}`,
        SECRET: randomBytes(32).toString('base64'),
        KEY: key,
        CERT: cert,
      };
      const programs: Program[] = [1, 2].map(() => runTypeScript('examples/two-hosts-redis.ts', { env }));
      const [one, two] = (await Promise.all(programs.map((program) => program.port()))) as [number, number];
      await travels(one, two, 'TLSv1.3');
      const { session } = await visit(one, { servername: 'localhost', send: GET });
      await other.kill();
      for (let n = 0; n < 5; n++) {
        const back = await visit(two, { servername: 'localhost', send: GET, session });
        expect(bodyOf(back.received)).toMatch(/^host \d+, full handshake/);
      }
      await other.restart();
      await vi.waitFor(() => travels(one, two, 'TLSv1.3'), { timeout: 15_000 });
      for (const program of programs) expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
      await other.kill();
    });
  });

  test('sharing-between-services: one name and one prefix share, others do not', async () => {
    // Once more where the machine is so busy that an answer of Redis comes too late.
    await vi.waitFor(async () => {
      const program = runTypeScript('examples/sharing-between-services.ts', { env: { REDIS_URL: url() } });
      expect(await program.ended).toMatchObject({
        code: 0,
        stderr: '',
        stdout: [
          'came back to             guard  prefix  handshake',
          'shop                     shop   shop:   resumed',
          'shop, another host       shop   shop:   resumed',
          'admin, keys of the shop  admin  shop:   full',
          'shop, keys of its own    shop   blog:   full',
          '',
        ].join('\n'),
      });
    }, 30_000);
  });
});

describe('own-store', () => {
  test.each(VERSIONS)('passes the checks of stores, and resumes over %s', async (version) => {
    const program = runTypeScript('examples/own-store.ts');
    const [first, second] = await comeBack(await program.port(), { ...only(version), send: GET });
    expect([first.resumed, second.resumed]).toEqual([false, true]);
    expect(bodyOf(second.received)).toContain(WAYS[version]);
    const { code, stdout, stderr } = await program.stop();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^all \d+ checks passed$/m);
  });
});
