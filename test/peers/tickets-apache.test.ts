import { createHash, createHmac, randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import { Rfc5077Codec } from '../../src/tickets/rfc5077-codec.js';
import { formatTicketKeys } from '../../src/tickets/ticket-key-formats.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import { apache, type PeerServers, peerServers, type RunningServer } from '../support/peer-servers.js';
import { VERSIONS, type Version } from '../support/visits.js';
import { allResumed, travel, traveller } from './journey.js';
import { HOST, type PeerServer, type Town, town } from './peer-server.js';

const MAC_BYTES = 32;

let place: Town;
let servers: PeerServers;
beforeAll(async () => {
  [place, servers] = await Promise.all([town(), peerServers()]);
});
afterEach(() => Promise.all([place.closeServers(), servers.stopAll()]));
afterAll(() => Promise.all([place.remove(), servers.remove()]));

/** mod_ssl's session ID context: of the virtual host's ServerName, with port 443 when that names none. */
const contextOf = (serverName: string): string => createHash('md5').update(serverName).digest('hex');

const startApache = (key: Uint8Array, serverName: string): Promise<RunningServer> =>
  servers.start(apache, {
    ...place.certificate,
    ticketKeys: formatTicketKeys([key], 'apache'),
    more: `ServerName ${serverName}`,
  });

const startNode = (key: Uint8Array): Promise<PeerServer> =>
  place.start({
    resumption: {
      tickets: TicketKeyRing.fromKeys([key]),
      guard: new SessionIdContextGuard({ name: contextOf(`${HOST}:443`) }),
    },
  });

/** A client's session of httpd, and the ticket in it. */
async function visitApache(version: Version, { port }: RunningServer): Promise<{ session: Buffer; ticket: Buffer }> {
  const { session } = await traveller(version, place.authority.cert)(port);
  return { session: session as Buffer, ticket: decodeSslSession(session as Buffer)?.ticket as Buffer };
}

/** The MAC that a ticket has by RFC 5077 §4 under a key in Node's order. */
function macUnder(key: Uint8Array, ticket: Buffer): Buffer {
  return createHmac('sha256', key.subarray(16, 32)).update(ticket.subarray(0, -MAC_BYTES)).digest();
}

apache.describe('Apache httpd with the same ticket key', () => {
  it.each(
    VERSIONS.flatMap((version) => [
      { version, serverName: HOST, named: `${HOST}:443` },
      { version, serverName: `${HOST}:8443`, named: `${HOST}:8443` },
    ]),
  )('puts into its tickets over $version, as ServerName $serverName, the MD5 of $named', async (how) => {
    const key = randomBytes(48);
    const { ticket } = await visitApache(how.version, await startApache(key, how.serverName));
    expect(ticket.subarray(0, 16)).toEqual(key.subarray(0, 16));
    const mended = Buffer.concat([ticket.subarray(0, -MAC_BYTES), macUnder(key, ticket)]);
    const state = new Rfc5077Codec(TicketKeyRing.fromKeys([key])).open(mended) as Buffer;
    expect(decodeSslSession(state)?.sessionIdContext.toString()).toBe(contextOf(how.named));
  });

  it.each(VERSIONS)('makes tickets over %s that Node resumes, if their MAC is right', async (version) => {
    const key = randomBytes(48);
    const { session, ticket } = await visitApache(version, await startApache(key, HOST));
    const { port, seen, errors } = await startNode(key);
    macUnder(key, ticket).copy(session, session.indexOf(ticket) + ticket.length - MAC_BYTES);
    await traveller(version, place.authority.cert, session)(port);
    expect(seen).toMatchObject([{ protocol: version, resumed: true, way: 'ticket' }]);
    expect(errors).toEqual([]);
  });

  // Built for OpenSSL 3, httpd 2.4.71 reads the HMAC key from a buffer that is gone when it makes the first ticket.
  it.each(VERSIONS)('shares tickets over %s exactly if it uses the HMAC key of its file', async (version) => {
    const key = randomBytes(48);
    const other = await startApache(key, HOST);
    const node = await startNode(key);
    const { ticket } = await visitApache(version, other);
    const isShared = macUnder(key, ticket).equals(ticket.subarray(-MAC_BYTES));
    const journey = { version, ca: place.authority.cert, node, other };
    expect(await travel('AANNA', journey)).toEqual(isShared ? allResumed('AANNA') : [false, true, false, true, false]);
  });
});
