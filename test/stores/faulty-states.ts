import { MemorySharedState } from '../../src/stores/memory-shared-state.js';
import type { SharedState, SharedStateListener } from '../../src/stores/shared-state.js';
import { fail } from './faulty-stores.js';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const never = () => new Promise<never>(() => {});

/** A faulty state for each case: the case's name, what is wrong, and the state. */
export const FAULTY_STATES: [caught: string, fault: string, state: (good: MemorySharedState) => SharedState][] = [
  [
    'get answers with undefined for a fact that was never set',
    'answers with null',
    (good) => state(good, { get: (name) => good.get(name) ?? (null as never) }),
  ],
  [
    'get answers with the bytes that were set, none to 1024',
    'takes no bytes for nothing',
    (good) =>
      state(good, {
        get: (name) => {
          const value = good.get(name);
          return value?.length === 0 ? undefined : value;
        },
      }),
  ],
  [
    'get answers with the bytes that were set, none to 1024',
    'keeps text',
    (good) =>
      state(good, {
        set: (name, value, timeout) =>
          good.set(name, Buffer.from(Buffer.from(value).toString().slice(0, 300)), timeout),
      }),
  ],
  [
    'set replaces the value',
    'keeps the first',
    (good) => state(good, { set: (name, value, timeout) => void good.setIfAbsent(name, value, timeout) }),
  ],
  [
    'names are of any visible ASCII characters, and each has its own fact',
    'knows no upper and lower case',
    (good) => renamed(good, (name) => name.toLowerCase()),
  ],
  [
    'names are of any visible ASCII characters, and each has its own fact',
    'takes names for paths',
    (good) => renamed(good, (name) => name.replaceAll(/\/+/g, '/')),
  ],
  [
    'names are of any visible ASCII characters, and each has its own fact',
    'cuts names at 100',
    (good) => renamed(good, (name) => name.slice(0, 100)),
  ],
  [
    'setIfAbsent sets what does not stand, and leaves what stands',
    'sets',
    (good) =>
      state(good, {
        setIfAbsent: (name, value, timeout) => {
          good.set(name, value, timeout);
          return value;
        },
      }),
  ],
  [
    'setIfAbsent sets what does not stand, and leaves what stands',
    'answers with what was given',
    (good) =>
      state(good, {
        setIfAbsent: (name, value, timeout) => {
          good.setIfAbsent(name, value, timeout);
          return value;
        },
      }),
  ],
  [
    'setIfAbsent sets what does not stand, and leaves what stands',
    'does not set',
    (good) => state(good, { setIfAbsent: (name, value) => good.get(name) ?? value }),
  ],
  [
    'setIfAbsent takes a value of no bytes for one that stands',
    'looks whether there are bytes',
    (good) =>
      state(good, {
        setIfAbsent: (name, value, timeout) => {
          if ((good.get(name)?.length ?? 0) === 0) good.set(name, value, timeout);
          return good.get(name) as Uint8Array;
        },
      }),
  ],
  [
    'of 100 setIfAbsent at once all get the same value',
    'gets, then sets',
    (good) =>
      state(good, {
        setIfAbsent: async (name, value, timeout) => {
          const stands = good.get(name);
          const copy = Buffer.from(value);
          await turn();
          if (stands === undefined) good.set(name, copy, timeout);
          return stands ?? copy;
        },
      }),
  ],
  [
    'of 100 setIfAbsent at once over two states of one storage all get the same value',
    'locks for itself',
    (good) => locksForItself(good),
  ],
  [
    'entries answers with the facts under the prefix, and takes it as it is',
    'takes it for a pattern',
    (good) =>
      state(good, {
        entries: (prefix) => {
          const pattern = new RegExp(`^${prefix.replaceAll('*', '.*').replaceAll(/[[\\]/g, '\\$&')}`);
          return new Map([...good.entries('')].filter(([name]) => pattern.test(name)));
        },
      }),
  ],
  [
    'entries answers with the facts under the prefix, and takes it as it is',
    'takes it for a whole name',
    (good) =>
      state(good, {
        entries: (prefix) =>
          new Map([...good.entries(prefix)].filter(([name]) => name === prefix || prefix.length < 20)),
      }),
  ],
  ['values are copied in and out', 'keeps the value it was given', (good) => keepsFacts(good)],
  ['values are copied in and out', 'hands out its own', (good) => handsOutFacts(good)],
  [
    'values may be parts of larger buffers',
    'takes the whole buffer',
    (good) =>
      state(good, {
        set: (name, value, timeout) => good.set(name, new Uint8Array(value.buffer).slice(0, 1024), timeout),
      }),
  ],
  [
    'wrong names, values and timeouts are refused at once',
    'rejects later',
    (good) => state(good, { set: async (name, value, timeout) => good.set(name, value, timeout) }),
  ],
  [
    'wrong names, values and timeouts are refused at once',
    'takes any timeout',
    (good) =>
      state(good, {
        setIfAbsent: (name, value, timeout) =>
          good.setIfAbsent(name, value, timeout && Math.max(1, Math.min(9, Math.ceil(timeout)))),
      }),
  ],
  ['a thousand facts all stand', 'evicts', (good) => evicts(good, 900)],
  [
    'timeouts of 1 second to a year are taken',
    'refuses a year',
    (good) =>
      state(good, {
        set: (name, value, timeout) => good.set(name, value, (timeout ?? 0) > 1e7 ? (fail() as never) : timeout),
      }),
  ],
  [
    'watching tells of what stands and of what changes, under its prefix alone',
    'tells of nothing that stands',
    (good) =>
      watching(good, (prefix, listener) => {
        let began = false;
        const end = good.watch(prefix, (name, value) => {
          if (began) listener(name, value);
        });
        began = true;
        return end;
      }),
  ],
  [
    'watching tells of what stands and of what changes, under its prefix alone',
    'tells of no change',
    (good) =>
      watching(good, (prefix, listener) => {
        for (const [name, value] of good.entries(prefix)) listener(name, value);
        return { [Symbol.dispose]: () => {} };
      }),
  ],
  [
    'watching tells of what stands and of what changes, under its prefix alone',
    'tells of all',
    (good) => watching(good, (_, listener) => good.watch('', listener)),
  ],
  [
    'a listener hears no more once it has ended, and others do',
    'goes on',
    (good) =>
      watching(good, (prefix, listener) => {
        good.watch(prefix, listener);
        return { [Symbol.dispose]: () => {} };
      }),
  ],
  ['a listener hears no more once it has ended, and others do', 'ends all', (good) => endsAll(good)],
  [
    'a listener that throws, and one that writes to what it is told, spoils nothing',
    'stops at it',
    (good) => stopsAtThrow(good),
  ],
  [
    'a listener that throws, and one that writes to what it is told, spoils nothing',
    'tells nobody what it threw',
    (good) => watching(good, (prefix, listener) => good.watch(prefix, listener)),
  ],
  [
    'a listener that throws, and one that writes to what it is told, spoils nothing',
    'hands the same bytes to all',
    handsOutOne,
  ],

  [
    'another state over the same storage sees what one has set',
    'keeps to itself',
    (good) => {
      void good;
      return new MemorySharedState();
    },
  ],
  ['watching tells of what another one has changed', 'hears itself alone', (good) => hearsItself(good)],
  [
    'a fact is over after its timeout, and stands before it',
    'never ends',
    (good) => state(good, { set: (name, value) => good.set(name, value) }),
  ],
  [
    'a fact is over after its timeout, and stands before it',
    'ends at once',
    (good) =>
      state(good, { set: (name, value, timeout) => (timeout === undefined ? good.set(name, value) : undefined) }),
  ],
  [
    'setIfAbsent replaces a fact that is over, and changes no timeout of one that stands',
    'gives what stands a timeout',
    (good) =>
      state(good, {
        setIfAbsent: (name, value, timeout) => {
          const stands = good.setIfAbsent(name, value, timeout);
          good.set(name, stands, timeout ?? 3);
          return stands;
        },
      }),
  ],
  ['each set has its own timeout, or none', 'keeps the timeout', (good) => keepsTimeout(good)],
  [
    'close can be called twice, ends watching, and calls after it end',
    'hangs when closed',
    (good) => {
      let closed = false;
      return state(good, {
        close: () => {
          closed = true;
        },
        entries: (prefix) => (closed ? never() : good.entries(prefix)),
      });
    },
  ],
  [
    'close can be called twice, ends watching, and calls after it end',
    'throws at the second',
    (good) => {
      let closed = false;
      return state(good, {
        close: () => {
          if (closed) fail();
          closed = true;
        },
      });
    },
  ],
];

function state(good: MemorySharedState, methods: Partial<SharedState>): SharedState {
  return {
    get: (name) => good.get(name),
    set: (name, value, timeout) => good.set(name, value, timeout),
    setIfAbsent: (name, value, timeout) => good.setIfAbsent(name, value, timeout),
    entries: (prefix) => good.entries(prefix),
    ...methods,
  };
}

function watching(good: MemorySharedState, watch: NonNullable<SharedState['watch']>): SharedState {
  return state(good, { watch });
}

function renamed(good: MemorySharedState, change: (name: string) => string): SharedState {
  return state(good, {
    get: (name) => good.get(change(name)),
    set: (name, value, timeout) => good.set(change(name), value, timeout),
    setIfAbsent: (name, value, timeout) => good.setIfAbsent(change(name), value, timeout),
  });
}

function locksForItself(good: MemorySharedState): SharedState {
  let line: Promise<unknown> = Promise.resolve();
  return state(good, {
    setIfAbsent: (name, value, timeout) => {
      const copy = Buffer.from(value);
      const answer = line.then(async () => {
        const stands = good.get(name);
        await turn();
        if (stands === undefined) good.set(name, copy, timeout);
        return stands ?? copy;
      });
      line = answer;
      return answer;
    },
  });
}

function keepsFacts(good: MemorySharedState): SharedState {
  const kept = new Map<string, Uint8Array>();
  return state(good, {
    set: (name, value, timeout) => {
      kept.set(name, value);
      good.set(name, value, timeout);
    },
    get: (name) =>
      good.get(name) === undefined ? undefined : Uint8Array.from(kept.get(name) ?? (good.get(name) as Uint8Array)),
  });
}

function handsOutFacts(good: MemorySharedState): SharedState {
  const own = new Map<string, Uint8Array>();
  return state(good, {
    get: (name) => {
      const value = good.get(name);
      const known = own.get(name);
      if (known !== undefined) return known;
      if (value !== undefined) own.set(name, value);
      return value;
    },
  });
}

function evicts(good: MemorySharedState, most: number): SharedState {
  const names = new Set<string>();
  return state(good, {
    set: (name, value, timeout) => {
      names.delete(name);
      names.add(name);
      good.set(name, value, timeout);
    },
    get: (name) => ([...names].slice(-most).includes(name) || !names.has(name) ? good.get(name) : undefined),
  });
}

function endsAll(good: MemorySharedState): SharedState {
  const all: Disposable[] = [];
  return watching(good, (prefix, listener) => {
    all.push(good.watch(prefix, listener));
    return { [Symbol.dispose]: () => all.forEach((each) => void each[Symbol.dispose]()) };
  });
}

function stopsAtThrow(good: MemorySharedState): SharedState {
  return watching(good, (prefix, listener, failed) => {
    let stopped = false;
    const guarded: SharedStateListener = (name, value) => {
      if (stopped) return;
      try {
        listener(name, value);
      } catch (error) {
        stopped = true;
        failed?.(error);
      }
    };
    return good.watch(prefix, guarded);
  });
}

function handsOutOne(good: MemorySharedState): SharedState {
  const listeners = new Map<SharedStateListener, (error: unknown) => void>();
  return state(good, {
    set: (name, value, timeout) => {
      good.set(name, value, timeout);
      const told = good.get(name);
      for (const [listener, failed] of listeners) {
        try {
          listener(name, told);
        } catch (error) {
          failed(error);
        }
      }
    },
    watch: (_, listener, failed = () => {}) => {
      listeners.set(listener, failed);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
  });
}

function hearsItself(good: MemorySharedState): SharedState {
  const listeners = new Set<SharedStateListener>();
  const told = (name: string) => {
    for (const listener of listeners) {
      try {
        listener(name, good.get(name));
      } catch {}
    }
  };
  return state(good, {
    set: (name, value, timeout) => {
      good.set(name, value, timeout);
      told(name);
    },
    watch: (_, listener) => {
      listeners.add(listener);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
  });
}

function keepsTimeout(good: MemorySharedState): SharedState {
  const first = new Map<string, number | undefined>();
  return state(good, {
    set: (name, value, timeout) => {
      if (!first.has(name)) first.set(name, timeout);
      good.set(name, value, first.get(name));
    },
  });
}
