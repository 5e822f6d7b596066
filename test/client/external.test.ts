/** Sessions in an external cache: processes that share one resume each other's, and nothing it does costs a connection. */

import type * as https from 'node:https';
import { Agent } from 'undici';
import { afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import type { ClientTlsOptions } from '../../src/client/client-policy.js';
import { ClientResumption, type ClientResumptionOptions } from '../../src/client/client-resumption.js';
import { undiciConnector } from '../../src/client/undici.js';
import { SealedStore } from '../../src/stores/sealed-store.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import { later, MemoryStore } from '../stores/memory-store.js';
import { AT_ONCE, HANGS, REJECTS, ScriptedStore, THROWS } from '../stores/scripted-store.js';
import { VERSIONS, type Version } from '../support/visits.js';
import { drained, eventually, get, HOST, type Region, region, speaking } from './back-end.js';

let place: Region;
beforeAll(async () => {
  place = await region();
});
afterEach(() => place.closeAll());

const to = (port: number, version: Version): ClientTlsOptions => ({
  host: '127.0.0.1',
  port,
  servername: HOST,
  ca: place.authority.cert,
  ...speaking(version),
});

/** What a process that begins has: an empty cache before the store. */
function begun(external: SessionStore, options: ClientResumptionOptions = {}, mode = 0): ClientResumption {
  const cache = new SessionCache({ mode: SessionCacheMode.Client | mode, timeout: 604_800, external });
  return new ClientResumption({ cache, ...options });
}

const agentOf = (resumption: ClientResumption, version: Version) =>
  resumption.agent({ ca: place.authority.cert, ...speaking(version) } as https.AgentOptions);

describe.each(VERSIONS)('over %s', (version) => {
  it('connect resumes at once from a store that answers at once', async () => {
    const backEnd = await place.start();
    const store = new MemoryStore();
    for (let i = 0; i < 4; i++) await drained(begun(store).connect(to(backEnd.port, version)));
    expect(backEnd.resumed).toEqual([false, true, true, true]);
  });

  it('connect resumes with what prepare has fetched from another', async () => {
    const backEnd = await place.start();
    const store = later(new MemoryStore());
    const first = begun(store);
    expect(await first.prepare(to(backEnd.port, version))).toBe(false);
    await drained(first.connect(to(backEnd.port, version)));
    await first.idle();
    for (let i = 0; i < 2; i++) {
      const next = begun(store);
      expect(await next.prepare(to(backEnd.port, version))).toBe(true);
      await drained(next.connect(to(backEnd.port, version)));
      await next.idle();
    }
    expect(backEnd.resumed).toEqual([false, true, true]);
  });

  it('connect that nothing was prepared for fetches for the next', async () => {
    const backEnd = await place.start();
    const store = later(new MemoryStore());
    const first = begun(store);
    await drained(first.connect(to(backEnd.port, version)));
    await first.idle();
    const second = begun(store);
    for (let i = 0; i < 2; i++) await drained(second.connect(to(backEnd.port, version)));
    expect(backEnd.resumed).toEqual([false, false, true]);
  });

  test.each([
    ['at once', (store: MemoryStore) => store],
    ['later', later],
  ])('agents and undici wait for a store that answers %s', async (_when, wrap) => {
    const backEnd = await place.start();
    const store = wrap(new MemoryStore());
    const origin = `https://127.0.0.1:${backEnd.port}`;
    for (let i = 0; i < 3; i++) {
      const process = begun(store, { lookupTimeout: 10_000 });
      await get({ port: backEnd.port, agent: agentOf(process, version) });
      await process.idle();
    }
    for (let i = 0; i < 3; i++) {
      const process = begun(store, { lookupTimeout: 10_000 });
      const options = { ca: place.authority.cert, servername: HOST, ...speaking(version) };
      const dispatcher = new Agent({ connect: undiciConnector(process, options) });
      const { body } = await dispatcher.request({ origin, path: '/', method: 'GET' });
      await body.text();
      await process.idle();
      await dispatcher.close();
    }
    expect(backEnd.resumed.slice(1, 3)).toEqual([true, true]);
    expect(backEnd.resumed.slice(4)).toEqual([true, true]);
  });

  it('leaves nothing in a sealed store that can be read, and takes what was altered for nothing', async () => {
    const backEnd = await place.start();
    const inside = new MemoryStore();
    const codec = new TicketCodec(TicketKeyRing.fromSecret(Buffer.alloc(32, 7).map((_, i) => i)));
    const secrets: Buffer[] = [];
    const process = begun(new SealedStore(inside, codec));
    const socket = process.connect(to(backEnd.port, version));
    socket.on('session', (session: Buffer) => {
      const { masterSecret, ticket } = decodeSslSession(Buffer.from(session), { masterSecret: true }) ?? {};
      for (const secret of [masterSecret, ticket]) if (secret !== undefined) secrets.push(secret);
    });
    await drained(socket);
    expect(secrets.length).toBeGreaterThan(0);
    expect(inside.held.size).toBeGreaterThan(0);
    for (const { value } of inside.held.values()) {
      for (const secret of secrets) expect(value.includes(secret)).toBe(false);
      expect(value.includes(HOST)).toBe(false);
    }
    for (const entry of inside.held.values())
      entry.value.writeUInt8((entry.value.at(-1) as number) ^ 1, entry.value.length - 1);
    await drained(begun(new SealedStore(inside, codec)).connect(to(backEnd.port, version)));
    expect(backEnd.arrivals.map(({ offered }) => offered)).toEqual([[], []]);
  });

  it('forgets outside what it forgets inside', async () => {
    const backEnd = await place.start();
    const store = new MemoryStore();
    for (const forget of [undefined, to(backEnd.port, version)]) {
      const process = begun(store);
      await drained(process.connect(to(backEnd.port, version)));
      expect(store.held.size).toBeGreaterThan(0);
      process.forget(forget);
      expect(store.held.size).toBe(0);
    }
  });

  it('resumes from outside alone when nothing is kept inside', async () => {
    const backEnd = await place.start();
    const store = new MemoryStore();
    const process = begun(store, {}, SessionCacheMode.NoInternalStore);
    for (let i = 0; i < 4; i++) await drained(process.connect(to(backEnd.port, version)));
    expect(backEnd.resumed).toEqual([false, true, true, true]);
    expect(process.cache.size).toBe(0);
  });

  test.each([
    ['hangs', { get: HANGS, take: HANGS, set: HANGS, delete: HANGS }],
    ['throws', { get: THROWS, take: THROWS, set: THROWS, delete: THROWS }],
    ['rejects', { get: REJECTS, take: REJECTS, set: REJECTS, delete: REJECTS }],
    ['hangs when it is asked to take', { get: AT_ONCE, take: HANGS, set: AT_ONCE, delete: AT_ONCE }],
  ])('a store that %s costs no connection', async (_how, script) => {
    const backEnd = await place.start();
    const store = new ScriptedStore();
    store.behave = (call) => script[call];
    const process = begun(store, { lookupTimeout: 20 });
    await drained(process.connect(to(backEnd.port, version)));
    await process.prepare(to(backEnd.port, version));
    const agent = agentOf(process, version);
    for (let i = 0; i < 3; i++) expect((await get({ port: backEnd.port, agent })).status).toBe(200);
    await drained(process.connect(to(backEnd.port, version)));
    expect(backEnd.arrivals).toHaveLength(5);
  });

  it('takes what is no session for none', async () => {
    const backEnd = await place.start();
    const store = new MemoryStore();
    await drained(begun(store).connect(to(backEnd.port, version)));
    for (const entry of store.held.values()) entry.value.fill(0x30, 49);
    for (let i = 0; i < 2; i++) await drained(begun(store).connect(to(backEnd.port, version)));
    expect(backEnd.arrivals.map(({ offered }) => offered.length)).toEqual([0, 0, 1]);
  });
});

it('processes that share a store show each TLS 1.3 ticket once', async () => {
  const backEnd = await place.start();
  const store = later(new MemoryStore());
  const processes = Array.from({ length: 5 }, () => agentOf(begun(store, { lookupTimeout: 10_000 }), 'TLSv1.3'));
  for (let round = 0; round < 6; round++) {
    await Promise.all(processes.flatMap((agent) => [1, 2, 3].map(() => get({ port: backEnd.port, agent }))));
  }
  const shown = backEnd.arrivals.flatMap(({ offered }) => offered);
  expect(backEnd.arrivals).toHaveLength(90);
  expect(shown.length).toBeGreaterThan(20);
  expect(new Set(shown).size).toBe(shown.length);
});

it('waits for a store no longer than it is told, and keeps what comes later for the next', async () => {
  const backEnd = await place.start();
  const inside = new MemoryStore();
  await drained(begun(inside).connect(to(backEnd.port, 'TLSv1.3')));
  let answer: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const slow: SessionStore = {
    get: (key) => inside.get(key),
    set: (key, value, timeout) => inside.set(key, value, timeout),
    delete: (key) => inside.delete(key),
    take: (key) => {
      const copy = Buffer.from(key);
      return held.then(() => inside.take(copy));
    },
  };
  const cache = new SessionCache({ mode: SessionCacheMode.Client, external: slow, externalDeadline: false });
  const process = new ClientResumption({ cache, lookupTimeout: 10 });
  expect(await process.prepare(to(backEnd.port, 'TLSv1.3'))).toBe(false);
  expect(cache.statistics.externalTimeouts).toBe(1);
  answer();
  await eventually(() => expect(inside.held.size).toBe(1));
  await drained(process.connect(to(backEnd.port, 'TLSv1.3')));
  expect(backEnd.resumed).toEqual([false, true]);
});
