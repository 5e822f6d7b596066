/** Holds a connection until its ClientHello is complete, then gives every byte back to the socket. */

import { Duplex } from 'node:stream';
import { ClientHelloAssembler } from '../wire/client-hello.js';

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
}

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

/** A connection between `connection` and the moment that Node's own listener gets it. */
export class HeldConnection {
  readonly socket: Duplex;
  /** Milliseconds, on the clock of {@link HelloGate}. */
  readonly deadline: number;
  /** Called when the socket closes after it was released. */
  closed: (() => void) | undefined;
  readonly #gate: HelloGate;
  #assembler: ClientHelloAssembler | undefined;
  #state: 'reading' | 'held' | 'gone' = 'reading';

  constructor(socket: Duplex, gate: HelloGate, deadline: number) {
    this.socket = socket;
    this.deadline = deadline;
    this.#gate = gate;
    this.#assembler = new ClientHelloAssembler(gate.limits.maxBytes);
    socket.on('readable', this.#onReadable);
    // These two stay: taking listeners off costs more than they do.
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    // Otherwise an end closes the socket of itself.
    if (socket.allowHalfOpen) socket.on('end', this.#onEnd);
    // By then all listeners of `connection` have run, and no byte has come.
    process.nextTick(this.#yieldToReader);
  }

  /**
   * Stops watching the socket; the caller hands it on in the same turn.
   *
   * @returns whether there is still a connection to hand on
   */
  release(): boolean {
    if (this.#state === 'gone') return false;
    if (this.#state === 'reading') this.#putBack();
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
  readonly #yieldToReader = (): void => {
    const read = this.socket.listenerCount('data') > 0 || this.socket.readableEncoding !== null;
    if (read && this.#state === 'reading') this.#gate.receiver.hello(this, undefined);
  };

  readonly #onReadable = (): void => {
    const assembler = this.#assembler as ClientHelloAssembler;
    let chunk: Buffer | string | null = this.socket.read();
    while (chunk !== null) {
      // Made to give text after all: what is lost already cannot be given back.
      if (typeof chunk === 'string') {
        this.socket.destroy();
        return;
      }
      const state = assembler.push(chunk);
      if (state !== 'incomplete') {
        this.#putBack();
        this.#gate.receiver.hello(this, state === 'complete' ? assembler.message : undefined);
        return;
      }
      chunk = this.socket.read();
    }
  };

  /** Bytes in the buffer also keep an end that follows them from being announced before Node has them. */
  #putBack(): void {
    this.#state = 'held';
    this.socket.removeListener('readable', this.#onReadable);
    const bytes = this.#assembler?.handedOn();
    this.#assembler = undefined;
    if (bytes !== undefined && bytes.length > 0 && !this.socket.readableEnded) this.socket.unshift(bytes);
  }

  readonly #onEnd = (): void => {
    if (this.release()) this.#gate.receiver.accept(this.socket);
  };

  readonly #onError = (error: Error): void => {
    if (this.#state !== 'gone') this.#lost(error);
  };

  readonly #onClose = (): void => {
    if (this.#state === 'gone') this.closed?.();
    else this.#lost(undefined);
  };

  #lost(error: Error | undefined): void {
    this.#leave();
    failOverStandIn(this.#gate.receiver, error);
  }

  #leave(): void {
    if (this.#state === 'reading') this.socket.removeListener('readable', this.#onReadable);
    this.#state = 'gone';
    this.#assembler = undefined;
    if (this.socket.allowHalfOpen) this.socket.removeListener('end', this.#onEnd);
    this.#gate.left(this);
  }
}

/** The connections of one server whose ClientHello is awaited, and the one timer for all of them. */
export class HelloGate {
  readonly limits: HelloLimits;
  readonly receiver: HelloReceiver;
  /** Oldest first: every connection waits equally long. */
  readonly #held = new Set<HeldConnection>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: HelloLimits, receiver: HelloReceiver) {
    this.limits = limits;
    this.receiver = receiver;
  }

  get size(): number {
    return this.#held.size;
  }

  hold(socket: Duplex): void {
    const deadline = performance.now() + this.limits.timeout;
    this.#held.add(new HeldConnection(socket, this, deadline));
    this.#timer ??= setTimeout(this.#sweep, this.limits.timeout).unref();
  }

  left(held: HeldConnection): void {
    this.#held.delete(held);
  }

  /** Hands every connection that waits to Node as it is. */
  open(): void {
    clearTimeout(this.#timer);
    for (const held of [...this.#held]) if (held.release()) this.receiver.accept(held.socket);
  }

  readonly #sweep = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const held of [...this.#held]) {
      if (held.deadline > now) {
        this.#timer = setTimeout(this.#sweep, held.deadline - now + 1).unref();
        return;
      }
      held.fail(handshakeTimeout());
    }
  };
}
