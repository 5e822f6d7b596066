/** Many connections: how many resume, and that no ticket is shown twice. REQUESTS=10000 for the figures of the docs. */

import type * as https from 'node:https';
import { Agent } from 'undici';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ClientResumption } from '../../src/client/client-resumption.js';
import { undiciConnector } from '../../src/client/undici.js';
import { VERSIONS } from '../support/visits.js';
import { type BackEnd, get, HOST, type Region, region, speaking } from './back-end.js';

const REQUESTS = Number(process.env['REQUESTS'] ?? 200);
const ORIGINS = 4;

let place: Region;
beforeAll(async () => {
  place = await region();
});
afterEach(() => place.closeAll());

/** Runs `work` for each number, `width` at once. */
async function each(count: number, width: number, work: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Of the connections after the first of each origin, how many resumed. */
const share = (backEnds: readonly BackEnd[]): number => {
  const later = backEnds.flatMap(({ resumed }) => resumed.slice(1));
  return later.filter(Boolean).length / later.length;
};

describe.each(VERSIONS)(`${REQUESTS} requests over new connections to ${ORIGINS} origins, over %s`, (version) => {
  it('resume after the first of each origin, by an agent', { timeout: 600_000 }, async () => {
    const backEnds = await Promise.all(Array.from({ length: ORIGINS }, () => place.start()));
    const agent = new ClientResumption().agent({
      ca: place.authority.cert,
      ...speaking(version),
    } as https.AgentOptions);
    await each(REQUESTS, 1, (n) => get({ port: (backEnds[n % ORIGINS] as BackEnd).port, agent }));
    expect(backEnds.map(({ resumed }) => resumed.length)).toEqual(Array(ORIGINS).fill(REQUESTS / ORIGINS));
    expect(share(backEnds)).toBeGreaterThanOrEqual(0.99);
    agent.destroy();
  });

  it('resume after the first of each origin, by undici', { timeout: 600_000 }, async () => {
    const backEnds = await Promise.all(Array.from({ length: ORIGINS }, () => place.start()));
    const options = { ca: place.authority.cert, servername: HOST, ...speaking(version) };
    const dispatcher = new Agent({ connect: undiciConnector(new ClientResumption(), options) });
    await each(REQUESTS, 1, async (n) => {
      const origin = `https://127.0.0.1:${(backEnds[n % ORIGINS] as BackEnd).port}`;
      const { body } = await dispatcher.request({ origin, path: '/', method: 'GET' });
      await body.text();
    });
    expect(share(backEnds)).toBeGreaterThanOrEqual(0.99);
    await dispatcher.close();
  });
});

describe(`${REQUESTS} requests over new connections, 50 at once`, () => {
  it('show each TLS 1.3 ticket once', { timeout: 600_000 }, async () => {
    const backEnd = await place.start();
    const agent = new ClientResumption({ ticketsPerOrigin: 64 }).agent({
      ca: place.authority.cert,
      ...speaking('TLSv1.3'),
    } as https.AgentOptions);
    await each(REQUESTS, 50, () => get({ port: backEnd.port, agent }));
    const shown = backEnd.arrivals.flatMap(({ offered }) => offered);
    expect(backEnd.arrivals).toHaveLength(REQUESTS);
    expect(backEnd.arrivals.every(({ offered }) => offered.length <= 1)).toBe(true);
    expect(new Set(shown).size).toBe(shown.length);
    expect(backEnd.resumed.filter(Boolean)).toHaveLength(shown.length);
    // All that began before the first was answered had nothing to show.
    expect(shown.length).toBeGreaterThanOrEqual((REQUESTS - 50) * 0.99);
    agent.destroy();
  });

  it('show each of eight tickets once, too', { timeout: 600_000 }, async () => {
    const backEnd = await place.start();
    const agent = new ClientResumption().agent({
      ca: place.authority.cert,
      ...speaking('TLSv1.3'),
    } as https.AgentOptions);
    await each(REQUESTS, 50, () => get({ port: backEnd.port, agent }));
    const shown = backEnd.arrivals.flatMap(({ offered }) => offered);
    expect(new Set(shown).size).toBe(shown.length);
    expect(shown.length).toBeGreaterThan(0);
    agent.destroy();
  });
});
