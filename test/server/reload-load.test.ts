/**
 * A reload under load. `RELOAD_LOAD=full` makes it 1 000 live connections, 200 handshakes a second and 10 000 attempts to
 * come back with sessions that are forgotten; without it, it is a fifth and a tenth of that, as fast as they go.
 */

import { once } from 'node:events';
import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import type { ServerTlsOptions } from '../../src/server/secure-options.js';
import { pausingProxy } from '../support/pausing-proxy.js';
import { only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { type Certificates, certificates, MODES, startReloadable, stopAll } from './fixtures/reloading.js';

const FULL = process.env['RELOAD_LOAD'] === 'full';
const LIVE = FULL ? 1000 : 200;
const ATTEMPTS = FULL ? 10_000 : 1000;
const OLD_SESSIONS = 50;
const HELD = 10;
/** Milliseconds between handshakes at full size, and how many of them a machine that is too slow for it has at once. */
const PACE = 5;
const AT_ONCE = FULL ? 100 : 8;

let all: Certificates;
let first: ServerTlsOptions;
let second: ServerTlsOptions;

beforeAll(async () => {
  all = await certificates();
  first = { key: all.a.key, cert: all.a.cert };
  second = { key: all.renewed.key, cert: all.renewed.cert };
});

afterEach(stopAll);

const versionOf = (i: number): Version => VERSIONS[i % 2] as Version;

/** Runs what `next` gives, some at once: at full size at its pace. */
async function run(count: number, next: (i: number) => Promise<unknown>): Promise<void> {
  const begin = performance.now();
  let begun = 0;
  const worker = async (): Promise<void> => {
    while (begun < count) {
      const i = begun++;
      const early = FULL ? begin + i * PACE - performance.now() : 0;
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      await next(i);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function live(port: number, i: number): Promise<tls.TLSSocket> {
  const servername = i % 4 < 2 ? 'a.test' : 'b.test';
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, servername, ...only(versionOf(i)) });
  await once(socket, 'data');
  return socket;
}

async function echoes(socket: tls.TLSSocket): Promise<boolean> {
  socket.write('still here');
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString() === 'still here';
}

describe.each(MODES)('a reload under load, %s', (mode) => {
  it('drops no live connection, loses no session of other contexts, and lets none come back that is forgotten', {
    timeout: 600_000,
  }, async () => {
    const { port, server, resumption } = await startReloadable(
      {},
      { mode, cache: new SessionCache({ timeout: 3600 }) },
    );
    let reloaded = false;
    const cameBack = { before: 0, after: 0 };
    server.on('secureConnection', (socket) => {
      const connection = resumption.connection(socket);
      if (connection?.resumed && connection.servername === 'a.test') cameBack[reloaded ? 'after' : 'before']++;
    });
    const failed: unknown[] = [];
    const come = (i: number, servername: string, session?: Buffer): Promise<Visit | undefined> =>
      visit(port, { ...only(versionOf(i)), servername, session, send: 'bye' }).catch(
        (error) => void failed.push(error),
      );

    const sockets: tls.TLSSocket[] = [];
    await run(LIVE, async (i) => sockets.push(await live(port, i)));
    let dropped = 0;
    for (const socket of sockets) socket.on('error', () => {}).on('close', () => dropped++);
    const old: (Buffer | undefined)[] = [];
    const others: (Buffer | undefined)[] = [];
    await run(OLD_SESSIONS, async (i) => {
      old[i] = (await come(i, 'a.test'))?.session;
      others[i] = (await come(i, 'b.test'))?.session;
    });
    const proxy = await pausingProxy(port);
    const held = Array.from({ length: HELD }, (_, i) =>
      visit(proxy.port, { ...only(versionOf(i)), servername: 'a.test', send: 'bye' }).then(
        ({ received }) => received,
        () => '',
      ),
    );
    await proxy.held(HELD);

    let lost = 0;
    let refused = 0;
    const load = async (i: number): Promise<void> => {
      const k = i % OLD_SESSIONS;
      if (i % 4 === 3) {
        if ((await come(k, 'b.test', others[k]))?.resumed === false) lost++;
      } else if ((await come(k, 'a.test', old[k]))?.resumed === false) refused++;
    };
    const before = run(ATTEMPTS / 10, load);
    await run(ATTEMPTS / 20, load);
    const begin = performance.now();
    const report = await resumption.reload(server, { options: second });
    reloaded = true;
    const took = performance.now() - begin;
    proxy.release();
    const ended = (await Promise.all(held)).filter((received) => received === '').length;
    await before;
    // Those under way that were ended, and no others.
    expect(failed.length).toBeLessThanOrEqual(report.handshakes.ended - HELD);
    failed.length = 0;
    refused = 0;
    const attempts = Math.ceil((ATTEMPTS * 4) / 3);
    const start = performance.now();
    await run(attempts, load);
    const rate = attempts / ((performance.now() - start) / 1000);
    const alive = (await Promise.all(sockets.map(echoes))).filter(Boolean).length;
    console.info(
      `${mode}: reload ${took.toFixed(1)} ms beside ${LIVE} connections, ${report.handshakes.ended} handshakes ended, ` +
        `${refused} old sessions refused at ${rate.toFixed(0)} handshakes a second, ${cameBack.after} came back, ` +
        `${lost} of others lost, ${dropped} connections dropped`,
    );
    expect(failed).toEqual([]);
    expect(cameBack.before).toBeGreaterThan(0);
    expect(cameBack.after).toBe(0);
    expect(refused).toBe(attempts - Math.floor(attempts / 4));
    expect(lost).toBe(0);
    expect([alive, dropped]).toEqual([LIVE, 0]);
    expect(ended).toBe(HELD);
    expect(report.handshakes.ended).toBeGreaterThanOrEqual(HELD);
    expect(report.handshakes.finishing).toBe(0);
    expect(report.connections).toEqual({ closed: 0, goOn: expect.any(Number) });
    expect(report.connections.goOn).toBeGreaterThanOrEqual(LIVE / 2);
    await resumption.reload(server, { options: first });
    expect((await Promise.all(old.map((session, i) => come(i, 'a.test', session)))).some((each) => each?.resumed)).toBe(
      false,
    );
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
});
