/**
 * Sessions as objects of an HTTP server: a cache that takes PUT and DELETE, or WebDAV.
 *
 * @module
 */

import { outOfRange, requireFunction, requireNumber, requireObject, requireString, wrongType } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import type { TicketSealer } from '../tickets/ticket-sealer.js';
import { asBuffer } from '../wire/bytes.js';
import { closedError, engineError } from './engine-errors.js';
import { type FetchedResponse, type FetchLike, readObject, skipBody, writeObject } from './http-object.js';
import { withSeal } from './sealed-store.js';
import type { SessionStore } from './session-store.js';

export type { FetchedBody, FetchedBodyReader, FetchedChunk, FetchedResponse, FetchLike } from './http-object.js';

/** Options of {@link httpStore}. */
export interface HttpStoreOptions {
  /**
   * What seals the sessions on their way out, such as a `TicketCodec`; all hosts need its keys. `false` stores them in
   * clear: then whoever can read the storage, or the network on the way there, can read the connections.
   */
  readonly seal: TicketSealer | false;
  /** Milliseconds after which a request is ended, 1 to 600 000. Default: 2000. */
  readonly deadline?: number | undefined;
  /** Sent with each request, such as `{ authorization: 'Bearer …' }`. Default: none. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * What makes the requests: for client certificates, an authority of one's own, or a limit of connections. Default:
   * the global `fetch`, which keeps connections open.
   */
  readonly fetch?: FetchLike | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  readonly clock?: (() => number) | undefined;
}

/**
 * A store of objects at `BASE/<id>`, the id being 64 hexadecimal digits: `GET`, `PUT` with `Cache-Control: max-age=…`, and
 * `DELETE`, over HTTP or HTTPS.
 *
 * - **Found** is 200; **nothing** is 404 or 410; anything else is a failure, redirections among it. More than 64 KiB are
 *   not read.
 * - **Expiry.** The time when a session is over is written before it, and one that is over is not answered with. What the
 *   server keeps for longer is its own affair: a cache ends it by `max-age`, WebDAV never does. There old files have to be
 *   removed, and the disk be bounded: by number of files or age, not by this store.
 * - There is no `take`: HTTP has no step that gets and deletes at once. With single-use sessions, two who ask for the same
 *   one at the same moment may both get it.
 * - A cache between here and there must not answer for the server: `BASE` should name the cache itself, and where there are
 *   several, the key decides which (not the store).
 *
 * All errors are rejections with `ERR_STORE_UNAVAILABLE` or `ERR_STORE_TIMEOUT`, without address, headers, keys or values.
 *
 * @param url the base, `http:` or `https:`, without credentials, query and fragment
 * @throws TypeError if `seal` is left out, or if an argument is of the wrong type
 * @throws RangeError if the URL is none of these, or `deadline` is out of range
 *
 * @example
 * ```ts
 * const external = httpStore('https://cache.internal/sessions', { seal });
 * ```
 */
export function httpStore(url: string | URL, options: HttpStoreOptions): SessionStore {
  requireObject('options', options);
  const { seal, deadline = 2000, headers = {}, fetch = globalThis.fetch, clock = Date.now } = options;
  requireNumber('deadline', deadline, 1, 600_000, 'ms');
  requireFunction('fetch', fetch);
  requireFunction('clock', clock);
  return withSeal(new HttpStore(baseOf(url), requireHeaders(headers), { deadline, fetch, clock }), seal);
}

function baseOf(url: string | URL): string {
  const text = url instanceof URL ? url.href : requireString('url', url);
  const base = URL.canParse(text) ? new URL(text) : undefined;
  if (base === undefined || !/^https?:$/.test(base.protocol)) throw outOfRange('url', 'an http: or https: URL', url);
  if (base.username + base.password + base.search + base.hash !== '') {
    throw outOfRange('url', 'a URL without credentials, query and fragment', url);
  }
  return base.href.replace(/\/*$/, '/');
}

function requireHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  requireObject('headers', headers);
  for (const [name, value] of Object.entries(headers)) requireString(`headers["${name}"]`, value);
  try {
    new Headers(headers);
  } catch {
    // What was refused may be a password.
    throw wrongType('headers', 'names and values of HTTP header fields', headers);
  }
  return { ...headers };
}

interface Tools {
  readonly deadline: number;
  readonly fetch: FetchLike;
  readonly clock: () => number;
}

class HttpStore implements SessionStore {
  readonly #base: string;
  readonly #headers: Record<string, string>;
  readonly #tools: Tools;
  #closed = false;

  constructor(base: string, headers: Record<string, string>, tools: Tools) {
    this.#base = base;
    this.#headers = headers;
    this.#tools = tools;
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#attempt('GET', async () => {
      const response = await this.#ask('GET', key, { 'accept-encoding': 'identity' });
      if (response.status !== 200) return this.#end(response, isMissing(response));
      const { expiresAt, value } = await readObject(response);
      return this.#tools.clock() < expiresAt ? value : undefined;
    });
  }

  set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void> {
    return this.#attempt('PUT', async () => {
      const body = writeObject(session, this.#tools.clock() + timeout * 1000);
      const headers = {
        'content-type': 'application/octet-stream',
        'cache-control': `max-age=${Math.ceil(timeout)}`,
      };
      const response = await this.#ask('PUT', key, headers, body);
      await this.#end(response, isGood(response));
    });
  }

  delete(key: Uint8Array): Promise<void> {
    return this.#attempt('DELETE', async () => {
      const response = await this.#ask('DELETE', key, {});
      await this.#end(response, isGood(response) || isMissing(response));
    });
  }

  close(): void {
    this.#closed = true;
  }

  async #attempt<T>(method: string, request: () => Promise<T>): Promise<T> {
    if (this.#closed) throw closedError();
    try {
      return await request();
    } catch (error) {
      if (!isTimeout(error)) throw engineError(`HTTP ${method}`, error);
      const { deadline } = this.#tools;
      throw new ResumptionError('ERR_STORE_TIMEOUT', `HTTP ${method} did not end within ${deadline} ms`);
    }
  }

  #ask(method: string, key: Uint8Array, headers: Record<string, string>, body?: ArrayBuffer): Promise<FetchedResponse> {
    const { fetch, deadline } = this.#tools;
    return fetch(this.#base + asBuffer(key).toString('hex'), {
      method,
      headers: { ...this.#headers, ...headers },
      ...(body && { body }),
      redirect: 'error',
      // It holds for the body of the answer as well.
      signal: AbortSignal.timeout(deadline),
    });
  }

  async #end(response: FetchedResponse, expected: boolean): Promise<undefined> {
    await skipBody(response);
    if (!expected) throw new Error(`the server answered with ${response.status}`);
  }
}

function isGood({ status }: FetchedResponse): boolean {
  return status >= 200 && status <= 299;
}

function isMissing({ status }: FetchedResponse): boolean {
  return status === 404 || status === 410;
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError';
}
