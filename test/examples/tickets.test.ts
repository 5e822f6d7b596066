/** The examples of tickets that other servers share: each is run as a user would run it. */

import { randomBytes } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { formatTicketKeys, parseTicketKeys } from 'tls-resumption';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { haproxy, type PeerServers, peerServers, saidResumed } from '../support/peer-servers.js';
import { only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { bodyOf, get } from './http.js';
import { type Program, runTypeScript } from './processes.js';
import { keyNameOf } from './ticket-clients.js';

let servers: PeerServers;
let certificate: IssuedCertificate;
beforeAll(async () => {
  [servers, certificate] = await Promise.all([peerServers(), makeCertificate({ names: ['localhost'] })]);
});
afterEach(() => servers.stopAll());
afterAll(() => servers.remove());

/** A client that keeps the latest session it was given. */
function traveller(version: Version): (port: number) => Promise<Visit> {
  let session: Buffer | undefined;
  return async (port) => {
    const visited = await visit(port, { ...only(version), servername: 'localhost', session, send: get('/') });
    session = visited.session ?? session;
    return visited;
  };
}

describe('haproxy-ticket-keys', () => {
  const example = (file?: string): Program =>
    runTypeScript('examples/haproxy-ticket-keys.ts', { env: { ...(file !== undefined && { TICKET_KEYS: file }) } });

  test('writes a file of three keys for nobody else to read, and says how HAProxy uses it', async () => {
    const program = example();
    const [, file] = (await program.printed(/tls-ticket-keys (\S+)$/m)) as unknown as [string, string];
    expect(parseTicketKeys(await readFile(file), 'haproxy').map(({ length }) => length)).toEqual([48, 48, 48]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
    await rm(dirname(file), { recursive: true });
  });

  test.each(VERSIONS)(
    'resumes over %s with the keys of a file that is there, which it leaves as it is',
    async (version) => {
      const file = join(servers.folder, `there-${version}`);
      const keys = [randomBytes(48), randomBytes(48), randomBytes(48)] as const;
      const content = formatTicketKeys(keys, 'haproxy');
      await writeFile(file, content);
      const port = await example(file).port();
      const come = traveller(version);
      expect(bodyOf(await come(port))).toBe('full handshake\n');
      const { received, session } = await come(port);
      expect(received).toMatch(/\nticket\n$/);
      if (session) expect(keyNameOf(session)).toBe(keys[0].toString('hex', 0, 16));
      expect(await readFile(file)).toEqual(content);
    },
  );

  haproxy.describe('beside HAProxy', () => {
    test.each(VERSIONS)('a client of one resumes at the other over %s', async (version) => {
      const file = join(servers.folder, `haproxy-${version}`);
      const port = await example(file).port();
      const { key, cert } = certificate;
      const other = await servers.start(haproxy, { key, cert, ticketKeys: await readFile(file) });
      for (const route of ['HNHN', 'NHNH']) {
        const come = traveller(version);
        const ways: (boolean | string | undefined)[] = [];
        for (const stop of route) {
          const visited = await come(stop === 'N' ? port : other.port);
          ways.push(stop === 'N' ? bodyOf(visited).trim() : saidResumed(visited.received));
        }
        const [first, ...rest] = [...route].map((stop, i) => {
          if (stop === 'N') return i === 0 ? 'full handshake' : 'ticket';
          return i > 0;
        });
        expect(ways).toEqual([first, ...rest]);
      }
    });
  });
});

describe('fleet-from-secret', () => {
  /** The ports of all hosts of a fleet. */
  async function portsOf(fleet: Program, hosts: number): Promise<number[]> {
    const lines = `(?:^listening on \\S*:\\d+$\\s*){${hosts}}`;
    const [all] = await fleet.printed(new RegExp(lines, 'm'));
    return [...all.matchAll(/:(\d+)$/gm)].map(([, port]) => Number(port));
  }

  test.each([2, 4])('with %i hosts a client resumes at any of them, over TLS 1.2 and 1.3', async (hosts) => {
    const fleet = runTypeScript('examples/fleet-from-secret.ts', { env: { HOSTS: String(hosts) } });
    const ports = await portsOf(fleet, hosts);
    for (const version of VERSIONS) {
      // From each host to all others, in both directions.
      for (const first of ports) {
        const come = traveller(version);
        const others = ports.filter((port) => port !== first);
        const answers: string[] = [];
        for (const port of [first, ...others, ...others.toReversed(), first]) answers.push(bodyOf(await come(port)));
        expect(answers[0]).toMatch(/^host \d+, full handshake\n$/);
        for (const answer of answers.slice(1)) expect(answer).toMatch(/^host \d+, ticket\n$/);
        expect(new Set(answers.map((answer) => answer.split(',')[0])).size).toBe(hosts);
      }
    }
    expect(await fleet.stop()).toMatchObject({ code: 0, stderr: '' });
  });

  test('with secret, key and certificate in files; another secret is another fleet', async () => {
    const file = (name: string): string => join(servers.folder, name);
    await Promise.all([
      writeFile(file('secret'), `${randomBytes(32).toString('base64')}\n`),
      writeFile(file('key.pem'), certificate.key),
      writeFile(file('cert.pem'), certificate.cert),
    ]);
    const files = { KEY_FILE: file('key.pem'), CERT_FILE: file('cert.pem') };
    const host = (env: NodeJS.ProcessEnv) =>
      runTypeScript('examples/fleet-from-secret.ts', { env: { ...files, ...env } });
    const one = host({ SECRET_FILE: file('secret') });
    const two = host({ SECRET_FILE: file('secret') });
    const other = host({ SECRET: randomBytes(32).toString('base64') });
    const ports = await Promise.all([one, two, other].map((program) => program.port()));
    for (const version of VERSIONS) {
      const come = traveller(version);
      const answers: string[] = [];
      for (const port of ports) answers.push(bodyOf(await come(port)).replace(/^host \d+, /, ''));
      expect(answers).toEqual(['full handshake\n', 'ticket\n', 'full handshake\n']);
    }
    for (const program of [one, two, other]) expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
  });
});
