/**
 * What a client's session tells: how it comes back, and its ticket.
 *
 * @module
 */

import type { ResumptionWay } from '../server/connection.js';
import { decodeSslSession } from '../wire/ssl-session.js';

const TLS_1_3 = 0x0304;
/** A TLS 1.3 server that keeps the session itself gives it a name of this length; OpenSSL, rustls and Java do. */
const STATEFUL_TICKET_BYTES = 32;
/** `\0nodejs:tls:session:1\0`, followed by the length of a name in 2 bytes, and the name. */
const NODE_PREFIX_BYTES = 22;

/** A ticket as the client got it. */
export interface TicketFacts {
  /** `'stateful-ticket'`: 32 bytes in TLS 1.3, the name of a session that the server keeps. */
  readonly way: 'stateful-ticket' | 'ticket';
  /** Length in bytes. */
  readonly bytes: number;
  /** Seconds that the server said it is good for; 0 when it did not say (TLS 1.2). */
  readonly lifetime: number;
}

/**
 * How a client with this session comes back: it has a TLS 1.2 ID, a TLS 1.3 ticket of 32 bytes, or any other ticket.
 *
 * @param session of the client's side: a `session` event's, or `getSession()`
 * @returns `undefined` for bytes that are no session, or one that cannot come back
 */
export function wayOfSession(session: Uint8Array): ResumptionWay | undefined {
  const decoded = decodeSslSession(session);
  if (decoded === undefined) return undefined;
  const { ticket, sessionId, protocolVersion } = decoded;
  if (ticket !== undefined && ticket.length > 0) {
    return protocolVersion >= TLS_1_3 && ticket.length === STATEFUL_TICKET_BYTES ? 'stateful-ticket' : 'ticket';
  }
  return sessionId.length > 0 && protocolVersion < TLS_1_3 ? 'session-id' : undefined;
}

/** The ticket of a session; `undefined` when it has none. */
export function ticketOf(session: Uint8Array): TicketFacts | undefined {
  const way = wayOfSession(session);
  if (way === undefined || way === 'session-id') return undefined;
  const decoded = decodeSslSession(session);
  return { way, bytes: decoded?.ticket?.length ?? 0, lifetime: decoded?.ticketLifetimeHint ?? 0 };
}

/**
 * The session without the name that Node 22.23 and later put before it: measured on 20 to 26, a client shows such a
 * session whatever name it connects to.
 */
export function bareSession(session: Buffer): Buffer {
  if (decodeSslSession(session)?.checkedServername === undefined) return session;
  return session.subarray(NODE_PREFIX_BYTES + 2 + session.readUInt16BE(NODE_PREFIX_BYTES));
}

/**
 * What a client has been given so far. A TLS 1.3 ticket goes to one connection only, the newest first
 * (RFC 8446 §C.4); what TLS 1.2 gave may be shown again.
 */
export class ClientSessions {
  readonly #fresh: Buffer[] = [];
  #lasting: Buffer | undefined;

  add(sessions: readonly Buffer[]): void {
    for (const session of sessions) {
      if ((decodeSslSession(session)?.protocolVersion ?? 0) >= TLS_1_3) this.#fresh.push(session);
      else this.#lasting = session;
    }
  }

  next(): Buffer | undefined {
    return this.#fresh.pop() ?? this.#lasting;
  }
}
