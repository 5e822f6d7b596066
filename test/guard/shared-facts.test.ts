import { DiagnosticsChannels, MemorySharedState, type SharedState, type StoreErrorMessage } from 'tls-resumption';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FactKeeper, SharedFacts } from '../../src/guard/shared-facts.js';
import { hear } from '../support/diagnostics.js';

type Operation = 'set' | 'setIfAbsent' | 'entries';

interface Call {
  readonly operation: Operation;
  /** Does it, and says so. */
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

const NOW = Date.UTC(2030, 0, 1);
const ended: (() => void)[] = [];

/** Answers at once, but for the operations that it holds back: those answer when the test says. */
class PatientState implements SharedState {
  readonly facts = new MemorySharedState();
  readonly calls: Call[] = [];
  readonly hold = new Set<Operation>();
  watch?: NonNullable<SharedState['watch']>;

  get(name: string) {
    return this.facts.get(name);
  }

  set(name: string, value: Uint8Array, timeout?: number) {
    return this.#call('set', () => this.facts.set(name, value, timeout));
  }

  setIfAbsent(name: string, value: Uint8Array, timeout?: number) {
    return this.#call('setIfAbsent', () => this.facts.setIfAbsent(name, value, timeout));
  }

  entries(prefix: string) {
    return this.#call('entries', () => this.facts.entries(prefix));
  }

  of(operation: Operation): Call[] {
    return this.calls.filter((call) => call.operation === operation);
  }

  #call<T>(operation: Operation, run: () => T): T | Promise<T> {
    let call: Call = { operation, answer: () => {}, fail: () => {} };
    const held = new Promise<T>((resolve, fail) => {
      call = { operation, answer: () => resolve(run()), fail };
    });
    this.calls.push(call);
    return this.hold.has(operation) ? held : run();
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'Date'], now: NOW });
});

afterEach(() => {
  for (const end of ended.splice(0)) end();
  vi.useRealTimers();
});

function follow(
  state: PatientState,
  options: { interval?: number; clock?: () => number; looked?: () => boolean } = {},
) {
  const { interval = 1, clock = Date.now, looked = () => true } = options;
  const keeper = { told: vi.fn<FactKeeper['told']>(), looked: vi.fn<FactKeeper['looked']>(looked) };
  const facts = new SharedFacts({ state, prefix: 'p/', interval, clock }, keeper);
  ended.push(() => facts[Symbol.dispose]());
  facts.begin();
  return { facts, keeper };
}

/** What went wrong from now on. */
const listen = () => hear<StoreErrorMessage>(DiagnosticsChannels.StoreError, ended);

/** Turns in which promises settle. */
async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

async function pass(milliseconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(milliseconds);
  await turns();
}

describe('a look at the facts', () => {
  it('begins at once and then twice an interval, and never while one is under way', async () => {
    const state = new PatientState();
    follow(state, { interval: 2 });
    expect(state.calls).toHaveLength(1);
    await pass(3000);
    expect(state.calls).toHaveLength(4);
    state.hold.add('entries');
    await pass(4000);
    expect(state.calls).toHaveLength(5);
    state.calls.at(-1)?.answer();
    await pass(1000);
    expect(state.calls).toHaveLength(6);
  });

  it('is given up after ten of them, which is told, and what it says then is no news', async () => {
    const state = new PatientState();
    state.hold.add('entries');
    const errors = listen();
    const { facts, keeper } = follow(state);
    await pass(4999);
    expect([state.calls.length, errors.length]).toEqual([1, 0]);
    await pass(1);
    expect(state.calls).toHaveLength(2);
    const error = { code: 'ERR_STORE_TIMEOUT', message: expect.stringContaining('the shared state did not answer') };
    expect(errors).toEqual([{ store: 'state', operation: 'entries', error: expect.objectContaining(error) }]);
    state.facts.set('p/a', Buffer.from([1]));
    state.calls[0]?.answer();
    await turns();
    expect([keeper.told.mock.calls.length, facts.fresh]).toEqual([0, false]);
    state.calls[1]?.answer();
    await turns();
    expect([keeper.told.mock.calls, facts.fresh]).toEqual([[['a', Uint8Array.of(1)]], true]);
  });

  it('is fresh for an interval from its beginning, by a clock that does not go back', async () => {
    const state = new PatientState();
    state.hold.add('entries');
    const { facts } = follow(state, { interval: 4 });
    vi.setSystemTime(NOW + 1000);
    state.calls[0]?.answer();
    await turns();
    const fresh = [0, 4000, 4001, -1].map((after) => {
      vi.setSystemTime(NOW + after);
      return facts.fresh;
    });
    expect(fresh).toEqual([true, true, false, false]);
  });

  it('was never fresh before the first, whatever the clock does', () => {
    const state = new PatientState();
    state.hold.add('entries');
    const clock = () => {
      throw new Error('no time');
    };
    expect(follow(state, { clock }).facts.fresh).toBe(false);
  });

  it('makes ready once nothing is left to be known', async () => {
    const state = new PatientState();
    let known = false;
    const { facts } = follow(state, { looked: () => known });
    const ready = vi.fn();
    void facts.ready.then(ready);
    await pass(1000);
    expect(ready).not.toHaveBeenCalled();
    known = true;
    await pass(500);
    expect(ready).toHaveBeenCalledOnce();
  });

  it('tells what fails, and is followed by the next', async () => {
    const state = new PatientState();
    state.hold.add('entries');
    const errors = listen();
    const { keeper } = follow(state);
    const error = new Error('down');
    state.calls[0]?.fail(error);
    await turns();
    expect(errors).toEqual([{ store: 'state', operation: 'entries', error }]);
    state.hold.clear();
    await pass(500);
    expect(keeper.looked).toHaveBeenCalledOnce();
  });
});

describe('a fact that is written', () => {
  it('is made anew for each attempt after the first, which follow looks that are answered', async () => {
    const state = new PatientState();
    const { facts } = follow(state);
    const errors = listen();
    const make = vi.fn((again: boolean) => Buffer.from([again ? 2 : 1]));
    const set = vi.spyOn(state, 'set');
    set.mockImplementation(() => {
      throw new Error('down');
    });
    const done = vi.fn();
    void facts.put('a', undefined, make)?.then(done);
    expect(errors).toEqual([{ store: 'state', operation: 'set', error: new Error('down') }]);
    state.hold.add('entries');
    await pass(1000);
    expect(make.mock.calls).toEqual([[false]]);
    state.of('entries').at(-1)?.answer();
    await pass(1000);
    expect(make.mock.calls).toEqual([[false], [true]]);
    set.mockRestore();
    state.of('entries').at(-1)?.answer();
    await turns();
    expect([make.mock.calls.length, done.mock.calls.length, state.get('p/a')]).toEqual([3, 1, Uint8Array.of(2)]);
    await pass(5000);
    expect(make).toHaveBeenCalledTimes(3);
  });

  it('is tried again after ten looks without an answer: that of the first attempt counts no more then', async () => {
    for (const late of [(call: Call) => call.answer(), (call: Call) => call.fail(new Error('late'))]) {
      const state = new PatientState();
      const { facts, keeper } = follow(state);
      state.hold.add('set');
      const done = vi.fn();
      void Promise.resolve(facts.put('a', undefined, () => Buffer.from([1]))).then(done);
      await pass(4999);
      expect(state.of('set')).toHaveLength(1);
      await pass(1);
      expect(state.of('set')).toHaveLength(2);
      const [first, second] = state.of('set');
      late(first as Call);
      await pass(1000);
      expect([state.of('set').length, done.mock.calls.length, keeper.told.mock.calls.length]).toEqual([2, 0, 0]);
      second?.answer();
      await pass(500);
      expect(done).toHaveBeenCalledOnce();
      expect(keeper.told).toHaveBeenCalledWith('a', Uint8Array.of(1));
    }
  });

  it('is not told of, nor missing, in a look that began before it was there', async () => {
    const state = new PatientState();
    const { facts, keeper } = follow(state);
    state.hold.add('entries');
    await pass(500);
    facts.put('a', undefined, () => Buffer.from([2]));
    facts.put('b', undefined, () => Buffer.from([2]));
    let missing: boolean[] = [];
    keeper.looked.mockImplementation((isMissing) => {
      missing = ['a', 'b', 'c', 'd'].map(isMissing);
      return true;
    });
    state.facts.entries = () => new Map(['p/a', 'p/c'].map((name) => [name, Uint8Array.of(1)]));
    state.of('entries').at(-1)?.answer();
    await turns();
    expect(missing).toEqual([false, false, false, true]);
    expect(keeper.told.mock.calls).toEqual([['c', Uint8Array.of(1)]]);
  });
});

describe('facts that are claimed', () => {
  it('are followed by one look, however many', async () => {
    const state = new PatientState();
    state.hold.add('setIfAbsent');
    const { facts, keeper } = follow(state);
    for (const name of ['a', 'b', 'c']) facts.claim(name, Buffer.from(name));
    expect(state.of('entries')).toHaveLength(1);
    for (const call of state.of('setIfAbsent')) call.answer();
    await turns();
    expect(state.of('entries')).toHaveLength(2);
    expect(keeper.told).toHaveBeenCalledWith('a', Uint8Array.from(Buffer.from('a')));
  });

  it('are followed by none after the end, and what fails is told', async () => {
    const state = new PatientState();
    state.hold.add('setIfAbsent');
    const { facts } = follow(state);
    const errors = listen();
    for (const name of ['a', 'b']) facts.claim(name, Buffer.from(name));
    const [one, two] = state.of('setIfAbsent');
    const error = new Error('down');
    one?.fail(error);
    await turns();
    expect(errors).toEqual([{ store: 'state', operation: 'setIfAbsent', error }]);
    facts[Symbol.dispose]();
    two?.answer();
    await turns();
    expect(state.of('entries')).toHaveLength(1);
  });
});

describe('a state that tells of changes', () => {
  function watched() {
    const state = new PatientState();
    let tell = (_: string): void => {};
    let fail = (_: unknown): void => {};
    const end = vi.fn();
    state.watch = (_, listener, failed) => {
      tell = (name) => listener(name, undefined);
      fail = (error) => failed?.(error);
      return { [Symbol.dispose]: end };
    };
    return { state, end, ...follow(state), tell: (name: string) => tell(name), fail: (error: unknown) => fail(error) };
  }

  it('is looked at soon, once for what it tells at a time', async () => {
    const { state, tell } = watched();
    tell('p/a');
    tell('p/b');
    expect(state.calls).toHaveLength(1);
    await pass(0);
    expect(state.calls).toHaveLength(2);
    tell('p/a');
    await pass(0);
    expect(state.calls).toHaveLength(3);
  });

  it('is not looked at for what is being written from here', async () => {
    const { state, facts, tell } = watched();
    state.hold.add('set');
    void facts.put('a', undefined, () => Buffer.from([1]));
    tell('p/a');
    await pass(0);
    expect(state.of('entries')).toHaveLength(1);
    tell('p/b');
    await pass(0);
    expect(state.of('entries')).toHaveLength(2);
  });

  it('is looked at again when it tells while a look is under way, whose answer may be older', async () => {
    const { state, tell } = watched();
    state.hold.add('entries');
    await pass(500);
    expect(state.calls).toHaveLength(2);
    tell('p/a');
    await pass(0);
    expect(state.calls).toHaveLength(2);
    state.calls[1]?.answer();
    await pass(0);
    expect(state.calls).toHaveLength(3);
    state.calls[2]?.answer();
    await pass(0);
    expect(state.calls).toHaveLength(3);
  });

  it('is let go of once, and not looked at when it tells all the same', async () => {
    for (const before of [0, 1]) {
      const { state, end, facts, tell } = watched();
      if (before) tell('p/a');
      facts[Symbol.dispose]();
      facts[Symbol.dispose]();
      expect(end).toHaveBeenCalledOnce();
      tell('p/a');
      await pass(1000);
      expect(state.calls).toHaveLength(1);
    }
  });

  it('may fail to: that is told, and looks go on', async () => {
    const errors = listen();
    const { fail, end, facts } = watched();
    const error = new Error('down');
    fail(error);
    end.mockImplementation(() => {
      throw error;
    });
    facts[Symbol.dispose]();
    const state = new PatientState();
    state.watch = () => {
      throw error;
    };
    follow(state);
    expect(errors).toEqual(Array(3).fill({ store: 'state', operation: 'watch', error }));
    await pass(500);
    expect(state.calls).toHaveLength(2);
  });

  it('is no duty: nothing is told of one that cannot', () => {
    const errors = listen();
    follow(new PatientState()).facts[Symbol.dispose]();
    expect(errors).toEqual([]);
  });
});

describe('facts that are no longer followed', () => {
  it('reject what was not written, and what is to be, each with its reason', async () => {
    const state = new PatientState();
    const { facts } = follow(state);
    state.hold.add('set');
    const begun = facts.put('a', undefined, () => Buffer.from([1]));
    facts[Symbol.dispose]();
    const code = 'ERR_STORE_UNAVAILABLE';
    const before = expect.stringContaining('disposed of before the state answered');
    await expect(begun).rejects.toMatchObject({ code, message: before });
    const after = expect.stringContaining('disposed of: others are not told');
    await expect(facts.put('b', undefined, () => Buffer.from([1]))).rejects.toMatchObject({ code, message: after });
    expect(state.of('set')).toHaveLength(1);
  });

  it('are not fresh, keep nobody waiting, and take no answer', async () => {
    const state = new PatientState();
    state.facts.set('p/a', Buffer.from([1]));
    state.hold.add('entries');
    const { facts, keeper } = follow(state);
    facts[Symbol.dispose]();
    state.calls[0]?.answer();
    await facts.ready;
    await pass(5000);
    expect([keeper.told.mock.calls.length, facts.fresh, state.calls.length]).toEqual([0, false, 1]);
  });
});
