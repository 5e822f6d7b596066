import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import { Rfc5077Codec } from '../../src/tickets/rfc5077-codec.js';
import { formatTicketKeys } from '../../src/tickets/ticket-key-formats.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import { nginx, type PeerServers, peerServers } from '../support/peer-servers.js';
import { VERSIONS } from '../support/visits.js';
import { travel, traveller } from './journey.js';
import { type Town, town } from './peer-server.js';

let place: Town;
let servers: PeerServers;
beforeAll(async () => {
  [place, servers] = await Promise.all([town(), peerServers()]);
});
afterEach(() => Promise.all([place.closeServers(), servers.stopAll()]));
afterAll(() => Promise.all([place.remove(), servers.remove()]));

/** What is in a ticket of nginx. */
async function sessionOf(ring: TicketKeyRing, version: (typeof VERSIONS)[number]) {
  const other = await servers.start(nginx, {
    ...place.certificate,
    ticketKeys: formatTicketKeys([ring.current], 'nginx'),
  });
  const { session } = await traveller(version, place.authority.cert)(other.port);
  const ticket = decodeSslSession(session as Buffer)?.ticket as Buffer;
  return decodeSslSession(new Rfc5077Codec(ring).open(ticket) as Buffer);
}

nginx.describe('nginx with the same ticket key', () => {
  it.each(VERSIONS)("resumes its own clients over %s, and serves Node's in full; so does Node", async (version) => {
    const key = randomBytes(48);
    const guard = new SessionIdContextGuard({ name: 'nginx' });
    const node = await place.start({ resumption: { tickets: TicketKeyRing.fromKeys([key]), guard } });
    const other = await servers.start(nginx, { ...place.certificate, ticketKeys: formatTicketKeys([key], 'nginx') });
    const journey = { version, ca: place.authority.cert, node, other };
    expect(await travel('XXNNXX', journey)).toEqual([false, true, false, true, false, true]);
    expect(node.seen.map((each) => each.way)).toEqual([null, 'ticket']);
  });

  it.each(VERSIONS)('makes tickets over %s that the codec opens, under a context that is no text', async (version) => {
    for (const keyLength of [48, 80] as const) {
      const session = await sessionOf(TicketKeyRing.generate({ keyLength }), version);
      expect(session?.protocolVersion).toBe(version === 'TLSv1.2' ? 0x0303 : 0x0304);
      // SHA-1 over its certificates: Node's sessionIdContext is a string, which becomes UTF-8.
      const context = session?.sessionIdContext as Buffer;
      expect(context).toHaveLength(20);
      expect(Buffer.from(context.toString())).not.toEqual(context);
    }
  });
});
