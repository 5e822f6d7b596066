import { describe, expect, it } from 'vitest';
import { MemorySharedState } from '../../src/stores/memory-shared-state.js';
import type { SessionStore } from '../../src/stores/session-store.js';
import type { SharedState } from '../../src/stores/shared-state.js';
import { type ConformanceCase, sessionStoreConformance, sharedStateConformance } from '../../src/testing.js';
import { stoppedClock } from '../cache/counting-store.js';
import { FAULTY_STATES } from './faulty-states.js';
import { bound, extend, FAULTY_STORES, fail, values } from './faulty-stores.js';
import { later, MemoryStore } from './memory-store.js';

/** Lets seconds pass for a clock. */
function passing(clock: { now: number }): (seconds: number) => void {
  return (seconds) => {
    clock.now += seconds * 1000;
  };
}
const never = () => new Promise<never>(() => {});

/** All cases of a store, which is `faulty` over a storage and a clock of its own. */
function casesOf(faulty: (good: MemoryStore) => SessionStore, patience = 2000): ConformanceCase[] {
  const clock = stoppedClock();
  const held = new Map();
  const open = () => faulty(new MemoryStore(clock, held));
  return sessionStoreConformance(open, {
    advance: passing(clock),
    peer: open,
    patience,
  });
}

function stateCasesOf(faulty: (good: MemorySharedState) => SharedState, patience = 2000): ConformanceCase[] {
  const clock = stoppedClock();
  const good = new MemorySharedState({ clock });
  const open = () => faulty(good);
  return sharedStateConformance(open, {
    advance: passing(clock),
    peer: open,
    patience,
  });
}

/** The names of the cases that a store fails. */
async function failing(cases: readonly ConformanceCase[]): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of cases) {
    try {
      await run();
    } catch {
      failed.push(name);
    }
  }
  return failed;
}

describe('a store in memory', () => {
  describe('that answers at once', () => {
    for (const { name, run } of casesOf((good) => good)) it(name, run);
  });
  describe('that answers later', () => {
    for (const { name, run } of casesOf(later)) it(name, run);
  });
});

describe('a shared state in memory', () => {
  const open = (good: MemorySharedState): SharedState => ({
    get: (name) => good.get(name),
    set: (name, value, timeout) => good.set(name, value, timeout),
    setIfAbsent: (name, value, timeout) => good.setIfAbsent(name, value, timeout),
    entries: (prefix) => good.entries(prefix),
  });
  describe('that tells', () => {
    for (const { name, run } of sharedStateConformance(() => new MemorySharedState())) it(name, run);
    const clock = stoppedClock();
    const advance = passing(clock);
    for (const { name, run } of sharedStateConformance(() => new MemorySharedState({ clock }), { advance })) {
      it(`${name} (stopped clock)`, run);
    }
  });
  describe('that is asked', () => {
    for (const { name, run } of stateCasesOf(open)) it(name, run);
  });
});

describe('the conformance suite of stores', () => {
  it.each(FAULTY_STORES)('%s: finds the store that %s', async (caught, _fault, store) => {
    expect(await failing(casesOf(store, 200).filter(({ name }) => name === caught))).toEqual([caught]);
  });

  it('has no case that no faulty store is found by', () => {
    const names = casesOf((good) => good).map(({ name }) => name);
    expect(new Set(FAULTY_STORES.map(([caught]) => caught))).toEqual(new Set(names));
    expect(new Set(names).size).toBe(names.length);
  });

  it('ends with a store that never answers', async () => {
    const hung = { get: never, set: never, delete: never, take: never, close: never };
    const cases = sessionStoreConformance(() => hung, { advance: () => {}, peer: () => hung, patience: 5 });
    expect(await failing(cases)).toEqual(cases.map(({ name }) => name));
    const unopened = sessionStoreConformance(never, { patience: 5 });
    expect(await failing(unopened)).toEqual(unopened.map(({ name }) => name));
  });

  it('passes on what creating the store throws', async () => {
    const [first] = sessionStoreConformance(() => fail('not there'));
    await expect(first?.run()).rejects.toThrow('not there');
  });

  it('leaves out take, timeouts and peers where there are none, and closes what it made', async () => {
    let [opened, closed] = [0, 0];
    const open = () => {
      opened++;
      const { get, set, delete: forget } = bound(new MemoryStore());
      return { get, set, delete: forget, close: () => void closed++ };
    };
    const cases = sessionStoreConformance(open, { take: false });
    const all = casesOf((good) => good).map(({ name }) => name);
    const names = cases.map(({ name }) => name);
    expect(
      all.filter((name) => !names.includes(name)).filter((name) => !/take|timeout|another store/.test(name)),
    ).toEqual([]);
    expect(names.some((name) => /take |takes |another store/.test(name))).toBe(false);
    expect(await failing(cases)).toEqual([]);
    expect(opened).toBe(cases.length);
    // The last case closes twice by itself.
    expect(closed).toBe(cases.length + 2);
  });

  it('takes a store without take for incomplete unless told', async () => {
    const withoutTake = (good: MemoryStore): SessionStore => {
      const { get, set, delete: forget } = bound(good);
      return { get, set, delete: forget };
    };
    const failed = await failing(casesOf(withoutTake));
    expect(failed).toEqual(
      casesOf((good) => good)
        .map(({ name }) => name)
        .filter((name) => /^take|takes at once|taken can/.test(name)),
    );
  });

  it.each([
    [() => sessionStoreConformance(1 as never), TypeError],
    [() => sessionStoreConformance(() => new MemoryStore(), 1 as never), TypeError],
    [() => sessionStoreConformance(() => new MemoryStore(), { take: 1 as never }), TypeError],
    [() => sessionStoreConformance(() => new MemoryStore(), { advance: 1 as never }), TypeError],
    [() => sessionStoreConformance(() => new MemoryStore(), { peer: 1 as never }), TypeError],
    [() => sessionStoreConformance(() => new MemoryStore(), { patience: 0 }), RangeError],
    [() => sessionStoreConformance(() => new MemoryStore(), { maxBytes: 255 }), RangeError],
    [() => sharedStateConformance(1 as never), TypeError],
    [() => sharedStateConformance(() => new MemorySharedState(), { patience: 0 }), RangeError],
    [() => sharedStateConformance(() => new MemorySharedState(), { peer: 1 as never }), TypeError],
    [() => sharedStateConformance(() => new MemorySharedState(), { advance: 1 as never }), TypeError],
  ])('refuses wrong arguments (%#)', (call, error) => {
    expect(call).toThrow(error);
  });

  it.each([256, 1000])('keeps to values of %i bytes at most', async (maxBytes) => {
    const store = extend(new MemoryStore(), {});
    const limited = values(store, (value) => (value.length > maxBytes ? (fail('too long') as never) : value));
    expect(await failing(sessionStoreConformance(() => limited, { maxBytes }))).toEqual([]);
  });
});

describe('the conformance suite of shared states', () => {
  it.each(FAULTY_STATES)('%s: finds the state that %s', async (caught, _fault, faulty) => {
    expect(await failing(stateCasesOf(faulty, 300).filter(({ name }) => name === caught))).toEqual([caught]);
  });

  it('has no case that no faulty state is found by', () => {
    const names = stateCasesOf((good) => good).map(({ name }) => name);
    expect(new Set(FAULTY_STATES.map(([caught]) => caught))).toEqual(new Set(names));
  });

  it('ends with a state that never answers', async () => {
    const hung = { get: never, set: never, setIfAbsent: never, entries: never };
    const cases = sharedStateConformance(() => hung, { patience: 5 });
    const failed = await failing(cases);
    expect(failed).toEqual(cases.map(({ name }) => name));
  });
});
