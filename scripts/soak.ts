/**
 * A server under full load for as long as is asked: `npm run soak -- --minutes 30`. It has a stateful and a ticket port,
 * an external cache, rotating keys and a reload every half minute; clients come for the first time and come back, over
 * TLS 1.2 and 1.3, and some are cut off or speak no TLS. Memory is read after a full collection, each minute, and must be
 * level: the median of the last third at most 1.05 × that of the second one.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ServerResumption, SessionCache, SessionFlusher, TicketKeyRing } from 'tls-resumption';
import { makeCertificate } from '../examples/support/certificates.js';

interface Reading {
  readonly rss: number;
  readonly heap: number;
  readonly external: number;
  readonly accepted: number;
  readonly resumed: number;
  readonly reloads: number;
}

interface Ports {
  readonly stateful: number;
  readonly tickets: number;
}

const NAMES = Array.from({ length: 50 }, (_, i) => `host-${i}.test`);
const IN_PARALLEL = 8;
const LEVEL = 1.05;

/** The process whose memory is read. */
async function serve(): Promise<void> {
  const counts = { accepted: 0, resumed: 0, reloads: 0 };
  const held = new Map<string, Uint8Array>();
  /** Answers by promise, and keeps the newest 5 000. */
  const external = {
    get: async (key: Uint8Array) => held.get(Buffer.from(key).toString('latin1')),
    set: async (key: Uint8Array, session: Uint8Array) => {
      held.set(Buffer.from(key).toString('latin1'), session);
      if (held.size > 5000) held.delete(held.keys().next().value as string);
    },
    delete: async (key: Uint8Array) => void held.delete(Buffer.from(key).toString('latin1')),
  };
  const settings = async () => {
    const { key, cert } = await makeCertificate({ names: NAMES });
    return { key, cert };
  };
  const cache = new SessionCache({ maxSessions: 5000, timeout: 60, external });
  new SessionFlusher(cache, { interval: 5 }).start();
  const tickets = TicketKeyRing.generate({ interval: 10, lifetime: 60 });
  const resumptions = { stateful: new ServerResumption({ cache }), tickets: new ServerResumption({ tickets }) };
  const options = await settings();
  const ports: Record<string, number> = {};
  const servers = Object.entries(resumptions).map(([name, resumption]) => {
    const server = tls.createServer(resumption.secure(options), (socket) => {
      counts.accepted++;
      if (socket.isSessionReused()) counts.resumed++;
      socket.on('error', () => {});
      socket.end('.');
    });
    // Clients that are cut off are a part of the load.
    server.on('tlsClientError', () => {});
    resumption.attach(server);
    return { name, server, resumption };
  });
  for (const { name, server } of servers) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ports[name] = (server.address() as net.AddressInfo).port;
  }
  setInterval(async () => {
    const next = await settings();
    for (const { server, resumption } of servers) await resumption.reload(server, { options: next });
    counts.reloads++;
  }, 30_000);
  process.on('message', () => {
    globalThis.gc?.();
    const { rss, heapUsed, external: outside } = process.memoryUsage();
    process.send?.({ rss, heap: heapUsed, external: outside, ...counts } satisfies Reading);
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.(ports);
}

/** A connection as most are; gives what to come back with. */
function visit(
  port: number,
  version: tls.SecureVersion,
  servername: string,
  session?: Buffer,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = tls.connect({
      host: '127.0.0.1',
      port,
      servername,
      session,
      minVersion: version,
      maxVersion: version,
      rejectUnauthorized: false,
    });
    let next: Buffer | undefined;
    socket.on('session', (bytes) => {
      next = bytes;
    });
    // A handshake that a reload ends is a part of the load.
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(next));
    socket.resume();
  });
}

/** A connection that is no handshake, or none that ends. */
function disturb(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.write(bytes);
      setImmediate(() => socket.resetAndDestroy());
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
}

async function load(ports: Ports, stopped: () => boolean): Promise<void> {
  const garbage = Buffer.from('GET / HTTP/1.1\r\n\r\n');
  const halfHello = Buffer.from('16030100ff010000fb0303', 'hex');
  const worker = async (slot: number): Promise<void> => {
    for (let i = slot; !stopped(); i++) {
      const port = i % 2 === 0 ? ports.stateful : ports.tickets;
      const version = i % 4 < 2 ? 'TLSv1.3' : 'TLSv1.2';
      const servername = NAMES[i % NAMES.length] as string;
      const first = await visit(port, version, servername);
      const second = first && (await visit(port, version, servername, first));
      if (second) await visit(port, version, servername, second);
      if (i % 10 === 0) await disturb(port, i % 20 === 0 ? garbage : halfHello);
    }
  };
  await Promise.all(Array.from({ length: IN_PARALLEL }, (_, slot) => worker(slot)));
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number;
const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

async function soak(minutes: number): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), {
    env: { ...process.env, SOAK: 'server' },
    execArgv: [...process.execArgv, '--expose-gc'],
  });
  const [ports] = (await once(child, 'message')) as [Ports];
  let stopped = false;
  const loading = load(ports, () => stopped);
  const readings: Reading[] = [];
  console.log(
    '| minute | connections | resumed | reloads | RSS | heap | outside the heap |\n| --- | --- | --- | --- | --- | --- | --- |',
  );
  for (let minute = 1; minute <= minutes; minute++) {
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    child.send('read');
    const [reading] = (await once(child, 'message')) as [Reading];
    readings.push(reading);
    const { accepted, resumed, reloads, rss, heap, external } = reading;
    console.log(
      `| ${minute} | ${accepted} | ${resumed} | ${reloads} | ${mebibytes(rss)} | ${mebibytes(heap)} | ${mebibytes(external)} |`,
    );
  }
  stopped = true;
  await loading;
  child.disconnect();
  const third = Math.floor(readings.length / 3);
  for (const of of ['rss', 'heap', 'external'] as const) {
    const values = readings.map((reading) => reading[of]);
    const growth = median(values.slice(-third)) / median(values.slice(third, -third));
    console.log(`${of}: last third / second third ${growth.toFixed(3)}`);
    if (growth > LEVEL) process.exitCode = 1;
  }
}

if (process.env['SOAK'] === 'server') await serve();
else await soak(Number(parseArgs({ options: { minutes: { type: 'string', default: '30' } } }).values.minutes));
