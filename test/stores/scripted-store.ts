import { vi } from 'vitest';
import type { MaybePromise, SessionStore } from '../../src/stores/session-store.js';

/** What a call does: is it done, when and how does it end. */
export interface Behaviour {
  /** Whether it has its effect; that of a call that ends later is at once, too. Default: true. */
  readonly done?: boolean;
  /** Milliseconds until it ends; 0 is a later turn, `undefined` at once, infinity never. */
  readonly after?: number | undefined;
  readonly fails?: boolean;
}

export const AT_ONCE: Behaviour = {};
export const LATER: Behaviour = { after: 5 };
export const THROWS: Behaviour = { fails: true, done: false };
export const REJECTS: Behaviour = { fails: true, done: false, after: 5 };
export const HANGS: Behaviour = { after: Number.POSITIVE_INFINITY, done: false };

export type Call = 'get' | 'set' | 'delete' | 'take';

/** A store in memory whose every call does as it is told. */
export class ScriptedStore implements SessionStore {
  readonly held = new Map<string, Buffer>();
  readonly calls: string[] = [];
  behave: (call: Call) => Behaviour = () => AT_ONCE;
  /** Calls on their way now, and at most so far. */
  open = 0;
  most = 0;
  closings = 0;
  closing: () => MaybePromise<void> = () => {};
  /** Ends a call that hangs. */
  readonly hung: (() => void)[] = [];
  take?: (key: Uint8Array) => MaybePromise<Uint8Array | undefined> = (key) =>
    this.#call('take', key, (name) => {
      const value = this.held.get(name);
      this.held.delete(name);
      return value && Buffer.from(value);
    });

  get(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    return this.#call('get', key, (name) => {
      const value = this.held.get(name);
      return value && Buffer.from(value);
    });
  }

  set(key: Uint8Array, value: Uint8Array): MaybePromise<void> {
    const copy = Buffer.from(value);
    return this.#call('set', key, (name) => void this.held.set(name, copy));
  }

  delete(key: Uint8Array): MaybePromise<void> {
    return this.#call('delete', key, (name) => void this.held.delete(name));
  }

  close(): MaybePromise<void> {
    this.closings++;
    return this.closing();
  }

  /** The calls since the last time. */
  called(): string[] {
    return this.calls.splice(0);
  }

  #call<T>(call: Call, key: Uint8Array, act: (name: string) => T): MaybePromise<T> {
    const { after, done = true, fails = false } = this.behave(call);
    this.calls.push(`${call} ${key[0]}`);
    const answer = done ? act(Buffer.from(key).toString('hex')) : undefined;
    const error = new Error(`${call} has failed`);
    if (after === undefined) {
      if (fails) throw error;
      return answer as T;
    }
    this.most = Math.max(this.most, ++this.open);
    return new Promise<T>((resolve, reject) => {
      const end = () => {
        this.open--;
        // A store may be slow and fail, but what it says was done was done.
        if (fails || !done) reject(error);
        else resolve(answer as T);
      };
      if (after === Number.POSITIVE_INFINITY) this.hung.push(end);
      else setTimeout(end, after);
    });
  }
}

/** Fake timers, and a clock of theirs. */
export function useFakeTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'performance', 'Date'] });
}

export const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

/** What has become of a promise so far. */
export function watch<T>(answer: MaybePromise<T>): {
  state: 'at once' | 'waiting' | 'fulfilled' | 'rejected';
  value?: T;
  code?: unknown;
} {
  const seen: ReturnType<typeof watch<T>> = { state: 'waiting' };
  if (!(answer instanceof Promise)) return Object.assign(seen, { state: 'at once', value: answer });
  answer.then(
    (value) => Object.assign(seen, { state: 'fulfilled', value }),
    (error: { code?: unknown; message: string }) =>
      Object.assign(seen, { state: 'rejected', code: error.code ?? error.message }),
  );
  return seen;
}
