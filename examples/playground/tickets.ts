/** The keys of the playground's tickets: its own, or those in a file. */

import { digestParameters, SessionIdContextGuard, type SessionPolicy, TicketKeyRing } from 'tls-resumption';
import type { PlaygroundOptions } from './arguments.js';

/** What Node takes. */
const KEY_BYTES = 48;

/** Seconds: the processes that follow one file are on one machine. */
const FILE_TIMES = { pollInterval: 0.25, skew: 2 };

/** What `GET /statistics` says of the keys. */
export interface TicketKeysReport {
  /** Names, in hexadecimal: what seals, what will seal, and what else opens. */
  readonly current: string | undefined;
  readonly next: readonly string[];
  readonly previous: readonly string[];
  /** Seconds that a key opens after it stopped sealing. */
  readonly lifetime: number;
  readonly rotations: number;
  /** Of the last rotation, in milliseconds since 1970. */
  readonly rotatedAt: number | null;
}

/**
 * Sessions are bound to the server's certificate, and each playground makes one of its own. So that two of them with
 * one key file resume each other's clients, their guard leaves it out. HAProxy, with the same keys, resumes them too:
 * OpenSSL there asks for this name.
 */
class SharedKeysGuard extends SessionIdContextGuard {
  readonly #parameters: Buffer;

  constructor({ min, max }: PlaygroundOptions, maxChainAge: number) {
    super({ name: 'haproxy', maxChainAge });
    this.#parameters = digestParameters({ minVersion: min, maxVersion: max });
  }

  override contextFor(connection: SessionPolicy | { readonly policy: SessionPolicy }): Buffer {
    const { servername } = 'policy' in connection ? connection.policy : connection;
    return super.contextFor({ servername, parameters: this.#parameters });
  }
}

export class PlaygroundTickets {
  readonly ring: TicketKeyRing;
  readonly #rotated: { count: number; at: number | null } = { count: 0, at: null };

  /**
   * @param changed another key seals
   * @param fault the file is not good any more
   * @throws ResumptionError when it is not good now
   */
  constructor(options: PlaygroundOptions, changed: () => void, fault: (message: string) => void) {
    this.ring = ringOf(options);
    this.ring.on('rotate', () => {
      this.#rotated.count++;
      this.#rotated.at = Date.now();
      changed();
    });
    this.ring.on('fault', (error) => fault(error.message));
  }

  get report(): TicketKeysReport {
    return { ...this.ring.toJSON(), rotations: this.#rotated.count, rotatedAt: this.#rotated.at };
  }
}

function ringOf({ ticketKeys, rotate, timeout }: PlaygroundOptions): TicketKeyRing {
  if (ticketKeys === undefined) return TicketKeyRing.generate({ interval: rotate, lifetime: timeout });
  const { file, format } = ticketKeys;
  const ring = TicketKeyRing.fromFile(file, { format, lifetime: timeout, ...FILE_TIMES });
  if (ring.keyLength !== KEY_BYTES) {
    throw new Error(`the ticket keys in ${file} have ${ring.keyLength} bytes each, and Node takes ${KEY_BYTES}`);
  }
  return ring;
}

/** @param maxChainAge seconds */
export function guardFor(options: PlaygroundOptions, maxChainAge: number): SessionIdContextGuard {
  if (options.ticketKeys !== undefined) return new SharedKeysGuard(options, maxChainAge);
  return new SessionIdContextGuard({ name: 'playground', maxChainAge });
}
