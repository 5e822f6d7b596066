/** Another process with the same keys: seals and opens what its parent sends over IPC. */

import { Rfc5077Codec } from '../../src/tickets/rfc5077-codec.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { parseTicketKeys } from '../../src/tickets/ticket-key-formats.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';

export interface Order {
  readonly codec: 'library' | 'rfc5077';
  readonly states?: readonly string[];
  readonly tickets?: readonly string[];
}

/** Base64 each; what did not open is `null`. */
export type Delivery = readonly (string | null)[];

const { SHARED_SECRET: secret, SHARED_KEYS: keys } = process.env;
const ring =
  secret === undefined
    ? TicketKeyRing.fromKeys(parseTicketKeys(keys as string, 'haproxy'))
    : TicketKeyRing.fromSecret(Buffer.from(secret, 'base64'));
const codecs = { library: new TicketCodec(ring), rfc5077: new Rfc5077Codec(ring) };

process.on('message', ({ codec, states, tickets = [] }: Order) => {
  const sealed = states?.map((state) => codecs[codec].seal(Buffer.from(state, 'base64')));
  const answer = sealed ?? tickets.map((ticket) => codecs[codec].open(Buffer.from(ticket, 'base64')));
  process.send?.(answer.map((bytes) => bytes?.toString('base64') ?? null) satisfies Delivery);
});
