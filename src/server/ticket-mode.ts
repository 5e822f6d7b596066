/** Stateless tickets of one attached server: what they are sealed with, where they belong, and which are opened. */

import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContext, Server } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { NotResumedReason } from '../guard/resumption-rules.js';
import type { SessionIdContextGuard } from '../guard/session-id-context-guard.js';
import { judgeTicket } from '../guard/ticket-rules.js';
import type { TicketKey } from '../tickets/ticket-key.js';
import { sealingKeyOf, type TicketKeyRing } from '../tickets/ticket-key-ring.js';
import { sealStamp } from '../tickets/ticket-stamp.js';
import type { ClientHello } from '../wire/client-hello.js';
import type { ContextRegistry } from './context-registry.js';
import * as node from './node-tls-server.js';
import { setTicketKeyCallback, type TicketKeySource } from './ticket-key-callback.js';
import { requireSafeTickets, requireSameCertificatePolicy } from './ticket-policy.js';

/** Bytes of the keys that Node's callback takes: AES-128 and an HMAC key of 16 bytes, with their name. */
export const NODE_KEY_BYTES = 48;
/** Key name and initialization vector: what a ticket shows in clear (RFC 5077 §4). */
const CLEAR_BYTES = 32;
const PART_BYTES = 16;
/** Contexts beside the server's own that TLS 1.2 tickets are made under; those of more are made anew. */
const MAX_TWINS = 256;

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

/** A ticket that a hello shows, judged before OpenSSL asks for its key. */
export interface TicketJudgement {
  /** Its key's name and its initialization vector. */
  readonly clear: Buffer;
  readonly tls13: boolean;
  /** Why it is not to be opened; `undefined` when it may be. */
  readonly refused: NotResumedReason | undefined;
  /** Milliseconds since 1970 when the full handshake was that it descends from; of use when it is opened. */
  readonly fullHandshakeTime: number;
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
  readonly #open = new Set<TicketJudgement>();
  readonly #twins = new LRUCache<string, SecureContext>({ max: MAX_TWINS });
  #deadTwin: SecureContext | undefined;
  #sealing: Sealing | undefined;
  #detached = false;

  /** @throws RangeError for keys that Node does not take; ResumptionError ERR_TICKETS_UNSAFE */
  constructor(server: Server, setting: TicketModeSetting) {
    const { length } = setting.ring.current;
    if (length !== NODE_KEY_BYTES) {
      throw new RangeError(
        `"tickets" expected keys of ${NODE_KEY_BYTES} bytes, which is what Node takes, got ${length}`,
      );
    }
    this.#server = server;
    this.#setting = setting;
    requireSafeTickets(server, setting);
    this.requireOneCertificatePolicy();
    if (!setting.callback) setting.ring.on('rotate', this.#setOneKey);
  }

  /** Whether no ticket is opened that was not judged. */
  get judged(): boolean {
    return this.#setting.callback && !this.#detached;
  }

  /**
   * @param added contexts that the server is about to have
   * @throws ResumptionError ERR_TICKETS_UNSAFE
   */
  requireOneCertificatePolicy(added: readonly object[] = []): void {
    requireSameCertificatePolicy(this.#server, this.#setting.contexts, [
      ...node.contextsByName(this.#server),
      ...added,
    ]);
  }

  /** The server's own context is another now, or others were added to it. */
  contextsChanged(parameters: () => Buffer): void {
    this.#alone = !this.#setting.byName && node.contextsByName(this.#server).length === 0;
    this.#twins.clear();
    this.#deadTwin = undefined;
    const context = node.defaultContextOf(this.#server);
    if (!this.#setting.callback) this.#setOneKey();
    else if (context !== undefined) setTicketKeyCallback(context, this.#source(parameters));
  }

  /** From now on tickets are those of Node alone, with the keys that the server has. */
  detach(): void {
    this.#detached = true;
    this.#setting.ring.off('rotate', this.#setOneKey);
    this.#open.clear();
    this.#twins.clear();
  }

  /**
   * Judges the ticket of a hello, in TLS 1.3 the first whose key is known: OpenSSL tries each until one opens, and a
   * second one would be a way around the judgement of the first.
   *
   * @param context of the connection, which counts in TLS 1.3; in TLS 1.2, whose tickets are made before anything tells
   *   whose they are, that of the virtual host does
   * @returns `undefined` when it shows none
   */
  judge(hello: ClientHello, tls13: boolean, policy: TicketPolicy, context: Buffer): TicketJudgement | undefined {
    if (!tls13) return hello.sessionTicket && this.#judgeOne(hello.sessionTicket, hello, tls13, policy, context);
    let judgement: TicketJudgement | undefined;
    for (const { identity } of hello.pskIdentities) {
      judgement = this.#judgeOne(identity, hello, tls13, policy, context);
      if (judgement?.refused !== 'ticket-key-unknown') break;
    }
    return judgement;
  }

  #judgeOne(
    ticket: Buffer,
    hello: ClientHello,
    tls13: boolean,
    policy: TicketPolicy,
    context: Buffer,
  ): TicketJudgement | undefined {
    if (ticket.length < CLEAR_BYTES) return undefined;
    const { ring, guard, clock } = this.#setting;
    const clear = ticket.subarray(0, CLEAR_BYTES);
    const key = ring.find(clear.subarray(0, PART_BYTES));
    if (key === undefined || !isUsable(key)) {
      return { clear, tls13, refused: 'ticket-key-unknown', fullHandshakeTime: 0 };
    }
    const verdict = judgeTicket(key, ticket, {
      context: tls13 ? context : this.#hostContextOf(policy.parameters),
      strangers: this.#alone && !policy.requestCert,
      requestCert: policy.requestCert,
      extendedMasterSecret: tls13 || hello.extendedMasterSecret,
      now: clock(),
      guard,
    });
    return typeof verdict === 'number'
      ? { clear, tls13, refused: undefined, fullHandshakeTime: verdict }
      : { clear, tls13, refused: verdict, fullHandshakeTime: 0 };
  }

  /**
   * Gives a connection to Node. The key of its ticket is told only while Node reads this ClientHello, so that no other
   * connection gets a ticket opened that was judged for this one.
   */
  accept(
    socket: Duplex,
    hello: ClientHello | undefined,
    tls13: boolean,
    policy: TicketPolicy,
    judgement: TicketJudgement | undefined,
    accept: () => void,
  ): void {
    this.#sealing = undefined;
    const twin = tls13 && hello !== undefined ? undefined : this.#twinFor(hello, policy);
    const close = judgement && this.#openFor(judgement, socket);
    if (twin === undefined) accept();
    else node.withDefaultContext(this.#server, twin, accept);
    close?.();
  }

  /**
   * Before Node's listener runs: the ticket may be opened once Node reads the hello. The result is to be called after
   * it, and ends that.
   */
  #openFor(judgement: TicketJudgement, socket: Duplex): (() => void) | undefined {
    if (!judgement.tls13) {
      // Without a second hello in TLS 1.2 a longer while does no harm: what another shows of it at once is refused.
      this.#open.add(judgement);
      return () => setImmediate(() => this.#open.delete(judgement));
    }
    // Node 20 to 24 read what waits in a socket in a tick that the listener asks for.
    if (judgement.refused !== undefined || !(socket instanceof Socket)) return undefined;
    process.nextTick(() => this.#open.add(judgement));
    return () => process.nextTick(() => this.#open.delete(judgement));
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

  /** All that Node offers without the callback: tickets of earlier keys are lost. */
  readonly #setOneKey = (): void => {
    const { name, hmacKey, aesKey, length } = sealingKeyOf(this.#setting.ring);
    if (length === NODE_KEY_BYTES) this.#server.setTicketKeys(Buffer.concat([name, hmacKey, aesKey]));
  };

  /**
   * A context that is like the server's own, but that TLS 1.2 tickets of one virtual host alone are made under: which
   * context asks for a key is all that tells whose ticket it will be for.
   */
  #twinFor(hello: ClientHello | undefined, policy: TicketPolicy): SecureContext | undefined {
    if (hello === undefined || policy.nativeContext === undefined) {
      this.#deadTwin ??= this.#makeTwin({ seal: () => undefined, open: () => undefined });
      return this.#deadTwin;
    }
    if (this.#alone || policy.nativeContext === node.defaultContextOf(this.#server)) return undefined;
    const { parameters } = policy;
    const name = parameters.toString('latin1');
    let twin = this.#twins.get(name);
    if (twin === undefined) {
      twin = this.#makeTwin(this.#source(() => parameters));
      this.#twins.set(name, twin);
    }
    return twin;
  }

  #makeTwin(source: TicketKeySource): SecureContext {
    const twin = node.twinOfDefaultContext(this.#server);
    setTicketKeyCallback(node.nativeContextOf(twin), source);
    return twin;
  }

  /** Where a TLS 1.2 ticket belongs: to a virtual host, and to nothing of TLS 1.3. */
  #hostContextOf(parameters: Buffer): Buffer {
    const { guard } = this.#setting;
    return guard.keyFor(guard.contextFor({ parameters }), TLS_1_2_TICKET);
  }

  #source(parameters: () => Buffer): TicketKeySource {
    return {
      seal: () => {
        if (this.#detached) return { key: node.ownTicketKeyOf(this.#server), vector: randomBytes(PART_BYTES) };
        const key = sealingKeyOf(this.#setting.ring);
        if (!isUsable(key)) return undefined;
        const sealing = this.#takeSealing();
        if (sealing === undefined) {
          return { key, vector: sealStamp(key, this.#hostContextOf(parameters()), this.#setting.clock()) };
        }
        const { context, fullHandshakeTime } = sealing;
        return context && { key, vector: sealStamp(key, context, fullHandshakeTime) };
      },
      open: (name, vector) => {
        if (this.#detached) {
          const own = node.ownTicketKeyOf(this.#server);
          return own.name.equals(name) ? { key: own, renew: false } : undefined;
        }
        const judgement = this.#judgementOf(name, vector);
        const key = this.#setting.ring.find(name);
        if (judgement === undefined || key === undefined || !isUsable(key)) return undefined;
        // A renewed ticket of TLS 1.2 lives no longer, and OpenSSL says 0 seconds for it: wolfSSL forgets it at once.
        return { key, renew: judgement.tls13 || key !== this.#setting.ring.current };
      },
    };
  }

  #takeSealing(): Sealing | undefined {
    const sealing = this.#sealing;
    if (sealing !== undefined && --sealing.left === 0) this.#sealing = undefined;
    return sealing;
  }

  /** `undefined` when no connection may open such a ticket now, or one that may not shows it as well. */
  #judgementOf(name: Buffer, vector: Buffer): TicketJudgement | undefined {
    let found: TicketJudgement | undefined;
    for (const judgement of this.#open) {
      const { clear, refused } = judgement;
      if (clear.compare(name, 0, PART_BYTES, 0, PART_BYTES) !== 0) continue;
      if (clear.compare(vector, 0, PART_BYTES, PART_BYTES, CLEAR_BYTES) !== 0) continue;
      if (refused !== undefined) return undefined;
      found = judgement;
    }
    return found;
  }
}

function isUsable(key: TicketKey): boolean {
  return key.length === NODE_KEY_BYTES && !key.destroyed;
}
