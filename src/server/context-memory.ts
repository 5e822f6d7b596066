/** Contexts that need not be computed again. */

import type { SessionIdContextGuard, SessionPolicy } from '../guard/session-id-context-guard.js';

/** Names whose contexts one policy remembers. Only names that resumed get here, and no more than this many. */
const MAX_CONTEXTS = 128;

/** The contexts of the names that clients come back to, under one policy. */
export class ContextMemory {
  readonly #contexts = new Map<string | undefined, Buffer>();
  #generation = 0;

  contextFor(guard: SessionIdContextGuard, policy: SessionPolicy, generation: number): Buffer {
    if (this.#generation !== generation) {
      this.#contexts.clear();
      this.#generation = generation;
    }
    return this.#contexts.get(policy.servername) ?? guard.contextFor(policy);
  }

  remember(servername: string | undefined, context: Buffer, generation: number): void {
    if (generation === this.#generation && this.#contexts.size < MAX_CONTEXTS) this.#contexts.set(servername, context);
  }
}
