import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import { formatTicketKeys } from '../../src/tickets/ticket-key-formats.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { haproxy, type PeerServers, peerServers, type RunningServer, saidResumed } from '../support/peer-servers.js';
import { peer } from '../support/peers.js';
import { VERSIONS } from '../support/visits.js';
import { allResumed, travel } from './journey.js';
import { HOST, type PeerServer, REQUEST, type Town, town } from './peer-server.js';

const openssl = peer('openssl');
let place: Town;
let servers: PeerServers;
beforeAll(async () => {
  [place, servers] = await Promise.all([town(), peerServers()]);
});
afterEach(() => Promise.all([place.closeServers(), servers.stopAll()]));
afterAll(() => Promise.all([place.remove(), servers.remove()]));

const startHaproxy = (ticketKeys: Uint8Array | string): Promise<RunningServer> =>
  servers.start(haproxy, { ...place.certificate, ticketKeys });

const startNode = (tickets: TicketKeyRing, name = 'haproxy'): Promise<PeerServer> =>
  place.start({ resumption: { tickets, guard: new SessionIdContextGuard({ name }) } });

const keys = (): Buffer[] => Array.from({ length: 3 }, () => randomBytes(48));

haproxy.describe('HAProxy and Node with the same ticket keys', () => {
  // H is HAProxy, N is Node.
  const journeys = VERSIONS.flatMap((version) => ['HN', 'NH', 'HNHN', 'NNHHNN'].map((route) => ({ version, route })));

  it.each(journeys)("resume each other's clients over $version, as they go $route", async ({ version, route }) => {
    const ticketKeys = keys();
    const node = await startNode(TicketKeyRing.fromKeys(ticketKeys));
    const other = await startHaproxy(formatTicketKeys(ticketKeys, 'haproxy'));
    expect(await travel(route, { version, ca: place.authority.cert, node, other })).toEqual(allResumed(route));
    expect(node.seen.map((each) => each.way)).toEqual(
      [...route].flatMap((stop, i) => (stop === 'H' ? [] : [i === 0 ? null : 'ticket'])),
    );
  });

  it.each(VERSIONS)('may each seal with another of them over %s', async (version) => {
    const [first, second, third] = keys() as [Buffer, Buffer, Buffer];
    const other = await startHaproxy(formatTicketKeys([first, second, third], 'haproxy'));
    for (const order of [
      [second, third, first],
      [third, first, second],
    ]) {
      const node = await startNode(TicketKeyRing.fromKeys(order));
      expect(await travel('HNHN', { version, ca: place.authority.cert, node, other })).toEqual(allResumed('HNHN'));
      expect(await travel('NHNH', { version, ca: place.authority.cert, node, other })).toEqual(allResumed('NHNH'));
    }
  });

  it.each(VERSIONS)('can read them from one file over %s', async (version) => {
    // What `openssl rand -base64 48`, three times, makes.
    const lines = keys()
      .map((key) => `${key.toString('base64')}\n`)
      .join('');
    const file = join(place.folder, `haproxy-${version}.keys`);
    await writeFile(file, lines);
    const ring = TicketKeyRing.fromFile(file, { format: 'haproxy' });
    try {
      const node = await startNode(ring);
      const other = await startHaproxy(lines);
      expect(await travel('HNHN', { version, ca: place.authority.cert, node, other })).toEqual(allResumed('HNHN'));
      expect(await travel('NHNH', { version, ca: place.authority.cert, node, other })).toEqual(allResumed('NHNH'));
    } finally {
      ring[Symbol.dispose]();
    }
  });

  it.each(VERSIONS)('serve in full over %s under two session-ID contexts', async (version) => {
    const ticketKeys = keys();
    const node = await startNode(TicketKeyRing.fromKeys(ticketKeys), 'another');
    const other = await startHaproxy(formatTicketKeys(ticketKeys, 'haproxy'));
    expect(await travel('HNH', { version, ca: place.authority.cert, node, other })).toEqual([false, false, false]);
  });

  it.each(VERSIONS)("serve in full over %s when the keys are in Node's order at both", async (version) => {
    const ticketKeys = keys();
    const node = await startNode(TicketKeyRing.fromKeys(ticketKeys));
    const other = await startHaproxy(ticketKeys.map((key) => `${key.toString('base64')}\n`).join(''));
    expect(await travel('HNH', { version, ca: place.authority.cert, node, other })).toEqual([false, false, false]);
  });

  openssl.describe('resume openssl s_client', () => {
    it.each(VERSIONS)("over %s with each other's session file", async (version) => {
      const ticketKeys = keys();
      const node = await startNode(TicketKeyRing.fromKeys(ticketKeys));
      const other = await startHaproxy(formatTicketKeys(ticketKeys, 'haproxy'));
      const file = join(place.folder, `session-${version}.pem`);
      const kinds: (string | undefined)[] = [];
      for (const port of [other.port, node.port, other.port, node.port]) {
        const { output } = await openssl.run(
          ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', HOST, '-ign_eof', '-CAfile', place.caFile]
            .concat(['-verify_return_error', version === 'TLSv1.2' ? '-tls1_2' : '-tls1_3', '-sess_out', file])
            .concat(kinds.length === 0 ? [] : ['-sess_in', file]),
          { input: REQUEST },
        );
        kinds.push(/^(New|Reused), TLSv[\d.]+, Cipher is/m.exec(output)?.[1]);
        if (port === other.port) expect(saidResumed(output)).toBe(kinds.length > 1);
      }
      expect(kinds).toEqual(['New', 'Reused', 'Reused', 'Reused']);
      expect(node.seen.map((each) => each.way)).toEqual(['ticket', 'ticket']);
      expect(node.errors).toEqual([]);
    });
  });
});
