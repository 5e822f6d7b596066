import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type * as tls from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { peer } from '../support/peers.js';
import { VERSIONS } from '../support/visits.js';
import { type Seen, type Town, town, WAYS } from './peer-server.js';

/** Resources, each asked for when the one before has run: a new connection each. */
const CHAIN = 6;

const chromium = peer('chromium', 'chromium-browser', 'google-chrome');
let place: Town;
let profiles = 0;
beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(() => place.remove());

/** A page that the browser has loaded only when the whole chain has run. */
function pages(path: string): { type: string; body: string } {
  const step = Number(/^\/(\d+)\.js$/.exec(path)?.[1] ?? 0);
  const next = `{ const e = document.createElement('script'); e.src = '/${step + 1}.js'; document.body.append(e); }`;
  if (path === '/') {
    return {
      type: 'text/html',
      body: `<html><head><link rel="icon" href="data:,"></head><body><script>${next}</script></body></html>`,
    };
  }
  return { type: 'text/javascript', body: step < CHAIN ? next : "document.body.append('the chain has run');" };
}

interface NetLog {
  readonly constants: { readonly logEventTypes: Readonly<Record<string, number>> };
  readonly events: readonly { readonly type: number; readonly params?: { readonly is_resumed?: boolean } }[];
}

interface BrowserVisit {
  readonly seen: readonly Seen[];
  readonly errors: readonly Error[];
  readonly page: string;
  /** Of each handshake that the browser completed, whether it says that it resumed. */
  readonly resumed: readonly boolean[];
}

async function browse(options: tls.TlsOptions): Promise<BrowserVisit> {
  const { port, seen, errors } = await place.start({ tls: options, pages });
  const profile = join(place.folder, `profile-${profiles++}`);
  const netLog = join(place.folder, `${profiles}.json`);
  const { code, stdout, output } = await chromium.run(
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server'],
      ...['--ignore-certificate-errors', `--user-data-dir=${profile}`, `--log-net-log=${netLog}`],
      ...['--dump-dom', `https://localhost:${port}/`],
    ],
    {
      timeout: 25_000,
      env: {
        ...process.env,
        HOME: place.folder,
        TMPDIR: place.folder,
        XDG_CONFIG_HOME: profile,
        XDG_CACHE_HOME: profile,
      },
    },
  );
  expect({ code, output }).toMatchObject({ code: 0 });
  const { constants, events } = JSON.parse(await readFile(netLog, 'utf8')) as NetLog;
  const handshake = constants.logEventTypes['SSL_CONNECT'];
  const resumed = events
    .filter(({ type, params }) => type === handshake && params?.is_resumed !== undefined)
    .map(({ params }) => params?.is_resumed as boolean);
  return { seen, errors, page: stdout, resumed };
}

const count = <T>(all: readonly T[], value: T): number => all.filter((each) => each === value).length;

chromium.describe('headless Chromium', () => {
  it.each(VERSIONS)('comes back over %s for what a page needs', async (version) => {
    const { seen, errors, page, resumed } = await browse({ maxVersion: version });
    expect(page).toContain('the chain has run');
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
    const { seen, errors, page } = await browse({ ecdhCurve: 'prime256v1', minVersion: 'TLSv1.3' });
    expect(page).toContain('the chain has run');
    expect(seen[0]?.connection.hello?.keyShareGroups).not.toContain(0x17);
    expect(seen.some((each) => each.connection.hello?.pskIdentities.length === 1)).toBe(true);
    expect(errors).toEqual([]);
  });
});
