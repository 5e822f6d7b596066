/** Which ticket of a hello may be opened: RFC 5077 §3.4, RFC 8446 §4.6.1, and what both leave to the server. */

import { X509Certificate } from 'node:crypto';
import { openTicketWith } from '../tickets/rfc5077-codec.js';
import type { TicketKey } from '../tickets/ticket-key.js';
import { isStampedFor, openStamp } from '../tickets/ticket-stamp.js';
import { decodeSslSession, type SslSession } from '../wire/ssl-session.js';
import { holdsVerifiedCertificate, type NotResumedReason } from './resumption-rules.js';
import type { SessionIdContextGuard } from './session-id-context-guard.js';

/** What a ticket is judged by. */
export interface TicketCircumstances {
  /** Where it must belong. */
  readonly context: Uint8Array;
  /** Whether tickets that were made without a stamp, by other servers that have the key, are opened. */
  readonly strangers: boolean;
  /** Whether the session must hold a client certificate that verified and has not expired. */
  readonly requestCert: boolean;
  /** Whether its session may have been made with extended master secret (RFC 7627 §5.3). */
  readonly extendedMasterSecret: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** The name in the hello. */
  readonly servername: string | undefined;
  /** Milliseconds since 1970: tickets without a stamp from before are not opened. */
  readonly forgottenAt: number;
  readonly guard: Pick<SessionIdContextGuard, 'withinChainAge' | 'refusalOf'>;
}

/** @returns why it is not opened, or when the full handshake was that it descends from: milliseconds since 1970 */
export function judgeTicket(
  key: TicketKey,
  ticket: Buffer,
  circumstances: TicketCircumstances,
): NotResumedReason | number {
  const { context, now, guard, servername } = circumstances;
  const stamp = openStamp(key, ticket.subarray(16, 32));
  if (stamp !== undefined) {
    if (!isStampedFor(stamp, context)) return 'other-context';
    if (!guard.withinChainAge(stamp.fullHandshakeTime, now)) return 'chain-too-old';
    const refused = guard.refusalOf(servername, ticket, stamp.fullHandshakeTime, undefined);
    if (refused !== undefined) return refused;
  } else if (!circumstances.strangers) return 'other-context';
  if (stamp !== undefined && !circumstances.requestCert && circumstances.extendedMasterSecret) {
    return stamp.fullHandshakeTime;
  }
  const state = openTicketWith(key, ticket);
  if (state === undefined) return 'unreadable-session';
  try {
    return judgeSession(ticket, decodeSslSession(state), stamp?.fullHandshakeTime, circumstances);
  } finally {
    state.fill(0);
  }
}

function judgeSession(
  ticket: Buffer,
  session: SslSession | undefined,
  stamped: number | undefined,
  circumstances: TicketCircumstances,
): NotResumedReason | number {
  const { requestCert, extendedMasterSecret, now, guard, servername } = circumstances;
  if (session === undefined) return 'unreadable-session';
  const made = stamped ?? session.time * 1000;
  // Nothing else tells a ticket without a stamp from before a rotation.
  if (stamped === undefined && made <= circumstances.forgottenAt) return 'other-context';
  if (!guard.withinChainAge(made, now)) return 'chain-too-old';
  const refused = guard.refusalOf(servername, ticket, made, session);
  if (refused !== undefined) return refused;
  if (session.extendedMasterSecret && !extendedMasterSecret) return 'extended-master-secret';
  return requestCert && !holdsValidCertificate(session, now) ? 'client-certificate' : made;
}

function holdsValidCertificate(session: SslSession, now: number): boolean {
  if (!holdsVerifiedCertificate(session)) return false;
  try {
    return Date.parse(new X509Certificate(session.peerCertificate as Buffer).validTo) > now;
  } catch {
    return false;
  }
}
