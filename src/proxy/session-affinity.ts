/**
 * Session-ID affinity: a layer-4 balancer sends a returning client to the server that knows its session.
 *
 * @module
 */

import { hash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { inspect } from 'node:util';
import {
  outOfRange,
  requireFunction,
  requireInteger,
  requireNumber,
  requireObject,
  requireString,
  wrongType,
} from '../arguments.js';
import { DeadlineStore } from '../stores/deadline-store.js';
import { isPromise, type MaybePromise, requireSessionStore, type SessionStore } from '../stores/session-store.js';
import type { ClientHello } from '../wire/client-hello.js';
import { ServerFlight } from '../wire/server-flight.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';
import type { AffinityBackend, AffinityChoice, FlightObserver } from './affinity-backend.js';
import { AffinityTable } from './affinity-table.js';
import { type Forwarded, type ForwardOptions, forward } from './forward.js';
import { rendezvous } from './rendezvous.js';

/** Options of {@link SessionAffinity}. */
export interface SessionAffinityOptions<B extends AffinityBackend> {
  /** At least one, of different names. */
  readonly backends: readonly B[];
  /** Sessions remembered, about 200 bytes each: 1 to 16 000 000. Beyond, the least recently used goes. Default: 100 000. */
  readonly maxEntries?: number | undefined;
  /**
   * Seconds that a session is remembered after it was made or last resumed, 1 to 604 800; less where the server says
   * that its ticket is good for less. Default: 7200, as OpenSSL's and Node's sessions live.
   */
  readonly timeout?: number | undefined;
  /**
   * What several balancers remember together: names of back ends under SHA-256 keys; no secrets, so it needs no seal. Put
   * into a {@link DeadlineStore} with its defaults unless it is one: it costs a connection at most 50 ms.
   */
  readonly store?: SessionStore | undefined;
  /** Tells apart what balancers of different back ends keep in one store. Default: the empty string. */
  readonly name?: string | undefined;
  /** Milliseconds. Default: `performance.now`. */
  readonly clock?: (() => number) | undefined;
}

/** Counters of a {@link SessionAffinity}. */
export interface SessionAffinityStatistics {
  /** Sessions remembered now. */
  readonly entries: number;
  /** Choices made by what was remembered here. */
  readonly memory: number;
  /** Choices made by what the store remembered. */
  readonly store: number;
  /** Choices made by the key: the client shows no session, or one that is not known or whose back end is away. */
  readonly key: number;
  /** Sessions learned, again or anew. */
  readonly learned: number;
  /** Entries that had to go before their time because there were too many. */
  readonly evicted: number;
  /** Calls of the store that failed or were late, and answers that named no back end. */
  readonly storeErrors: number;
}

/** How a client shows a session; the letter goes into the hash. */
type Kind = 'id' | 'ticket' | 'psk';

const MAX_NAME = 255;
const VALUE_VERSION = 1;
const TLS13 = 0x0304;

/**
 * Remembers which server made the session that a client comes back with, from what a TLS handshake says in clear, and
 * sends it there, whatever its address. It decrypts nothing and needs no keys.
 *
 * - **TLS 1.2**: every returning client is known by its session ID (RFC 5246 §7.4.1.2) or its ticket (RFC 5077 §3.2). A
 *   session is learned when the server's ChangeCipherSpec passes: in a full handshake that is after the client's Finished.
 *   Hellos alone leave nothing behind.
 * - **TLS 1.3**: the ticket is encrypted to the client, so nothing can be learned of it before it is shown. An identity is
 *   learned when a server has accepted it; that helps clients that show one again (curl, Java), not those that use each
 *   once (browsers, as RFC 8446 §C.4 asks for). The servers behind need a shared store or shared ticket keys instead.
 * - **Everything else** goes by the key, by default the client's address: first visits, what is no TLS, what cannot be
 *   read. The choice by a key is consistent (rendezvous hashing): when a back end comes or goes, the keys of others stay.
 *
 * What is remembered is the name of a back end under SHA-256 of the ID, ticket or identity. Wrong entries, lost ones and
 * forged ones in the store cost a full handshake.
 *
 * @example
 * const affinity = new SessionAffinity({ backends: [{ name: 'a', port: 8443 }, { name: 'b', port: 9443 }] });
 * net.createServer((client) => {
 *   affinity.forward(client, ({ port }) => net.connect(port, '10.0.0.7'));
 * }).listen(443);
 */
export class SessionAffinity<B extends AffinityBackend> {
  readonly #timeout: number;
  readonly #store: SessionStore | undefined;
  readonly #prefix: string;
  readonly #table: AffinityTable;
  #backends: ReadonlyMap<string, B>;
  readonly #down = new Set<string>();
  readonly #chosen = { memory: 0, store: 0, key: 0 };
  #learned = 0;
  #storeErrors = 0;

  /**
   * @throws {TypeError} if an argument is of the wrong type
   * @throws {RangeError} if a number is out of range, a name is empty, too long or there twice, or there is no back end
   */
  constructor(options: SessionAffinityOptions<B>) {
    requireObject('options', options);
    const { maxEntries = 100_000, timeout = 7200, store, name = '', clock = () => performance.now() } = options;
    this.#backends = byName(options.backends);
    this.#timeout = requireInteger('timeout', timeout, 1, MAX_TICKET_LIFETIME, 'seconds');
    requireInteger('maxEntries', maxEntries, 1, 16_000_000);
    if (store !== undefined) {
      requireSessionStore('store', store);
      this.#store = store instanceof DeadlineStore ? store : new DeadlineStore(store);
    }
    this.#prefix = `tls-resumption affinity\0${requireString('name', name)}\0`;
    this.#table = new AffinityTable(maxEntries, requireFunction('clock', clock));
  }

  /** The counters, as they are now. */
  get statistics(): SessionAffinityStatistics {
    const { size: entries, evicted } = this.#table;
    return Object.freeze({
      entries,
      ...this.#chosen,
      learned: this.#learned,
      evicted,
      storeErrors: this.#storeErrors,
    });
  }

  /** All of them, in no particular order. */
  get backends(): readonly B[] {
    return [...this.#backends.values()];
  }

  /**
   * Replaces the back ends. What is remembered of those that leave is not forgotten: it counts again should they come
   * back. Marks stay with the names.
   *
   * @throws {TypeError | RangeError} as the constructor
   */
  setBackends(backends: readonly B[]): void {
    this.#backends = byName(backends);
    for (const name of this.#down) if (!this.#backends.has(name)) this.#down.delete(name);
  }

  /**
   * Sends nobody to this back end until {@link markUp}; open connections stay. Clients that are remembered there go by
   * the key, and where they get a session from is remembered then.
   *
   * @throws {RangeError} if there is no back end of this name
   */
  markDown(name: string): void {
    this.#requireName(name);
    this.#down.add(name);
  }

  /**
   * Takes back {@link markDown}: those that are still remembered there go there again.
   *
   * @throws {RangeError} if there is no back end of this name
   */
  markUp(name: string): void {
    this.#requireName(name);
    this.#down.delete(name);
  }

  /** Forgets all sessions; the store keeps its own. */
  clear(): void {
    this.#table.clear();
  }

  /**
   * Chooses where a connection goes. Answers at once unless the store is asked: for sessions that are shown and not known
   * here. (The random session ID of every new TLS 1.3 client looks like one.) Never rejects.
   *
   * @param hello what the client said; `undefined` when it could not be read
   * @param key whose choice it is when no session decides; random without one
   * @param except names of back ends that are out of the question: those that just refused
   * @returns `undefined` when no back end is left
   */
  choose(
    hello: ClientHello | undefined,
    key?: string,
    except?: ReadonlySet<string>,
  ): MaybePromise<AffinityChoice<B> | undefined> {
    const id = hello && this.#shownBy(hello);
    if (id === undefined) return this.#byKey(key, except);
    const backend = this.#usable(this.#table.get(id), except);
    if (backend !== undefined) return this.#count(backend, 'memory');
    const found = this.#find(id);
    if (isPromise(found)) return found.then((name) => this.#byStore(id, name, key, except));
    return this.#byStore(id, found, key, except);
  }

  /**
   * Observes what a server answers to this hello, and remembers the session that comes of it. Show it all bytes that the
   * server sends, in order, until it wants no more.
   */
  observe(hello: ClientHello, backend: B): FlightObserver {
    const flight = new ServerFlight();
    return {
      push: (chunk) => {
        if (flight.state !== 'reading') return false;
        const state = flight.push(chunk);
        if (state === 'complete') this.#learn(hello, flight, backend.name);
        return state === 'reading';
      },
    };
  }

  /**
   * Does all of it for one connection: reads its hello, chooses, connects, remembers, and passes bytes on in both
   * directions, as they came but for the hello's record framing, without Nagle's delay. After the server's first flight
   * nothing is looked at any more. Backpressure and half-open connections are kept; a reset of one side resets the other.
   * Half a hello is passed on after `helloTimeout`, as is silence. A back end that does not accept the connection is
   * passed over for the next in the order of the key.
   *
   * At most 20 KiB are held of a hello. How many connections there may be is up to the server's `maxConnections`.
   *
   * @param client a connection that nobody has read from, or that what was read was put back to (`unshift`)
   * @param connect opens a connection to the back end, or gives one that is open. What it writes comes before the hello:
   * a PROXY protocol header, say.
   * @returns where it went; `undefined` when the client left first, or no back end accepted. The client is destroyed then.
   * @throws {TypeError | RangeError} (rejects) for wrong arguments; and with what `connect` or `options.key` throws, the
   * client destroyed.
   */
  forward(
    client: Socket,
    connect: (backend: B, hello: ClientHello | undefined) => Socket,
    options: ForwardOptions = {},
  ): Promise<Forwarded<B> | undefined> {
    return forward(this, client, connect, options);
  }

  /** Counters only. */
  [inspect.custom](_depth: number, options: object): string {
    return `SessionAffinity ${inspect(this.statistics, options)}`;
  }

  #requireName(name: string): void {
    if (!this.#backends.has(requireString('name', name))) throw outOfRange('name', 'the name of a back end', name);
  }

  /** What a session is remembered under: 32 characters of one byte each. */
  #hash(kind: Kind, id: Uint8Array): string {
    return hash('sha256', Buffer.concat([Buffer.from(`${this.#prefix}${kind}\0`), id]), 'binary');
  }

  /** A client that shows a ticket or an identity means that one; the session ID beside it is made up. */
  #shownBy(hello: ClientHello): string | undefined {
    const identity = hello.pskIdentities[0]?.identity;
    if (identity !== undefined) return this.#hash('psk', identity);
    if (hello.sessionTicket !== undefined && hello.sessionTicket.length > 0) {
      return this.#hash('ticket', hello.sessionTicket);
    }
    return hello.sessionId.length > 0 ? this.#hash('id', hello.sessionId) : undefined;
  }

  #usable(name: string | undefined, except: ReadonlySet<string> | undefined): B | undefined {
    if (name === undefined || this.#down.has(name) || except?.has(name)) return undefined;
    return this.#backends.get(name);
  }

  #byKey(key: string | undefined, except: ReadonlySet<string> | undefined): AffinityChoice<B> | undefined {
    const usable = [...this.#backends.values()].filter(({ name }) => this.#usable(name, except) !== undefined);
    const backend = rendezvous(key ?? randomBytes(16).toString('latin1'), usable);
    return backend && this.#count(backend, 'key');
  }

  #byStore(id: string, name: string | undefined, key: string | undefined, except: ReadonlySet<string> | undefined) {
    const backend = this.#usable(name, except);
    if (backend === undefined) return this.#byKey(key, except);
    this.#table.set(id, backend.name, this.#timeout);
    return this.#count(backend, 'store');
  }

  #count(backend: B, by: AffinityChoice<B>['by']): AffinityChoice<B> {
    this.#chosen[by]++;
    return { backend, by };
  }

  /** The name that the store has for a session. Never throws or rejects. */
  #find(id: string): MaybePromise<string | undefined> {
    const failed = (): undefined => {
      this.#storeErrors++;
    };
    const answer = this.#store?.get(Buffer.from(id, 'latin1'));
    if (!isPromise(answer)) return this.#nameIn(answer);
    return answer.then((value) => this.#nameIn(value), failed);
  }

  #nameIn(value: unknown): string | undefined {
    if (value === undefined || value === null) return undefined;
    if (value instanceof Uint8Array && value.length <= 1 + MAX_NAME && value[0] === VALUE_VERSION) {
      const name = Buffer.from(value.subarray(1)).toString();
      if (this.#backends.has(name)) return name;
    }
    this.#storeErrors++;
    return undefined;
  }

  #learn(hello: ClientHello, { serverHello, ticket }: ServerFlight, name: string): void {
    if (serverHello === undefined) return;
    const { sessionId, selectedIdentity, version } = serverHello;
    if (version >= TLS13) {
      const identity = hello.pskIdentities[selectedIdentity ?? -1]?.identity;
      if (identity !== undefined) this.#remember('psk', identity, name);
      return;
    }
    const resumed = sessionId.length > 0 && sessionId.equals(hello.sessionId);
    const shown = hello.sessionTicket;
    if (resumed && shown !== undefined && shown.length > 0) this.#remember('ticket', shown, name);
    // A client that gets a ticket forgets the session ID (RFC 5077 §3.4).
    if (ticket !== undefined && ticket.ticket.length > 0) {
      this.#remember('ticket', ticket.ticket, name, ticket.lifetimeHint || this.#timeout);
    } else if (sessionId.length > 0 && !(resumed && shown?.length)) {
      this.#remember('id', sessionId, name);
    }
  }

  #remember(kind: Kind, id: Uint8Array, name: string, lifetime = this.#timeout): void {
    const key = this.#hash(kind, id);
    const seconds = Math.min(lifetime, this.#timeout);
    this.#learned++;
    if (!this.#table.set(key, name, seconds) || this.#store === undefined) return;
    const value = Buffer.concat([Uint8Array.of(VALUE_VERSION), Buffer.from(name)]);
    const written = this.#store.set(Buffer.from(key, 'latin1'), value, seconds);
    if (isPromise(written)) {
      written.then(undefined, () => {
        this.#storeErrors++;
      });
    }
  }
}

function byName<B extends AffinityBackend>(backends: readonly B[]): ReadonlyMap<string, B> {
  if (!Array.isArray(backends)) throw wrongType('backends', 'an array', backends);
  if (backends.length === 0) throw outOfRange('backends', 'at least one back end', backends);
  const named = new Map<string, B>();
  for (const backend of backends as readonly B[]) {
    requireObject('backend', backend);
    const { name, weight = 1 } = backend;
    const length = Buffer.byteLength(requireString('backend.name', name));
    if (length === 0 || length > MAX_NAME) throw outOfRange('backend.name', `1 to ${MAX_NAME} bytes`, name);
    if (named.has(name)) throw outOfRange('backend.name', 'a name of its own for each back end', name);
    requireNumber('backend.weight', weight, 0, 1_000_000);
    named.set(name, backend);
  }
  return named;
}
