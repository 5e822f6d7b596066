import type { MaybePromise, SessionStore } from '../../src/stores/session-store.js';

/** A store in memory that counts its calls, and whose answers a test can put off or spoil. */
export class CountingStore implements SessionStore {
  readonly held = new Map<string, { value: Uint8Array; timeout: number }>();
  readonly calls: string[] = [];
  /** What every call goes through: identity, a promise, a throw, … */
  wrap: (answer: unknown, call: string) => unknown = (answer) => answer;
  take?: (key: Uint8Array) => MaybePromise<Uint8Array | undefined>;

  constructor(options: { take?: boolean } = {}) {
    if (options.take !== false) {
      this.take = (key) => {
        const value = this.held.get(hex(key))?.value;
        return this.#answer('take', value, () => this.held.delete(hex(key)));
      };
    }
  }

  get(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    return this.#answer('get', this.held.get(hex(key))?.value, () => {});
  }

  set(key: Uint8Array, value: Uint8Array, timeout: number): MaybePromise<void> {
    return this.#answer('set', undefined, () => this.held.set(hex(key), { value, timeout }));
  }

  delete(key: Uint8Array): MaybePromise<void> {
    return this.#answer('delete', undefined, () => this.held.delete(hex(key)));
  }

  /** The names of the calls since the last time. */
  called(): string[] {
    return this.calls.splice(0);
  }

  #answer<T>(call: string, value: T, act: () => void): T {
    this.calls.push(call);
    const answer = this.wrap(value, call);
    act();
    return answer as T;
  }
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** An ID of 32 bytes. */
export function id(n: number): Buffer {
  return Buffer.alloc(32, n);
}

/** A session of its own content. */
export function session(n: number, length = 160): Buffer {
  return Buffer.alloc(length, `session ${n};`);
}

/** A clock that stands still until it is moved. */
export function stoppedClock(start = 1_000_000): (() => number) & { now: number } {
  const clock: (() => number) & { now: number } = Object.assign(() => clock.now, { now: start });
  return clock;
}
