/** What is known of a connection's handshake, and where it is kept on the socket. */

import { channels, type RefusedMessage, type ResumedMessage } from '../diagnostics.js';
import type { NotResumedReason } from '../guard/resumption-rules.js';
import type { SessionPolicy } from '../guard/session-id-context-guard.js';
import { type ClientHello, parseOwnMessage } from '../wire/client-hello.js';
import type { ClientHelloView } from '../wire/client-hello-view.js';

/**
 * How a session came back: by a TLS 1.2 session ID, by a TLS 1.3 ticket whose state the server keeps, or by a ticket
 * that carries the session itself.
 */
export type ResumptionWay = 'session-id' | 'stateful-ticket' | 'ticket';

/** What `ServerResumption.connection(socket)` tells. */
export interface ResumptionConnection {
  /** The ClientHello as it was read; `undefined` when it could not be. */
  readonly hello: ClientHello | undefined;
  /**
   * The name asked for, exactly as sent. A TLS 1.2 connection that resumed has it here only: Node says `false`.
   */
  readonly servername: string | undefined;
  /** Whether the handshake was an abbreviated one. */
  readonly resumed: boolean;
  /** How it resumed; `null` when it did not. */
  readonly way: ResumptionWay | null;
  /** Why it did not resume; `null` when it did. */
  readonly reason: NotResumedReason | null;
  /**
   * When the full handshake was that its sessions descend from, its own if it did not resume: milliseconds since 1970,
   * with tickets whole seconds. `null` when no session of it is kept.
   */
  readonly fullHandshakeTime: number | null;
  /** What its session is bound to: `guard.contextFor(connection)` gives the context. */
  readonly policy: SessionPolicy;
}

/** How a handshake went. Few applications ask: what they get is made of the hello's bytes when they do. */
export class HandshakeOutcome {
  /**
   * The hello, one character a byte. A socket outlives its connection until a major collection: a Buffer would keep
   * memory outside of V8's heap with it.
   */
  readonly #message: string | undefined;
  readonly #way: ResumptionWay | null;
  readonly #reason: NotResumedReason | null;
  readonly #policy: SessionPolicy;
  /** To be set before anybody asks. */
  fullHandshakeTime: number | null = null;
  #connection: ResumptionConnection | undefined;

  /** @param way `null` when it did not resume */
  constructor(
    hello: ClientHelloView | undefined,
    way: ResumptionWay | null,
    reason: NotResumedReason | null,
    policy: SessionPolicy,
  ) {
    this.#message = hello?.message.toString('latin1');
    this.#way = way;
    this.#reason = reason;
    this.#policy = policy;
  }

  /**
   * On the diagnostics channels; a first visit is no news.
   *
   * @param guard the name of the guard that judged
   */
  publish(guard: string, socket: object): void {
    const { servername } = this.#policy;
    if (this.#way !== null) {
      if (!channels.resumed.hasSubscribers) return;
      channels.resumed.publish({ guard, servername, way: this.#way, socket } satisfies ResumedMessage);
    } else if (channels.refused.hasSubscribers && this.#reason !== null && this.#reason !== 'not-offered') {
      channels.refused.publish({ guard, servername, reason: this.#reason, socket } satisfies RefusedMessage);
    }
  }

  get connection(): ResumptionConnection {
    this.#connection ??= {
      hello: this.#message === undefined ? undefined : helloOf(this.#message),
      servername: this.#policy.servername,
      resumed: this.#way !== null,
      way: this.#way,
      reason: this.#reason,
      fullHandshakeTime: this.fullHandshakeTime,
      policy: this.#policy,
    };
    return this.#connection;
  }
}

/** Byte fields are views of its bytes, which no other Buffer shares. */
function helloOf(message: string): ClientHello | undefined {
  const bytes = Buffer.allocUnsafeSlow(message.length);
  bytes.write(message, 'latin1');
  return parseOwnMessage(bytes);
}

/** Registered, so that the ESM and the CommonJS build of the library in one process find each other's. */
const OUTCOME = Symbol.for('tls-resumption.outcome');

type Carrier = { [OUTCOME]?: HandshakeOutcome };

export function attachOutcome(socket: object, outcome: HandshakeOutcome): void {
  (socket as Carrier)[OUTCOME] = outcome;
}

export function connectionOf(socket: object): ResumptionConnection | undefined {
  return (socket as Carrier)[OUTCOME]?.connection;
}
