import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Rfc5077Codec } from '../../src/tickets/rfc5077-codec.js';
import { parseTicketKeys, type TicketKeyFormat } from '../../src/tickets/ticket-key-formats.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';
import {
  haproxy,
  nginx,
  type PeerServers,
  peerServers,
  type ServerProgram,
  saidResumed,
} from '../support/peer-servers.js';
import { close, listen, VERSIONS } from '../support/visits.js';
import { traveller } from './journey.js';
import { type Town, town } from './peer-server.js';

let place: Town;
let servers: PeerServers;
let checks = 0;
beforeAll(async () => {
  [place, servers] = await Promise.all([town(), peerServers()]);
});
afterEach(() => servers.stopAll());
afterAll(() => Promise.all([place.remove(), servers.remove()]));

const lines = (count: number, bytes: 48 | 80 = 48): string[] =>
  Array.from({ length: count }, () => `${randomBytes(bytes).toString('base64')}\n`);

/** Whether the program takes a configuration with this key file. */
async function loads(program: ServerProgram, check: string, keys: Uint8Array | string): Promise<boolean> {
  const file = (name: string) => join(place.folder, `${name}-${checks}`);
  checks++;
  const { key, cert } = place.certificate;
  const at = {
    folder: place.folder,
    // It is not listened on.
    port: 4433,
    bundleFile: file('bundle'),
    certFile: file('cert'),
    keyFile: file('key'),
    ticketKeyFile: file('tickets'),
  };
  await writeFile(at.bundleFile, `${cert}\n${key}\n`);
  await writeFile(at.certFile, cert);
  await writeFile(at.keyFile, key);
  await writeFile(at.ticketKeyFile, keys);
  const configFile = file('configuration');
  await writeFile(configFile, `${program.configure(at, '')}\n`);
  const { code } = await program.peer.run([check, ...program.args(configFile, at)]);
  return code === 0;
}

function reads(keys: Uint8Array | string, format: TicketKeyFormat): boolean {
  try {
    return parseTicketKeys(Buffer.from(keys as string), format).length > 0;
  } catch {
    return false;
  }
}

haproxy.describe('a key file of HAProxy', () => {
  it.each<[string, boolean, string]>([
    ['three keys', true, lines(3).join('')],
    ['three long keys', true, lines(3, 80).join('')],
    ['seven keys', true, lines(7).join('')],
    ['line ends of Windows', true, lines(3).join('').replaceAll('\n', '\r\n')],
    ['no last line end', true, lines(3).join('').trim()],
    ['two keys', false, lines(2).join('')],
    ['nothing', false, ''],
    ['keys of two lengths', false, [...lines(2), ...lines(2, 80)].join('')],
    ['a line of 47 bytes', false, [...lines(2), `${randomBytes(47).toString('base64')}\n`].join('')],
    ['an empty line', false, [...lines(2), '\n', ...lines(1)].join('')],
    ['an empty last line', false, [...lines(3), '\n'].join('')],
    [
      'a long key in two lines',
      false,
      [...lines(2, 80), (lines(1, 80)[0] as string).replace(/.{64}/, '$&\n')].join(''),
    ],
    ['hexadecimal', false, `${randomBytes(48).toString('hex')}\n`.repeat(3)],
    ['base64url', false, [...lines(2), `${Buffer.alloc(48, 0xff).toString('base64url')}\n`].join('')],
    ['a comment', false, ['# keys\n', ...lines(3)].join('')],
    ['a space after a key', false, lines(3).join('').replace('\n', ' \n')],
  ])('with %s: taken by both or refused by both (%s)', async (_what, taken, keys) => {
    expect({ haproxy: await loads(haproxy, '-c', keys), library: reads(keys, 'haproxy') }).toEqual({
      haproxy: taken,
      library: taken,
    });
  });

  it.each(VERSIONS)('seals with its last line but one over %s, which parseTicketKeys puts first', async (version) => {
    for (const ticketKeys of [lines(3).join(''), lines(3, 80).join(''), lines(6).join('')]) {
      const keys = parseTicketKeys(ticketKeys, 'haproxy');
      const ring = TicketKeyRing.fromKeys(keys);
      const { port } = await servers.start(haproxy, { ...place.certificate, ticketKeys });
      const { session } = await traveller(version, place.authority.cert)(port);
      const ticket = decodeSslSession(session as Buffer)?.ticket as Buffer;
      expect(ticket.subarray(0, 16)).toEqual(ring.current.name);
      const state = new Rfc5077Codec(ring).open(ticket) as Buffer;
      // Under each of the last three lines it opens, under older ones it does not.
      const resumed: (boolean | undefined)[] = [];
      for (const key of keys) {
        const minted = new Rfc5077Codec(TicketKeyRing.fromKeys([key])).seal(state);
        const { received } = await traveller(
          version,
          place.authority.cert,
          withTicket(session as Buffer, minted),
        )(port);
        resumed.push(saidResumed(received));
      }
      expect(resumed).toEqual(keys.map((_, i) => i < 3));
    }
  });
});

nginx.describe('a key file of nginx', () => {
  it.each<[string, boolean, Buffer]>([
    ['48 bytes', true, randomBytes(48)],
    ['80 bytes', true, randomBytes(80)],
    ['nothing', false, Buffer.alloc(0)],
    ['47 bytes', false, randomBytes(47)],
    ['48 bytes and a line end', false, Buffer.concat([randomBytes(48), Buffer.from('\n')])],
    ['80 bytes and a line end', false, Buffer.concat([randomBytes(80), Buffer.from('\n')])],
    ['two keys', false, randomBytes(96)],
    ['base64', false, Buffer.from(lines(1)[0] as string)],
    ['hexadecimal', false, Buffer.from(randomBytes(48).toString('hex'))],
  ])('with %s: taken by both or refused by both (%s)', async (_what, taken, keys) => {
    expect({ nginx: await loads(nginx, '-t', keys), library: reads(keys, 'nginx') }).toEqual({
      nginx: taken,
      library: taken,
    });
  });
});

describe('a ticket that moves to another key', () => {
  it.each(VERSIONS)('resumes over %s at a Node that never sealed with it', async (version) => {
    const [old, fresh] = [randomBytes(48), randomBytes(48)];
    const server = tls.createServer({ ...place.certificate, ticketKeys: old }, (socket) => {
      socket.on('error', () => {});
      socket.end('answer');
    });
    const resumed: boolean[] = [];
    server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()));
    try {
      const port = await listen(server);
      const { session } = await traveller(version, place.authority.cert)(port);
      server.setTicketKeys(fresh);
      const ring = TicketKeyRing.fromKeys([fresh, old]);
      const codec = new Rfc5077Codec(ring);
      const state = codec.open(decodeSslSession(session as Buffer)?.ticket as Buffer) as Buffer;
      const moved = withTicket(session as Buffer, codec.seal(state));
      expect((await traveller(version, place.authority.cert, session)(port)).resumed).toBe(false);
      expect((await traveller(version, place.authority.cert, moved)(port)).resumed).toBe(true);
      expect(resumed).toEqual([false, false, true]);
    } finally {
      await close(server);
    }
  });
});

/** A client's session with another ticket of the same length in it. */
function withTicket(session: Buffer, ticket: Buffer): Buffer {
  const changed = Buffer.from(session);
  const old = decodeSslSession(changed)?.ticket as Buffer;
  expect(ticket).toHaveLength(old.length);
  ticket.copy(old);
  return changed;
}
