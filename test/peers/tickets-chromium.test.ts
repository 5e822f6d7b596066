import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { VERSIONS } from '../support/visits.js';
import { browse, chain, chromium, withoutDropped } from './browser.js';
import { type Town, town } from './peer-server.js';

/** Of these nothing is said: the page itself, and a connection that is opened beside it, before there are tickets. */
const AHEAD = 2;
const VISITS = 10;

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

const resumptions = (connections: readonly boolean[]): number => connections.slice(-VISITS).filter(Boolean).length;

chromium.describe('headless Chromium in ticket mode', () => {
  it.each(VERSIONS)(`comes back over %s ${VISITS} times in a row`, async (version) => {
    const tls = { maxVersion: version };
    const pages = chain(AHEAD + VISITS - 1);
    const { port, seen, errors } = await place.start({ tls, pages, resumption: { tickets: TicketKeyRing.generate() } });
    const plain = await place.startPlain({ tls, pages });
    const said = await browse(place.folder, port);
    await browse(place.folder, plain.port);

    expect(new Set(seen.map((each) => each.protocol))).toEqual(new Set([version]));
    expect(seen.slice(-VISITS).map((each) => each.way)).toEqual(Array(VISITS).fill('ticket'));
    expect(resumptions(said)).toBe(VISITS);
    expect(withoutDropped(errors)).toEqual([]);

    expect(plain.resumed.length).toBeGreaterThanOrEqual(VISITS);
    if (version === 'TLSv1.2') expect(resumptions(plain.resumed)).toBe(VISITS);
    else expect(resumptions(plain.resumed)).toBeLessThan(VISITS);
    counts.push({
      client: `Chromium, ${version}`,
      'ticket mode': `${resumptions(said)} of ${VISITS}`,
      'plain Node': `${resumptions(plain.resumed)} of ${VISITS}`,
    });
  });
});
