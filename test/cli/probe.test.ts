import { constants, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import * as net from 'node:net';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  parseClientHello,
  ServerResumption,
  type ServerResumptionOptions,
  SessionCache,
  TicketKeyRing,
} from '../../src/index.js';
import { makeCertificate } from '../../src/testing.js';
import { temporaryFolder } from '../support/peers.js';
import { freePort } from '../support/ports.js';
import { close, listen } from '../support/visits.js';
import { probe, run } from './fake-io.js';

const site = makeCertificate({ names: ['localhost', 'a.test', '127.0.0.1'] });
const running: net.Server[] = [];
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  folder = await temporaryFolder();
});
afterEach(async () => {
  for (const server of running.splice(0)) await close(server);
});
afterAll(() => folder.remove());

async function serve<T extends net.Server>(server: T, host = '127.0.0.1', port = 0): Promise<[T, number]> {
  running.push(server);
  if (host === '127.0.0.1' && port === 0) return [server, await listen(server, await freePort())];
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
  return [server, port];
}

const quiet = (socket: net.Socket): void => void socket.on('error', () => {}).resume();

function plain(options: tls.TlsOptions = {}): tls.Server {
  return tls.createServer({ key: site.key, cert: site.cert, ...options }, quiet);
}

function attached(options: ServerResumptionOptions = {}, more: tls.TlsOptions = {}): tls.Server {
  const resumption = new ServerResumption(options);
  const server = tls.createServer(resumption.secure({ key: site.key, cert: site.cert, ...more }), quiet);
  resumption.attach(server);
  return server;
}

describe('probe', () => {
  it.each([
    ['stateful', () => attached(), ['session-id'], ['stateful-ticket']],
    ['with tickets', () => attached({ tickets: TicketKeyRing.generate() }), ['session-id', 'ticket'], ['ticket']],
    ["Node's own", () => plain(), ['ticket'], ['ticket']],
    ['that resumes nothing', () => plain({ secureOptions: constants.SSL_OP_NO_TICKET }), [], []],
    ['of TLS 1.2', () => attached({}, { maxVersion: 'TLSv1.2' }), ['session-id'], undefined],
    ['of TLS 1.3', () => attached({}, { minVersion: 'TLSv1.3' }), undefined, ['stateful-ticket']],
  ] as const)('of a server %s', async (_, make, over12, over13) => {
    const [, port] = await serve(make());
    const { ways, code } = await probe([`127.0.0.1:${port}`]);
    expect([ways['TLSv1.2'], ways['TLSv1.3']]).toEqual([over12, over13]);
    expect(code).toBe(0);
  });

  it('tells number, length and lifetime of tickets, and what a return gives', async () => {
    const [, port] = await serve(attached({}, { sessionTimeout: 111 }));
    const { lanes } = await probe([`127.0.0.1:${port}`, '--returns', '5']);
    expect(lanes).toHaveLength(2);
    expect(lanes[1]).toMatchObject({
      ...{ version: 'TLSv1.3', returns: 5, resumed: 5, ticketCount: 2, ticketBytes: 32, ticketLifetime: 111 },
      ...{ renewed: 1, keyNames: [], otherName: 'refused' },
    });
    expect(lanes[0]).toMatchObject({ version: 'TLSv1.2', ticketCount: 0, twice: true });
  });

  it('tells whether the same session works twice', async () => {
    const [, many] = await serve(attached());
    const [, once] = await serve(attached({ singleUse: true }));
    expect((await probe([`127.0.0.1:${many}`])).lanes.map(({ twice }) => twice)).toEqual([true, true]);
    const { lanes, findings } = await probe([`127.0.0.1:${once}`]);
    expect(lanes.map(({ twice }) => twice)).toEqual([false, false]);
    expect(findings).toEqual([]);
  });

  it('warns where one site resumes the sessions of another', async () => {
    const vulnerable = plain();
    const other = makeCertificate({ names: ['b.test'] });
    vulnerable.addContext('b.test', { key: other.key, cert: other.cert });
    const [, port] = await serve(vulnerable);
    const args = [`127.0.0.1:${port}`, '--servername', 'a.test', '--other-name', 'b.test'];
    const bad = await probe(args);
    expect(bad.code).toBe(1);
    expect(bad.lanes.map((lane) => lane.otherName)).toContain('resumed');
    expect(bad.findings[0]).toMatchObject({ severity: 'warning', code: 'OTHER_NAME_RESUMES' });
    expect(bad.findings[0]?.message).toContain('b.test, which has another certificate');

    const resumption = new ServerResumption();
    const guarded = tls.createServer(resumption.secure({ key: site.key, cert: site.cert }), quiet);
    guarded.addContext('b.test', resumption.secureContext({ key: other.key, cert: other.cert }));
    resumption.attach(guarded);
    const [, safe] = await serve(guarded);
    const good = await probe([`127.0.0.1:${safe}`, ...args.slice(1)]);
    expect(good.code).toBe(0);
    expect(good.lanes.map((lane) => lane.otherName)).toEqual(['refused', 'refused']);
  });

  it('notes a name that is not told apart, and one that is not accepted', async () => {
    const [, port] = await serve(plain());
    const { findings, code } = await probe([`127.0.0.1:${port}`, '--servername', 'a.test']);
    expect(code).toBe(0);
    expect(findings.filter(({ code: each }) => each === 'OTHER_NAME_RESUMES')).toMatchObject([{ severity: 'note' }]);
    // Measured: Node asks SNICallback in full handshakes only.
    const SNICallback: tls.TlsOptions['SNICallback'] = (name, done) => {
      done(name === 'a.test' ? null : new Error('no such site'), tls.createSecureContext(site));
    };
    const [, lax] = await serve(plain({ SNICallback }));
    const found = await probe([`127.0.0.1:${lax}`, '--servername', 'a.test']);
    expect(found.findings[0]).toMatchObject({ severity: 'warning', code: 'OTHER_NAME_RESUMES' });
    expect(found.findings[0]?.message).toContain('accepts in no full handshake');
    const resumption = new ServerResumption();
    const context = resumption.secureContext({ key: site.key, cert: site.cert });
    const strict: tls.TlsOptions['SNICallback'] = (name, done) => {
      done(name === 'a.test' ? null : new Error('no such site'), context);
    };
    const secured = resumption.secure({ key: site.key, cert: site.cert, SNICallback: strict });
    const server = tls.createServer(secured, quiet);
    resumption.attach(server);
    const [, port2] = await serve(server);
    const { lanes } = await probe([`127.0.0.1:${port2}`, '--servername', 'a.test']);
    expect(lanes.map(({ otherName }) => otherName)).toEqual(['not-accepted', 'not-accepted']);
  });

  it('warns where addresses of one name do not share keys, and not where they do', async () => {
    const ticketKeys = Buffer.alloc(48, 7);
    const [, port] = await serve(plain({ ticketKeys }));
    await serve(plain({ ticketKeys }), '127.0.0.2', port);
    await serve(plain(), '127.0.0.3', port);
    const to = (...addresses: string[]) => addresses.flatMap((address) => ['--address', address]);
    const same = await probe([`localhost:${port}`, ...to('127.0.0.1', '127.0.0.2')]);
    expect(same.address).toBe('127.0.0.1');
    expect(same.lanes.at(-1)?.addresses).toEqual({ '127.0.0.2': 'resumed' });
    expect(same.code).toBe(0);
    const differ = await probe([`localhost:${port}`, ...to('127.0.0.1', '127.0.0.3', '127.0.0.4')]);
    const ticketLane = differ.lanes.find(({ given }) => given === 'ticket');
    expect(ticketLane?.addresses).toEqual({ '127.0.0.3': 'refused', '127.0.0.4': 'unreachable' });
    // Asked for once.
    expect(differ.lanes.at(-1)?.addresses).toEqual({ '127.0.0.3': 'refused' });
    expect(differ.findings[0]).toMatchObject({ severity: 'warning', code: 'ADDRESSES_DIFFER' });
    expect(differ.findings).toContainEqual(expect.objectContaining({ severity: 'note', code: 'ADDRESS_UNREACHABLE' }));
    expect(differ.code).toBe(1);
    const { out } = await run(['probe', `localhost:${port}`, ...to('127.0.0.1', '127.0.0.3', '127.0.0.4')]);
    expect(out).toMatch(/at 127\.0\.0\.3: +refused\n {2}at 127\.0\.0\.4: +not reached/);
    expect(out).toMatch(/\(127\.0\.0\.1, 2 more; server name localhost\)/);
    await serve(plain({ ticketKeys, minVersion: 'TLSv1.3' }), '127.0.0.5', port);
    const narrow = await probe([`localhost:${port}`, ...to('127.0.0.1', '127.0.0.5')]);
    expect(narrow.lanes.map(({ addresses }) => addresses['127.0.0.5']).slice(1)).toEqual(['not-accepted', 'resumed']);
    expect(narrow.code).toBe(1);
  });

  it('makes sessions at the first address that answers', async () => {
    const [, port] = await serve(attached());
    const report = await probe([`localhost:${port}`, '--address', '127.0.0.9', '--address', '127.0.0.1']);
    expect([report.address, report.otherAddresses]).toEqual(['127.0.0.1', ['127.0.0.9']]);
  });

  it('looks the name up where it is given no address', async () => {
    const [, port] = await serve(attached());
    const { address, servername } = await probe([`localhost:${port}`]);
    expect([address, servername]).toEqual(['127.0.0.1', 'localhost']);
  });

  it('warns where only some returns resume, as behind a balancer', async () => {
    const backends = [plain(), plain()];
    const ports = await Promise.all(backends.map(async (server) => (await serve(server))[1]));
    // Both versions are probed at once: were the back ends taken in turn, each version might come to one of them alone.
    const order = [0, 1, 1, 0, 1, 0, 0, 1];
    let next = 0;
    const balancer = net.createServer((client) => {
      const backend = net.connect(ports[order[next++ % order.length] as number] as number, '127.0.0.1');
      for (const socket of [client, backend]) socket.on('error', () => {});
      client.pipe(backend).pipe(client);
    });
    const [, port] = await serve(balancer);
    const { findings, code } = await probe([`127.0.0.1:${port}`, '--returns', '9']);
    expect(findings.map((finding) => finding.code)).toContain('RETURNS_DIFFER');
    expect(code).toBe(1);
  });

  it('watches the names of ticket keys, and whether old tickets still open', async () => {
    const keys = Array.from({ length: 4 }, () => randomBytes(48));
    const ring = TicketKeyRing.fromKeys([keys[0] as Buffer]);
    const [server, port] = await serve(attached({ tickets: ring }));
    let time = 0;
    let turns = 0;
    const sleep = async (milliseconds: number) => {
      time += milliseconds;
      if (++turns < 3) ring.rotate(keys[turns] as Buffer);
    };
    const args = [`127.0.0.1:${port}`, '--watch', '30', '--every', '10'];
    const { watched } = await probe(args, { now: () => time, sleep });
    const names = keys.slice(0, 3).map((key, i) => ({ name: key.toString('hex', 0, 16), after: 10 * i }));
    expect(watched).toEqual([
      { version: 'TLSv1.2', keyNames: names, firstStillOpens: true },
      { version: 'TLSv1.3', keyNames: names, firstStillOpens: true },
    ]);
    expect(server.listening).toBe(true);
    ring[Symbol.dispose]();

    const own = plain();
    const [, ownPort] = await serve(own);
    const change = async (milliseconds: number) => {
      time += milliseconds;
      own.setTicketKeys(keys[3] as Buffer);
    };
    const later = await probe([`127.0.0.1:${ownPort}`, '--watch', '5'], { now: () => time, sleep: change });
    for (const each of later.watched ?? []) {
      expect(each.keyNames).toHaveLength(2);
      expect(each.firstStillOpens).toBe(false);
    }
    expect(later.watched).toHaveLength(2);
  });

  it('brings a client certificate', async () => {
    const authority = makeCertificate({ authority: true, commonName: 'authority', names: [] });
    const client = makeCertificate({ issuer: authority, commonName: 'ann', names: [] });
    const asking = { requestCert: true, rejectUnauthorized: true, ca: authority.cert };
    const [, port] = await serve(attached({}, asking));
    const [cert, key] = [join(folder.path, 'cert.pem'), join(folder.path, 'key.pem')];
    await Promise.all([writeFile(cert, client.cert), writeFile(key, client.key)]);
    const { ways } = await probe([`127.0.0.1:${port}`, '--cert', cert, '--key', key]);
    expect(ways).toEqual({ 'TLSv1.2': ['session-id'], 'TLSv1.3': ['stateful-ticket'] });
    const without = await run(['probe', `127.0.0.1:${port}`]);
    expect(without.code).toBe(3);
    expect(without.err).toMatch(/client certificate/);
    const other = join(folder.path, 'other.pem');
    await writeFile(other, makeCertificate().key);
    for (const wrong of [other, cert]) {
      const { code, err } = await run(['probe', `127.0.0.1:${port}`, '--cert', cert, '--key', wrong]);
      expect([code, err]).toEqual([3, expect.stringContaining('a certificate and its private key')]);
    }
  });

  it('warns where who comes back gets no connection', async () => {
    const [, inner] = await serve(plain());
    // A server that fails on tickets, as one with a wrong key of another length may.
    const front = net.createServer((client) => {
      const backend = net.connect(inner, '127.0.0.1');
      for (const socket of [client, backend]) socket.on('error', () => {}).on('close', () => socket.destroy());
      client.once('data', (bytes) => {
        const hello = parseClientHello(bytes);
        if (hello === undefined || hello.pskIdentities.length > 0) return void client.destroy();
        backend.write(bytes);
        client.pipe(backend).pipe(client);
      });
    });
    const [, port] = await serve(front);
    const { findings, lanes, code } = await probe([`127.0.0.1:${port}`]);
    expect(code).toBe(1);
    expect(lanes.at(-1)).toMatchObject({ version: 'TLSv1.3', given: 'ticket', resumed: 0 });
    expect(findings[0]).toMatchObject({ severity: 'warning', code: 'RETURN_FAILS' });
    expect(findings[0]?.message).toMatch(/^TLS 1\.3 ticket: .*no connection at all: it closed the connection/);
  });

  it('watches on where there is no answer for a while', async () => {
    const ring = TicketKeyRing.generate();
    const [server, port] = await serve(attached({ tickets: ring }, { minVersion: 'TLSv1.3' }));
    let time = 0;
    let turns = 0;
    const sleep = async (milliseconds: number) => {
      time += milliseconds;
      turns++;
      if (turns === 1) await close(server);
      if (turns === 3) await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
    };
    const args = [`127.0.0.1:${port}`, '--watch', '40', '--every', '10'];
    const { watched } = await probe(args, { now: () => time, sleep });
    expect(watched).toMatchObject([{ keyNames: [{ after: 0 }], firstStillOpens: true }]);
    turns = 0;
    time = 0;
    const gone = await run(['probe', ...args.slice(0, 3)], {
      now: () => time,
      sleep: async (milliseconds) => {
        time += milliseconds;
        if (turns++ === 0) await close(server);
      },
    });
    expect(gone.out).toMatch(/the first ticket: +no answer/);
    ring[Symbol.dispose]();
    const [, stateful] = await serve(attached());
    const { out } = await run(['probe', `127.0.0.1:${stateful}`, '--watch', '5']);
    expect(out).toContain('no ticket keys to watch');
  });

  it('takes names as people write them, and asks for them as DNS has them', async () => {
    const [, port] = await serve(attached());
    const asked = async (host: string, ...args: string[]) => {
      const { servername, otherName } = await probe([`${host}:${port}`, '--address', '127.0.0.1', ...args]);
      return [servername, otherName];
    };
    expect(await asked('Bücher.test', '--other-name', '例え.test')).toEqual(['xn--bcher-kva.test', 'xn--r8jz45g.test']);
    expect(await asked('a.test.', '--other-name', 'A.TEST.')).toEqual(['a.test', 'A.TEST.']);
  });

  it('goes to IPv6', async (test) => {
    const [free, port] = await serve(plain());
    await close(free);
    const [, same] = await serve(attached(), '::1', port).catch(() => test.skip('no IPv6 here'));
    const { host, address, ways } = await probe([`[::1]:${same}`]);
    expect([host, address]).toEqual(['::1', '::1']);
    expect(ways['TLSv1.3']).toEqual(['stateful-ticket']);
  });

  it('is not kept by a server that never stops talking', async () => {
    const chatty = plain();
    const talking = new Set<NodeJS.Timeout>();
    chatty.on('secureConnection', (socket) => {
      const talk = setInterval(() => socket.write('more\n'), 5);
      talking.add(talk);
      socket.on('close', () => clearInterval(talk));
    });
    const [, port] = await serve(chatty);
    const { ways } = await probe([`127.0.0.1:${port}`, '--returns', '1', '--timeout', '20']);
    for (const talk of talking) clearInterval(talk);
    expect(ways).toEqual({ 'TLSv1.2': ['ticket'], 'TLSv1.3': ['ticket'] });
  });

  it('says in words what it found, and shows how far it is on a terminal only', async () => {
    const [, port] = await serve(attached({ cache: new SessionCache() }));
    const { out, err } = await run(['probe', `127.0.0.1:${port}`]);
    expect(out).toContain(`127.0.0.1:${port}  (127.0.0.1; no server name)`);
    expect(out).toMatch(/TLS 1\.2 session ID: resumes, 3 of 3 times/);
    expect(out).toMatch(/TLS 1\.3 32-byte ticket: resumes, 3 of 3 times/);
    expect(out).toMatch(/tickets: +2 of 32 bytes, good for 300 s\n {2}session kept: +by the server \(stateful\)/);
    expect(out).toContain('nothing found to mend');
    expect(out).not.toContain('\x1b');
    expect(err).toBe('');
    const shown = await run(['probe', `127.0.0.1:${port}`], { colours: true, progress: true });
    expect(shown.out).toContain('\x1b[32mresumes');
    expect(shown.err).toMatch(/TLS 1\.3: coming back…/);
    expect(shown.err.endsWith('\r\x1b[K')).toBe(true);
  });

  it('says in words what does not resume, what is not spoken, and what changed', async () => {
    const [, none] = await serve(plain({ secureOptions: constants.SSL_OP_NO_TICKET, maxVersion: 'TLSv1.2' }));
    const said = await run(['probe', `127.0.0.1:${none}`]);
    expect(said.out).toMatch(/TLS 1\.2 session ID: does not resume, 0 of 3 times\n/);
    expect(said.out).not.toContain('session kept');
    expect(said.out).toMatch(/TLS 1\.3\n {2}no: it does not speak this version\n/);
    expect(said.out).toMatch(/note: TLS 1\.2 session ID: the server gives a session, and never resumes it\n$/);
    const [own, port] = await serve(plain({ minVersion: 'TLSv1.3' }));
    let time = 0;
    const sleep = async (milliseconds: number) => {
      time += milliseconds;
      own.setTicketKeys(randomBytes(48));
    };
    const watched = await run(['probe', `127.0.0.1:${port}`, '--watch', '2'], {
      now: () => time,
      sleep,
      progress: true,
    });
    expect(watched.err).toMatch(/watching ticket keys \(TLS 1\.3 ticket\), 2 s left…/);
    expect(watched.out).toMatch(
      /TLS 1\.3 ticket keys: 2 new\n {2}after 0 s: +[\da-f]{32}\n {2}after 1 s: +[\da-f]{32}\n/,
    );
    expect(watched.out).toMatch(/the first ticket: +does not resume any more/);
    expect(watched.out).toMatch(/when coming back: +no new ticket/);
  });

  it('says what helps where there is no answer, no TLS, or none in time', async () => {
    const [gone, port] = await serve(plain());
    await close(gone);
    const refused = await run(['probe', `127.0.0.1:${port}`]);
    expect(refused).toMatchObject({ code: 3, out: '' });
    expect(refused.err).toBe(
      `tls-resumption: cannot connect to 127.0.0.1:${port}: nothing listens there (connection refused)\n`,
    );
    for (const greeting of ['220 mail.test ESMTP\r\n', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'SSH-2.0-x\r\n']) {
      const [, other] = await serve(net.createServer((socket) => void socket.on('error', () => {}).end(greeting)));
      const { code, err } = await run(['probe', `127.0.0.1:${other}`]);
      expect([code, err]).toEqual([3, expect.stringContaining('does not speak TLS')]);
    }
    const sockets: net.Socket[] = [];
    const [, mute] = await serve(net.createServer((socket) => void sockets.push(socket.on('error', () => {}))));
    const late = await run(['probe', `127.0.0.1:${mute}`, '--timeout', '0.2']);
    expect([late.code, late.err]).toEqual([3, expect.stringContaining('no answer in time')]);
    for (const socket of sockets) socket.destroy();
    const [, shy] = await serve(net.createServer((socket) => void socket.on('error', () => {}).destroy()));
    const closed = await run(['probe', `127.0.0.1:${shy}`]);
    expect([closed.code, closed.err]).toEqual([3, expect.stringContaining('closed the connection')]);
  });

  it.each([
    [[], 'expected one HOST[:PORT], got nothing'],
    [['a', 'b'], 'expected one HOST[:PORT], got 2'],
    [['a:0'], 'expected HOST[:PORT], got "a:0"'],
    [['a:70000'], 'got "a:70000"'],
    [['[a]:1'], 'got "[a]:1"'],
    [['a', '--address', 'b'], '--address expected an IP address, got "b"'],
    [['a', '--servername', '127.0.0.1'], '--servername expected a host name'],
    [['a', '--returns', '0'], '--returns expected a number from 1 to 100, got "0"'],
    [['a', '--returns', '1.5'], '--returns expected a whole number'],
    [['a', '--timeout', 'x'], '--timeout expected a number'],
    [['a', '--cert', 'x'], '--cert and --key go together'],
    [['a', '--alpn', ''], '--alpn expected protocols'],
    [['a', '--alpn', 'h2,,http/1.1'], '--alpn expected protocols'],
    [['a', '--alpn', 'x'.repeat(256)], '--alpn expected protocols'],
    [['a', '--other-name', 'a b'], '--other-name expected a host name'],
    [['a b'], 'expected HOST[:PORT]'],
    [['[::1'], 'expected HOST[:PORT]'],
    [['[::1]:x'], 'expected HOST[:PORT]'],
    [['a', '--colour'], "Unknown option '--colour'"],
    [['a', '--servername'], "Option '--servername <value>' argument missing"],
  ])('refuses probe %j', async (args, message) => {
    const { code, err, out } = await run(['probe', ...args]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(message);
    expect(err.split('\n')).toHaveLength(3);
  });

  it.each(['[::1]', '::1', 'https://localhost/path'])('takes %s for a host', async (host) => {
    const { code, err } = await run(['probe', host, '--address', '127.0.0.250', '--timeout', '1']);
    expect(code).toBe(3);
    expect(err).toMatch(/cannot connect to (\[::1\]|localhost):443/);
  });
});
