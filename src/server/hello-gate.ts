/** Holds a connection until its ClientHello is complete, then gives every byte back to the socket. */

import { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { Duplex } from 'node:stream';
import { ClientHelloAssembler } from '../wire/client-hello.js';
import { helloInFirstRecord } from '../wire/handshake-records.js';

/** How much one connection may make us hold, and for how long. */
export interface HelloLimits {
  /** Bytes of the ClientHello message. */
  readonly maxBytes: number;
  /** Milliseconds from the connection to its complete ClientHello. */
  readonly timeout: number;
}

/** What to do with a connection whose ClientHello was awaited. */
export interface HelloReceiver {
  /**
   * The hello is complete, or known never to be one (`undefined`), and the bytes are back in the socket. It is to be
   * released with {@link HeldConnection.release} at once or later.
   */
  hello(held: HeldConnection, message: Buffer | undefined): void;
  /** Node's own listener: makes a TLSSocket of the socket. */
  accept(socket: Duplex): void;
  /** The socket has closed after it was released. */
  closed(handshake: number): void;
}

/** The async ID of nothing. */
const NO_HANDSHAKE = -1;

/** The error of Node's own handshake timer, which does not run before Node has the socket. */
function handshakeTimeout(): Error {
  return Object.assign(new Error('TLS handshake timeout'), { code: 'ERR_TLS_HANDSHAKE_TIMEOUT' });
}

/**
 * Fails a connection whose socket is gone already as Node would have: a TLSSocket over a stand-in raises
 * `tlsClientError` with the same code.
 */
function failOverStandIn(receiver: HelloReceiver, error: Error | undefined): void {
  const standIn = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  receiver.accept(standIn);
  standIn.destroy(error);
}

/** Where the listeners, which are the same functions for all sockets, find what they are about. */
const HELD = Symbol('held');

type HeldSocket = Duplex & { [HELD]: HeldConnection | undefined };

function onReadable(this: HeldSocket): void {
  this[HELD]?.read();
}

function onEnd(this: HeldSocket): void {
  this[HELD]?.end();
}

function onError(this: HeldSocket, error: Error): void {
  this[HELD]?.error(error);
}

function onClose(this: HeldSocket): void {
  const held = this[HELD];
  // A closed socket lives until a major collection, held by handles of Node's; this need not live that long.
  this[HELD] = undefined;
  held?.close();
}

/** For what waits until the code that runs now is done: a tick would make Node look through rejected promises as well. */
const soon = Promise.resolve();

/** A connection between `connection` and the moment that Node's own listener gets it. */
export class HeldConnection {
  readonly socket: Duplex;
  /** Milliseconds, on the clock of {@link HelloGate}. */
  readonly deadline: number;
  /** Its neighbours among those that wait: the gate's. */
  older: HeldConnection | undefined;
  newer: HeldConnection | undefined;
  /** What {@link HelloReceiver.closed} is called with. */
  handshake = NO_HANDSHAKE;
  readonly #gate: HelloGate;
  #assembler: ClientHelloAssembler | undefined;
  #state: 'reading' | 'held' | 'gone' = 'reading';

  /** @param shared whether the application has the socket too */
  constructor(socket: Duplex, gate: HelloGate, deadline: number, shared: boolean) {
    this.socket = socket;
    this.deadline = deadline;
    this.#gate = gate;
    (socket as HeldSocket)[HELD] = this;
    socket.on('readable', onReadable);
    // These two stay: taking listeners off costs more than they do.
    socket.on('error', onError);
    socket.on('close', onClose);
    // Otherwise an end closes the socket of itself.
    if (socket.allowHalfOpen) socket.on('end', onEnd);
    // By then the application has done with the socket what it does at once, and no byte has come.
    if (shared) void soon.then(() => this.#lookForReader());
  }

  /** Whether a gate holds the socket or has held it: of a second one, the first's listeners would know nothing. */
  static has(socket: Duplex): boolean {
    return (socket as HeldSocket)[HELD] !== undefined;
  }

  /**
   * Stops watching the socket; the caller hands it on in the same turn.
   *
   * @returns whether there is still a connection to hand on
   */
  release(): boolean {
    if (this.#state === 'gone') return false;
    if (this.#state === 'reading') this.#putBack(this.#assembler?.handedOn());
    this.#leave();
    return true;
  }

  /** Ends a connection that waits: Node's listener gets it, then the error. */
  fail(error: Error): void {
    if (!this.release()) return;
    this.#gate.receiver.accept(this.socket);
    this.socket.destroy(error);
  }

  /** An application that reads the socket itself, or made it give text, gets nothing of it beside Node alone either. */
  #lookForReader(): void {
    const read = this.socket.listenerCount('data') > 0 || this.socket.readableEncoding !== null;
    if (read) process.nextTick(() => this.#state === 'reading' && this.#gate.receiver.hello(this, undefined));
  }

  read(): void {
    if (this.#state !== 'reading') return;
    let chunk: Buffer | string | null = this.socket.read();
    while (chunk !== null) {
      // Made to give text after all: what is lost already cannot be given back.
      if (typeof chunk === 'string') {
        this.socket.destroy();
        return;
      }
      if (this.#take(chunk)) return;
      chunk = this.socket.read();
    }
  }

  /** @returns whether it is known now what the connection begins with */
  #take(chunk: Buffer): boolean {
    const { maxBytes } = this.#gate.limits;
    let message = this.#assembler === undefined ? helloInFirstRecord(chunk, maxBytes) : undefined;
    if (message !== undefined) this.#putBack(chunk);
    else {
      this.#assembler ??= new ClientHelloAssembler(maxBytes);
      const state = this.#assembler.push(chunk);
      if (state === 'incomplete') return false;
      this.#putBack(this.#assembler.handedOn());
      if (state === 'complete') message = this.#assembler.message;
      this.#assembler = undefined;
    }
    this.#gate.receiver.hello(this, message);
    return true;
  }

  /** Bytes in the buffer also keep an end that follows them from being announced before Node has them. */
  #putBack(bytes: Buffer | undefined): void {
    this.#state = 'held';
    // Of a socket whose handle Node takes nothing more is heard; taking the listener off costs a tick.
    if (!(this.socket instanceof Socket)) this.socket.removeListener('readable', onReadable);
    if (bytes !== undefined && bytes.length > 0 && !this.socket.readableEnded) this.socket.unshift(bytes);
  }

  end(): void {
    if (this.release()) this.#gate.receiver.accept(this.socket);
  }

  error(error: Error): void {
    if (this.#state !== 'gone') this.#lost(error);
  }

  close(): void {
    if (this.#state === 'gone') this.#gate.receiver.closed(this.handshake);
    else this.#lost(undefined);
  }

  #lost(error: Error | undefined): void {
    this.#leave();
    failOverStandIn(this.#gate.receiver, error);
  }

  #leave(): void {
    if (this.#state === 'reading') this.socket.removeListener('readable', onReadable);
    this.#state = 'gone';
    this.#assembler = undefined;
    if (this.socket.allowHalfOpen) this.socket.removeListener('end', onEnd);
    this.#gate.left(this);
  }
}

/** The connections of one server whose ClientHello is awaited, and the one timer for all of them. */
export class HelloGate {
  readonly limits: HelloLimits;
  readonly receiver: HelloReceiver;
  /** Every connection waits equally long: the oldest is the next whose time is over. */
  #oldest: HeldConnection | undefined;
  #newest: HeldConnection | undefined;
  #size = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: HelloLimits, receiver: HelloReceiver) {
    this.limits = limits;
    this.receiver = receiver;
  }

  get size(): number {
    return this.#size;
  }

  hold(socket: Duplex, shared: boolean): void {
    const held = new HeldConnection(socket, this, performance.now() + this.limits.timeout, shared);
    held.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = held;
    else this.#newest.newer = held;
    this.#newest = held;
    this.#size++;
    this.#timer ??= setTimeout(this.#sweep, this.limits.timeout).unref();
  }

  left(held: HeldConnection): void {
    const { older, newer } = held;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    held.older = undefined;
    held.newer = undefined;
    this.#size--;
  }

  /** Hands every connection that waits to Node as it is. */
  open(): void {
    clearTimeout(this.#timer);
    for (let held = this.#oldest; held !== undefined; held = this.#oldest) {
      if (held.release()) this.receiver.accept(held.socket);
    }
  }

  readonly #sweep = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (let held = this.#oldest; held !== undefined; held = this.#oldest) {
      if (held.deadline > now) {
        this.#timer = setTimeout(this.#sweep, held.deadline - now + 1).unref();
        return;
      }
      held.fail(handshakeTimeout());
    }
  };
}
