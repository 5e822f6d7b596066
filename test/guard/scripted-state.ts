/** A shared state whose calls wait, fail or lie as a test says. */

import { MemorySharedState } from '../../src/stores/memory-shared-state.js';
import type { MaybePromise } from '../../src/stores/session-store.js';
import type { SharedState } from '../../src/stores/shared-state.js';

export type Way = 'at-once' | 'later' | 'throws' | 'rejects' | 'hangs' | 'done-but-rejects' | 'rejects-then-done';
export type Operation = 'get' | 'set' | 'setIfAbsent' | 'entries';

export const WAYS: readonly Way[] = [
  'at-once',
  'later',
  'throws',
  'rejects',
  'hangs',
  'done-but-rejects',
  'rejects-then-done',
];

const down = (): Error => Object.assign(new Error('the state is down'), { code: 'ERR_STORE_UNAVAILABLE' });

export class ScriptedState implements SharedState {
  readonly calls: Operation[] = [];
  way: (operation: Operation) => Way = () => 'at-once';
  /** Effects that come after their call has failed. */
  readonly late: (() => void)[] = [];

  constructor(readonly facts = new MemorySharedState()) {}

  get(name: string): MaybePromise<Uint8Array | undefined> {
    return this.#call('get', () => this.facts.get(name));
  }

  set(name: string, value: Uint8Array, timeout?: number): MaybePromise<void> {
    return this.#call('set', () => this.facts.set(name, value, timeout));
  }

  setIfAbsent(name: string, value: Uint8Array, timeout?: number): MaybePromise<Uint8Array> {
    return this.#call('setIfAbsent', () => this.facts.setIfAbsent(name, value, timeout));
  }

  entries(prefix: string): MaybePromise<Map<string, Uint8Array>> {
    return this.#call('entries', () => this.facts.entries(prefix));
  }

  #call<T>(operation: Operation, run: () => T): MaybePromise<T> {
    this.calls.push(operation);
    switch (this.way(operation)) {
      case 'at-once':
        return run();
      case 'later': {
        // Done at once, answered later: what it says may be old by then.
        const result = run();
        return Promise.resolve()
          .then(() => {})
          .then(() => result);
      }
      case 'throws':
        throw down();
      case 'rejects':
        return Promise.reject(down());
      case 'hangs':
        return new Promise(() => {});
      case 'done-but-rejects':
        run();
        return Promise.reject(down());
      case 'rejects-then-done':
        this.late.push(run);
        return Promise.reject(down());
    }
  }
}
