import type * as tls from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { VERSIONS } from '../support/visits.js';
import { browse, chain, chromium, withoutDropped } from './browser.js';
import { type Seen, type Town, town, WAYS } from './peer-server.js';

/** Resources, each asked for when the one before has run: a new connection each. */
const CHAIN = 6;

let place: Town;
beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(() => place.remove());

interface BrowserVisit {
  readonly seen: readonly Seen[];
  readonly errors: readonly Error[];
  /** Of each handshake that the browser completed, whether it says that it resumed. */
  readonly resumed: readonly boolean[];
}

async function visitInBrowser(options: tls.TlsOptions): Promise<BrowserVisit> {
  const { port, seen, errors } = await place.start({ tls: options, pages: chain(CHAIN) });
  const resumed = await browse(place.folder, port);
  return { seen, errors: withoutDropped(errors), resumed };
}

const count = <T>(all: readonly T[], value: T): number => all.filter((each) => each === value).length;

chromium.describe('headless Chromium', () => {
  it.each(VERSIONS)('comes back over %s for what a page needs', async (version) => {
    const { seen, errors, resumed } = await visitInBrowser({ maxVersion: version });
    expect(seen.length).toBeGreaterThan(CHAIN);
    expect(new Set(seen.map((each) => each.protocol))).toEqual(new Set([version]));
    // The page itself, and a connection opened ahead before there were sessions, are full handshakes.
    expect(seen[0]?.resumed).toBe(false);
    expect(
      count(
        seen.map((each) => each.way),
        WAYS[version],
      ),
    ).toBeGreaterThanOrEqual(CHAIN - 2);
    expect(count(resumed, true)).toBeGreaterThanOrEqual(CHAIN - 2);
    expect(errors).toEqual([]);
  });

  it('loads a page where every hello is answered with a HelloRetryRequest', async () => {
    const { seen, errors } = await visitInBrowser({ ecdhCurve: 'prime256v1', minVersion: 'TLSv1.3' });
    expect(seen[0]?.connection.hello?.keyShareGroups).not.toContain(0x17);
    expect(seen.some((each) => each.connection.hello?.pskIdentities.length === 1)).toBe(true);
    expect(errors).toEqual([]);
  });
});
