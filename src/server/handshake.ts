/** One server-side handshake, from its ClientHello to `secureConnection`. */

import { AsyncResource } from 'node:async_hooks';
import type { Socket } from 'node:net';
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
import { factsOf } from '../wire/session-facts.js';
import { attachOutcome, HandshakeOutcome, type ResumptionWay } from './connection.js';
import { ContextMemory } from './context-memory.js';
import { whyNotTaken } from './not-taken.js';
import type { TicketJudgement } from './ticket-judgement.js';
import type { TicketMode } from './ticket-mode.js';
import type { Twin } from './ticket-twins.js';

export { ContextMemory };

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

/** The configuration that a handshake runs under. */
export interface HandshakePolicy {
  readonly parameters: Buffer;
  readonly tls13: boolean;
  readonly requestCert: boolean;
  /** OpenSSL's context that the name chose; `undefined` when it is not known. */
  readonly nativeContext: object | undefined;
  readonly contexts: ContextMemory;
  /** Says whether a hello with this name would meet the same settings now: if not, no session is kept. */
  readonly current: (servername: string | undefined) => boolean;
  /** Counts the sessions kept under these settings; `undefined` where nobody asks. */
  readonly tally: { sessions: number } | undefined;
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
  readonly servername: string | undefined;
  readonly policy: HandshakePolicy;
  /** What it runs over, below TLS; a stream of the application is held weakly. */
  carrier: Socket | WeakRef<Duplex> | undefined;
  readonly #setting: HandshakeSetting;
  readonly #sessionPolicy: SessionPolicy;
  readonly #context: Buffer;
  /** This and what was found are of no use to the connection that follows, which may be long. */
  #hello: ClientHelloView | undefined;
  #offer: ResumptionOffer | NotResumedReason;
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
  /** The guard's, of the settings, when the context was computed. */
  readonly #generation: number;
  #answering = false;
  #over = false;

  constructor(setting: HandshakeSetting, hello: ClientHelloView | undefined, policy: HandshakePolicy) {
    super('TLSRESUMPTION', { requireManualDestroy: true });
    this.#setting = setting;
    this.servername = hello?.servername;
    this.#hello = hello;
    this.policy = policy;
    this.#generation = setting.guard.generationOf(policy.parameters);
    this.#sessionPolicy = { servername: this.servername, parameters: policy.parameters };
    this.#context = policy.contexts.contextFor(setting.guard, this.#sessionPolicy, this.#generation);
    this.#judgement = hello && setting.tickets?.judge(hello, this.#agreesOnTls13, policy, this.#context);
    this.#offer = this.#findOffer();
    this.#reason = typeof this.#offer === 'string' ? this.#offer : 'not-taken';
  }

  get #agreesOnTls13(): boolean {
    return this.#hello !== undefined && agreesOnTls13(this.#hello, this.policy.tls13);
  }

  #findOffer(): ResumptionOffer | NotResumedReason {
    if (this.#hello === undefined) return 'unreadable-hello';
    if (this.#judgement !== undefined) return this.#judgement.refused ?? 'not-taken';
    // Beside tickets TLS 1.3 knows no other way.
    if (this.#setting.tickets !== undefined && this.#agreesOnTls13) return 'not-offered';
    return findOffer(this.#hello, this.policy.tls13);
  }

  /** Runs Node's own `connection` listener so that what it causes is known to be of this handshake. */
  begin(socket: Duplex, accept: (socket: Duplex) => void): void {
    const { tickets } = this.#setting;
    if (tickets === undefined) this.runInAsyncScope(accept, undefined, socket);
    else {
      this.#twin = tickets.accept(socket, this.#agreesOnTls13, this.policy, this.#context, this.#judgement, () =>
        this.runInAsyncScope(accept, undefined, socket),
      );
    }
  }

  /** Whether it is complete, or the connection is gone. */
  get over(): boolean {
    return this.#over;
  }

  /** Whether OpenSSL may have a session for it already. */
  get resuming(): boolean {
    return this.#answered !== undefined || (this.#judgement !== undefined && this.#judgement.refused === undefined);
  }

  /** Whether its settings are in force. */
  get underCurrentPolicy(): boolean {
    return this.policy.current(this.servername);
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
    const { timeouts } = cache;
    const found = singleUse ? cache.borrow(this.#key) : cache.lookupEntry(this.#key);
    if (found === undefined && cache.timeouts !== timeouts) this.#reason = 'expired';
    return found;
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
    const session = factsOf(entry.session);
    return (
      guard.refusalOf(this.servername, offer.sessionId, entry.fullHandshakeTime, session) ??
      refusal(this.#hello as ClientHelloView, session, offer, this.policy.requestCert)
    );
  }

  /** Whether the context that was computed from the hello is still the one that a hello would get now. */
  #current(): boolean {
    return this.underCurrentPolicy && this.#generation === this.#setting.guard.generationOf(this.policy.parameters);
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
      this.policy.contexts.remember(this.servername, this.#context, this.#generation);
    }
    this.#giveBack(resumed);
    const nameKept = ((socket as { servername?: string | false | null }).servername || undefined) === this.servername;
    // Measured: a resumed TLS 1.2 connection has no name to compare, and no second hello to change it in.
    const good = !(resumed && this.#tls13 && !nameKept);
    if (!good) this.#reason = 'servername-changed';
    else if (!resumed && this.#answered !== undefined) {
      this.#reason = whyNotTaken(socket, this.#tls13, this.#answered.session);
    }
    const outcome = this.#outcome(resumed && good);
    attachOutcome(socket, outcome);
    if (good && (resumed || nameKept)) this.#lifetime = this.#lifetimeOfSessions(socket, resumed);
    outcome.fullHandshakeTime = this.#lifetime?.fullHandshakeTime ?? null;
    if (good && this.#tls13) this.#stampTickets(resumed);
    if (good) this.#keepWaiting();
    this.#hello = undefined;
    this.#answered = undefined;
    // A renegotiation makes a session of its own.
    this.#offer = 'not-offered';
    outcome.publish(this.#setting.guard.name, socket);
    return good;
  }

  #offeredOne(): boolean {
    return this.resuming || this.#setting.tickets?.judges === false;
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
      this.#hello,
      resumed ? this.#way() : null,
      resumed ? null : this.#reason,
      this.#sessionPolicy,
    );
  }

  /** A ticket has room for seconds: what is beside it says no more. */
  #now(): number {
    const { clock, tickets } = this.#setting;
    return tickets === undefined ? clock() : Math.floor(clock() / 1000) * 1000;
  }

  /** `undefined` when no session of this connection may be kept. */
  #lifetimeOfSessions(socket: TLSSocket, resumed: boolean): SessionTimes | undefined {
    if (this.#hello === undefined) return undefined;
    const ancestor = this.#answered ?? this.#judgement;
    const fullHandshakeTime = resumed ? ancestor?.fullHandshakeTime : this.#now();
    const makesSessions = this.#tls13 || !resumed || this.#waiting !== undefined;
    const expiresAt = this.policy.requestCert && makesSessions ? certificateExpiry(socket) : Number.POSITIVE_INFINITY;
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
    if (this.policy.tally !== undefined) this.policy.tally.sessions++;
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
  const facts = factsOf(session);
  return facts !== undefined && holdsVerifiedCertificate(facts);
}

/** Milliseconds since 1970 when the client's certificate ends; `undefined` when none was given or it did not verify. */
function certificateExpiry(socket: TLSSocket): number | undefined {
  if (!socket.authorized) return undefined;
  const expiry = Date.parse(socket.getPeerX509Certificate()?.validTo ?? '');
  return Number.isNaN(expiry) ? undefined : expiry;
}
