/**
 * A look at the ClientHello of a connection that someone else is going to serve: `tls`, or what stands behind a proxy.
 *
 * @module
 */

import { Duplex } from 'node:stream';
import { requireNumber, requireObject, wrongType } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { type ClientHello, ClientHelloAssembler, parseClientHello } from '../wire/client-hello.js';

/** Options of {@link readClientHello}. */
export interface ReadClientHelloOptions {
  /** How long to wait for the whole hello, in milliseconds: 1 to 2 147 483 647. Default: 120 000, as Node's `handshakeTimeout`. */
  readonly timeout?: number;
  /** The longest hello to take, in bytes: 4 to 16 384, the default. */
  readonly maxBytes?: number;
  /** Ends the wait: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

const DEFAULT_TIMEOUT = 120_000;
const MAX_TIMEOUT = 0x7fff_ffff;

/**
 * Reads the ClientHello and puts it back: afterwards the connection can be given to `new tls.TLSSocket(socket, { isServer:
 * true })` or to a TLS server's `emit('connection', socket)`, or be piped on. A hello in several records is put back as one
 * record, which its transcript does not tell apart. No listener of ours stays behind, however it ends.
 *
 * @param socket a connection that nobody has read from: bytes, no encoding, not in object mode.
 * @returns the hello; `undefined` when the connection begins with something else, or with a hello that is malformed or
 * too large. Then the bytes are put back as they came.
 * @throws {TypeError | RangeError} (rejects) for wrong arguments.
 * @throws {ResumptionError} (rejects) `ERR_CLIENT_HELLO_TIMEOUT`, the bytes put back; `ERR_SOCKET_CLOSED` when the
 * connection ends or fails first, with the error as its `cause`.
 *
 * @example
 * const server = net.createServer(async (socket) => {
 *   const hello = await readClientHello(socket, { timeout: 10_000 });
 *   const backend = net.connect(hello?.servername === 'a.test' ? 8443 : 9443);
 *   socket.pipe(backend).pipe(socket);
 * });
 */
export async function readClientHello(
  socket: Duplex,
  options: ReadClientHelloOptions = {},
): Promise<ClientHello | undefined> {
  requireByteStream(socket);
  requireObject('options', options);
  const { signal } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrongType('options.signal', 'an AbortSignal', signal);
  }
  const timeout = requireNumber('options.timeout', options.timeout ?? DEFAULT_TIMEOUT, 1, MAX_TIMEOUT, 'milliseconds');
  const assembler = new ClientHelloAssembler(options.maxBytes);
  signal?.throwIfAborted();

  await assemble(socket, assembler, timeout, signal);
  return assembler.state === 'complete' ? parseClientHello(assembler.message) : undefined;
}

function requireByteStream(socket: Duplex): void {
  if (!(socket instanceof Duplex)) throw wrongType('socket', 'a Duplex', socket);
  if (socket.readableObjectMode) throw new TypeError('"socket" expected a stream of bytes, got one in object mode');
  if (socket.readableEncoding !== null) {
    throw new TypeError(`"socket" expected a stream of bytes, got one that decodes ${socket.readableEncoding}`);
  }
}

/** Fills the assembler until its state is final, rejects when that will not happen, and puts back what was read. */
function assemble(
  socket: Duplex,
  assembler: ClientHelloAssembler,
  timeout: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;

    const settle = (then: () => void): void => {
      clearTimeout(timer);
      socket.off('readable', read).off('end', onEnd).off('close', onEnd).off('error', onError);
      signal?.removeEventListener('abort', onAbort);
      // In the same turn as the read, or a stream that has just been read empty would say `end` first. After `end`, an
      // unshift is an error, and nobody is left to read.
      if (assembler.bytesHeld > 0 && !socket.readableEnded && !socket.destroyed) socket.unshift(assembler.handedOn());
      then();
    };
    const read = (): void => {
      let chunk: Buffer | null = socket.read();
      while (chunk !== null) {
        if (assembler.push(chunk) !== 'incomplete') {
          settle(resolve);
          return;
        }
        chunk = socket.read();
      }
    };
    const closed = (message: string, options?: ErrorOptions): void =>
      settle(() => reject(new ResumptionError('ERR_SOCKET_CLOSED', message, options)));
    const onEnd = (): void => closed('The connection ended before its ClientHello was complete');
    const onError = (cause: Error): void =>
      closed('The connection failed before its ClientHello was complete', { cause });
    const onAbort = (): void => settle(() => reject(signal?.reason));
    const onTimeout = (): void => {
      const message = `No complete ClientHello came within ${timeout} milliseconds`;
      settle(() => reject(new ResumptionError('ERR_CLIENT_HELLO_TIMEOUT', message)));
    };

    if (socket.errored) onError(socket.errored);
    else if (socket.destroyed || socket.readableEnded) onEnd();
    else {
      socket.on('end', onEnd).on('close', onEnd).on('error', onError);
      read();
      if (assembler.state !== 'incomplete') return;
      timer = setTimeout(onTimeout, timeout);
      signal?.addEventListener('abort', onAbort, { once: true });
      socket.on('readable', read);
    }
  });
}
