/** Headless Chromium, and a page that it needs one connection after the other for. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { peer } from '../support/peers.js';
import type { Pages } from './peer-server.js';

export const chromium = peer('chromium', 'chromium-browser', 'google-chrome');

const DONE = 'the chain has run';

/** A page that the browser has loaded only when so many resources have been asked for, each after the one before. */
export function chain(length: number): Pages {
  return (path) => {
    const step = Number(/^\/(\d+)\.js$/.exec(path)?.[1] ?? 0);
    const next = `{ const e = document.createElement('script'); e.src = '/${step + 1}.js'; document.body.append(e); }`;
    if (path === '/') {
      return {
        type: 'text/html',
        body: `<html><head><link rel="icon" href="data:,"></head><body><script>${next}</script></body></html>`,
      };
    }
    return { type: 'text/javascript', body: step < length ? next : `document.body.append('${DONE}');` };
  };
}

interface NetLog {
  readonly constants: { readonly logEventTypes: Readonly<Record<string, number>> };
  readonly events: readonly { readonly type: number; readonly params?: { readonly is_resumed?: boolean } }[];
}

let profiles = 0;

/**
 * Loads the page of a chain to its end, with a profile of its own.
 *
 * @returns of each handshake that the browser completed, whether it says that it resumed
 */
export async function browse(folder: string, port: number): Promise<boolean[]> {
  const profile = join(folder, `profile-${profiles++}`);
  const netLog = `${profile}.json`;
  const { code, stdout, output } = await chromium.run(
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server'],
      ...['--ignore-certificate-errors', `--user-data-dir=${profile}`, `--log-net-log=${netLog}`],
      ...['--dump-dom', `https://localhost:${port}/`],
    ],
    {
      env: { ...process.env, HOME: folder, TMPDIR: folder, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
    },
  );
  expect({ code, output }).toMatchObject({ code: 0 });
  expect(stdout).toContain(DONE);
  const { constants, events } = JSON.parse(await readFile(netLog, 'utf8')) as NetLog;
  const handshake = constants.logEventTypes['SSL_CONNECT'];
  return events
    .filter(({ type, params }) => type === handshake && params?.is_resumed !== undefined)
    .map(({ params }) => params?.is_resumed as boolean);
}

/** When it ends, a browser may drop a connection that it opened ahead, in the middle of its handshake. */
export function withoutDropped(errors: readonly Error[]): readonly Error[] {
  const dropped = (errors.at(-1) as NodeJS.ErrnoException | undefined)?.code === 'ECONNRESET';
  return dropped ? errors.slice(0, -1) : errors;
}
