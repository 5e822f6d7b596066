/**
 * Session resumption for Node's `tls`, `https` and `http2` servers.
 *
 * @module
 */

import { constants } from 'node:crypto';
import { type SecureContext, type SecureContextOptions, Server as TlsServer } from 'node:tls';
import { requireBoolean, requireFunction, requireInteger, requireObject, wrongType } from '../arguments.js';
import { SessionCache } from '../cache/session-cache.js';
import { ResumptionError } from '../errors.js';
import { SessionIdContextGuard } from '../guard/session-id-context-guard.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import { TicketKeyRing } from '../tickets/ticket-key-ring.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import { ATTACHED } from './attached-mark.js';
import { Attachment } from './attachment.js';
import { connectionOf, type ResumptionConnection } from './connection.js';
import { ContextRegistry } from './context-registry.js';
import { defaultContextOf, serverNameCallbackOf as serverNameCallbackIn, ticketKeysOf } from './node-tls-server.js';
import { checkedReload, notAttached, type ReloadOptions, type ReloadReport } from './reload.js';
import {
  fixedOptionsOf,
  handshakeTimeoutOf,
  resumable,
  type SecureDefaults,
  type SecuredOptions,
  type SecuredTlsOptions,
  type ServerNameCallback,
  type ServerTlsOptions,
  serverNameCallbackOf,
  ticketKeysFor,
} from './secure-options.js';
import { hasTicketKeyCallback } from './ticket-key-callback.js';
import { TicketMode } from './ticket-mode.js';

const DEFAULT_GUARD_NAME = 'tls-resumption';
/** The plaintext of one TLS record, in bytes (RFC 8446 §5.1). */
const MAX_RECORD = 16_384;
/** Writes that idle() waits for at most; beyond, the oldest are left to themselves. */
const MAX_WRITES = 16_384;
const DEFAULT_LOOKUP_TIMEOUT = 50;
const DEFAULT_MAX_WAITING_HELLOS = 10_000;

/** Options of {@link ServerResumption}. */
export interface ServerResumptionOptions {
  /** Where sessions are kept. Default: a new SessionCache in Server mode. */
  readonly cache?: SessionCache | undefined;
  /** Binds sessions to where they were made. Default: one named `tls-resumption`. */
  readonly guard?: SessionIdContextGuard | undefined;
  /**
   * Each session resumes at most one connection: it is taken when asked for, and put back when the connection did
   * not resume. TLS 1.3 clients get a new one every time; TLS 1.2 session IDs then work once. Default: false.
   */
  readonly singleUse?: boolean | undefined;
  /**
   * Sessions live with the clients, in tickets under these keys (RFC 5077; RFC 8446 §4.6.1), instead of in the cache;
   * TLS 1.2 clients that take no tickets still come back by session ID. Keys of 48 bytes. In TLS 1.3 every ticket that
   * is used is renewed. A ticket is bound to the server's configuration and the exact name asked for; one that another
   * server made with the same keys (nginx, HAProxy, …) resumes only where the server has one context and asks for no
   * client certificate. Default: none, stateful sessions.
   */
  readonly tickets?: TicketKeyRing | undefined;
  /**
   * Whether Node is asked for each ticket's key, through an undocumented callback of its contexts (present in Node 20
   * to 26). Without it Node has one key at a time: a rotation loses all tickets, none is renewed in TLS 1.3, and tickets
   * are not bound to anything but the guard's name. Default: true where Node has it.
   */
  readonly ticketKeyCallback?: boolean | undefined;
  /** Leaves out SSL_OP_NO_RENEGOTIATION, which `secure()` sets otherwise; not beside `tickets`. Default: false. */
  readonly renegotiation?: boolean | undefined;
  /** Bytes of the largest ClientHello that is read, 512 to 16 384; a larger one is not resumed. Default: 16 384. */
  readonly maxHelloBytes?: number | undefined;
  /** Connections of one server whose ClientHello is awaited at once; more are not resumed. Default: 10 000. */
  readonly maxWaitingHellos?: number | undefined;
  /**
   * Milliseconds that an answer of the external cache is waited for, 1 to 10 000; then a full handshake. Beyond 50, the
   * cache's `externalDeadline` must allow for it too. Default: 50.
   */
  readonly lookupTimeout?: number | undefined;
  /** Milliseconds since 1970, for the age of sessions. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

/** The `ticketKeys` objects that secure() made, each with what it was given. */
const securedOptions = new WeakMap<object, SecuredOptions>();

/**
 * Lets the clients of a server come back without a full handshake, by TLS 1.2 session ID and TLS 1.3 stateful ticket,
 * from one cache.
 *
 * @example
 * ```ts
 * const resumption = new ServerResumption();
 * const server = https.createServer(resumption.secure({ key, cert }), (request, response) => {
 *   response.end(JSON.stringify(resumption.connection(request.socket)?.way));
 * });
 * resumption.attach(server);
 * server.listen(443);
 * ```
 */
export class ServerResumption {
  /** Where sessions are kept. */
  readonly cache: SessionCache;
  /** What sessions are bound to. */
  readonly guard: SessionIdContextGuard;
  /** The keys of tickets; `undefined` while sessions are kept in the cache. */
  readonly tickets: TicketKeyRing | undefined;
  readonly #ticketKeyCallback: boolean;
  readonly #singleUse: boolean;
  readonly #renegotiation: boolean;
  readonly #maxHelloBytes: number;
  readonly #maxWaitingHellos: number;
  readonly #lookupTimeout: number;
  readonly #clock: () => number;
  readonly #contexts = new ContextRegistry();
  readonly #attachments = new WeakMap<object, Attachment>();
  readonly #writes = new Set<Promise<void>>();

  /** @throws TypeError or RangeError, naming the option */
  constructor(options: ServerResumptionOptions = {}) {
    requireObject('options', options);
    const { cache, guard, tickets } = options;
    if (cache !== undefined && !(cache instanceof SessionCache)) throw wrongType('cache', 'a SessionCache', cache);
    if (guard !== undefined && !(guard instanceof SessionIdContextGuard)) {
      throw wrongType('guard', 'a SessionIdContextGuard', guard);
    }
    if (tickets !== undefined && !(tickets instanceof TicketKeyRing)) {
      throw wrongType('tickets', 'a TicketKeyRing', tickets);
    }
    this.tickets = tickets;
    this.#ticketKeyCallback = requireBoolean('ticketKeyCallback', options.ticketKeyCallback ?? true);
    this.cache = cache ?? new SessionCache();
    this.guard = guard ?? new SessionIdContextGuard({ name: DEFAULT_GUARD_NAME });
    this.#singleUse = requireBoolean('singleUse', options.singleUse ?? false);
    if (tickets !== undefined && this.#singleUse) {
      throw new RangeError('"singleUse" expected false beside "tickets", which clients can show again, got true');
    }
    this.#renegotiation = requireBoolean('renegotiation', options.renegotiation ?? false);
    if (tickets !== undefined && this.#renegotiation) {
      throw new RangeError(
        '"renegotiation" expected false beside "tickets", which are judged by the first hello, got true',
      );
    }
    this.#maxHelloBytes = requireInteger(
      'maxHelloBytes',
      options.maxHelloBytes ?? MAX_RECORD,
      512,
      MAX_RECORD,
      'bytes',
    );
    this.#maxWaitingHellos = requireInteger(
      'maxWaitingHellos',
      options.maxWaitingHellos ?? DEFAULT_MAX_WAITING_HELLOS,
      1,
      Number.MAX_SAFE_INTEGER,
    );
    this.#lookupTimeout = requireInteger(
      'lookupTimeout',
      options.lookupTimeout ?? DEFAULT_LOOKUP_TIMEOUT,
      1,
      10_000,
      'milliseconds',
    );
    this.#clock = requireFunction('clock', options.clock ?? Date.now);
  }

  /**
   * What to pass to `createServer` of `tls`, `https` or `http2`: the options with SSL_OP_NO_TICKET (so that TLS 1.3
   * tickets are stateful), SSL_OP_NO_RENEGOTIATION, `sessionTimeout` (the cache's, unless given) and
   * `sessionIdContext` (the guard's name). An `SNICallback` is asked once for a connection, before the handshake, and
   * has the server as its `this`.
   *
   * @throws TypeError or RangeError for an option out of range: `sessionTimeout` over 604 800 s (RFC 8446 §4.6.1), a
   *   `sessionIdContext` that is not the guard's name
   */
  secure<T extends object>(options: T & ServerTlsOptions): T & SecuredTlsOptions {
    const added = resumable(options, this.#defaults());
    const ticketKeys = ticketKeysFor(options, this.tickets !== undefined);
    const serverNameCallback = serverNameCallbackOf(options);
    const installedCallback = serverNameCallback && this.#answering(serverNameCallback);
    securedOptions.set(ticketKeys, {
      owner: this,
      handshakeTimeout: handshakeTimeoutOf(options),
      serverNameCallback,
      installedCallback,
      fixed: fixedOptionsOf(options),
    });
    return {
      ...options,
      ...added,
      ticketKeys,
      ...(installedCallback && { SNICallback: installedCallback }),
    };
  }

  /**
   * A context for `server.addContext` and `SNICallback` whose options are known, so that equal contexts share sessions
   * and different ones do not. A context made by `tls.createSecureContext` works too, as one that equals no other.
   *
   * @throws what `tls.createSecureContext` throws
   */
  secureContext(options: SecureContextOptions): SecureContext {
    requireObject('options', options);
    return this.#contexts.create(options);
  }

  /**
   * Begins to resume the connections of a server made with {@link secure}d options. Its listeners, `addContext` and
   * `setSecureContext` are as before once the result is disposed of. A `resumeSession` listener that is added later
   * would answer a second time, which Node takes for an error: add none.
   *
   * @throws TypeError when `server` is not a TLS server
   * @throws RangeError when the keys of `tickets` are not of 48 bytes
   * @throws ResumptionError ERR_TICKETS_UNSAFE, ERR_NOT_SECURED, ERR_ALREADY_ATTACHED, ERR_LISTENER_CONFLICT (the server
   *   has listeners for `newSession` or `resumeSession`), ERR_UNSUPPORTED_SERVER
   */
  attach(server: TlsServer): Disposable {
    const secured = this.#check(server);
    const attachment = new Attachment(server, {
      cache: this.cache,
      guard: this.guard,
      singleUse: this.#singleUse,
      lookupTimeout: this.#lookupTimeout,
      clock: this.#clock,
      written: this.#written,
      secured,
      contexts: this.#contexts,
      tickets: this.#ticketModeOf(server, secured),
      maxHelloBytes: this.#maxHelloBytes,
      maxWaitingHellos: this.#maxWaitingHellos,
      prepare: (options) => {
        const defaults = this.#defaults();
        const { sessionTimeout = defaults.timeout } = server as { sessionTimeout?: number };
        return { ...options, ...resumable(options, { ...defaults, timeout: sessionTimeout }) };
      },
    });
    this.#attachments.set(server, attachment);
    Object.defineProperty(server, ATTACHED, { value: true, configurable: true });
    return {
      [Symbol.dispose]: () => {
        if (this.#attachments.get(server) !== attachment) return;
        this.#attachments.delete(server);
        Reflect.deleteProperty(server, ATTACHED);
        attachment.detach();
      },
    };
  }

  /**
   * What is known of a connection, from `secureConnection` on; also through `request.socket` and http2's
   * `session.socket`. `undefined` for a connection that came before {@link attach} or over another server.
   */
  connection(socket: object): ResumptionConnection | undefined {
    requireObject('socket', socket);
    try {
      return connectionOf(socket);
    } catch {
      // The socket proxy of an http2 session that is closed throws at every property.
      return undefined;
    }
  }

  /**
   * Gives a server that is running other settings (NetScaler's graceful cleanup). What is given is compared with what
   * is in force; of each context that differs, everything made before is forgotten: sessions, tickets, in this process
   * and on the hosts that share the guard's state, also when the earlier settings come back. Contexts that do not differ
   * keep theirs. Connections that live go on, unless it is to be `hard`. Servers with one guard and equal settings count
   * as one: what one of them forgets is forgotten for all.
   *
   * Everything is tried out first: what throws has changed nothing. One reload of a server runs after the other.
   *
   * @returns what was changed and touched, once no earlier session resumes any more
   * @throws TypeError or RangeError for the options, or `contexts` beside an `SNICallback`
   * @throws ResumptionError ERR_NEEDS_NEW_SERVER for what Node cannot change on a live server, ERR_NOT_ATTACHED,
   *   ERR_TICKETS_UNSAFE
   * @throws what `tls.createSecureContext` throws
   */
  async reload(server: TlsServer, reload: ReloadOptions): Promise<ReloadReport> {
    if (!(server instanceof TlsServer)) throw wrongType('server', 'a TLS server', server);
    const request = checkedReload(reload);
    const attachment = this.#attachments.get(server);
    if (attachment === undefined) throw notAttached();
    return attachment.reload(request);
  }

  /** Resolves when every session made so far is stored, in the external cache too, or has failed to be. */
  async idle(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  #ticketModeOf(server: TlsServer, { serverNameCallback }: SecuredOptions): TicketMode | undefined {
    const { tickets: ring, guard } = this;
    if (ring === undefined) return undefined;
    const context = defaultContextOf(server);
    const callback = this.#ticketKeyCallback && context !== undefined && hasTicketKeyCallback(context);
    const byName = serverNameCallback !== undefined;
    return new TicketMode(server, { ring, guard, clock: this.#clock, contexts: this.#contexts, callback, byName });
  }

  #check(server: TlsServer): SecuredOptions {
    if (!(server instanceof TlsServer))
      throw wrongType('server', 'a server of node:tls, node:https or node:http2 (secure)', server);
    if (Object.hasOwn(server, ATTACHED)) {
      throw new ResumptionError(
        'ERR_ALREADY_ATTACHED',
        'the server has a ServerResumption already; dispose of it first',
      );
    }
    const secured = securedOptions.get(ticketKeysOf(server) ?? {});
    if (
      secured?.owner !== this ||
      !isResumable(server, this.guard.name, this.tickets !== undefined) ||
      !asksAsSecured(server, secured)
    ) {
      throw new ResumptionError(
        'ERR_NOT_SECURED',
        'the options of the server did not pass through secure() of this ServerResumption, or were changed since (SNICallback, setSecureContext)',
      );
    }
    for (const event of ['newSession', 'resumeSession']) {
      if (server.listenerCount(event) > 0) {
        throw new ResumptionError(
          'ERR_LISTENER_CONFLICT',
          `the server has a "${event}" listener, which would answer beside this library`,
        );
      }
    }
    return secured;
  }

  #defaults(): SecureDefaults {
    const { guard, tickets } = this;
    const common = { guardName: guard.name, renegotiation: this.#renegotiation, tickets: tickets !== undefined };
    if (tickets === undefined) return { ...common, timeout: this.cache.timeout, maxTimeout: MAX_TICKET_LIFETIME };
    // A ticket must not outlive its key, nor the chain that it belongs to: OpenSSL renews it with the time it has.
    const maxTimeout = Math.floor(Math.min(tickets.lifetime, guard.maxChainAge, MAX_TICKET_LIFETIME));
    return { ...common, timeout: maxTimeout, maxTimeout };
  }

  /** Gives Node the answer that the gate got; asks for one itself where there was no gate, or another name now. */
  #answering(ask: ServerNameCallback): ServerNameCallback {
    const attachments = this.#attachments;
    return function (this: { server?: object } | undefined, servername, callback) {
      const attachment = attachments.get(this?.server ?? {});
      const answer = attachment?.answerInProgress(servername);
      if (answer === undefined) ask.call(this, servername, attachment?.observing(callback) ?? callback);
      else callback(answer.error ?? null, answer.context);
    } as ServerNameCallback;
  }

  readonly #written = (write: MaybePromise<void>): void => {
    if (!isPromise(write)) return;
    const settled: Promise<void> = write.catch(() => {}).finally(() => this.#writes.delete(settled));
    this.#writes.add(settled);
    if (this.#writes.size > MAX_WRITES) this.#writes.delete(this.#writes.values().next().value as Promise<void>);
  };
}

/** An SNICallback that was put beside secure() would choose contexts that nobody binds sessions to. */
function asksAsSecured(server: TlsServer, secured: SecuredOptions): boolean {
  return serverNameCallbackIn(server) === secured.installedCallback;
}

function isResumable(server: TlsServer, guardName: string, tickets: boolean): boolean {
  const { secureOptions = 0, sessionIdContext } = server as { secureOptions?: number; sessionIdContext?: string };
  return ((secureOptions & constants.SSL_OP_NO_TICKET) === 0) === tickets && sessionIdContext === guardName;
}
