/**
 * A client that connects, takes what it is given to come back with, and leaves.
 *
 * @module
 */

import type { Server, Socket } from 'node:net';
import { type CipherNameAndProtocol, type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { NotResumedReason } from '../guard/resumption-rules.js';
import { connectionOf, type ResumptionConnection, type ResumptionWay } from '../server/connection.js';
import { decodeSslSession } from '../wire/ssl-session.js';
import { type TicketFacts, ticketOf, wayOfSession } from './client-session.js';
import { readVisitOptions, type Stay, type VisitOptions } from './visit-options.js';
import { connectTo, isServer, type VisitTarget } from './visit-target.js';

/**
 * Why a visit was a full handshake: it had no session to show (`'no-session'`), the server refused the one shown
 * (`'refused'`), or what `ServerResumption` of this process says.
 */
export type VisitReason = NotResumedReason | 'no-session' | 'refused';

/** What a visit saw. Its sessions hold secrets, and are not shown by `util.inspect` or `JSON.stringify`. */
export interface Visit {
  /** `'TLSv1.2'`, `'TLSv1.3'`, …: what the two agreed on. */
  readonly protocol: string;
  /** Standard (RFC) name of the cipher suite. */
  readonly cipher: string;
  /** Whether the server's certificate was verified, in this handshake or in the one that the session is from. */
  readonly authorized: boolean;
  /** SHA-256 of the server's certificate, in hexadecimal with colons; of a resumed one, of that in its session. */
  readonly fingerprint: string | undefined;
  /** Whether the handshake was an abbreviated one. */
  readonly resumed: boolean;
  /** How it resumed, as the session shown tells; `null` when it did not. */
  readonly way: ResumptionWay | null;
  /** Why it did not resume; `null` when it did. */
  readonly reason: VisitReason | null;
  /** The tickets that came, in order. */
  readonly tickets: readonly TicketFacts[];
  /** What the server answered, one character a byte, at most 64 KiB. */
  readonly received: string;
  /** What to come back with: the newest session; `undefined` when the server gave none. */
  readonly session: Buffer | undefined;
  /** Every session that came: in TLS 1.3 one a ticket. */
  readonly sessions: readonly Buffer[];
}

interface Facts
  extends Pick<Visit, 'protocol' | 'cipher' | 'authorized' | 'fingerprint' | 'resumed' | 'received' | 'sessions'> {
  readonly localPort: number | undefined;
}

/** Milliseconds for more of the same after a ticket or an answer; and for the server to leave after the client. */
const LINGER = 20;
const GRACE = 1000;
const MAX_RECEIVED = 65_536;

const TLS_1_3 = 'TLSv1.3';

/** What is made of the facts. Its sessions are there to be used, not to be listed. */
function visitOf(facts: Facts, shown: Buffer | undefined, server: ResumptionConnection | undefined): Visit {
  const { sessions, localPort: _, ...seen } = facts;
  const { resumed } = facts;
  const reason: VisitReason = shown === undefined ? 'no-session' : (server?.reason ?? 'refused');
  // Of a resumed TLS 1.2 connection the session is the one shown, unless its ticket was renewed.
  const old = shown && decodeSslSession(shown)?.ticket;
  const isNew = (session: Buffer): boolean => !old || decodeSslSession(session)?.ticket?.equals(old) === false;
  const visit = {
    ...seen,
    way: resumed && shown !== undefined ? (wayOfSession(shown) ?? null) : null,
    reason: resumed ? null : reason,
    tickets: sessions.filter(isNew).flatMap((session) => ticketOf(session) ?? []),
    session: sessions.at(-1),
    sessions,
  };
  const unlisted = { enumerable: false };
  return Object.defineProperties(visit, { session: unlisted, sessions: unlisted });
}

/**
 * Connects, waits for tickets and, if something is sent, for the answer, and leaves.
 *
 * @param target a server of this process, a port of 127.0.0.1, or an address
 * @returns what was seen; rejects with what `tls` says of a connection or handshake that fails, with code `ETIMEDOUT`
 *   when it took longer than `timeout`
 * @throws {TypeError} when an argument is of the wrong type
 * @throws {RangeError} when one is out of range, or the server does not listen
 *
 * @example
 * ```ts
 * const first = await visit(server, { version: 'TLSv1.3' });
 * const second = await visit(server, { version: 'TLSv1.3', session: first.session });
 * assertResumed(second, 'stateful-ticket');
 * ```
 */
export async function visit(target: VisitTarget, options: VisitOptions = {}): Promise<Visit> {
  const where = connectTo(target);
  const { connection, stay } = readVisitOptions(options);
  const told = isServer(target) ? listenTo(target) : undefined;
  try {
    const facts = await stayAt({ ...connection, ...where }, stay);
    return visitOf(facts, connection.session as Buffer | undefined, told?.about(facts.localPort));
  } finally {
    told?.stop();
  }
}

/** Keeps what a server of this process says of the connections that come meanwhile. */
function listenTo(server: Server) {
  const said = new Map<number | undefined, ResumptionConnection>();
  const listen = (socket: Socket): void => {
    const connection = connectionOf(socket);
    if (connection !== undefined) said.set(socket.remotePort, connection);
  };
  server.on('secureConnection', listen);
  return {
    about: (port: number | undefined) => said.get(port),
    stop: () => void server.off('secureConnection', listen),
  };
}

function stayAt(connection: ConnectionOptions, stay: Stay): Promise<Facts> {
  return new Promise((resolve, reject) => {
    const socket = connect(connection);
    const guest = new Guest(socket, stay);
    let failure: NodeJS.ErrnoException | undefined;
    socket.on('error', (error) => {
      failure ??= error;
    });
    socket.on('close', () => {
      guest.stop();
      const facts = guest.facts();
      // After its handshake a TLS 1.3 client may still be told that it was refused.
      if (facts !== undefined && !failure?.code?.startsWith('ERR_SSL_')) resolve(facts);
      else reject(failure ?? fault('ECONNRESET', 'the server closed the connection before the handshake was complete'));
    });
  });
}

function fault(code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(message), { code });
}

/** The client's side of a connection, from the handshake to the leave. */
class Guest {
  readonly #socket: TLSSocket;
  readonly #stay: Stay;
  readonly #sessions: Buffer[] = [];
  readonly #deadline: NodeJS.Timeout;
  #idle: NodeJS.Timeout | undefined;
  #localPort: number | undefined;
  #received = '';
  #agreed: Pick<Facts, 'protocol' | 'cipher' | 'authorized' | 'fingerprint' | 'resumed'> | undefined;

  constructor(socket: TLSSocket, stay: Stay) {
    this.#socket = socket;
    this.#stay = stay;
    this.#deadline = setTimeout(() => {
      socket.destroy(fault('ETIMEDOUT', `no end of the visit within ${stay.timeout} ms`));
    }, stay.timeout);
    socket.once('connect', () => {
      this.#localPort = socket.localPort;
    });
    socket.on('session', (session: Buffer) => {
      this.#sessions.push(Buffer.from(session));
      if (this.#agreed !== undefined && stay.send === undefined) this.#leaveIn(LINGER);
    });
    socket.once('secureConnect', () => this.#enter());
    socket.on('data', (chunk: Buffer) => {
      if (this.#received.length < MAX_RECEIVED) this.#received += chunk.toString('latin1');
      // What nobody asked for keeps nobody.
      if (stay.send !== undefined) this.#leaveIn(LINGER);
    });
    socket.once('end', () => socket.end());
  }

  #enter(): void {
    const { send, patience } = this.#stay;
    const protocol = this.#socket.getProtocol() ?? '';
    const cipher: CipherNameAndProtocol & { readonly standardName?: string } = this.#socket.getCipher();
    this.#agreed = {
      protocol,
      cipher: cipher.standardName ?? cipher.name,
      resumed: this.#socket.isSessionReused(),
      authorized: this.#socket.authorized,
      fingerprint: this.#socket.getPeerX509Certificate()?.fingerprint256,
    };
    // In TLS 1.2 there is a session event for full handshakes only.
    if (protocol !== TLS_1_3 && this.#agreed.resumed) this.#keep(this.#socket.getSession());
    if (send !== undefined) this.#socket.write(send);
    const seen = this.#sessions.length > 0 ? Math.min(LINGER, patience) : patience;
    this.#leaveIn(send === undefined ? (protocol === TLS_1_3 ? seen : 0) : patience);
  }

  #keep(session: Buffer | undefined): void {
    if (session !== undefined && wayOfSession(session) !== undefined) this.#sessions.push(Buffer.from(session));
  }

  /** Says so, and then reads on until the server has left too: nothing that is on its way is lost. */
  #leaveIn(milliseconds: number): void {
    if (this.#socket.writableEnded) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#socket.end();
      this.#idle = setTimeout(() => this.#socket.destroy(), GRACE);
    }, milliseconds);
  }

  stop(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#idle);
  }

  facts(): Facts | undefined {
    return (
      this.#agreed && {
        ...this.#agreed,
        received: this.#received.slice(0, MAX_RECEIVED),
        sessions: this.#sessions,
        localPort: this.#localPort,
      }
    );
  }
}
