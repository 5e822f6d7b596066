import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { type Peer, peer, peerAt, type Run } from '../support/peers.js';
import { VERSIONS, type Version } from '../support/visits.js';
import { HOST, REQUEST, type Seen, type Town, town } from './peer-server.js';

const VISITS = 10;

const client = (file: string): string => fileURLToPath(new URL(`./clients/${file}`, import.meta.url));

const curl = peer('curl');
const java = peer('java');
const javac = peer('javac');
const openssl = peer('openssl');
const python = peer('python3');
const gnutls = peer('gnutls-cli');

/** What compiles its client, where its headers are. */
const wolfssl = existsSync('/usr/include/wolfssl/ssl.h') ? peer('gcc', 'cc') : peerAt('the library wolfSSL', undefined);

let place: Town;
const counts: Record<string, unknown>[] = [];
beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(async () => {
  await place.remove();
  console.table(counts);
});

/** Once for all tests, when the first one wants it. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** A program that makes all the visits in one run. */
const inOneRun =
  (program: Peer, ...args: string[]) =>
  (port: number, version: Version): Promise<Run> =>
    program.run([...args, `${port}`, version, place.caFile, `${VISITS}`]);

function runPython(port: number, version: Version): Promise<Run> {
  const args = [client('python-client.py'), `${port}`, version.replace('.', '_'), place.caFile, `${VISITS}`];
  return python.run(args);
}

function runCurl(port: number, version: Version): Promise<Run> {
  const number = version.slice('TLSv'.length);
  const request = ['--silent', '--show-error', '--noproxy', '*', '--cacert', place.caFile, '--http1.1']
    .concat(['--resolve', `${HOST}:${port}:127.0.0.1`, `--tlsv${number}`, '--tls-max', number])
    .concat(`https://${HOST}:${port}/`);
  return curl.run(['--disable', ...Array.from({ length: VISITS }, () => ['--next', ...request]).flat()]);
}

const compileWolfsslClient = once(async () => {
  const program = join(place.folder, 'wolfssl-client');
  const args = ['-O1', '-Wall', '-Werror', '-o', program, client('wolfssl-client.c'), '-lwolfssl'];
  expect(await wolfssl.run(args)).toMatchObject({ code: 0, output: '' });
  return peerAt("wolfSSL's client", program);
});

const compileJavaClient = once(async () => {
  const args = ['-d', place.folder, client('JavaClient.java')];
  expect(await javac.run(args)).toMatchObject({ code: 0, output: '' });
});

async function runWolfssl(port: number, version: Version): Promise<Run> {
  return inOneRun(await compileWolfsslClient())(port, version);
}

async function runJava(port: number, version: Version): Promise<Run> {
  await compileJavaClient();
  return inOneRun(java, '-XX:TieredStopAtLevel=1', '-cp', place.folder, 'JavaClient')(port, version);
}

let sessionFiles = 0;

/** Keeps its session in a file: what the server sent last. */
async function runOpenssl(port: number, version: Version): Promise<Run> {
  const file = join(place.folder, `session-${sessionFiles++}.pem`);
  let run: Run | undefined;
  for (let visit = 0; visit < VISITS; visit++) {
    run = await openssl.run(
      ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', HOST, '-ign_eof', '-CAfile', place.caFile]
        .concat(['-verify_return_error', version === 'TLSv1.2' ? '-tls1_2' : '-tls1_3', '-sess_out', file])
        .concat(existsSync(file) ? ['-sess_in', file] : []),
      { input: REQUEST },
    );
    if (run.code !== 0) break;
  }
  return run as Run;
}

interface Client {
  readonly name: string;
  readonly peer: Peer;
  visit(port: number, version: Version): Promise<Run>;
  /** Whether it comes back to Node's own TLS 1.3 tickets every time: it shows one again when it got no new one. */
  readonly showsAgain?: boolean;
  /** Over TLS 1.2 it asks for no ticket. */
  readonly bySessionId?: boolean;
}

const clients: readonly Client[] = [
  { name: 'curl', peer: curl, visit: runCurl, bySessionId: true },
  { name: 'Java', peer: javac, visit: runJava },
  { name: "wolfSSL's client", peer: wolfssl, visit: runWolfssl },
  { name: 'GnuTLS', peer: gnutls, visit: inOneRun(python, client('gnutls-client.py')) },
  { name: 'openssl s_client', peer: openssl, visit: runOpenssl, showsAgain: true },
  { name: "Python's ssl", peer: python, visit: runPython, showsAgain: true },
];

/** The TLS 1.3 ticket that a client showed. */
function shown({ connection: { hello } }: Seen): string | undefined {
  return hello?.pskIdentities[0]?.identity.toString('hex');
}

for (const { name, peer, visit, showsAgain = false, bySessionId = false } of clients) {
  peer.describe(`${name} in ticket mode`, () => {
    it.each(VERSIONS)(`comes back over %s ${VISITS - 1} times in a row`, async (version) => {
      const { port, seen, errors } = await place.start({ resumption: { tickets: TicketKeyRing.generate() } });
      const plain = await place.startPlain();
      const [{ code, output }] = await Promise.all([visit(port, version), visit(plain.port, version)]);

      expect({ code, output }).toMatchObject({ code: 0 });
      const way = bySessionId && version === 'TLSv1.2' ? 'session-id' : 'ticket';
      expect(seen.map((each) => each.protocol)).toEqual(Array(VISITS).fill(version));
      expect(seen.map((each) => each.way)).toEqual([null, ...Array(VISITS - 1).fill(way)]);
      expect(errors).toEqual([]);
      // None was shown twice: each visit brings the next one.
      if (version === 'TLSv1.3') expect(new Set(seen.slice(1).map(shown))).toHaveProperty('size', VISITS - 1);

      const resumed = plain.resumed.filter(Boolean).length;
      if (showsAgain || (version === 'TLSv1.2' && !bySessionId)) expect(resumed).toBe(VISITS - 1);
      else expect(resumed).toBeLessThan(VISITS - 1);
      counts.push({
        client: `${name}, ${version}`,
        'ticket mode': `${seen.filter((each) => each.way === way).length} of ${VISITS - 1} by ${way}`,
        'plain Node': `${resumed}${plain.errors.length > 0 ? `, then ${plain.errors.length} broken` : ''}`,
      });
    });
  });
}

gnutls.describe('gnutls-cli in ticket mode', () => {
  it.each(VERSIONS)('comes back over %s, whenever it is run', async (version) => {
    const { port, seen, errors } = await place.start({ resumption: { tickets: TicketKeyRing.generate() } });
    const priority = `NORMAL:-VERS-ALL:+VERS-${version.replace('v', '')}`;
    const args = ['--resume', '--waitresumption', '--priority', priority, '--x509cafile', place.caFile].concat([
      '--sni-hostname',
      HOST,
      '--verify-hostname',
      HOST,
      '--port',
      `${port}`,
      '127.0.0.1',
    ]);
    for (let run = 0; run < VISITS; run++) {
      const { code, output } = await gnutls.run(args, { input: REQUEST });
      expect({ code, output }).toMatchObject({ code: 0 });
    }
    expect(seen.map((each) => each.way)).toEqual(Array(VISITS).fill([null, 'ticket']).flat());
    expect(errors).toEqual([]);
  });
});
