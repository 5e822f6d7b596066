import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MemorySharedState } from '../../src/stores/memory-shared-state.js';
import { pollSharedState, type SharedState, watchSharedState } from '../../src/stores/shared-state.js';
import { stoppedClock } from '../cache/counting-store.js';

const bytes = (text: string) => Buffer.from(text);
const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString();

/** What a listener was told. */
function heard() {
  const said: string[] = [];
  const listener = (name: string, value: Uint8Array | undefined) => void said.push(`${name}=${text(value) ?? 'over'}`);
  return { said, listener, told: () => said.splice(0) };
}

describe('MemorySharedState', () => {
  it('holds so many facts and no more: none is evicted', () => {
    const clock = stoppedClock();
    const state = new MemorySharedState({ maxFacts: 3, clock });
    state.set('a', bytes('1'));
    state.set('b', bytes('2'), 10);
    state.setIfAbsent('c', bytes('3'));
    for (const write of [() => state.set('d', bytes('4')), () => state.setIfAbsent('d', bytes('4'))]) {
      expect(write).toThrow(expect.objectContaining({ name: 'ResumptionError', code: 'ERR_SHARED_STATE_FULL' }));
    }
    state.set('a', bytes('5'));
    expect(text(state.setIfAbsent('b', bytes('6')))).toBe('2');
    expect([...state.entries('').keys()]).toEqual(['a', 'b', 'c']);
    clock.now += 10_001;
    state.set('d', bytes('4'));
    expect([...state.entries('').keys()]).toEqual(['a', 'c', 'd']);
  });

  it('ends a fact after its last second, not with it', () => {
    const clock = stoppedClock();
    const state = new MemorySharedState({ clock });
    state.set('a', bytes('1'), 1);
    clock.now += 1000;
    expect(text(state.get('a'))).toBe('1');
    clock.now += 1;
    expect(state.get('a')).toBeUndefined();
  });

  it('tells of what stands before watch returns, and of what is set before set returns', () => {
    const state = new MemorySharedState();
    state.set('epoch/a', bytes('1'));
    const { told, listener } = heard();
    const watching = state.watch('epoch/', listener);
    expect(told()).toEqual(['epoch/a=1']);
    state.set('epoch/b', bytes('2'));
    state.set('other', bytes('2'));
    state.setIfAbsent('epoch/b', bytes('3'));
    state.setIfAbsent('epoch/c', bytes('4'));
    expect(told()).toEqual(['epoch/b=2', 'epoch/c=4']);
    watching[Symbol.dispose]();
    state.set('epoch/b', bytes('5'));
    expect(told()).toEqual([]);
  });

  it('lets a listener set facts and end watching: none is told an older value last', () => {
    const state = new MemorySharedState();
    const last = heard();
    let others: Disposable | undefined;
    state.watch('a', (_, value) => {
      if (text(value) === '1') state.set('a', bytes('2'));
      others?.[Symbol.dispose]();
    });
    const ended = heard();
    state.watch('a', last.listener);
    others = state.watch('a', ended.listener);
    state.set('a', bytes('1'));
    expect(last.said.at(-1)).toBe('a=2');
    expect(ended.said).toEqual([]);
  });

  it('refuses writes once it is closed, and has nothing to tell', () => {
    const state = new MemorySharedState();
    const { listener, said } = heard();
    state.watch('', listener);
    state.close();
    expect(() => state.set('a', bytes('1'))).toThrow(expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' }));
    expect(() => state.setIfAbsent('a', bytes('1'))).toThrow(
      expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' }),
    );
    state.watch('', listener)[Symbol.dispose]();
    expect([state.get('a'), state.entries('').size, said]).toEqual([undefined, 0, []]);
  });

  it.each([{ maxFacts: 0 }, { maxFacts: 2 ** 24 + 1 }])('refuses %o', (options) => {
    expect(() => new MemorySharedState(options)).toThrow(RangeError);
  });

  it.each([{ clock: 1 }, { maxFacts: '1' }, null])('refuses %o', (options) => {
    expect(() => new MemorySharedState(options as never)).toThrow(TypeError);
  });
});

describe('watching a state that does not tell', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
  /** A state whose entries come as a test likes. */
  function asked() {
    const facts = new Map<string, Uint8Array>();
    const looks: string[] = [];
    const state = {
      facts,
      looks,
      answer: (found: Map<string, Uint8Array>): unknown => found,
      get: () => undefined,
      set: () => {},
      setIfAbsent: (_: string, value: Uint8Array) => value,
      entries(prefix: string) {
        looks.push(prefix);
        return this.answer(new Map(facts)) as Map<string, Uint8Array>;
      },
    };
    return state satisfies SharedState & { looks: string[] };
  }

  it('looks at once and every second, and tells what has changed', async () => {
    const state = asked();
    state.facts.set('a', bytes('1'));
    const { told, listener } = heard();
    const watching = watchSharedState(state, 'p/', listener);
    expect(told()).toEqual(['a=1']);
    await pass(999);
    expect(state.looks).toEqual(['p/']);
    state.facts.set('a', bytes('2')).set('b', bytes('1'));
    await pass(1);
    expect(told()).toEqual(['a=2', 'b=1']);
    await pass(5000);
    expect(told()).toEqual([]);
    state.facts.delete('a');
    await pass(1000);
    expect(told()).toEqual(['a=over']);
    watching[Symbol.dispose]();
    state.facts.set('c', bytes('1'));
    await pass(5000);
    expect([told(), state.looks.length, vi.getTimerCount()]).toEqual([[], 8, 0]);
  });

  it('hands out copies, and remembers its own', async () => {
    const state = asked();
    state.facts.set('a', bytes('1'));
    let calls = 0;
    watchSharedState(state, '', (_, value) => {
      calls++;
      value?.fill(0);
    });
    await pass(3000);
    expect([calls, text(state.facts.get('a'))]).toEqual([1, '1']);
  });

  it('goes on after errors, tells of them, and keeps what it knew', async () => {
    const state = asked();
    state.facts.set('a', bytes('1'));
    const { told, listener } = heard();
    const errors: unknown[] = [];
    watchSharedState(state, '', listener, {
      failed: (error) => void errors.push((error as Error).message),
      interval: 2,
    });
    state.answer = () => {
      throw new Error('thrown');
    };
    await pass(2000);
    state.answer = () => Promise.reject(new Error('rejected'));
    await pass(2000);
    state.answer = () => 'no map';
    await pass(2000);
    expect(errors.slice(0, 2)).toEqual(['thrown', 'rejected']);
    expect(errors.length).toBe(3);
    expect(told()).toEqual(['a=1']);
    state.answer = (found) => found;
    state.facts.set('a', bytes('2'));
    await pass(2000);
    expect(told()).toEqual(['a=2']);
  });

  it.each([
    [
      'a state that throws',
      () => {
        throw new Error('thrown');
      },
    ],
    ['a state that rejects', () => Promise.reject(new Error('rejected'))],
    ['a state that does not answer', () => new Promise(() => {})],
    ['a listener that throws', (found: Map<string, Uint8Array>) => found],
    ['a listener that throws later', async (found: Map<string, Uint8Array>) => found],
  ])('survives one who throws when told of %s', async (_what, answer) => {
    const unhandled: unknown[] = [];
    const onUnhandled = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', onUnhandled);
    const state = asked();
    state.facts.set('a', bytes('1'));
    state.answer = answer;
    const { told, listener } = heard();
    const failures: unknown[] = [];
    watchSharedState(
      state,
      '',
      (name, value) => {
        listener(name, value);
        throw new Error('of the listener');
      },
      {
        failed(error) {
          failures.push(error);
          throw new Error('of who is told');
        },
      },
    );
    await pass(20_000);
    expect(failures.length).toBeGreaterThan(0);
    told();
    state.answer = (found) => found;
    state.facts.set('a', bytes('2'));
    await pass(20_000);
    // Rejections that nobody handles are told of in a later turn.
    vi.useRealTimers();
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', onUnhandled);
    expect(told()).toEqual(['a=2']);
    expect(unhandled).toEqual([]);
  });

  it('waits for a look that has not ended, ten intervals long, and hears its late answer no more', async () => {
    const state = asked();
    const { told, listener } = heard();
    const errors: unknown[] = [];
    let arrive: () => void = () => {};
    state.answer = () =>
      new Promise((resolve) => {
        arrive = () => resolve(new Map([['a', bytes('late')]]));
      });
    const watching = watchSharedState(state, '', listener, { failed: (error) => void errors.push(error) });
    await pass(9999);
    expect([state.looks.length, errors]).toEqual([1, []]);
    state.answer = (found) => found;
    state.facts.set('a', bytes('new'));
    await pass(1);
    expect(errors).toMatchObject([{ code: 'ERR_STORE_TIMEOUT' }]);
    expect(told()).toEqual(['a=new']);
    arrive();
    await pass(1000);
    expect(told()).toEqual([]);
    watching[Symbol.dispose]();
  });

  it('says nothing once it has ended, though a look was on its way', async () => {
    for (const end of ['answer', 'error'] as const) {
      const state = asked();
      const { said, listener } = heard();
      const errors: unknown[] = [];
      let settle: () => void = () => {};
      state.answer = () =>
        new Promise((resolve, reject) => {
          settle = () => (end === 'answer' ? resolve(new Map([['a', bytes('1')]])) : reject(new Error('no')));
        });
      watchSharedState(state, '', listener, { failed: (error) => void errors.push(error) })[Symbol.dispose]();
      settle();
      await pass(1000);
      expect([said, errors]).toEqual([[], []]);
    }
  });

  it('ends in the middle of telling when its listener ends it', async () => {
    const state = asked();
    let watching: Disposable | undefined;
    const seen: string[] = [];
    watching = watchSharedState(state, '', (name) => {
      seen.push(name);
      watching?.[Symbol.dispose]();
    });
    state.facts.set('a', bytes('1')).set('b', bytes('1'));
    await pass(1000);
    expect(seen).toEqual(['a']);
  });

  it('keeps no process alive', () => {
    vi.useRealTimers();
    const started: NodeJS.Timeout[] = [];
    const original = globalThis.setInterval;
    vi.stubGlobal('setInterval', (...args: Parameters<typeof setInterval>) => {
      const timer = original(...args);
      started.push(timer);
      return timer;
    });
    const watching = watchSharedState(asked(), '', () => {});
    vi.unstubAllGlobals();
    expect(started.map((timer) => timer.hasRef())).toEqual([false]);
    watching[Symbol.dispose]();
  });

  it('asks a state that tells itself', () => {
    const watched: unknown[] = [];
    const ending = { [Symbol.dispose]: () => {} };
    const state: SharedState = {
      ...asked(),
      watch: (...args) => Object.assign(ending, { watched: watched.push(args) }),
    };
    const [listener, failed] = [() => {}, () => {}];
    expect(watchSharedState(state, 'p', listener, { failed })).toBe(ending);
    expect(watched).toEqual([['p', listener, failed]]);
  });

  it.each([
    [() => watchSharedState(undefined as never, '', () => {}), TypeError],
    [() => watchSharedState(asked(), 1 as never, () => {}), TypeError],
    [() => watchSharedState(asked(), 'a b', () => {}), RangeError],
    [() => watchSharedState(asked(), 'x'.repeat(201), () => {}), RangeError],
    [() => watchSharedState(asked(), '', 1 as never), TypeError],
    [() => watchSharedState(asked(), '', () => {}, { interval: 0 }), RangeError],
    [() => watchSharedState(asked(), '', () => {}, { interval: '1' as never }), TypeError],
    [() => watchSharedState(asked(), '', () => {}, { failed: 1 as never }), TypeError],
    [() => watchSharedState(asked(), '', () => {}, null as never), TypeError],
    [() => pollSharedState({} as never, '', () => {}), TypeError],
  ])('refuses wrong arguments (%#)', (call, error) => {
    expect(call).toThrow(error);
  });
});
