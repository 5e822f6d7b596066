/** Opens a connection with what a shelf has to offer, and keeps what the server gives on it. */

import { X509Certificate } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import type { SessionCache } from '../cache/session-cache.js';
import { decodeSslSession, type SslSession } from '../wire/ssl-session.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import type { ClientTlsOptions } from './client-policy.js';
import type { Offer, SessionShelf } from './session-shelf.js';

const TLS13 = 0x0304;
/** Seconds that a TLS 1.2 session lives whose server does not say: RFC 5246 §F.1.4. */
const DEFAULT_LIFETIME = 86_400;

/** What connections need of their ClientResumption. */
export interface ClientSessions {
  readonly cache: SessionCache;
  readonly shelf: SessionShelf;
  readonly clock: () => number;
  /** Milliseconds since its full handshake that a session is offered for. */
  readonly maxChainAge: number;
}

/**
 * `tls.connect`, with an offer.
 *
 * @param policy `undefined` for a connection that has no part in resumption
 * @throws what `tls.connect` throws
 */
export function connectWith(
  sessions: ClientSessions,
  options: ClientTlsOptions,
  policy: Buffer | undefined,
  offer: Offer | undefined,
  onSecure?: () => void,
): TLSSocket {
  const { cache, shelf } = sessions;
  const { generation } = shelf;
  cache.count('connect');
  const socket = connect(offer ? { ...options, session: offer.session } : options, onSecure);
  let connected = !socket.connecting;
  let secure = false;
  // Whose session is not ours was made under a policy that we do not know, and so are those that descend from it.
  let foreign = Boolean(options.session);
  let fullHandshakeTime = sessions.clock();
  let reusableKept = false;
  let certificateEnds: number | undefined;

  socket.once('connect', () => {
    connected = true;
  });
  socket.once('secureConnect', () => {
    secure = true;
    cache.count('connectGood');
    const resumed = socket.isSessionReused();
    if (resumed) cache.count('hit');
    else foreign = false;
    if (offer === undefined || policy === undefined) return;
    if (resumed) fullHandshakeTime = offer.fullHandshakeTime;
    else shelf.drop(policy, offer);
  });
  socket.once('close', () => {
    if (secure || offer === undefined || policy === undefined) return;
    if (connected) shelf.drop(policy, offer);
    else if (shelf.generation === generation) shelf.giveBack(policy, offer);
  });
  socket.on('session', (bytes: Buffer) => {
    if (policy === undefined || !secure || foreign || shelf.generation !== generation) return;
    const session = decodeSslSession(bytes);
    if (session === undefined || !isTrusted(socket, session)) return;
    const reusable = session.protocolVersion !== TLS13;
    // A second one in TLS 1.2 is of a renegotiation, whose certificate nobody has looked at.
    if (reusable && reusableKept) return;
    reusableKept = reusable;
    certificateEnds ??= certificateEnd(session.peerCertificate);
    const expiresAt = Math.min(expiryOf(session, fullHandshakeTime, sessions), certificateEnds);
    if (expiresAt > sessions.clock()) shelf.keep(policy, bytes, reusable, fullHandshakeTime, expiresAt);
  });
  return socket;
}

/**
 * A session remembers whether its certificates were verified, but not that it failed the identity check, which Node
 * does not repeat when it resumes: the connection would then be `authorized`.
 */
function isTrusted(socket: TLSSocket, session: SslSession): boolean {
  return socket.authorized || session.verifyResult !== 0;
}

function expiryOf(session: SslSession, fullHandshakeTime: number, { clock, maxChainAge }: ClientSessions): number {
  const hint = session.ticketLifetimeHint ?? 0;
  // RFC 8446 §4.6.1: a ticket with a lifetime of zero is to be discarded at once; RFC 5077 §3.3: it is up to the client.
  const lifetime = session.protocolVersion === TLS13 ? hint : hint || DEFAULT_LIFETIME;
  return Math.min(clock() + Math.min(lifetime, MAX_TICKET_LIFETIME) * 1000, fullHandshakeTime + maxChainAge);
}

/** Nobody looks at the certificate when a session is resumed, so it ends with it. */
function certificateEnd(der: Buffer | undefined): number {
  if (der === undefined) return Number.POSITIVE_INFINITY;
  try {
    return Date.parse(new X509Certificate(der).validTo);
  } catch {
    return 0;
  }
}
