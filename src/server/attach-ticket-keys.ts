/**
 * A key ring for a server that needs nothing else: Node's own tickets, with keys that turn over.
 *
 * @module
 */

import { constants } from 'node:crypto';
import { Server as TlsServer } from 'node:tls';
import { requireObject, wrongType } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { writeRandom } from '../tickets/codec-random.js';
import { isSealingKey, keyOfNextTicket, keyOfTicket, TicketKeyRing } from '../tickets/ticket-key-ring.js';
import { ATTACHED } from './attached-mark.js';
import * as node from './node-tls-server.js';
import { overrideMethod } from './override-method.js';
import {
  answerTicketKeys,
  hasTicketKeyCallback,
  requireNodeKeys,
  setTicketKeyCallback,
  type TicketKeySource,
} from './ticket-key-callback.js';

const VECTOR_BYTES = 16;

/** Options of {@link attachTicketKeys}. */
export interface AttachTicketKeysOptions {
  /**
   * Which tickets a client gets a new one for when it comes back: those whose key no longer seals (`rotated`), or
   * `every` one. In TLS 1.3 curl, Java and browsers use a ticket once, and without a new one come back in full the time
   * after. In TLS 1.2 OpenSSL announces a renewed ticket with a lifetime of 0, on which wolfSSL forgets the session.
   * Default: `rotated`, as in SSL_CTX_set_tlsext_ticket_key_cb(3).
   */
  readonly renew?: 'rotated' | 'every' | undefined;
}

/**
 * Seals and opens the tickets of a server with the keys of a ring, and does nothing else: no ClientHello is read
 * before Node reads it, so a connection costs what it costs with Node's own single key. All that a
 * {@link ServerResumption} adds is missing: tickets are bound to no name and no configuration (`setSecureContext` does not
 * end them), have no `maxChainAge`, and there is neither a `connection(socket)` nor a way for clients without tickets.
 * So it is for servers that ask for no client certificates.
 *
 * @param server of `tls`, `https` or `http2`
 * @param ring with keys of 48 bytes; after its disposal no ticket is opened, and none that is made can be
 * @returns gives the server Node's own key again
 * @throws TypeError for wrong arguments
 * @throws RangeError for keys of another length
 * @throws ResumptionError ERR_TICKETS_UNSAFE when the server asks for client certificates, ERR_ALREADY_ATTACHED,
 *   ERR_UNSUPPORTED_SERVER when it makes no tickets or has an `SNICallback`, or this Node cannot be told
 *   keys
 */
export function attachTicketKeys(
  server: TlsServer,
  ring: TicketKeyRing,
  options: AttachTicketKeysOptions = {},
): Disposable {
  requireObject('options', options);
  const { renew = 'rotated' } = options;
  if (renew !== 'rotated' && renew !== 'every') throw wrongType('renew', "'rotated' or 'every'", renew);
  requireUsable(server, ring);
  const source = new RingSource(server, ring, renew === 'every');
  const follow = (): void => {
    setTicketKeyCallback(node.defaultContextOf(server) as object, source);
    for (const each of node.contextsByName(server)) answerTicketKeys(each, source);
  };
  follow();
  const restores = (['setSecureContext', 'addContext'] as const).map((method) =>
    overrideMethod(server, method, (original: (...given: never[]) => void) => (...given: never[]): void => {
      original.apply(server, given);
      follow();
    }),
  );
  Object.defineProperty(server, ATTACHED, { value: true, configurable: true });
  return {
    [Symbol.dispose]: () => {
      if (source.detached) return;
      source.detached = true;
      for (const restore of restores) restore();
      Reflect.deleteProperty(server, ATTACHED);
    },
  };
}

function requireUsable(server: TlsServer, ring: TicketKeyRing): void {
  if (!(server instanceof TlsServer)) {
    throw wrongType('server', 'a server of node:tls, node:https or node:http2 (secure)', server);
  }
  if (!(ring instanceof TicketKeyRing)) throw wrongType('ring', 'a TicketKeyRing', ring);
  requireNodeKeys('ring', ring);
  if (Object.hasOwn(server, ATTACHED)) {
    throw new ResumptionError('ERR_ALREADY_ATTACHED', 'the server has keys or a ServerResumption already');
  }
  const { secureOptions = 0 } = server as { secureOptions?: number };
  if ((secureOptions & constants.SSL_OP_NO_TICKET) !== 0) {
    throw new ResumptionError('ERR_UNSUPPORTED_SERVER', 'the server makes no tickets: it has SSL_OP_NO_TICKET');
  }
  const context = node.defaultContextOf(server);
  if (context === undefined || !hasTicketKeyCallback(context)) {
    throw new ResumptionError('ERR_UNSUPPORTED_SERVER', 'this Node asks nobody for the keys of its tickets');
  }
  if (node.serverNameCallbackOf(server) !== undefined) {
    throw new ResumptionError(
      'ERR_UNSUPPORTED_SERVER',
      'the server has an SNICallback, whose contexts would not know the keys: use a ServerResumption',
    );
  }
  if (node.endpointSettingsOf(server).requestCert) {
    throw new ResumptionError(
      'ERR_TICKETS_UNSAFE',
      'the server asks for client certificates, which a ticket that is bound to nothing would outlive: use a ServerResumption',
    );
  }
}

class RingSource implements TicketKeySource {
  detached = false;
  readonly #server: TlsServer;
  readonly #ring: TicketKeyRing;
  readonly #renewEvery: boolean;

  constructor(server: TlsServer, ring: TicketKeyRing, renewEvery: boolean) {
    this.#server = server;
    this.#ring = ring;
    this.#renewEvery = renewEvery;
  }

  seal(): ReturnType<TicketKeySource['seal']> {
    const key = this.detached ? node.ownTicketKeyOf(this.#server) : keyOfNextTicket(this.#ring);
    if (key === undefined) return undefined;
    const vector = Buffer.allocUnsafe(VECTOR_BYTES);
    writeRandom(vector, 0, VECTOR_BYTES);
    return { key, vector };
  }

  open(name: Buffer): ReturnType<TicketKeySource['open']> {
    if (this.detached) {
      const key = node.ownTicketKeyOf(this.#server);
      return key.name.equals(name) ? { key, renew: false } : undefined;
    }
    const key = keyOfTicket(this.#ring, name);
    return key && { key, renew: this.#renewEvery || !isSealingKey(this.#ring, key) };
  }
}
