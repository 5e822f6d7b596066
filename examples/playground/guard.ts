/** What the playground's sessions are bound to. */

import { digestParameters, type MaybePromise, SessionIdContextGuard, type SessionPolicy } from 'tls-resumption';
import type { PlaygroundOptions } from './arguments.js';

/**
 * Sessions are bound to the server's certificate, and each playground makes one of its own. So that two of them with
 * one key file or one store resume each other's clients, their guard leaves it out.
 */
class SharedGuard extends SessionIdContextGuard {
  readonly #parameters: Buffer;

  constructor(name: string, maxChainAge: number, { min, max }: PlaygroundOptions) {
    super({ name, maxChainAge });
    this.#parameters = digestParameters({ minVersion: min, maxVersion: max });
  }

  override contextFor(connection: SessionPolicy | { readonly policy: SessionPolicy }): Buffer {
    const { servername } = 'policy' in connection ? connection.policy : connection;
    return super.contextFor({ servername, parameters: this.#parameters });
  }

  /** What a reload forgets is in the context too, whatever it was of. */
  override retire(parameters: Uint8Array, reason: string): MaybePromise<void> {
    const told = [super.retire(parameters, reason), super.retire(this.#parameters, reason)];
    return Promise.all(told).then(() => {});
  }
}

/** @param maxChainAge seconds */
export function guardFor(options: PlaygroundOptions, maxChainAge: number): SessionIdContextGuard {
  // HAProxy, with the same keys, resumes them too: OpenSSL there asks for this name.
  if (options.ticketKeys !== undefined) return new SharedGuard('haproxy', maxChainAge, options);
  if (options.store.kind !== 'memory') return new SharedGuard('playground', maxChainAge, options);
  return new SessionIdContextGuard({ name: 'playground', maxChainAge });
}
