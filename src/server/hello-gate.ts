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
  /** The connection is no longer waited for, however that came about. */
  left(held: HeldConnection): void;
}

/** The error of Node's own handshake timer, which does not run before Node has the socket. */
function handshakeTimeout(): Error {
  return Object.assign(new Error('TLS handshake timeout'), { code: 'ERR_TLS_HANDSHAKE_TIMEOUT' });
}

/**
 * Fails a connection whose socket is gone already as Node would have: a TLSSocket over a stand-in raises
 * `tlsClientError` with the same code.
 */
function failOverStandIn(accept: (socket: Duplex) => void, error: Error | undefined): void {
  const standIn = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  accept(standIn);
  standIn.destroy(error);
}

/** A connection between `connection` and the moment that Node's own listener gets it. */
export class HeldConnection {
  readonly socket: Duplex;
  readonly #receiver: HelloReceiver;
  readonly #assembler: ClientHelloAssembler;
  readonly #timer: NodeJS.Timeout;
  #state: 'reading' | 'held' | 'gone' = 'reading';

  constructor(socket: Duplex, limits: HelloLimits, receiver: HelloReceiver) {
    this.socket = socket;
    this.#receiver = receiver;
    this.#assembler = new ClientHelloAssembler(limits.maxBytes);
    this.#timer = setTimeout(this.#onTimeout, limits.timeout).unref();
    socket.on('readable', this.#onReadable);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
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
    this.#receiver.accept(this.socket);
    this.socket.destroy(error);
  }

  readonly #onReadable = (): void => {
    let chunk: Buffer | null = this.socket.read();
    while (chunk !== null) {
      const state = this.#assembler.push(chunk);
      if (state !== 'incomplete') {
        this.#putBack();
        this.#receiver.hello(this, state === 'complete' ? this.#assembler.message : undefined);
        return;
      }
      chunk = this.socket.read();
    }
  };

  /** Bytes in the buffer also keep an end that follows them from being announced before Node has them. */
  #putBack(): void {
    this.#state = 'held';
    this.socket.removeListener('readable', this.#onReadable);
    this.socket.removeListener('end', this.#onEnd);
    const bytes = this.#assembler.handedOn();
    if (bytes.length > 0 && !this.socket.readableEnded) this.socket.unshift(bytes);
  }

  readonly #onEnd = (): void => {
    if (this.release()) this.#receiver.accept(this.socket);
  };

  readonly #onError = (error: Error): void => {
    this.#leave();
    failOverStandIn((socket) => this.#receiver.accept(socket), error);
  };

  readonly #onClose = (): void => {
    this.#leave();
    failOverStandIn((socket) => this.#receiver.accept(socket), undefined);
  };

  readonly #onTimeout = (): void => this.fail(handshakeTimeout());

  #leave(): void {
    this.#state = 'gone';
    clearTimeout(this.#timer);
    this.socket.removeListener('readable', this.#onReadable);
    this.socket.removeListener('end', this.#onEnd);
    this.socket.removeListener('error', this.#onError);
    this.socket.removeListener('close', this.#onClose);
    this.#receiver.left(this);
  }
}
