/** Other programs as servers, and every kind of our clients: what the server says of each connection is what counts. */

import { randomBytes } from 'node:crypto';
import * as https from 'node:https';
import type * as tls from 'node:tls';
import { Agent, fetch as undiciFetch } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientResumption } from '../../src/client/client-resumption.js';
import { undiciConnector } from '../../src/client/undici.js';
import {
  haproxy,
  nginx,
  opensslServer,
  type PeerServers,
  peerServers,
  type ServerProgram,
  saidResumed,
} from '../support/peer-servers.js';
import { close, listen, type Version } from '../support/visits.js';
import { drained, HOST, type Region, region, speaking } from './back-end.js';

let place: Region;
let servers: PeerServers;
beforeAll(async () => {
  [place, servers] = await Promise.all([region(), peerServers()]);
});
afterAll(() => servers?.remove());

/** What a client is, and what it is told: whether the server resumed. */
type Visitor = (port: number) => Promise<boolean | undefined>;

const said = (header: unknown, body: string): boolean | undefined => saidResumed(`Resumed: ${header}\n${body}`);

const CLIENTS: Record<string, (resumption: ClientResumption, options: tls.ConnectionOptions) => Visitor> = {
  connect: (resumption, options) => async (port) => {
    const { received } = await drained(resumption.connect({ host: '127.0.0.1', port, ...options }));
    return saidResumed(received);
  },
  'an https.Agent': (resumption, options) => {
    const agent = resumption.agent(options as https.AgentOptions);
    return (port) =>
      new Promise((resolve, reject) => {
        https
          .get({ host: '127.0.0.1', port, agent }, (response) => {
            let body = '';
            response.setEncoding('utf8').on('data', (text: string) => {
              body += text;
            });
            response.on('error', reject).on('end', () => resolve(said(response.headers['resumed'], body)));
          })
          .on('error', reject);
      });
  },
  undici: (resumption, options) => {
    const dispatcher = new Agent({ connect: undiciConnector(resumption, options) });
    return async (port) => {
      const request = { origin: `https://127.0.0.1:${port}`, path: '/', method: 'GET' as const, reset: true };
      const { headers, body } = await dispatcher.request(request);
      return said(headers['resumed'], await body.text());
    };
  },
  "undici's fetch": (resumption, options) => {
    const dispatcher = new Agent({ connect: undiciConnector(resumption, options) });
    return async (port) => {
      const response = await undiciFetch(`https://127.0.0.1:${port}`, { dispatcher });
      return said(response.headers.get('resumed'), await response.text());
    };
  },
  "Node's fetch": (resumption, options) => {
    const dispatcher = new Agent({ connect: undiciConnector(resumption, options) });
    return async (port) => {
      const response = await fetch(`https://127.0.0.1:${port}`, { dispatcher } as object);
      return said(response.headers.get('resumed'), await response.text());
    };
  },
};

const visitorOf = (name: string, version: Version): Visitor =>
  (CLIENTS[name] as (typeof CLIENTS)[string])(new ClientResumption(), {
    ca: place.authority.cert,
    servername: HOST,
    ...speaking(version),
  });

async function visits(visitor: Visitor, port: number, times: number): Promise<(boolean | undefined)[]> {
  const seen: (boolean | undefined)[] = [];
  for (let i = 0; i < times; i++) seen.push(await visitor(port));
  return seen;
}

/** The ways of resumption of a program, and how it is told to go them. */
interface Way {
  readonly name: string;
  readonly version: Version;
  readonly program: ServerProgram;
  readonly more?: string;
  /** Whether a ticket that is used is renewed: else two of three connections resume. */
  readonly renews: boolean;
}

const withoutTickets: ServerProgram = {
  ...opensslServer,
  args: (config, location) => [...opensslServer.args(config, location), '-no_ticket'],
};

const nginxIds = 'ssl_session_tickets off; ssl_session_cache shared:sessions:1m;';
const WAYS: readonly Way[] = [
  { name: 'TLS 1.2 session IDs', version: 'TLSv1.2', program: nginx, more: nginxIds, renews: true },
  { name: 'TLS 1.2 tickets', version: 'TLSv1.2', program: nginx, renews: true },
  { name: 'TLS 1.3 tickets', version: 'TLSv1.3', program: nginx, renews: true },
  { name: 'TLS 1.3 stateful tickets', version: 'TLSv1.3', program: nginx, more: nginxIds, renews: true },
  { name: 'TLS 1.2 session IDs', version: 'TLSv1.2', program: haproxy, more: 'no-tls-tickets', renews: true },
  { name: 'TLS 1.2 tickets', version: 'TLSv1.2', program: haproxy, renews: true },
  { name: 'TLS 1.3 tickets', version: 'TLSv1.3', program: haproxy, renews: false },
  { name: 'TLS 1.3 stateful tickets', version: 'TLSv1.3', program: haproxy, more: 'no-tls-tickets', renews: true },
  { name: 'TLS 1.2 session IDs', version: 'TLSv1.2', program: withoutTickets, renews: true },
  { name: 'TLS 1.2 tickets', version: 'TLSv1.2', program: opensslServer, renews: true },
  { name: 'TLS 1.3 tickets', version: 'TLSv1.3', program: opensslServer, renews: true },
];

for (const program of [nginx, haproxy, opensslServer]) {
  program.describe(`to ${program.name}`, () => {
    const ways = WAYS.filter((way) => way.program.name === program.name);
    describe.each(ways)('by $name', ({ version, program: server, more = '', renews }) => {
      let port: number;
      beforeAll(async () => {
        const { key, cert } = place.certificate;
        const keys = Array.from({ length: 3 }, () => randomBytes(48));
        const ticketKeys =
          server === haproxy ? keys.map((each) => `${each.toString('base64')}\n`).join('') : (keys[0] as Buffer);
        ({ port } = await servers.start(server, { key, cert, ticketKeys, more }));
      });
      test.each(Object.keys(CLIENTS))('%s resumes whenever it was given a ticket', async (name) => {
        const expected = Array.from({ length: 7 }, (_, i) => (renews ? i > 0 : i % 3 > 0));
        expect(await visits(visitorOf(name, version), port, 7)).toEqual(expected);
      });
    });
  });
}

describe('to Node without this library', () => {
  test.each([
    ['TLSv1.2', (i: number) => i > 0],
    // It makes two tickets in a full handshake, and none when one of them is used.
    ['TLSv1.3', (i: number) => i % 3 > 0],
  ] as const)(
    'over %s tickets, every kind of client resumes as often as it is given tickets',
    async (version, resumed) => {
      const { key, cert } = place.certificate;
      for (const name of Object.keys(CLIENTS)) {
        const server = https.createServer({ key, cert }, (request, response) => {
          response.setHeader('Resumed', `${(request.socket as tls.TLSSocket).isSessionReused()}`);
          response.setHeader('Connection', 'close');
          response.end();
        });
        const port = await listen(server);
        try {
          const seen = await visits(visitorOf(name, version), port, 7);
          expect({ name, seen }).toEqual({ name, seen: Array.from({ length: 7 }, (_, i) => resumed(i)) });
        } finally {
          await close(server);
        }
      }
    },
  );
});
