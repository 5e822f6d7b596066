/**
 * Session resumption for undici: its `Client`, `Pool`, `Agent` and global dispatcher, and so for `fetch`.
 *
 * @module
 */

import { isIP, connect as netConnect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { requireBoolean, requireFunction, requireInteger, requireObject } from '../arguments.js';
import { type ClientTlsOptions, withChanges } from './client-policy.js';
import { type ClientReloadReport, PoolPolicies, RELOAD, type Reloadable } from './client-reload.js';
import type { ClientResumption } from './client-resumption.js';

/** Options of {@link undiciConnector}: those of `tls.connect`, and undici's own. */
export type UndiciConnectorOptions = ClientTlsOptions & {
  /** Whether HTTP/2 is offered. Default: false. */
  readonly allowH2?: boolean | undefined;
  /** Milliseconds that a connection may take, retry included; 0 for no limit. Default: 10 000. */
  readonly timeout?: number | undefined;
  /** Whether TCP keeps an idle connection alive. Default: true. */
  readonly keepAlive?: boolean | undefined;
  /** Milliseconds. Default: 60 000. */
  readonly keepAliveInitialDelay?: number | undefined;
  /** The path of a Unix socket, in place of host and port. */
  readonly socketPath?: string | undefined;
};

/** What undici tells its connectors. */
export interface UndiciConnectOptions {
  /** Of the origin. */
  readonly hostname: string;
  /** Of the origin, with its port. */
  readonly host?: string | undefined;
  /** `https:` or `http:`. */
  readonly protocol: string;
  /** Of the origin; empty for the protocol's own. */
  readonly port: string | number;
  /** The name to ask for. */
  readonly servername?: string | null | undefined;
  /** The address to connect from. */
  readonly localAddress?: string | null | undefined;
  /** A connection that is there already, through a proxy. */
  readonly httpSocket?: Socket | undefined;
}

/** What undici takes as `connect`. */
export interface UndiciConnector extends Reloadable {
  (options: UndiciConnectOptions, callback: UndiciConnected): void;
}

/** What undici gets its connections by. */
export type UndiciConnected = (...result: [null, Socket | TLSSocket] | [Error, null]) => void;

const MAX_TIMEOUT = 2 ** 31 - 1;

/**
 * A connector for undici, in place of its own and of the session cache in that. A connection that fails before it is
 * secure, with a session, is tried once more without.
 *
 * @example
 * ```ts
 * setGlobalDispatcher(new Agent({ connect: undiciConnector(new ClientResumption(), { ca }) }));
 * await fetch('https://a.test/');
 * ```
 * @throws TypeError or RangeError, naming the argument
 */
export function undiciConnector(resumption: ClientResumption, options: UndiciConnectorOptions = {}): UndiciConnector {
  requireFunction('resumption.open', (requireObject('resumption', resumption) as ClientResumption).open);
  requireObject('options', options);
  const { allowH2 = false, timeout = 10_000, keepAlive = true, keepAliveInitialDelay = 60_000, socketPath } = options;
  requireBoolean('allowH2', allowH2);
  requireBoolean('keepAlive', keepAlive);
  requireInteger('timeout', timeout, 0, MAX_TIMEOUT, 'milliseconds');
  requireInteger('keepAliveInitialDelay', keepAliveInitialDelay, 0, MAX_TIMEOUT, 'milliseconds');
  let settings: ClientTlsOptions = tlsOptions(options);
  const policies = new PoolPolicies();
  const open = new Map<Socket, Use>();

  /** What tls.connect, or net.connect, is given for one of undici's wishes. */
  function target({ hostname, port, localAddress }: UndiciConnectOptions, defaultPort: number): ClientTlsOptions {
    return {
      ...settings,
      ...(socketPath ? { path: socketPath } : {}),
      ...(localAddress ? { localAddress } : {}),
      host: hostname,
      port: Number(port || defaultPort),
    };
  }

  function connectSecurely(wish: UndiciConnectOptions, done: (error: Error | null, socket?: Socket) => void) {
    const servername = wish.servername || settings.servername || serverNameOf(wish.host);
    const wanted: ClientTlsOptions & { highWaterMark: number } = {
      highWaterMark: 16_384,
      ...target(wish, 443),
      ...(servername ? { servername } : {}),
      ALPNProtocols: allowH2 ? ['http/1.1', 'h2'] : ['http/1.1'],
      ...(wish.httpSocket ? { socket: wish.httpSocket } : {}),
    };
    const policy = policies.note(wanted);
    const under = policy?.toString('hex') ?? '';
    return resumption.open(wanted, policy, undefined, (error, socket, secure) => {
      if (socket === undefined) return done(error);
      open.set(socket, watchUse(socket, under));
      socket.once('close', () => open.delete(socket));
      prepare(socket);
      socket.on('error', done);
      if (secure) done(null, socket);
      else socket.once('secureConnect', () => done(null, socket));
    });
  }

  function connectPlainly(wish: UndiciConnectOptions, done: (error: Error | null, socket?: Socket) => void) {
    const socket = netConnect(target(wish, 80) as Parameters<typeof netConnect>[0]);
    prepare(socket);
    socket.once('connect', () => done(null, socket)).on('error', done);
    return { abort: () => socket.destroy() };
  }

  function prepare(socket: Socket): void {
    socket.setNoDelay(true);
    if (keepAlive) socket.setKeepAlive(true, keepAliveInitialDelay);
  }

  const connector = (wish: UndiciConnectOptions, callback: UndiciConnected): void => {
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const done = (error: Error | null, socket?: Socket): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      if (error === null && socket !== undefined) callback(null, socket);
      else callback(error as Error, null);
    };
    const dialing = wish.protocol === 'https:' ? connectSecurely(wish, done) : connectPlainly(wish, done);
    if (timeout === 0 || over) return;
    timer = setTimeout(() => {
      done(timeoutError(wish.hostname, timeout));
      dialing.abort();
    }, timeout);
  };

  return Object.assign(connector, {
    [RELOAD](changes: ClientTlsOptions): ClientReloadReport {
      const { changed, stale } = policies.change(changes);
      settings = withChanges(settings, changes);
      let sessions = 0;
      for (const policy of stale) sessions += resumption.forgetPolicy(Buffer.from(policy, 'hex'));
      const uses = [...open.values()].filter(
        ({ policy }) => changed.length > 0 && (stale.has(policy) || policy === ''),
      );
      const closed = uses.filter((use) => use.idle).length;
      for (const use of uses) use.retire();
      return { changed, sessions, closed, inUse: uses.length - closed };
    },
  });
}

/** Whether undici needs a connection now. */
interface Use {
  /** In hexadecimal; empty for a connection that has no part in resumption. */
  readonly policy: string;
  readonly idle: boolean;
  /** Ends it as soon as it is idle. */
  retire(): void;
}

/** undici lets the process end (`unref`) while a connection has nothing to do, and no more when it has (`ref`). */
function watchUse(socket: Socket, policy: string): Use {
  let idle = false;
  let retired = false;
  const { ref, unref } = socket;
  socket.ref = () => {
    idle = false;
    return ref.call(socket);
  };
  socket.unref = () => {
    idle = true;
    if (retired) socket.destroy();
    return unref.call(socket);
  };
  return {
    policy,
    get idle() {
      return idle;
    },
    retire() {
      retired = true;
      if (idle) socket.destroy();
    },
  };
}

const OWN_OPTIONS = ['allowH2', 'timeout', 'keepAlive', 'keepAliveInitialDelay', 'socketPath', 'session'];

function tlsOptions(options: UndiciConnectorOptions): ClientTlsOptions {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !OWN_OPTIONS.includes(name)));
}

/** The name to ask for, from a Host header; none for an address. */
function serverNameOf(host: string | undefined): string | undefined {
  const name = host?.startsWith('[') ? host.slice(1, host.indexOf(']')) : host?.split(':', 1)[0];
  return name && isIP(name) === 0 ? name : undefined;
}

function timeoutError(hostname: string, timeout: number): Error {
  const error = new Error(`no connection to ${hostname} within ${timeout} ms`);
  return Object.assign(error, { name: 'ConnectTimeoutError', code: 'UND_ERR_CONNECT_TIMEOUT' });
}
