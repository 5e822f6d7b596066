import { createHmac, randomBytes } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Rfc5077Codec } from '../../src/tickets/rfc5077-codec.js';
import { formatTicketKeys } from '../../src/tickets/ticket-key-formats.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import { haproxy, nginx, opensslServer, type PeerServers, peerServers, saidResumed } from '../support/peer-servers.js';
import { VERSIONS, type Version } from '../support/visits.js';
import { traveller } from './journey.js';
import { type Town, town } from './peer-server.js';

const CODES: Record<Version, number> = { 'TLSv1.2': 0x0303, 'TLSv1.3': 0x0304 };
const LENGTHS = [48, 80] as const;

let place: Town;
let servers: PeerServers;
beforeAll(async () => {
  [place, servers] = await Promise.all([town(), peerServers()]);
});
afterEach(() => Promise.all([place.closeServers(), servers.stopAll()]));
afterAll(() => Promise.all([place.remove(), servers.remove()]));

const visits = (version: Version, first?: Buffer) => traveller(version, place.authority.cert, first);
const ticketOf = (session: Buffer): Buffer => decodeSslSession(session)?.ticket as Buffer;

/** Opens the ticket in a client's session, seals what was in it, and puts that in its place. */
function mint(session: Buffer, version: Version, codec: Rfc5077Codec): Buffer {
  const ticket = ticketOf(session);
  const state = codec.open(ticket) as Buffer;
  expect(decodeSslSession(state)).toMatchObject({ protocolVersion: CODES[version], ticket: undefined });
  const minted = codec.seal(state);
  expect(minted).toHaveLength(ticket.length);
  expect(minted).not.toEqual(ticket);
  const changed = Buffer.from(session);
  minted.copy(changed, changed.indexOf(ticket));
  return changed;
}

/** A server resumes the client that shows what the codec made of its ticket. */
async function expectExchange(version: Version, port: number, keys: (ticket: Buffer) => Promise<Buffer[]> | Buffer[]) {
  const { session } = await visits(version)(port);
  const codec = new Rfc5077Codec(TicketKeyRing.fromKeys(await keys(ticketOf(session as Buffer))));
  const { resumed, received } = await visits(version, mint(session as Buffer, version, codec))(port);
  expect(resumed).toBe(true);
  return received;
}

describe('tickets of Node', () => {
  it.each(VERSIONS)('are opened over %s, and Node opens those of the codec', async (version) => {
    const key = randomBytes(48);
    const { port, resumed, errors } = await place.startPlain({ tls: { ticketKeys: key } });
    await expectExchange(version, port, () => [key]);
    expect(resumed).toEqual([false, true]);
    expect(errors).toEqual([]);
  });
});

const ofEachLength = VERSIONS.flatMap((version) => LENGTHS.map((length) => ({ version, length })));

haproxy.describe('tickets of HAProxy', () => {
  it.each(ofEachLength)(
    'are opened over $version, and it opens those of the codec; keys of $length bytes',
    async ({ version, length }) => {
      const keys = Array.from({ length: 3 }, () => randomBytes(length));
      const ticketKeys = formatTicketKeys(keys, 'haproxy');
      const { port } = await servers.start(haproxy, { ...place.certificate, ticketKeys });
      expect(saidResumed(await expectExchange(version, port, () => keys))).toBe(true);
    },
  );
});

nginx.describe('tickets of nginx', () => {
  it.each(ofEachLength)(
    'are opened over $version, and it opens those of the codec; keys of $length bytes',
    async ({ version, length }) => {
      const keys = [randomBytes(length)];
      const ticketKeys = formatTicketKeys(keys, 'nginx');
      const { port } = await servers.start(nginx, { ...place.certificate, ticketKeys });
      expect(saidResumed(await expectExchange(version, port, () => keys))).toBe(true);
    },
  );
});

/** The heap of a process: Linux only. */
async function heapOf(pid: number): Promise<Buffer> {
  const maps = await readFile(`/proc/${pid}/maps`, 'latin1');
  const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw.*\[heap\]$/m.exec(maps) ?? [];
  const memory = await open(`/proc/${pid}/mem`);
  try {
    const start = Number.parseInt(from, 16);
    const { buffer, bytesRead } = await memory.read({
      buffer: Buffer.alloc(Number.parseInt(to, 16) - start),
      position: start,
    });
    return buffer.subarray(0, bytesRead);
  } finally {
    await memory.close();
  }
}

/** s_server cannot be given keys: OpenSSL makes them, the HMAC key before the AES key, both of 32 bytes. */
async function keyOf(pid: number, ticket: Buffer): Promise<Buffer> {
  const heap = await heapOf(pid);
  const [authenticated, mac] = [ticket.subarray(0, -32), ticket.subarray(-32)];
  for (let at = 0; at + 64 <= heap.length; at += 16) {
    const hmacKey = heap.subarray(at, at + 32);
    if (createHmac('sha256', hmacKey).update(authenticated).digest().equals(mac)) {
      return Buffer.concat([ticket.subarray(0, 16), heap.subarray(at, at + 64)]);
    }
  }
  throw new Error('no key was found');
}

opensslServer.describe('tickets of openssl s_server', () => {
  it.each(VERSIONS)('are opened over %s, and it opens those of the codec', async (version) => {
    const { port, pid } = await servers.start(opensslServer, place.certificate);
    const answer = await expectExchange(version, port, async (ticket) => [await keyOf(pid, ticket)]);
    expect(saidResumed(answer)).toBe(true);
  });
});
