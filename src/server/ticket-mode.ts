/** Stateless tickets of one attached server: what they are sealed with, where they belong, and which are opened. */

import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Server } from 'node:tls';
import type { SessionIdContextGuard } from '../guard/session-id-context-guard.js';
import { judgeTicket } from '../guard/ticket-rules.js';
import type { TicketKey } from '../tickets/ticket-key.js';
import { keyOfNextTicket, keyOfTicket, sealingKeyOf, type TicketKeyRing } from '../tickets/ticket-key-ring.js';
import { sealStamp } from '../tickets/ticket-stamp.js';
import type { ClientHelloView } from '../wire/client-hello-view.js';
import type { ContextRegistry } from './context-registry.js';
import * as node from './node-tls-server.js';
import { type SecureSettings, settingsOf } from './secure-options.js';
import { CLEAR_BYTES, judgementOf, refuse, type TicketJudgement } from './ticket-judgement.js';
import {
  answerTicketKeys,
  NODE_KEY_BYTES,
  PART_BYTES,
  requireNodeKeys,
  setTicketKeyCallback,
  type TicketKeySource,
} from './ticket-key-callback.js';
import { requireSafeTickets, requireSameCertificatePolicy } from './ticket-policy.js';
import { type Twin, TwinPool } from './ticket-twins.js';

/** What a TicketMode needs of its ServerResumption. */
export interface TicketModeSetting {
  readonly ring: TicketKeyRing;
  readonly guard: SessionIdContextGuard;
  readonly clock: () => number;
  readonly contexts: ContextRegistry;
  /** Whether Node asks for the key of every ticket; otherwise it has one key at a time. */
  readonly callback: boolean;
  /** Whether an SNICallback chooses contexts. */
  readonly byName: boolean;
}

/** The configuration that a ticket is judged under. */
export interface TicketPolicy {
  readonly parameters: Buffer;
  readonly requestCert: boolean;
  /** OpenSSL's context that the name chose; `undefined` when it is not known. */
  readonly nativeContext: object | undefined;
}

/** The connection whose tickets come next, and what they say. */
interface Sealing {
  readonly context: Buffer | undefined;
  readonly fullHandshakeTime: number;
  left: number;
}

const TLS_1_2_TICKET = Buffer.from('TLS 1.2 ticket');

/** TLS 1.3 tickets of a full handshake, as OpenSSL makes them; a resumed one makes one. */
const TICKETS_OF_FULL_HANDSHAKE = 2;

export class TicketMode {
  readonly #server: Server;
  readonly #setting: TicketModeSetting;
  /** Whether all connections run under one context, whatever name they ask for. */
  #alone = true;
  /** TLS 1.3 tickets that may be opened at this moment. */
  readonly #open = new Set<TicketJudgement>();
  readonly #twins: TwinPool;
  /** Contexts made elsewhere that were seen before: one that is made for each connection has no use for a twin. */
  readonly #strangers = new WeakSet<object>();
  #sealing: Sealing | undefined;
  /** Contexts of names that have the answers of {@link #ownSource}. */
  readonly #answered = new WeakSet<object>();
  /** Milliseconds since 1970. */
  #forgottenAt = Number.NEGATIVE_INFINITY;
  #keyMeanwhile: Buffer | undefined;
  #detached = false;

  /** @throws RangeError for keys that Node does not take; ResumptionError ERR_TICKETS_UNSAFE */
  constructor(server: Server, setting: TicketModeSetting) {
    requireNodeKeys('tickets', setting.ring);
    this.#server = server;
    this.#setting = setting;
    this.#twins = new TwinPool(server, (twin) => this.#sourceOfTwin(twin));
    this.requireSafe(settingsOf(server));
    if (!setting.callback) setting.ring.on('rotate', this.#useRing).on('dispose', this.#useRing);
  }

  /** Whether OpenSSL opens nothing that was not judged. */
  get judges(): boolean {
    return this.#setting.callback;
  }

  /**
   * @param own settings of the server's own context, now or soon
   * @param added contexts that the server is about to have
   * @param replaced those that these take the place of
   * @throws ResumptionError ERR_TICKETS_UNSAFE
   */
  requireSafe(own: SecureSettings, added: readonly object[] = [], replaced: readonly object[] = []): void {
    const staying = node.contextsByName(this.#server).filter((each) => !replaced.includes(each));
    const contexts = [...staying, ...added];
    const byName = this.#setting.byName || contexts.length > 0;
    requireSafeTickets(this.#server, { callback: this.#setting.callback, byName });
    requireSameCertificatePolicy(this.#server, own, this.#setting.contexts, contexts);
  }

  /** The server's own context is another now, or others were added to it. */
  contextsChanged(): void {
    this.#alone = !this.#setting.byName && node.contextsByName(this.#server).length === 0;
    this.#twins.renew();
    const context = node.defaultContextOf(this.#server);
    if (!this.#setting.callback) this.#setOneKey();
    else if (context !== undefined) setTicketKeyCallback(context, this.#ownSource);
    for (const each of node.contextsByName(this.#server)) this.chosen(each);
  }

  /** A name chooses this context, or may. */
  chosen(nativeContext: object): void {
    if (!this.#setting.callback || this.#answered.has(nativeContext)) return;
    this.#answered.add(nativeContext);
    if (nativeContext !== node.defaultContextOf(this.#server)) answerTicketKeys(nativeContext, this.#ownSource);
  }

  /**
   * Tickets made so far that nothing tells the context of are opened no more. Where Node has one key, it is a random one
   * until the ring rotates.
   */
  forget(): void {
    this.#forgottenAt = this.#setting.clock();
    if (this.#setting.callback) return;
    this.#keyMeanwhile = randomBytes(NODE_KEY_BYTES);
    this.#setOneKey();
  }

  /** From now on tickets are those of Node alone, with the keys that the server has. */
  detach(): void {
    this.#detached = true;
    this.#setting.ring.off('rotate', this.#useRing).off('dispose', this.#useRing);
    this.#open.clear();
    this.#twins.end();
  }

  /**
   * Judges the ticket of a hello, in TLS 1.3 the first whose key is known: OpenSSL tries each until one opens, and a
   * second one would be a way around the judgement of the first.
   *
   * @param context of the connection
   * @returns `undefined` when it shows none
   */
  judge(hello: ClientHelloView, tls13: boolean, policy: TicketPolicy, context: Buffer): TicketJudgement | undefined {
    const tickets = tls13 ? hello.pskIdentities.map(({ identity }) => identity) : [hello.sessionTicket];
    let judgement: TicketJudgement | undefined;
    for (const ticket of tickets) {
      if (ticket === undefined || ticket.length < CLEAR_BYTES) continue;
      try {
        judgement = this.#judgeOne(ticket, hello, tls13, policy, context);
      } catch {
        // A clock of the application: the handshake goes on in full.
        judgement = refuse(ticket, tls13, 'lookup-failed');
      }
      if (judgement.refused !== 'ticket-key-unknown') break;
    }
    return judgement;
  }

  #judgeOne(
    ticket: Buffer,
    hello: ClientHelloView,
    tls13: boolean,
    policy: TicketPolicy,
    context: Buffer,
  ): TicketJudgement {
    const { ring, guard, clock } = this.#setting;
    const key = ring.find(ticket.subarray(0, PART_BYTES));
    if (key === undefined || !isUsable(key)) return refuse(ticket, tls13, 'ticket-key-unknown');
    const verdict = judgeTicket(key, ticket, {
      context: tls13 ? context : this.#tls12ContextOf(context),
      strangers: this.#alone && !policy.requestCert,
      requestCert: policy.requestCert,
      extendedMasterSecret: tls13 || hello.extendedMasterSecret,
      now: clock(),
      servername: hello.servername,
      forgottenAt: Math.max(this.#forgottenAt, guard.forgottenAt(policy.parameters)),
      guard,
    });
    if (typeof verdict !== 'number') return refuse(ticket, tls13, verdict);
    return { clear: ticket.subarray(0, CLEAR_BYTES), tls13, refused: undefined, fullHandshakeTime: verdict };
  }

  /**
   * Gives a connection to Node. The key of its ticket is told only while Node reads this ClientHello, so that no other
   * connection gets a ticket opened that was judged for this one.
   *
   * @returns what is to be given back when the handshake is over
   */
  accept(
    socket: Duplex,
    tls13: boolean,
    policy: TicketPolicy,
    context: Buffer,
    judgement: TicketJudgement | undefined,
    accept: () => void,
  ): Twin | undefined {
    if (!this.#setting.callback) {
      accept();
      return undefined;
    }
    if (tls13) {
      if (policy.nativeContext !== undefined) this.chosen(policy.nativeContext);
      this.#acceptTls13(socket, judgement, accept);
      return undefined;
    }
    const twin = this.#twinFor(policy, context);
    if (judgement !== undefined) twin.open.add(judgement);
    try {
      node.withDefaultContext(this.#server, twin.secureContext, accept);
    } finally {
      // Without a second hello in TLS 1.2 this while does no harm: all who are let in here asked for one name.
      if (judgement !== undefined) setImmediate(() => twin.open.delete(judgement));
    }
    return twin;
  }

  #acceptTls13(socket: Duplex, judgement: TicketJudgement | undefined, accept: () => void): void {
    // Node 20 to 24 read what waits in a socket in a tick that the listener asks for.
    const inTick = judgement !== undefined && judgement.refused === undefined && socket instanceof Socket;
    if (inTick) process.nextTick(() => this.#open.add(judgement));
    try {
      accept();
    } finally {
      if (inTick) process.nextTick(() => this.#open.delete(judgement));
    }
  }

  giveBack(twin: Twin): void {
    this.#twins.giveBack(twin);
  }

  /** Node waits for `goOn` with the hello of this ticket. */
  openDuring(judgement: TicketJudgement, goOn: () => void): void {
    if (judgement.refused === undefined) this.#open.add(judgement);
    try {
      goOn();
    } finally {
      this.#open.delete(judgement);
    }
  }

  /** A TLS 1.3 handshake is complete; OpenSSL makes its tickets next. Without a context they are nobody's. */
  completed(context: Buffer | undefined, fullHandshakeTime: number, resumed: boolean): void {
    this.#sealing = { context, fullHandshakeTime, left: resumed ? 1 : TICKETS_OF_FULL_HANDSHAKE };
  }

  readonly #useRing = (): void => {
    this.#keyMeanwhile = undefined;
    this.#setOneKey();
  };

  /** All that Node offers without the callback: tickets of earlier keys are lost. */
  #setOneKey(): void {
    if (this.#keyMeanwhile !== undefined) {
      this.#server.setTicketKeys(this.#keyMeanwhile);
      return;
    }
    let keys = randomBytes(NODE_KEY_BYTES);
    try {
      const { name, hmacKey, aesKey, length } = sealingKeyOf(this.#setting.ring);
      if (length === NODE_KEY_BYTES) keys = Buffer.concat([name, hmacKey, aesKey]);
    } catch {
      // The ring was disposed of: its tickets go with it.
    }
    this.#server.setTicketKeys(keys);
  }

  #twinFor({ nativeContext, parameters }: TicketPolicy, context: Buffer): Twin {
    if (nativeContext === undefined || this.#isNewStranger(nativeContext)) return this.#twins.nobody;
    const generation = this.#setting.guard.generationOf(parameters);
    return this.#twins.lend(context, parameters, generation, () => this.#tls12ContextOf(context));
  }

  #isNewStranger(nativeContext: object): boolean {
    if (nativeContext === node.defaultContextOf(this.#server) || this.#strangers.has(nativeContext)) return false;
    if (this.#setting.contexts.settingsOf(nativeContext) !== undefined) return false;
    this.#strangers.add(nativeContext);
    return true;
  }

  /** Nothing of TLS 1.3 resumes by a ticket of TLS 1.2, nor the reverse. */
  #tls12ContextOf(context: Buffer): Buffer {
    return this.#setting.guard.keyFor(context, TLS_1_2_TICKET);
  }

  /** The server's own context: tickets of TLS 1.3, and of handshakes that began before the server was attached. */
  readonly #ownSource: TicketKeySource = {
    seal: () => {
      if (this.#detached) return { key: node.ownTicketKeyOf(this.#server), vector: randomBytes(PART_BYTES) };
      const sealing = this.#takeSealing();
      return sealing?.context && this.#sealed(sealing.context, sealing.fullHandshakeTime);
    },
    open: (name, vector) => {
      if (!this.#detached) return this.#opened(this.#open, name, vector);
      const key = node.ownTicketKeyOf(this.#server);
      return key.name.equals(name) ? { key, renew: false } : undefined;
    },
  };

  #sourceOfTwin(twin: Twin): TicketKeySource {
    const { guard, clock } = this.#setting;
    return {
      // What changed since the handshake began ends what it would have made.
      seal: () => {
        if (twin.stamp === undefined || twin.generation !== guard.generationOf(twin.parameters)) return undefined;
        return this.#sealed(twin.stamp, clock());
      },
      open: (name, vector) => (twin.stamp ? this.#opened(twin.open, name, vector) : undefined),
    };
  }

  #sealed(context: Buffer, fullHandshakeTime: number): ReturnType<TicketKeySource['seal']> {
    const key = keyOfNextTicket(this.#setting.ring);
    return key && isUsable(key) ? { key, vector: sealStamp(key, context, fullHandshakeTime) } : undefined;
  }

  #opened(open: Iterable<TicketJudgement>, name: Buffer, vector: Buffer): ReturnType<TicketKeySource['open']> {
    const judgement = judgementOf(open, name, vector);
    const key = judgement && keyOfTicket(this.#setting.ring, name);
    if (key === undefined || !isUsable(key)) return undefined;
    // A renewed ticket of TLS 1.2 lives no longer than the one before, and OpenSSL says 0 seconds for it: wolfSSL
    // forgets it at once.
    return { key, renew: judgement?.tls13 === true };
  }

  #takeSealing(): Sealing | undefined {
    const sealing = this.#sealing;
    if (sealing !== undefined && --sealing.left === 0) this.#sealing = undefined;
    return sealing;
  }
}

function isUsable(key: TicketKey): boolean {
  return key.length === NODE_KEY_BYTES && !key.destroyed;
}
