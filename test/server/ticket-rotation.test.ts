/** Keys that change, end and disappear while clients come back and handshakes are under way. */

import { randomBytes } from 'node:crypto';
import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { ServerResumption } from '../../src/server/server-resumption.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { close, listen, only, VERSIONS, type Version, visit } from '../support/visits.js';

const CLIENTS = 1000;
const AT_ONCE = 25;
const ROTATION = 50;

let certificate: IssuedCertificate;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  certificate = await makeCertificate({ names: ['a.test'] });
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(
  ring: TicketKeyRing | undefined,
  clock?: () => number,
): Promise<{ port: number; server: tls.Server }> {
  const options = { key: certificate.key, cert: certificate.cert };
  const resumption = new ServerResumption({ tickets: ring, clock });
  const server = tls.createServer(ring === undefined ? options : resumption.secure(options));
  if (ring !== undefined) resumption.attach(server);
  server.on('secureConnection', (socket) => socket.on('error', () => {}).end('hello'));
  cleanups.push(() => close(server));
  return { port: await listen(server), server };
}

/** Runs the visits of all clients, some at once. */
async function all<T>(visits: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < visits.length) {
      const mine = next++;
      results[mine] = await (visits[mine] as () => Promise<T>)();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

const client = (version: Version, session?: Buffer): tls.ConnectionOptions => ({
  ...only(version),
  servername: 'a.test',
  session,
});

/** How many of the clients resume that come back while `rotate` is called all the time. */
async function comeBackWhile(rotate: () => void, port: number, version: Version): Promise<number> {
  let rotations = 0;
  const timer = setInterval(() => {
    rotate();
    rotations++;
  }, ROTATION);
  try {
    const sessions = await all(Array.from({ length: CLIENTS }, () => () => visit(port, client(version))));
    rotate();
    const returns = await all(
      sessions.map(
        ({ session }) =>
          () =>
            visit(port, client(version, session)),
      ),
    );
    const resumed = returns.filter((each) => each.resumed).length;
    console.info(`${version}: ${resumed} of ${CLIENTS} resumed across ${rotations + 1} rotations`);
    return resumed;
  } finally {
    clearInterval(timer);
  }
}

describe.each(VERSIONS)('a key that changes every 50 ms (%s)', (version) => {
  it('loses no client within the lifetime of a ticket, and none is let in past it', async () => {
    let offset = 0;
    const clock = (): number => Date.now() + offset;
    const ring = TicketKeyRing.generate({ clock, lifetime: 3600, interval: false });
    const { port } = await serve(ring, clock);
    expect(await comeBackWhile(() => ring.rotate(), port, version)).toBe(CLIENTS);
    const late = await all(Array.from({ length: 50 }, () => () => visit(port, client(version))));
    ring.rotate();
    offset = 3_600_001;
    const returns = await all(
      late.map(
        ({ session }) =>
          () =>
            visit(port, client(version, session)),
      ),
    );
    expect(returns.filter((each) => each.resumed)).toHaveLength(0);
  });

  it('loses all of them when it is set by setTicketKeys alone', async () => {
    const { port, server } = await serve(undefined);
    const sessions = await all(Array.from({ length: 50 }, () => () => visit(port, client(version))));
    server.setTicketKeys(randomBytes(48));
    const returns = await all(
      sessions.map(
        ({ session }) =>
          () =>
            visit(port, client(version, session)),
      ),
    );
    expect(returns.filter((each) => each.resumed)).toHaveLength(0);
  });
});

describe('handshakes under way', () => {
  const HOUR = 3_600_000;

  it('all complete while keys are rotated, dropped, expired and disposed of', async () => {
    let now = Date.now();
    const clock = (): number => now;
    const ring = TicketKeyRing.generate({ clock, lifetime: 3600, interval: false });
    const { port, server } = await serve(ring, clock);
    const chaos: (() => unknown)[] = [
      () => ring.rotate(),
      () => ring.rotate(undefined, { overlap: false }),
      () => {
        now += HOUR;
      },
      () => server.setSecureContext({ key: certificate.key, cert: certificate.cert }),
      () => server.setTicketKeys(randomBytes(48)),
    ];
    let step = 0;
    // At every stage of a handshake: before the hello is read, while it is, and when it is complete.
    const disturb = (): unknown => chaos[step++ % chaos.length]?.();
    server.on('connection', disturb);
    server.on('secureConnection', disturb);
    const timer = setInterval(disturb, 1);
    const calm = (): void => {
      clearInterval(timer);
      server.removeListener('connection', disturb).removeListener('secureConnection', disturb);
    };
    cleanups.push(calm);
    const before = await all(
      VERSIONS.flatMap((version) => Array.from({ length: 200 }, () => () => visit(port, client(version)))),
    );
    const visits = before.map(
      ({ session, protocol }) =>
        () =>
          visit(port, client(protocol as Version, session)),
    );
    const returns = await all(visits);
    expect(returns.map(({ received }) => received)).toEqual(Array(400).fill('hello'));
    calm();
    ring[Symbol.dispose]();
    const after = await all(
      returns.map(
        ({ session, protocol }) =>
          () =>
            visit(port, client(protocol as Version, session)),
      ),
    );
    expect(after.map(({ received, resumed }) => `${received} ${resumed}`)).toEqual(Array(400).fill('hello false'));
  });

  it('all complete when the ring is emptied under them at any point', async () => {
    for (const version of VERSIONS) {
      // Of a TLS 1.2 ticket Node says nothing before it opens it.
      const last = version === 'TLSv1.3' ? 'resumeSession' : 'connection';
      for (const event of ['connection', 'secureConnection', last] as const) {
        const ring = TicketKeyRing.generate({ interval: false });
        const { port, server } = await serve(ring);
        const { session } = await visit(port, client(version));
        server.prependListener(event, () => ring[Symbol.dispose]());
        expect((await visit(port, client(version, session))).received).toBe('hello');
        expect((await visit(port, client(version, session))).resumed).toBe(false);
      }
    }
  });
});
