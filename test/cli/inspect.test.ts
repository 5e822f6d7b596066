import { constants, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tls from 'node:tls';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cipherName } from '../../src/cli/cipher-names.js';
import { VERIFY_RESULTS } from '../../src/cli/inspect-session.js';
import type { Io } from '../../src/cli/io.js';
import { decodeSslSession, formatTicketKeys, parseTicketKeys, Rfc5077Codec, TicketKeyRing } from '../../src/index.js';
import { bareSession } from '../../src/testing/client-session.js';
import * as der from '../../src/testing/der-writer.js';
import { makeCertificate, type VisitOptions, visit } from '../../src/testing.js';
import { haproxy, nginx, opensslServer, peerServers } from '../support/peer-servers.js';
import { peer, temporaryFolder } from '../support/peers.js';
import { close, listen } from '../support/visits.js';
import { run, stdinOf } from './fake-io.js';

const authority = makeCertificate({ authority: true, commonName: 'authority', names: [] });
const site = makeCertificate({ issuer: authority, names: ['localhost'] });
const client = makeCertificate({ issuer: authority, commonName: 'ann\u001b[31m', names: [] });
/** Node's order: name, HMAC key, AES key. */
const ticketKeys = randomBytes(48);
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  folder = await temporaryFolder();
  await file('keys', ticketKeys);
});
afterAll(() => folder.remove());

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder.path, name);
  await writeFile(path, content);
  return path;
}

type Made = { readonly client: Buffer; readonly server: Buffer };

type Version = 'TLSv1.2' | 'TLSv1.3';

/** The session of a connection, with client certificates unless it is told otherwise, as either side has it. */
async function makeSession(version: Version, more: tls.TlsOptions = {}, visiting: VisitOptions = {}): Promise<Made> {
  const { key, cert } = site;
  const asking = { ca: authority.cert, requestCert: true, ALPNProtocols: ['h2'] };
  const server = tls.createServer({ key, cert, ticketKeys, ...asking, ...more });
  const port = await listen(server);
  try {
    const accepted = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>;
    const socket = accepted.then(([connection]) => {
      connection.on('error', () => {}).resume();
      return connection.getSession() as Buffer;
    });
    const options = { version, ca: authority.cert, key: client.key, cert: client.cert, ALPNProtocols: ['h2'] };
    const { session } = await visit(port, { ...options, servername: 'localhost', ...visiting });
    return { client: session as Buffer, server: await socket };
  } finally {
    await close(server);
  }
}

/** What stands before the colon, and after it; the ticket's dump as one field. */
function fields(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let dump = '';
  for (const line of text.split('\n')) {
    if (/^ {4}[\da-f]{4} - /.test(line)) dump += `${line.trimEnd()}\n`;
    const [, name, value = ''] = /^ {4}(\S[^:]*?)\s*:\s*(.*?)\s*$/.exec(line) ?? [];
    if (name !== undefined && name !== '') found.set(name, value);
  }
  return found.set('TLS session ticket', dump);
}

/** Fields of `sess_id -text` that no session of TLS has any more: PSK names and SRP. */
const GONE = ['PSK identity', 'PSK identity hint', 'SRP username'];

const openssl = peer('openssl');

/** Field by field, secrets included. */
async function expectSame(der: Buffer): Promise<void> {
  const path = await file('same.der', der);
  const said = await openssl.run(['sess_id', '-inform', 'DER', '-in', path, '-text', '-noout']);
  const theirs = fields(said.output);
  expect(theirs.size).toBeGreaterThan(8);
  const { code, out } = await run(['inspect', path, '--show-secrets']);
  const ours = fields(out);
  expect(code).toBe(0);
  for (const [name, value] of theirs) {
    if (GONE.includes(name)) expect([name, value]).toEqual([name, 'None']);
    else if (name === 'Start Time') expect(ours.get(name)?.split(' ')[0]).toBe(value);
    else expect([name, ours.get(name)]).toEqual([name, value]);
  }
}

/** A session with nothing in it but what OpenSSL asks for: `i2d_SSL_SESSION(3)`. */
function bareBones(cipherSuite: number, verifyResult: number): Buffer {
  const number = (value: number) => der.integer(Buffer.of(value >> 8, value & 0xff));
  return der.sequence(
    ...[number(1), number(cipherSuite >> 8 === 0x13 ? 0x304 : 0x303), der.octets(number(cipherSuite).subarray(-2))],
    ...[der.octets(Buffer.alloc(32, 1)), der.octets(Buffer.alloc(48, 2))],
    ...[der.element(0xa1, number(1000)), der.element(0xa2, number(300)), der.element(0xa4, der.octets())],
    der.element(0xa5, number(verifyResult)),
  );
}

openssl.describe('inspect', () => {
  it.each([
    ['TLSv1.2', 'client'],
    ['TLSv1.2', 'server'],
    ['TLSv1.3', 'client'],
    ['TLSv1.3', 'server'],
  ] as const)('says of a %s session of the %s what openssl sess_id says', async (version, side) => {
    const session = bareSession((await makeSession(version))[side]);
    const path = await file('session.der', session);
    const { out } = await run(['inspect', path, '--show-secrets']);
    await expectSame(session);
    const pem = await openssl.run(['sess_id', '-inform', 'DER', '-in', path]);
    const again = await run(['inspect', await file('session.pem', pem.stdout), '--show-secrets']);
    expect(again.out).toBe(out);
    expect(out).toContain(`Peer certificate: CN=${side === 'client' ? 'localhost' : 'ann'}`);
    expect(out).not.toContain('\u001b');
    expect(out).toContain('ALPN: h2');
  });

  it.each(
    (['TLSv1.2', 'TLSv1.3'] as const).flatMap((version) => [
      [version, 'of an anonymous client without ALPN', { requestCert: false, ALPNProtocols: undefined }, {}],
      [version, 'of a server without tickets', { secureOptions: constants.SSL_OP_NO_TICKET }, {}],
      [version, 'of a client that trusts nobody', {}, { ca: makeCertificate().cert, rejectUnauthorized: false }],
      [
        version,
        'of another lifetime, without a name',
        { sessionTimeout: 77 },
        { servername: '', rejectUnauthorized: false },
      ],
    ]) as [Version, string, tls.TlsOptions, VisitOptions][],
  )('says of a %s session %s what openssl sess_id says', async (version, _, more, visiting) => {
    const made = await makeSession(version, more, visiting);
    await expectSame(bareSession(made.client));
    await expectSame(bareSession(made.server));
  });

  it('has its words for what verifying a certificate gave', async () => {
    for (const result of Object.keys(VERIFY_RESULTS)) await expectSame(bareBones(0xc02f, Number(result)));
  });

  it('has its names of cipher suites, and all that it offers by itself', async () => {
    const suites = async (list: string) => {
      const { output } = await openssl.run(['ciphers', '-V', list]);
      const found = [...output.matchAll(/0x(..),0x(..) - (\S+)/g)];
      return found.map(([, high, low, name]) => [Number.parseInt(`${high}${low}`, 16), name as string] as const);
    };
    const all = new Map(await suites('ALL:COMPLEMENTOFALL:@SECLEVEL=0'));
    for (const [suite, name] of all)
      expect([name, suite.toString(16).padStart(4, '0').toUpperCase()]).toContain(cipherName(suite));
    const offered = await suites('DEFAULT:!PSK:!SRP');
    expect(offered.length).toBeGreaterThan(20);
    for (const [suite, name] of offered) expect(cipherName(suite)).toBe(name);
    await expectSame(bareBones(0x1302, 0));
  });

  it.each(['-tls1_2', '-tls1_3'])('reads what openssl s_client -sess_out writes over %s', async (version) => {
    const servers = await peerServers();
    try {
      const { port } = await servers.start(opensslServer, site);
      const path = join(folder.path, `s_client${version}`);
      const args = ['s_client', '-connect', `127.0.0.1:${port}`, version, '-sess_out', path, '-ign_eof'];
      await openssl.run(args, { input: 'GET / HTTP/1.0\r\n\r\n' });
      const said = await openssl.run(['sess_id', '-in', path, '-text', '-noout']);
      const { out } = await run(['inspect', path, '--show-secrets']);
      const ours = fields(out);
      for (const [name, value] of fields(said.output)) {
        if (!GONE.includes(name) && name !== 'Start Time') expect([name, ours.get(name)]).toEqual([name, value]);
      }
    } finally {
      await servers.remove();
    }
  });
});

for (const [program, format] of [
  [nginx, 'nginx'],
  [haproxy, 'haproxy'],
] as const) {
  program.describe('inspect', () => {
    it.each(['128', '256'])(
      `opens tickets of ${format} with the key file of %s bits that keys generate made`,
      async (bits) => {
        const keys = join(folder.path, `${format}-${bits}`);
        await run(['keys', 'generate', '--format', format, '--bits', bits, '--out', keys]);
        const servers = await peerServers();
        try {
          const { port } = await servers.start(program, { ...site, ticketKeys: await readFile(keys) });
          for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
            const { session } = await visit(port, { version });
            const path = await file('of-peer', session as Buffer);
            const { code, out } = await run(['inspect', path, '--keys', keys, '--format', format, '--json']);
            expect([code, JSON.parse(out).ticket.session.protocol]).toEqual([0, version]);
          }
        } finally {
          await servers.remove();
        }
      },
    );
  });
}

describe('inspect', () => {
  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'hides the secret of a %s session unless it is asked for',
    async (version) => {
      const made = (await makeSession(version)).client;
      const path = await file('session', made);
      const secret = decodeSslSession(made, { masterSecret: true })?.masterSecret as Buffer;
      for (const args of [[], ['--json']]) {
        const hidden = await run(['inspect', path, ...args]);
        const shown = await run(['inspect', path, '--show-secrets', ...args]);
        expect(hidden.out.toLowerCase()).not.toContain(secret.toString('hex'));
        expect(shown.out.toLowerCase()).toContain(secret.toString('hex'));
      }
      expect((await run(['inspect', path])).out).toContain('(hidden: --show-secrets)');
    },
  );

  it('tells what a session is in JSON too', async () => {
    const { client: made } = await makeSession('TLSv1.3');
    const { out, code } = await run(['inspect', await file('session', made), '--json']);
    const { session, ticket } = JSON.parse(out);
    expect([code, ticket]).toEqual([0, undefined]);
    expect(session).toMatchObject({
      protocol: 'TLSv1.3',
      alpnProtocol: 'h2',
      ticketLifetimeHint: 7200,
      verifyResult: 0,
    });
    expect(session.peerCertificate.subject).toBe('CN=localhost');
    expect(session.ticket).toMatch(new RegExp(`^${ticketKeys.toString('hex', 0, 16)}`));
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('opens the ticket of a %s session with its keys', async (version) => {
    const made = await makeSession(version);
    const keys = ['--keys', join(folder.path, 'keys'), '--format', 'node'];
    const { code, out } = await run(['inspect', await file('session', made.client), ...keys]);
    expect(code).toBe(0);
    const [, , inside] = out.split('SSL-Session:');
    expect(out).toContain(`Key name  : ${ticketKeys.toString('hex', 0, 16)}`);
    expect(inside).toMatch(/Peer certificate: CN=ann\\1B\[31m/);
    const ticket = decodeSslSession(made.client)?.ticket as Buffer;
    for (const [name, content] of Object.entries({
      bytes: ticket,
      hex: `${ticket.toString('hex')}\n`,
      base64: ticket.toString('base64'),
    })) {
      const alone = await run(['inspect', await file(name, content), ...keys, '--json']);
      expect([alone.code, JSON.parse(alone.out).session]).toEqual([0, undefined]);
      expect(JSON.parse(alone.out).ticket).toMatchObject({ bytes: ticket.length, session: { protocol: version } });
    }
  });

  it('says why a ticket does not open', async () => {
    const ring = TicketKeyRing.fromKeys([ticketKeys]);
    const ticket = new Rfc5077Codec(ring).seal(Buffer.from('no session'));
    const keys = ['--keys', join(folder.path, 'keys'), '--format', 'node'];
    const say = async (content: Buffer): Promise<string> => {
      const { code, out } = await run(['inspect', await file('ticket', content), ...keys]);
      expect(code).toBe(1);
      return out;
    };
    expect(await say(ticket)).toContain('what is in it is no session');
    expect(await say(Buffer.concat([ticket.subarray(0, -1), Buffer.of((ticket.at(-1) as number) ^ 1)]))).toContain(
      'does not open it',
    );
    expect(await say(randomBytes(200))).toContain('none of the keys has its key name');
    expect(await say(randomBytes(40))).toContain('too few');
    const both = await run(['inspect', '-', ...keys.map((each) => (each.includes('/') ? '-' : each))]);
    expect(both).toMatchObject({ code: 2, err: expect.stringContaining('one of the files only') });
    const swapped = await file('swapped', formatTicketKeys(parseTicketKeys(ticketKeys, 'node'), 'nginx'));
    const wrong = await run(['inspect', await file('ticket', ticket), '--keys', swapped, '--format', 'node']);
    expect([wrong.code, wrong.out]).toEqual([1, expect.stringContaining('another format')]);
    ring[Symbol.dispose]();
  });

  it('says what a file is that is neither', async () => {
    const cases: [string, string | Buffer][] = [
      ['PEM of CERTIFICATE', site.cert],
      ['PEM of PRIVATE KEY', site.key],
      ['no session in PEM or DER', Buffer.from('text')],
      ['no session in PEM or DER', Buffer.alloc(0)],
      ['over 1 MiB', Buffer.alloc(2 ** 20 + 1)],
    ];
    for (const [message, content] of cases) {
      const { code, err, out } = await run(['inspect', await file('odd', content)]);
      expect([code, out, err]).toEqual([3, '', expect.stringContaining(message)]);
    }
    expect(await run(['inspect', join(folder.path, 'none')])).toMatchObject({
      code: 3,
      err: expect.stringContaining('no such file'),
    });
    const endless: Io['stdin'] = async function* () {
      for (;;) yield Buffer.alloc(1000, 'y');
    };
    expect(await run(['inspect', '-'], { stdin: endless })).toMatchObject({
      code: 3,
      err: expect.stringContaining('over 1 MiB'),
    });
    expect(await run(['inspect', join(folder.path, '\u001b[2J\u009b2J')])).toMatchObject({
      code: 3,
      err: expect.stringMatching(/\\u001b\[2J\\x9b2J": there is no such/),
    });
    expect(await run(['inspect', folder.path])).toMatchObject({
      code: 3,
      err: expect.stringContaining('it is a folder'),
    });
    expect((await run(['inspect', await file('cert', site.key)])).err).not.toContain(site.key.slice(40, 60));
  });

  it('reads standard input', async () => {
    const { client: made } = await makeSession('TLSv1.2');
    const { out } = await run(['inspect', '-'], { stdin: stdinOf(made) });
    expect(out).toContain('Protocol  : TLSv1.2');
  });

  describe('never throws, and prints nothing that moves a cursor', () => {
    async function inspected(bytes: Buffer, ...args: string[]): Promise<void> {
      const { code, out, err } = await run(['inspect', '-', ...args], { stdin: stdinOf(bytes) });
      expect([0, 1, 3]).toContain(code);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are meant
      expect(out + err).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
    }
    const keys = () => ['--keys', join(folder.path, 'keys'), '--format', 'node'];

    it('whatever a file holds', async () => {
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), fc.boolean(), async (bytes, json, open) => {
          await inspected(Buffer.from(bytes), ...(json ? ['--json'] : []), ...(open ? keys() : []));
        }),
      );
    });

    it('whichever byte of a session is another', async () => {
      const session = (await makeSession('TLSv1.3')).client;
      for (let at = 0; at < session.length; at += 3) {
        const copy = Buffer.from(session);
        copy[at] = (copy[at] as number) ^ 0xff;
        await inspected(copy);
        await inspected(copy, '--json', '--show-secrets');
        if (at % 10 === 0) await inspected(copy, ...keys());
      }
    });
  });

  it.each([
    [[], 'expected one file, got nothing'],
    [['a', 'b'], 'expected one file, got 2'],
    [['a', '--format', 'node'], '--format is of use with --keys'],
  ])('refuses inspect %j', async (args, message) => {
    expect(await run(['inspect', ...args])).toMatchObject({ code: 2, err: expect.stringContaining(message) });
  });

  it('asks for the format of the keys', async () => {
    const session = await file('session', (await makeSession('TLSv1.2')).client);
    const args = ['inspect', session, '--keys', join(folder.path, 'keys')];
    expect(await run(args)).toMatchObject({ code: 2, err: expect.stringContaining('--format is needed') });
    expect(await run([...args, '--format', 'haproxy'])).toMatchObject({
      code: 3,
      err: expect.stringContaining("'haproxy'"),
    });
  });
});
