import type { SessionStore } from '../../src/stores/session-store.js';

export type Held = Map<string, { value: Buffer; expiresAt: number }>;

/** A store in memory that does all that a store should: the good one, which faulty ones are made from. */
export class MemoryStore implements SessionStore {
  constructor(
    readonly clock: () => number = Date.now,
    readonly held: Held = new Map(),
  ) {}

  get(key: Uint8Array): Uint8Array | undefined {
    const found = this.held.get(this.name(key));
    return found === undefined || this.clock() > found.expiresAt ? undefined : Buffer.from(found.value);
  }

  set(key: Uint8Array, value: Uint8Array, timeout: number): void {
    this.held.set(this.name(key), { value: Buffer.from(value), expiresAt: this.clock() + timeout * 1000 });
  }

  delete(key: Uint8Array): void {
    this.held.delete(this.name(key));
  }

  take(key: Uint8Array): Uint8Array | undefined {
    const value = this.get(key);
    this.delete(key);
    return value;
  }

  close(): void {}

  name(key: Uint8Array): string {
    return Buffer.from(key).toString('hex');
  }
}

/** The same, whose answers come in a later turn of the event loop. */
export function later(store: MemoryStore): SessionStore {
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return {
    get: async (key) => {
      const copy = Buffer.from(key);
      await turn();
      return store.get(copy);
    },
    set: async (key, value, timeout) => {
      const [keyCopy, valueCopy] = [Buffer.from(key), Buffer.from(value)];
      await turn();
      store.set(keyCopy, valueCopy, timeout);
    },
    delete: async (key) => {
      const copy = Buffer.from(key);
      await turn();
      store.delete(copy);
    },
    take: async (key) => {
      const copy = Buffer.from(key);
      await turn();
      return store.take(copy);
    },
    close: async () => {
      await turn();
      store.close();
    },
  };
}
