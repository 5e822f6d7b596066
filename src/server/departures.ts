/** Which settings are over when contexts get others: none may be resumed under again, even when they come back. */

/** A context before and after: 32 bytes for the settings in force. */
export interface ContextMove {
  /** Its pattern; empty for the server's own. */
  readonly pattern: string;
  /** `undefined` when there was none. */
  readonly before: Buffer | undefined;
  readonly after: Buffer;
  /** Whether it is another although what is digested of it is the same. */
  readonly changed: boolean;
}

export class Departures {
  /** By pattern, what it had and another context has still: over only when it is to have it again. */
  readonly #left = new Map<string, Set<string>>();

  get size(): number {
    return this.#left.size;
  }

  /**
   * @param inForce the settings of all contexts now, in hex
   * @returns those that are over
   */
  settle(moves: readonly ContextMove[], inForce: ReadonlySet<string>): Buffer[] {
    const over = new Map<string, Buffer>();
    for (const { pattern, before, after, changed } of moves) {
      const now = after.toString('hex');
      const then = before?.toString('hex');
      if (this.#left.get(pattern)?.has(now)) over.set(now, after);
      if (before === undefined || then === undefined) continue;
      if (then === now ? changed : !inForce.has(then)) over.set(then, before);
      else if (then !== now) this.#leave(pattern, then);
    }
    for (const [pattern, left] of this.#left) {
      for (const each of over.keys()) left.delete(each);
      if (left.size === 0) this.#left.delete(pattern);
    }
    return [...over.values()];
  }

  #leave(pattern: string, settings: string): void {
    const left = this.#left.get(pattern);
    if (left === undefined) this.#left.set(pattern, new Set([settings]));
    else left.add(settings);
  }
}
