/**
 * One connection through a layer-4 balancer, from its first byte to its last.
 *
 * @module
 */

import { Socket } from 'node:net';
import { requireFunction, requireInteger, requireObject, wrongType } from '../arguments.js';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import { type ClientHello, ClientHelloAssembler, parseClientHello } from '../wire/client-hello.js';
import type { AffinityBackend, AffinityChoice, FlightObserver } from './affinity-backend.js';

/** Options of `SessionAffinity.forward`. Times are in milliseconds, up to 2 147 483 647. */
export interface ForwardOptions {
  /** How long to wait for the whole hello; then the connection is passed on by its key. From 1. Default: 10 000. */
  readonly helloTimeout?: number | undefined;
  /** How long a back end may take to accept the connection. From 1. Default: 10 000. */
  readonly connectTimeout?: number | undefined;
  /** How long both directions may be still before the connection is destroyed; 0 is for ever. Default: 600 000. */
  readonly idleTimeout?: number | undefined;
  /**
   * Whose choice it is where no session decides: the name asked for, an address that a PROXY header told. `undefined` is
   * a random choice. Default: the client's address.
   */
  readonly key?: ((hello: ClientHello | undefined) => string | undefined) | undefined;
}

/** Where a connection went. */
export interface Forwarded<B extends AffinityBackend> extends AffinityChoice<B> {
  /** `undefined` when the client's bytes could not be read as one. */
  readonly hello: ClientHello | undefined;
  /** The connection to the back end. */
  readonly server: Socket;
}

type Connect<B> = (backend: B, hello: ClientHello | undefined) => Socket;

/** What is asked of a `SessionAffinity`. */
interface Affinity<B extends AffinityBackend> {
  choose(
    hello: ClientHello | undefined,
    key: string | undefined,
    except: ReadonlySet<string>,
  ): MaybePromise<AffinityChoice<B> | undefined>;
  observe(hello: ClientHello, backend: B): FlightObserver;
}

const MAX_TIMEOUT = 0x7fff_ffff;

/** See `SessionAffinity.forward`. */
export async function forward<B extends AffinityBackend>(
  affinity: Affinity<B>,
  client: Socket,
  connect: Connect<B>,
  options: ForwardOptions,
): Promise<Forwarded<B> | undefined> {
  if (!(client instanceof Socket)) throw wrongType('client', 'a net.Socket', client);
  requireFunction('connect', connect);
  requireObject('options', options);
  const { helloTimeout = 10_000, connectTimeout = 10_000, idleTimeout = 600_000 } = options;
  const { key = () => client.remoteAddress } = options;
  requireInteger('options.helloTimeout', helloTimeout, 1, MAX_TIMEOUT, 'milliseconds');
  requireInteger('options.connectTimeout', connectTimeout, 1, MAX_TIMEOUT, 'milliseconds');
  requireInteger('options.idleTimeout', idleTimeout, 0, MAX_TIMEOUT, 'milliseconds');
  requireFunction('options.key', key);

  try {
    prepare(client);
    const beginning = await beginningOf(client, helloTimeout);
    const hello = beginning.state === 'complete' ? parseClientHello(beginning.message) : undefined;
    const chosenBy = client.destroyed ? undefined : key(hello);
    const failed = new Set<string>();
    while (!client.destroyed) {
      const chosen = affinity.choose(hello, chosenBy, failed);
      const choice = isPromise(chosen) ? await chosen : chosen;
      if (choice === undefined || client.destroyed) break;
      const server = connect(choice.backend, hello);
      if (!(server instanceof Socket)) throw wrongType('connect', 'a function that gives a net.Socket', server);
      prepare(server);
      if (await accepts(server, client, connectTimeout)) {
        if (beginning.bytesHeld > 0) server.write(beginning.handedOn());
        // All bytes pass through the client's socket, in one direction or the other.
        client.setTimeout(idleTimeout, () => client.destroy());
        relay(client, server);
        relay(server, client, hello && affinity.observe(hello, choice.backend));
        return { ...choice, hello, server };
      }
      failed.add(choice.backend.name);
    }
  } catch (error) {
    client.destroy();
    throw error;
  }
  client.destroy();
  return undefined;
}

function prepare(socket: Socket): void {
  socket.allowHalfOpen = true;
  socket.setNoDelay();
  // Errors destroy the socket, and its closing tells us.
  socket.on('error', ignore);
}

function ignore(): void {}

/**
 * Reads until it is known what the client says, or for so long. Then the client is paused; what it said is in the
 * assembler. One that ends before is destroyed.
 */
function beginningOf(client: Socket, timeout: number): Promise<ClientHelloAssembler> {
  const assembler = new ClientHelloAssembler();
  return new Promise((resolve) => {
    const settle = (): void => {
      clearTimeout(timer);
      client.pause().off('data', onData).off('end', onEnd).off('close', settle);
      resolve(assembler);
    };
    const onData = (chunk: Buffer): void => {
      if (assembler.push(chunk) !== 'incomplete') settle();
    };
    const onEnd = (): void => {
      client.destroy();
      settle();
    };
    const timer = setTimeout(settle, timeout);
    if (client.destroyed || client.readableEnded) onEnd();
    else client.on('data', onData).on('end', onEnd).on('close', settle).resume();
  });
}

/** Waits until the back end has accepted; destroys the connection when it does not, or when the client leaves before. */
function accepts(server: Socket, client: Socket, timeout: number): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (accepted: boolean): void => {
      clearTimeout(timer);
      server.off('connect', onConnect).off('close', onClose);
      client.off('close', onClose);
      if (!accepted) server.destroy();
      resolve(accepted);
    };
    const onConnect = (): void => settle(true);
    const onClose = (): void => settle(false);
    const timer = setTimeout(onClose, timeout);
    if (server.destroyed || client.destroyed) onClose();
    else if (!server.connecting) onConnect();
    else {
      server.on('connect', onConnect).on('close', onClose);
      client.on('close', onClose);
    }
  });
}

/** Passes on what comes from one side, as fast as the other takes it, its end, and its failure. */
function relay(from: Socket, to: Socket, observer?: FlightObserver): void {
  if (observer !== undefined) {
    const look = (chunk: Buffer): void => {
      if (!observer.push(chunk)) from.off('data', look);
    };
    from.on('data', look);
  }
  // Also its end when that has come already.
  from.pipe(to);
  // After an end in both directions, what it sent may still be on its way. A reset is passed on as one: half an answer
  // must not look like a whole. (Pipes have no such thing.)
  const onClose = (): void => {
    if (from.readableEnded && from.writableFinished) return;
    if (from.errored && to.remoteFamily !== undefined) to.resetAndDestroy();
    else to.destroy();
  };
  // It may have closed since it was connected.
  if (from.closed) onClose();
  else from.on('close', onClose);
}
