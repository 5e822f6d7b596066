/** One server-side handshake, from its ClientHello to `secureConnection`. */

import { AsyncResource } from 'node:async_hooks';
import type { SecureContext, TLSSocket } from 'node:tls';
import type { SessionCache, SessionEntry } from '../cache/session-cache.js';
import {
  findOffer,
  holdsVerifiedCertificate,
  type NotResumedReason,
  type ResumptionOffer,
  refusal,
} from '../guard/resumption-rules.js';
import type { SessionIdContextGuard, SessionPolicy } from '../guard/session-id-context-guard.js';
import type { MaybePromise } from '../stores/session-store.js';
import type { ClientHello } from '../wire/client-hello.js';
import { decodeSslSession } from '../wire/ssl-session.js';
import { attachConnection, type ResumptionConnection } from './connection.js';

/** More than OpenSSL makes for one handshake; a bound all the same. */
const MAX_NEW_SESSIONS = 8;

/** What every handshake of an attached server shares. */
export interface HandshakeSetting {
  readonly cache: SessionCache;
  readonly guard: SessionIdContextGuard;
  readonly singleUse: boolean;
  readonly clock: () => number;
  readonly written: (write: MaybePromise<void>) => void;
}

/** The server's answer to the name in the hello, settled before Node asks for it. */
export interface ServerNameAnswer {
  readonly error?: Error | null | undefined;
  readonly context?: SecureContext | undefined;
}

/** The configuration that a handshake runs under. */
export interface HandshakePolicy {
  readonly parameters: Buffer;
  readonly tls13: boolean;
  readonly requestCert: boolean;
  /** Says whether contexts were changed since: then its sessions are not kept. */
  readonly current: () => boolean;
  /** What the application's own SNICallback answered, where it has one. */
  readonly answer: ServerNameAnswer | undefined;
}

interface NewSession {
  readonly id: Buffer;
  readonly session: Buffer;
}

export class Handshake extends AsyncResource {
  readonly hello: ClientHello | undefined;
  readonly policy: HandshakePolicy;
  readonly #setting: HandshakeSetting;
  readonly #sessionPolicy: SessionPolicy;
  readonly #context: Buffer;
  readonly #made: NewSession[] = [];
  #reason: NotResumedReason;
  #key: Buffer | undefined;
  #answered: SessionEntry | undefined;
  #taken: SessionEntry | undefined;
  #over = false;

  constructor(setting: HandshakeSetting, hello: ClientHello | undefined, policy: HandshakePolicy) {
    super('TLSRESUMPTION', { requireManualDestroy: true });
    this.#setting = setting;
    this.hello = hello;
    this.policy = policy;
    this.#sessionPolicy = { servername: hello?.servername, parameters: policy.parameters };
    this.#context = setting.guard.contextFor(this.#sessionPolicy);
    this.#reason = hello === undefined ? 'unreadable-hello' : 'not-offered';
  }

  /** Answers Node's `resumeSession` exactly once, with a session or without. */
  resume(callback: (error: null, session: Buffer | null) => void): void {
    const offer = this.hello === undefined ? 'unreadable-hello' : findOffer(this.hello, this.policy.tls13);
    if (typeof offer === 'string') {
      this.#reason = offer;
      callback(null, null);
      return;
    }
    const settle = (entry: SessionEntry | undefined): void => callback(null, this.#judge(offer, entry));
    let found: MaybePromise<SessionEntry | undefined>;
    try {
      const { cache, guard, singleUse } = this.#setting;
      this.#key = guard.keyFor(this.#context, offer.sessionId);
      found = singleUse ? cache.takeEntry(this.#key) : cache.lookupEntry(this.#key);
    } catch {
      found = undefined;
    }
    if (found instanceof Promise) found.then(settle, () => settle(undefined));
    else settle(found);
  }

  #judge(offer: ResumptionOffer, entry: SessionEntry | undefined): Buffer | null {
    if (entry === undefined) {
      this.#reason = 'unknown';
      return null;
    }
    if (this.#setting.singleUse) this.#taken = entry;
    if (this.#over) {
      this.#putBack();
      return null;
    }
    const refused = this.#refusal(offer, entry);
    this.#reason = refused ?? 'not-taken';
    if (refused !== undefined) return null;
    this.#answered = entry;
    return entry.session;
  }

  #refusal(offer: ResumptionOffer, entry: SessionEntry): NotResumedReason | undefined {
    const { guard, clock } = this.#setting;
    if (!guard.withinChainAge(entry.fullHandshakeTime, clock())) return 'chain-too-old';
    return refusal(this.hello as ClientHello, decodeSslSession(entry.session), offer, this.policy.requestCert);
  }

  /** Keeps what Node's `newSession` brings until the handshake is known to be good. */
  made(id: Buffer, session: Buffer): void {
    if (!this.#over && this.#made.length < MAX_NEW_SESSIONS) this.#made.push({ id, session });
  }

  /** The handshake is complete; returns false when the connection must not go on. */
  complete(socket: TLSSocket): boolean {
    this.#over = true;
    const { cache } = this.#setting;
    const resumed = socket.isSessionReused();
    cache.count('acceptGood');
    const asked = this.hello?.servername;
    const nameKept = ((socket as { servername?: string | false | null }).servername || undefined) === asked;
    if (resumed) {
      cache.count('hit');
      this.#taken = undefined;
    }
    const tls13 = socket.getProtocol() === 'TLSv1.3';
    // Measured: a resumed TLS 1.2 connection has no name of its own to compare, and no second hello to change it in.
    if (resumed && tls13 && !nameKept) return false;
    attachConnection(socket, this.#report(resumed, tls13));
    if (resumed || nameKept) this.#keep(socket, resumed);
    this.#putBack();
    return true;
  }

  #report(resumed: boolean, tls13: boolean): ResumptionConnection {
    return {
      hello: this.hello,
      servername: this.hello?.servername,
      resumed,
      way: resumed ? (tls13 ? 'stateful-ticket' : 'session-id') : null,
      reason: resumed ? null : this.#reason,
      policy: this.#sessionPolicy,
    };
  }

  #keep(socket: TLSSocket, resumed: boolean): void {
    if (this.#made.length === 0 || this.hello === undefined || !this.policy.current()) return;
    const { cache, guard, clock, written } = this.#setting;
    const fullHandshakeTime = resumed ? this.#answered?.fullHandshakeTime : clock();
    if (fullHandshakeTime === undefined) return;
    const expiresAt = this.policy.requestCert ? certificateExpiry(socket) : Number.POSITIVE_INFINITY;
    if (expiresAt === undefined) return;
    for (const { id, session } of this.#made) {
      if (this.policy.requestCert && !holdsVerifiedPeer(session)) continue;
      written(cache.store(guard.keyFor(this.#context, id), session, 'server', { fullHandshakeTime, expiresAt }));
    }
  }

  /** The connection is gone, or was handed over without us. */
  abandon(): void {
    if (this.#over) return;
    this.#over = true;
    this.#made.length = 0;
    this.#putBack();
  }

  #putBack(): void {
    if (this.#taken === undefined || this.#key === undefined) return;
    const { session, fullHandshakeTime, expiresAt } = this.#taken;
    this.#taken = undefined;
    this.#setting.written(this.#setting.cache.store(this.#key, session, 'server', { fullHandshakeTime, expiresAt }));
  }
}

function holdsVerifiedPeer(session: Buffer): boolean {
  const decoded = decodeSslSession(session);
  return decoded !== undefined && holdsVerifiedCertificate(decoded);
}

/** Milliseconds since 1970 when the client's certificate ends; `undefined` when none was given or it did not verify. */
function certificateExpiry(socket: TLSSocket): number | undefined {
  if (!socket.authorized) return undefined;
  const expiry = Date.parse(socket.getPeerX509Certificate()?.validTo ?? '');
  return Number.isNaN(expiry) ? undefined : expiry;
}
