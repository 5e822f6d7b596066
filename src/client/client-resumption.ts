/**
 * Session resumption for the side that connects: `tls`, `https`, `http2` and undici.
 *
 * @module
 */

import type { AgentOptions } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { inspect } from 'node:util';
import { requireFunction, requireInteger, requireObject, wrongType } from '../arguments.js';
import { SessionCache } from '../cache/session-cache.js';
import { SessionCacheMode } from '../cache/session-cache-mode.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import { type ClientSessions, connectWith } from './client-connection.js';
import { type ClientTlsOptions, clientPolicy } from './client-policy.js';
import { type ClientReloadReport, RELOAD, type Reloadable } from './client-reload.js';
import { type Dialing, dial, type Opened } from './dial.js';
import { type ResumingAgent, resumingAgent } from './resuming-agent.js';
import { type Offer, SessionShelf } from './session-shelf.js';

/** Options of {@link ClientResumption}. */
export interface ClientResumptionOptions {
  /**
   * Where sessions are kept; its `timeout` bounds the life of each. Its mode has the flag `Client`. Default: a new
   * SessionCache in Client mode, with a timeout of seven days. With an external cache, seal it (SealedStore).
   */
  readonly cache?: SessionCache | undefined;
  /** TLS 1.3 tickets kept for one origin under one policy, 1 to 64. Default: 8. */
  readonly ticketsPerOrigin?: number | undefined;
  /** Milliseconds that an external cache is waited for, 1 to 10 000. Default: 50. */
  readonly lookupTimeout?: number | undefined;
  /**
   * Seconds since its full handshake, 60 to 604 800, after which no session that descends from it is offered: certificates
   * are not looked at when a session is resumed. Default: 604 800.
   */
  readonly maxChainAge?: number | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

/**
 * Lets connections resume the sessions of earlier ones, and never one that was made under other settings: a session is
 * found by host, port, server name, ALPN, what is trusted, the client's certificate, `rejectUnauthorized`, versions,
 * ciphers, groups, the identity check and every other option that it depends on.
 *
 * TLS 1.3 tickets are kept several for an origin, offered newest first, each once (RFC 8446 §C.4); of TLS 1.2 there is
 * one session, offered until the server refuses it. What the server says of their lifetime is kept to.
 *
 * @example
 * ```ts
 * const resumption = new ClientResumption();
 * const agent = resumption.agent({ keepAlive: true });
 * https.get('https://a.test/', { agent }, (response) => response.resume());
 * ```
 */
export class ClientResumption {
  /** Where sessions are kept. */
  readonly cache: SessionCache;
  readonly #sessions: ClientSessions;
  readonly #shelf: SessionShelf;
  readonly #lookupTimeout: number;

  /** @throws TypeError or RangeError, naming the option */
  constructor(options: ClientResumptionOptions = {}) {
    requireObject('options', options);
    const { cache } = options;
    if (cache !== undefined && !(cache instanceof SessionCache)) throw wrongType('cache', 'a SessionCache', cache);
    if (cache !== undefined && (cache.mode & SessionCacheMode.Client) === 0) {
      throw new RangeError(
        '"cache" expected a SessionCache in Client mode (SessionCacheMode.Client), got another mode',
      );
    }
    this.cache = cache ?? new SessionCache({ mode: SessionCacheMode.Client, timeout: MAX_TICKET_LIFETIME });
    const tickets = requireInteger('ticketsPerOrigin', options.ticketsPerOrigin ?? 8, 1, 64);
    const maxChainAge = requireInteger(
      'maxChainAge',
      options.maxChainAge ?? MAX_TICKET_LIFETIME,
      60,
      MAX_TICKET_LIFETIME,
      'seconds',
    );
    this.#lookupTimeout = requireInteger('lookupTimeout', options.lookupTimeout ?? 50, 1, 10_000, 'milliseconds');
    const clock = requireFunction('clock', options.clock ?? Date.now);
    this.#shelf = new SessionShelf(this.cache, tickets, clock);
    this.#sessions = { cache: this.cache, shelf: this.#shelf, clock, maxChainAge: maxChainAge * 1000 };
  }

  /**
   * `tls.connect`, with a session. It returns at once, so it uses what is in memory and what an external cache answers
   * at once; {@link prepare} fetches from others. With a `session` of the caller's, that is offered. Over a `socket` of the
   * caller's, sessions are used if there is a `host` or a `servername`.
   *
   * For HTTP/2, have `http2.connect` take its connection from here:
   * `http2.connect(origin, { createConnection: () => resumption.connect({ host, port, servername, ALPNProtocols: ['h2'] }) })`.
   *
   * @throws what `tls.connect` throws
   */
  connect(options: ClientTlsOptions, onSecureConnect?: () => void): TLSSocket {
    requireObject('options', options);
    const policy = clientPolicy(options);
    const answer = policy && !options.session ? this.#shelf.take(policy) : undefined;
    if (!isPromise(answer)) return connectWith(this.#sessions, options, policy, answer, onSecureConnect);
    // What comes too late for this connection is there for the next.
    void answer.then((offer) => offer && this.#shelf.hold(policy as Buffer, offer));
    return connectWith(this.#sessions, options, policy, undefined, onSecureConnect);
  }

  /**
   * Fetches a session for {@link connect}ing with these options from an external cache that does not answer at once:
   * await it before. Agents and undici connectors do so themselves.
   *
   * @returns whether there is a session; waits `lookupTimeout` at most
   */
  async prepare(options: ClientTlsOptions): Promise<boolean> {
    requireObject('options', options);
    const policy = clientPolicy(options);
    if (policy === undefined) return false;
    const offer = await this.#offer(policy);
    if (offer !== undefined) this.#shelf.hold(policy, offer);
    return offer !== undefined;
  }

  /**
   * An `https.Agent` whose new connections resume; it keeps connections alive and counts sockets as Node's does, whose
   * own session cache is off. A connection that fails before it is secure, with a session, is tried once more without.
   *
   * @throws RangeError for `proxyEnv`: a connection through a proxy is not made here
   */
  agent(options: AgentOptions = {}): ResumingAgent {
    return resumingAgent(this, options);
  }

  /**
   * Changes the TLS settings of an agent or an undici connector of this object, as a graceful cleanup of the back end:
   * sessions made under what changed are forgotten, idle connections are closed, and those in use close when they are
   * idle: with an agent after their response, with undici when no request waits for them. What changes nothing forgets
   * nothing.
   *
   * @param options merged over the present ones; `undefined` takes an option away
   */
  reload(target: Reloadable, options: ClientTlsOptions): ClientReloadReport {
    requireObject('options', options);
    if (typeof target?.[RELOAD] !== 'function') {
      throw wrongType('target', 'an agent or an undici connector of a ClientResumption', target);
    }
    return target[RELOAD](options);
  }

  /**
   * Forgets sessions, also those of handshakes in progress: the ones of connections with these options, in the external
   * cache too; or all, in an external cache those that this process knows of.
   */
  forget(options?: ClientTlsOptions): void {
    if (options === undefined) {
      this.#shelf.forgetAll();
      return;
    }
    const policy = clientPolicy(requireObject('options', options) as ClientTlsOptions);
    if (policy !== undefined) this.#shelf.forget(policy);
  }

  /** Resolves when every session kept so far is in the external cache too, or has failed to be: before a process ends. */
  idle(): Promise<void> {
    return this.#shelf.idle();
  }

  /** @internal */
  forgetPolicy(policy: Uint8Array): number {
    return this.#shelf.forget(policy);
  }

  /**
   * A connection for a pool: with a session if there is one, and if that fails before anything was sent, without.
   *
   * @internal
   */
  open(options: ClientTlsOptions, policy: Buffer | undefined, patience: number | undefined, opened: Opened): Dialing {
    const offer = policy && !options.session ? this.#offer(policy) : undefined;
    return dial(offer, (with_) => connectWith(this.#sessions, options, policy, with_), patience, opened);
  }

  /** Neither sessions nor what they belong to. */
  [inspect.custom](_depth: number, options: object): string {
    return `ClientResumption ${inspect({ cache: this.cache }, options)}`;
  }

  #offer(policy: Buffer): MaybePromise<Offer | undefined> {
    const answer = this.#shelf.take(policy);
    if (!isPromise(answer)) return answer;
    return new Promise((resolve) => {
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        this.cache.count('externalTimeout');
        resolve(undefined);
      }, this.#lookupTimeout);
      void answer.then((offer) => {
        clearTimeout(timer);
        if (late && offer !== undefined) this.#shelf.hold(policy, offer);
        resolve(offer);
      });
    });
  }
}
