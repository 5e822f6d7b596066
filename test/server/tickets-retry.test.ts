import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import type { ResumptionConnection } from '../../src/server/connection.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { P256, RawClient13 } from '../support/raw-clients.js';
import { close, listen, only, visit } from '../support/visits.js';

const X25519 = 29;

let own: IssuedCertificate;
let host: IssuedCertificate;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  [own, host] = await Promise.all([makeCertificate({ names: ['own.test'] }), makeCertificate({ names: ['a.test'] })]);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Running {
  readonly port: number;
  readonly seen: (ResumptionConnection | undefined)[];
  /** Codes of what went wrong at the server, during handshakes and after. */
  readonly errors: (string | undefined)[];
}

/** A server that takes no share but one of P-256, and gets the context of a name in one of these ways. */
async function start(way: string, ticketKeyCallback = true): Promise<Running> {
  const ring = TicketKeyRing.generate({ interval: false });
  const resumption = new ServerResumption({ tickets: ring, ticketKeyCallback });
  const pair = { key: host.key, cert: host.cert };
  const make = (): tls.SecureContext =>
    way.includes('made elsewhere') ? tls.createSecureContext(pair) : resumption.secureContext(pair);
  const context = make();
  const options: tls.TlsOptions = { key: own.key, cert: own.cert, ecdhCurve: 'P-256' };
  if (way.startsWith('SNICallback')) {
    const each = way.includes('for each connection');
    options.SNICallback = (servername, done) =>
      done(null, servername === 'a.test' ? (each ? make() : context) : undefined);
  }
  const server = tls.createServer(resumption.secure(options));
  if (way.startsWith('addContext, before')) server.addContext('a.test', context);
  cleanups.push(() => ring[Symbol.dispose]());
  resumption.attach(server);
  if (way.startsWith('addContext, after')) server.addContext('a.test', context);
  const seen: Running['seen'] = [];
  const errors: Running['errors'] = [];
  const note = ({ code, message }: NodeJS.ErrnoException): void => void errors.push(code ?? message);
  server.on('tlsClientError', note);
  server.on('secureConnection', (socket) => {
    seen.push(resumption.connection(socket));
    socket.on('error', note);
    socket.end('hello');
  });
  cleanups.push(() => close(server));
  return { port: await listen(server), seen, errors };
}

const servername = 'a.test';
const retried: tls.ConnectionOptions = { ...only('TLSv1.3'), servername, ecdhCurve: 'X25519:P-256' };
const direct: tls.ConnectionOptions = { ...only('TLSv1.3'), servername, ecdhCurve: 'P-256' };

describe.each([
  'addContext, before attach',
  'addContext, after attach',
  'addContext, after attach, of a context made elsewhere',
  'SNICallback',
  'SNICallback, of a context made elsewhere',
  'SNICallback, of contexts made elsewhere for each connection',
  'no context of the name',
])('a HelloRetryRequest in ticket mode (%s)', (way) => {
  it('goes on to a connection that works, as the client sees it byte by byte', async () => {
    const { port, seen, errors } = await start(way);
    const raw = await RawClient13.connect(port);
    cleanups.push(() => raw.destroy());
    expect(await raw.ask({ servername, keyShareGroups: [X25519] })).toMatchObject({ kind: 'retry' });
    expect(await raw.ask({ servername, keyShareGroups: [P256] })).toMatchObject({ kind: 'full' });
    expect(await raw.finish()).toBe('hello');
    expect(seen).toMatchObject([{ resumed: false, servername }]);
    expect(errors).toEqual([]);
  });

  it('gives a ticket that resumes where no second hello is needed, and a full handshake where one is', async () => {
    const { port, seen, errors } = await start(way);
    const first = await visit(port, retried);
    expect(first).toMatchObject({ resumed: false, received: 'hello', session: expect.any(Buffer) });
    const second = await visit(port, { ...direct, session: first.session });
    const third = await visit(port, { ...retried, session: second.session });
    expect([second.received, third.received]).toEqual(['hello', 'hello']);
    // Contexts that are never seen again have nobody to come back to.
    const resumes = !way.includes('for each connection');
    expect([second.resumed, third.resumed]).toEqual([resumes, false]);
    expect(seen.map((each) => each?.resumed)).toEqual([false, resumes, false]);
    expect(seen[2]?.reason).toBe(resumes ? 'not-taken' : 'other-context');
    expect(errors).toEqual([]);
  });
});

describe('a HelloRetryRequest where Node has one ticket key', () => {
  it('goes on to a connection that works', async () => {
    const { port, errors } = await start('no context of the name', false);
    const first = await visit(port, retried);
    const second = await visit(port, { ...retried, session: first.session });
    expect([first.received, second.received]).toEqual(['hello', 'hello']);
    expect(errors).toEqual([]);
  });
});
