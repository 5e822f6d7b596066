/** One server-side handshake, from its ClientHello to `secureConnection`. */

import { AsyncResource } from 'node:async_hooks';
import type { Duplex } from 'node:stream';
import type { SecureContext, TLSSocket } from 'node:tls';
import type { Loan } from '../cache/flights.js';
import type { SessionCache, SessionEntry } from '../cache/session-cache.js';
import {
  agreesOnTls13,
  findOffer,
  holdsVerifiedCertificate,
  type NotResumedReason,
  type ResumptionOffer,
  refusal,
  TLS_1_3,
} from '../guard/resumption-rules.js';
import type { SessionIdContextGuard, SessionPolicy } from '../guard/session-id-context-guard.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import type { ClientHelloView } from '../wire/client-hello-view.js';
import { decodeSslSession } from '../wire/ssl-session.js';
import { attachOutcome, HandshakeOutcome, type ResumptionWay } from './connection.js';
import type { TicketJudgement } from './ticket-judgement.js';
import type { TicketMode } from './ticket-mode.js';
import type { Twin } from './ticket-twins.js';

/** More than OpenSSL makes for one handshake; a bound all the same. */
const MAX_NEW_SESSIONS = 8;

/** What every handshake of an attached server shares. */
export interface HandshakeSetting {
  readonly cache: SessionCache;
  readonly guard: SessionIdContextGuard;
  readonly singleUse: boolean;
  /** Milliseconds that an answer of the external cache is waited for. */
  readonly lookupTimeout: number;
  readonly clock: () => number;
  readonly written: (write: MaybePromise<void>) => void;
  /** Where sessions live with the clients. */
  readonly tickets: TicketMode | undefined;
}

/** The server's answer to the name in the hello, settled before Node asks for it. */
export interface ServerNameAnswer {
  readonly error?: Error | null | undefined;
  readonly context?: SecureContext | undefined;
}

/** Names whose contexts one policy remembers. Only names that resumed get here, and no more than this many. */
const MAX_CONTEXTS = 128;

/** The contexts of the names that clients come back to, under one policy. */
export class ContextMemory {
  readonly #contexts = new Map<string | undefined, Buffer>();
  #rotations = 0;

  contextFor(guard: SessionIdContextGuard, policy: SessionPolicy): Buffer {
    if (this.#rotations !== guard.rotations) {
      this.#contexts.clear();
      this.#rotations = guard.rotations;
    }
    return this.#contexts.get(policy.servername) ?? guard.contextFor(policy);
  }

  remember(servername: string | undefined, context: Buffer, rotations: number): void {
    if (rotations === this.#rotations && this.#contexts.size < MAX_CONTEXTS) this.#contexts.set(servername, context);
  }
}

/** The configuration that a handshake runs under. */
export interface HandshakePolicy {
  readonly parameters: Buffer;
  readonly tls13: boolean;
  readonly requestCert: boolean;
  /** OpenSSL's context that the name chose; `undefined` when it is not known. */
  readonly nativeContext: object | undefined;
  readonly contexts: ContextMemory;
  /** Says whether contexts were changed since: then its sessions are not kept. */
  readonly current: () => boolean;
  /** What the application's own SNICallback answered, where it has one. */
  readonly answer: ServerNameAnswer | undefined;
}

interface NewSession {
  readonly id: Buffer;
  readonly session: Buffer;
}

type SessionTimes = Pick<SessionEntry, 'fullHandshakeTime' | 'expiresAt'>;

/** What a lookup gives, or a loan where sessions are used once. */
type Found = SessionEntry | Loan | undefined;

export class Handshake extends AsyncResource {
  readonly hello: ClientHelloView | undefined;
  readonly policy: HandshakePolicy;
  readonly #setting: HandshakeSetting;
  readonly #sessionPolicy: SessionPolicy;
  readonly #context: Buffer;
  readonly #offer: ResumptionOffer | NotResumedReason;
  readonly #judgement: TicketJudgement | undefined;
  #twin: Twin | undefined;
  #waiting: NewSession[] | undefined;
  #sessionsMade = 0;
  #tls13 = false;
  #lifetime: SessionTimes | undefined;
  #reason: NotResumedReason;
  #key: Buffer | undefined;
  #answered: SessionEntry | undefined;
  #loan: Loan | undefined;
  readonly #rotations: number;
  #answering = false;
  #over = false;

  constructor(setting: HandshakeSetting, hello: ClientHelloView | undefined, policy: HandshakePolicy) {
    super('TLSRESUMPTION', { requireManualDestroy: true });
    this.#setting = setting;
    this.hello = hello;
    this.policy = policy;
    this.#rotations = setting.guard.rotations;
    this.#sessionPolicy = { servername: hello?.servername, parameters: policy.parameters };
    this.#context = policy.contexts.contextFor(setting.guard, this.#sessionPolicy);
    this.#judgement = hello && setting.tickets?.judge(hello, this.#agreesOnTls13, policy, this.#context);
    this.#offer = this.#findOffer();
    this.#reason = typeof this.#offer === 'string' ? this.#offer : 'not-taken';
  }

  get #agreesOnTls13(): boolean {
    return this.hello !== undefined && agreesOnTls13(this.hello, this.policy.tls13);
  }

  #findOffer(): ResumptionOffer | NotResumedReason {
    if (this.hello === undefined) return 'unreadable-hello';
    if (this.#judgement !== undefined) return this.#judgement.refused ?? 'not-taken';
    // Beside tickets TLS 1.3 knows no other way.
    if (this.#setting.tickets !== undefined && this.#agreesOnTls13) return 'not-offered';
    return findOffer(this.hello, this.policy.tls13);
  }

  /** Runs Node's own `connection` listener so that what it causes is known to be of this handshake. */
  begin(socket: Duplex, accept: (socket: Duplex) => void): void {
    const { tickets } = this.#setting;
    if (tickets === undefined) this.runInAsyncScope(accept, undefined, socket);
    else {
      this.#twin = tickets.accept(socket, this.#agreesOnTls13, this.policy, this.#judgement, () =>
        this.runInAsyncScope(accept, undefined, socket),
      );
    }
  }

  #end(): void {
    this.#over = true;
    if (this.#twin !== undefined) this.#setting.tickets?.giveBack(this.#twin);
    this.#twin = undefined;
  }

  /** Answers Node's `resumeSession` exactly once, with a session or without. */
  resume(callback: (error: null, session: Buffer | null) => void): void {
    const offer = this.#offer;
    if (typeof offer === 'string') {
      this.#goOnWithout(callback);
      return;
    }
    this.#reason = 'unknown';
    let found: MaybePromise<Found>;
    let session: Buffer | null = null;
    // Node waits for an answer whatever a clock or a cache of the application throws.
    try {
      found = this.#find(offer.sessionId);
      if (!isPromise(found)) session = this.#judge(offer, found);
    } catch {
      this.#reason = 'lookup-failed';
    }
    if (isPromise(found)) this.#await(found, offer, callback);
    else callback(null, session);
  }

  #goOnWithout(callback: (error: null, session: null) => void): void {
    const { tickets } = this.#setting;
    if (tickets === undefined || this.#judgement === undefined) callback(null, null);
    else tickets.openDuring(this.#judgement, () => callback(null, null));
  }

  #await(found: Promise<Found>, offer: ResumptionOffer, callback: (error: null, session: Buffer | null) => void): void {
    const settle = (answer: Found): void => {
      clearTimeout(deadline);
      if (!this.#answering) {
        this.#entryOf(answer);
        this.#giveBack(false);
        return;
      }
      this.#answering = false;
      let session: Buffer | null = null;
      try {
        session = this.#judge(offer, answer);
      } catch {
        this.#reason = 'lookup-failed';
      }
      callback(null, session);
    };
    this.#answering = true;
    const deadline = setTimeout(() => {
      this.#reason = 'store-timeout';
      this.#setting.cache.count('externalTimeout');
      settle(undefined);
    }, this.#setting.lookupTimeout);
    found.then(settle, () => settle(undefined));
  }

  #find(sessionId: Buffer): MaybePromise<Found> {
    const { cache, guard, singleUse } = this.#setting;
    this.#key = guard.keyFor(this.#context, sessionId);
    return singleUse ? cache.borrow(this.#key) : cache.lookupEntry(this.#key);
  }

  #entryOf(found: Found): SessionEntry | undefined {
    if (found === undefined || !('flight' in found)) return found;
    this.#loan = found;
    return found.entry;
  }

  #judge(offer: ResumptionOffer, found: Found): Buffer | null {
    const entry = this.#entryOf(found);
    if (entry === undefined) return null;
    if (this.#over) {
      this.#giveBack(false);
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
    if (!this.#current()) return 'unknown';
    if (!guard.withinChainAge(entry.fullHandshakeTime, clock())) return 'chain-too-old';
    return refusal(this.hello as ClientHelloView, decodeSslSession(entry.session), offer, this.policy.requestCert);
  }

  /** Whether the context that was computed from the hello is still the one that a hello would get now. */
  #current(): boolean {
    return this.policy.current() && this.#rotations === this.#setting.guard.rotations;
  }

  /**
   * What Node's `newSession` brings: before `secureConnection` in TLS 1.2, after it in TLS 1.3, where sessions are made
   * for a client too that was just rejected for its certificate. A later one in TLS 1.2 is a renegotiation.
   */
  made(id: Buffer, session: Buffer): void {
    if (this.#sessionsMade++ >= MAX_NEW_SESSIONS) return;
    if (this.#over) {
      if (this.#tls13 && this.#lifetime !== undefined) this.#keep(id, session, this.#lifetime);
    } else if (this.#waiting === undefined) this.#waiting = [{ id, session }];
    else this.#waiting.push({ id, session });
  }

  /** The handshake is complete; returns false when the connection must not go on. */
  complete(socket: TLSSocket): boolean {
    this.#end();
    const { cache } = this.#setting;
    // Node takes an external PSK for a session too.
    const resumed = socket.isSessionReused() && this.#offeredOne();
    this.#tls13 = this.#agreedInFact(socket, resumed);
    cache.count('acceptGood');
    if (resumed) {
      cache.count('hit');
      this.policy.contexts.remember(this.hello?.servername, this.#context, this.#rotations);
    }
    this.#giveBack(resumed);
    const nameKept =
      ((socket as { servername?: string | false | null }).servername || undefined) === this.hello?.servername;
    // Measured: a resumed TLS 1.2 connection has no name to compare, and no second hello to change it in.
    if (resumed && this.#tls13 && !nameKept) return false;
    attachOutcome(socket, this.#outcome(resumed));
    if (resumed || nameKept) this.#lifetime = this.#lifetimeOfSessions(socket, resumed);
    if (this.#tls13) this.#stampTickets(resumed);
    this.#keepWaiting();
    return true;
  }

  #offeredOne(): boolean {
    const { tickets } = this.#setting;
    if (this.#answered !== undefined || tickets?.judges === false) return true;
    return this.#judgement !== undefined && this.#judgement.refused === undefined;
  }

  /** A session is resumed under the version that it was made under: then there is no need to ask for it. */
  #agreedInFact(socket: TLSSocket, resumed: boolean): boolean {
    const offer = this.#offer;
    if (resumed && this.#answered !== undefined && typeof offer === 'object') return offer.protocolVersion === TLS_1_3;
    return socket.getProtocol() === 'TLSv1.3';
  }

  #way(): ResumptionWay {
    if (this.#setting.tickets === undefined) return this.#tls13 ? 'stateful-ticket' : 'session-id';
    return this.#answered === undefined ? 'ticket' : 'session-id';
  }

  #outcome(resumed: boolean): HandshakeOutcome {
    return new HandshakeOutcome(
      this.hello,
      resumed ? this.#way() : null,
      resumed ? null : this.#reason,
      this.#sessionPolicy,
    );
  }

  /** `undefined` when no session of this connection may be kept. */
  #lifetimeOfSessions(socket: TLSSocket, resumed: boolean): SessionTimes | undefined {
    if (this.hello === undefined) return undefined;
    const ancestor = this.#answered ?? this.#judgement;
    const fullHandshakeTime = resumed ? ancestor?.fullHandshakeTime : this.#setting.clock();
    const expiresAt = this.policy.requestCert ? certificateExpiry(socket) : Number.POSITIVE_INFINITY;
    if (fullHandshakeTime === undefined || expiresAt === undefined) return undefined;
    return { fullHandshakeTime, expiresAt };
  }

  /** OpenSSL makes the tickets of a TLS 1.3 connection next: these, like sessions, may be kept or not. */
  #stampTickets(resumed: boolean): void {
    const kept = this.#lifetime !== undefined && this.#current();
    this.#setting.tickets?.completed(kept ? this.#context : undefined, this.#lifetime?.fullHandshakeTime ?? 0, resumed);
  }

  #keepWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined || this.#lifetime === undefined) return;
    for (const { id, session } of waiting) this.#keep(id, session, this.#lifetime);
  }

  #keep(id: Buffer, session: Buffer, lifetime: SessionTimes): void {
    // Made beside a ticket, and never asked for.
    if (this.#tls13 && this.#setting.tickets !== undefined) return;
    if (!this.#current() || (this.policy.requestCert && !holdsVerifiedPeer(session))) return;
    const { cache, guard, written } = this.#setting;
    written(cache.store(guard.keyFor(this.#context, id), session, 'server', lifetime));
  }

  /** The connection is gone, or was handed over without us. */
  abandon(): void {
    if (this.#over) return;
    this.#end();
    this.#waiting = undefined;
    this.#giveBack(false);
  }

  #giveBack(used: boolean): void {
    const loan = this.#loan;
    if (loan === undefined || this.#key === undefined) return;
    this.#loan = undefined;
    this.#setting.written(this.#setting.cache.giveBack(this.#key, loan, used));
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
