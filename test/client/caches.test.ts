/** The session caches of Node's agent and of undici beside ours: every cell of the table in docs/client-caches.md. */

import { readFileSync } from 'node:fs';
import * as https from 'node:https';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { Agent, buildConnector } from 'undici';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { SessionCache } from '../../src/cache/session-cache.js';
import { SessionCacheMode } from '../../src/cache/session-cache-mode.js';
import { ClientResumption } from '../../src/client/client-resumption.js';
import { undiciConnector } from '../../src/client/undici.js';
import { collectGarbage } from '../support/garbage.js';
import { close, listen } from '../support/visits.js';
import { type BackEnd, get, HOST, type Region, region, speaking } from './back-end.js';

let place: Region;
beforeAll(async () => {
  place = await region();
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  held.length = 0;
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await place.closeAll();
});

type Ask = (port: number, more?: tls.ConnectionOptions) => Promise<unknown>;
type Name = "Node's https.Agent" | "undici's connector" | 'ours, https.Agent' | 'ours, undici';
const NAMES: readonly Name[] = ["Node's https.Agent", "undici's connector", 'ours, https.Agent', 'ours, undici'];

const cache = (): SessionCache => new SessionCache({ mode: SessionCacheMode.Client, maxSessions: 100 });

function byAgent(agent: https.Agent): Ask {
  cleanups.push(() => agent.destroy());
  return (port, more = {}) => get({ port, agent, ...more });
}

function byUndici(connect: buildConnector.connector): Ask {
  const dispatcher = new Agent({ connect });
  cleanups.push(() => dispatcher.destroy());
  return async (port) => {
    const request = { origin: `https://127.0.0.1:${port}`, path: '/', method: 'GET', reset: true } as const;
    const { body } = await dispatcher.request(request);
    return body.text();
  };
}

/** Sessions that undici's connector, which holds them weakly, is to find again whenever memory is collected. */
const held: Buffer[] = [];

function holding(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) => {
    const socket = connect(options, callback) as unknown as tls.TLSSocket;
    return socket.on('session', (session: Buffer) => held.push(session));
  };
}

/** One of the four, which keeps 100 sessions. */
function client(name: Name, more: tls.ConnectionOptions = {}): Ask {
  const options = { ca: place.authority.cert, ...speaking('TLSv1.3'), ...more };
  switch (name) {
    case "Node's https.Agent":
      return byAgent(new https.Agent({ ...options, maxCachedSessions: 100 } as https.AgentOptions));
    case "undici's connector":
      return byUndici(
        holding(
          buildConnector({ ...options, servername: HOST, maxCachedSessions: 100 } as buildConnector.BuildOptions),
        ),
      );
    case 'ours, https.Agent':
      return byAgent(new ClientResumption({ cache: cache() }).agent(options as https.AgentOptions));
    case 'ours, undici':
      return byUndici(undiciConnector(new ClientResumption({ cache: cache() }), { ...options, servername: HOST }));
  }
}

const offers = ({ arrivals }: BackEnd): number[] => arrivals.map(({ offered }) => offered.length);

/** A row: a claim, and of whom it holds. */
const ROWS: Record<string, readonly [boolean, boolean, boolean, boolean]> = {
  'holds on to what it keeps': [true, false, true, true],
  'tells ports apart': [true, false, true, true],
  'tells every TLS setting apart': [false, true, true, true],
  'shows a TLS 1.3 ticket once': [false, false, true, true],
  'has several tickets for connections at once': [false, false, true, true],
  'drops a session that a handshake failed with': [true, false, true, true],
  'tries again without it': [false, false, true, true],
  'resumes every time where tickets are not renewed': [true, true, false, false],
};

function row(claim: keyof typeof ROWS, holds: (name: Name) => Promise<boolean>): void {
  test.each(NAMES.map((name, i) => [name, ROWS[claim]?.[i]] as const))(`${claim}: %s: %s`, async (name, expected) => {
    expect(await holds(name)).toBe(expected);
  });
}

/** Passes connections on, but for those that it is told to break as soon as a byte comes. */
async function gate(port: number, breaks: (n: number) => boolean): Promise<number> {
  let n = 0;
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    if (breaks(++n)) socket.once('data', () => socket.destroy());
    else {
      const back = net.connect(port, '127.0.0.1').on('error', () => {});
      socket.pipe(back).pipe(socket);
    }
  });
  cleanups.push(() => close(server));
  return listen(server);
}

describe('the session cache', () => {
  row('holds on to what it keeps', async (name) => {
    const backEnd = await place.start();
    const ask = client(name);
    await ask(backEnd.port);
    held.length = 0;
    // What is only weakly held goes whenever memory is wanted.
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      collectGarbage();
    }
    await ask(backEnd.port);
    return backEnd.resumed[1] as boolean;
  });

  row('tells ports apart', async (name) => {
    const [one, two] = [await place.start(), await place.start()];
    const ask = client(name);
    await ask(one.port);
    await ask(two.port);
    return offers(two)[0] === 0;
  });

  row('tells every TLS setting apart', async (name) => {
    // An undici connector has its settings once and for all: there is nothing to tell apart.
    if (name.includes('undici')) return true;
    const backEnd = await place.start({ tls: { ALPNProtocols: ['x', 'y'] } });
    const ask = client(name);
    await ask(backEnd.port, { ALPNProtocols: ['x'] });
    await ask(backEnd.port, { ALPNProtocols: ['y'] });
    await ask(backEnd.port, {
      secureContext: tls.createSecureContext({ ca: place.authority.cert, ...speaking('TLSv1.3') }),
    });
    return offers(backEnd).every((count) => count === 0);
  });

  row('shows a TLS 1.3 ticket once', async (name) => {
    const backEnd = await place.start();
    const ask = client(name);
    await ask(backEnd.port);
    await Promise.all([1, 2, 3].map(() => ask(backEnd.port)));
    const shown = backEnd.arrivals.flatMap(({ offered }) => offered);
    expect(shown.length).toBeGreaterThan(0);
    return new Set(shown).size === shown.length;
  });

  row('has several tickets for connections at once', async (name) => {
    const backEnd = await place.start();
    const ask = client(name);
    await Promise.all([1, 2, 3].map(() => ask(backEnd.port)));
    backEnd.arrivals.length = 0;
    await Promise.all([1, 2, 3].map(() => ask(backEnd.port)));
    return new Set(backEnd.arrivals.flatMap(({ offered }) => offered)).size === 3;
  });

  row('drops a session that a handshake failed with', async (name) => {
    const backEnd = await place.start();
    const port = await gate(backEnd.port, (n) => n === 2 || n === 3);
    const ask = client(name, speaking('TLSv1.2'));
    await ask(port);
    backEnd.arrivals.length = 0;
    while (backEnd.arrivals.length === 0) await ask(port).catch(() => {});
    return offers(backEnd)[0] === 0;
  });

  row('tries again without it', async (name) => {
    const backEnd = await place.start();
    const port = await gate(backEnd.port, (n) => n === 2);
    const ask = client(name);
    await ask(port);
    return ask(port).then(
      () => true,
      () => false,
    );
  });

  row('resumes every time where tickets are not renewed', async (name) => {
    const { key, cert } = place.certificate;
    const resumed: boolean[] = [];
    const server = https.createServer({ key, cert }, (_request, response) => {
      response.setHeader('Connection', 'close');
      response.end();
    });
    server.on('secureConnection', (socket: tls.TLSSocket) => resumed.push(socket.isSessionReused()));
    cleanups.push(() => close(server));
    const port = await listen(server);
    const ask = client(name);
    for (let i = 0; i < 7; i++) await ask(port);
    return resumed.slice(1).every(Boolean);
  });
});

test('the table of the docs is this one', () => {
  const text = readFileSync(new URL('../../docs/client-caches.md', import.meta.url), 'utf8');
  for (const [claim, [node, undici, ours]] of Object.entries(ROWS)) {
    const cells = [node, undici, ours].map((holds) => (holds ? 'yes' : 'no'));
    const line = text.split('\n').find((each) => each.startsWith(`| ${claim}`));
    expect(
      line
        ?.split('|')
        .slice(2, 5)
        .map((cell) => cell.trim().replace(/[¹²³⁴]$/, '')),
    ).toEqual(cells);
  }
});
