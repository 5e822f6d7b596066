import { AssertionError } from 'node:assert';
import type { SessionStore } from '../../src/stores/session-store.js';
import { MemoryStore } from './memory-store.js';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const never = () => new Promise<never>(() => {});

/** A faulty store for each case: the case's name, what is wrong, and the store. */
export const FAULTY_STORES: [caught: string, fault: string, store: (good: MemoryStore) => SessionStore][] = [
  [
    'get answers with the bytes that were set, from one byte to the longest',
    'cuts at 8 KiB',
    (good) => values(good, (value) => value.subarray(0, 8192)),
  ],
  [
    'get answers with the bytes that were set, from one byte to the longest',
    'answers with a string',
    (good) => answers(good, (value) => value && (Buffer.from(value).toString('latin1') as never)),
  ],
  [
    'get answers with the bytes that were set, from one byte to the longest',
    'has its byte order wrong',
    (good) => values(good, (value) => Buffer.from(value).reverse()),
  ],
  [
    'get answers with every byte value',
    'keeps text',
    (good) => values(good, (value) => Buffer.from(Buffer.from(value).toString('utf8'))),
  ],
  [
    'get answers with every byte value',
    'trims',
    (good) => values(good, (value) => Buffer.from(Buffer.from(value).toString('latin1').trim(), 'latin1')),
  ],
  [
    'get answers with undefined for a key that was never set',
    'answers with null',
    (good) => answers(good, (value) => value ?? (null as never)),
  ],
  [
    'get answers with undefined for a key that was never set',
    'answers with no bytes',
    (good) => answers(good, (value) => value ?? Buffer.alloc(0)),
  ],
  [
    'get answers with undefined for a key that was never set',
    'throws',
    (good) => answers(good, (value) => value ?? fail()),
  ],
  [
    'get leaves the value where it is',
    'forgets what was read',
    (good) => extend(good, { get: (key) => good.take(key) }),
  ],
  [
    "a key has no other key's value, though they differ in one bit only",
    'looks at 31 bytes of a key',
    (good) => named(good, (key) => key.subarray(0, 31)),
  ],
  [
    "a key has no other key's value, though they differ in one bit only",
    'looks at the last 31 bytes of a key',
    (good) => named(good, (key) => key.subarray(1)),
  ],
  [
    "a key has no other key's value, though they differ in one bit only",
    'answers with what was set last',
    (good) => lastSet(good),
  ],
  [
    'keys are bytes, not text',
    'takes keys for UTF-8',
    (good) => named(good, (key) => Buffer.from(Buffer.from(key).toString('utf8'))),
  ],
  [
    'keys are bytes, not text',
    'knows no upper and lower case of base64',
    (good) => named(good, (key) => Buffer.from(Buffer.from(key).toString('base64').toLowerCase())),
  ],
  [
    'keys are bytes, not text',
    'ends keys at NUL',
    (good) => named(good, (key) => (key.includes(0) ? key.subarray(0, key.indexOf(0)) : key)),
  ],
  [
    'keys are bytes, not text',
    'trims keys',
    (good) => named(good, (key) => Buffer.from(Buffer.from(key).toString('latin1').trimEnd(), 'latin1')),
  ],
  [
    'set replaces the value, be it shorter or longer',
    'keeps the first',
    (good) =>
      extend(good, { set: (key, value, timeout) => (good.get(key) ? undefined : good.set(key, value, timeout)) }),
  ],
  [
    'set replaces the value, be it shorter or longer',
    'writes over the old bytes',
    (good) =>
      extend(good, {
        set: (key, value, timeout) =>
          good.set(key, Buffer.concat([value, (good.get(key) ?? Buffer.alloc(0)).subarray(value.length)]), timeout),
      }),
  ],
  ['delete forgets that key alone', 'does not delete', (good) => extend(good, { delete: () => {} })],
  ['delete forgets that key alone', 'deletes all', (good) => extend(good, { delete: () => good.held.clear() })],
  [
    'delete of a key that was never set is no error',
    'throws',
    (good) => extend(good, { delete: (key) => (good.get(key) ? good.delete(key) : fail()) }),
  ],
  ['a key that was deleted can be set again', 'remembers what was deleted', (good) => tombstones(good)],
  [
    'keys that look like patterns, paths or commands mean nothing',
    'deletes by pattern',
    (good) => extend(good, { delete: (key) => (key[0] === 0x2a ? good.held.clear() : good.delete(key)) }),
  ],
  [
    'keys that look like patterns, paths or commands mean nothing',
    'refuses them',
    (good) => extend(good, { get: (key) => (key[0] === 0x2e ? fail() : good.get(key)) }),
  ],
  [
    'set copies: the caller may write to its key and value at once',
    'keeps the value it was given',
    (good) => keepsGiven(good),
  ],
  [
    'set copies: the caller may write to its key and value at once',
    'reads the key later',
    (good) =>
      extend(good, {
        set: async (key, value, timeout) => {
          const copy = Buffer.from(value);
          await turn();
          good.set(key, copy, timeout);
        },
      }),
  ],
  [
    'set copies: the caller may write to its key and value at once',
    'reads the key that was asked for later',
    (good) =>
      extend(good, {
        get: async (key) => {
          await turn();
          return good.get(key);
        },
      }),
  ],
  [
    'get hands out copies: the caller may write to its answer',
    'hands out its own',
    (good) => extend(good, { get: (key) => good.held.get(good.name(key))?.value }),
  ],
  [
    'the key and value that are given stay as they are',
    'wipes what it was given',
    (good) =>
      extend(good, {
        set: (key, value, timeout) => {
          good.set(key, value, timeout);
          value.fill(0);
        },
      }),
  ],
  [
    'the key and value that are given stay as they are',
    'wipes the key',
    (good) =>
      extend(good, {
        delete: (key) => {
          good.delete(key);
          key.fill(0);
        },
      }),
  ],
  [
    'keys and values may be parts of larger buffers',
    'takes the whole buffer for the value',
    (good) => values(good, (value) => new Uint8Array(value.buffer)),
  ],
  [
    'keys and values may be parts of larger buffers',
    'takes the whole buffer for the key',
    (good) => named(good, (key) => new Uint8Array(key.buffer).slice(0, 100)),
  ],
  ['many calls at once do not mix', 'answers in the wrong order', (good) => mixes(good)],
  ['of sets of one key at once one stands, whole', 'writes in two halves', (good) => tears(good)],
  [
    'timeouts of 1 second to 7 days are taken',
    'refuses a day',
    (good) => extend(good, { set: (key, value, timeout) => (timeout > 3600 ? fail() : good.set(key, value, timeout)) }),
  ],
  [
    'timeouts of 1 second to 7 days are taken',
    'takes 7 days for a date',
    (good) => extend(good, { set: (key, value, timeout) => good.set(key, value, timeout > 500_000 ? -1 : timeout) }),
  ],
  [
    'take answers with the value once, and it is gone',
    'does not delete',
    (good) => extend(good, { take: (key) => good.get(key) }),
  ],
  ['take answers with the value once, and it is gone', 'hides from take alone', (good) => hides(good)],
  [
    'take of a key that was never set or was deleted answers with undefined, and leaves the others',
    'takes any',
    (good) => extend(good, { take: (key) => good.take(key) ?? takesAny(good) }),
  ],
  [
    'of 100 takes at once one is answered',
    'gets, then deletes',
    (good) =>
      extend(good, {
        take: async (key) => {
          const value = good.get(key);
          await turn();
          good.delete(key);
          return value;
        },
      }),
  ],
  ['of 100 takes at once one is answered', 'answers none of many', (good) => answersNone(good)],
  ['a value that was taken can be set again', 'takes a key once for ever', (good) => takesOnce(good)],
  [
    'another store over the same storage finds what one set, and no longer what one deleted',
    'keeps to itself',
    (good) => new MemoryStore(good.clock),
  ],
  [
    'another store over the same storage finds what one set, and no longer what one deleted',
    'reads what it has read before',
    (good) => remembers(good),
  ],
  [
    'of 100 takes at once over two stores of one storage one is answered',
    'takes once for each process',
    (good) => takesForEach(good),
  ],
  ['get answers until the timeout, and no more after it', 'never forgets', (good) => timeouts(good, () => 1e9)],
  [
    'get answers until the timeout, and no more after it',
    'takes seconds for milliseconds',
    (good) => timeouts(good, (timeout) => timeout / 1000),
  ],
  ['each set has its own timeout', 'keeps the first timeout', (good) => firstTimeout(good)],
  ['each set has its own timeout', 'keeps the longest timeout', (good) => longestTimeout(good)],
  ['get does not make the timeout longer', 'renews when read', (good) => renews(good)],
  [
    'take does not answer after the timeout',
    'takes what is over',
    (good) =>
      extend(good, {
        take: (key) => {
          const found = good.held.get(good.name(key));
          good.delete(key);
          return found?.value;
        },
      }),
  ],
  [
    'close can be called twice, and calls after it end',
    'throws at the second',
    (good) => {
      let closed = false;
      return extend(good, {
        close: () => {
          if (closed) fail();
          closed = true;
        },
      });
    },
  ],
  [
    'close can be called twice, and calls after it end',
    'hangs when closed',
    (good) => {
      let closed = false;
      return extend(good, {
        close: () => {
          closed = true;
        },
        get: (key) => (closed ? never() : good.get(key)),
      });
    },
  ],
];

export function fail(message = 'no'): never {
  throw new AssertionError({ message });
}

/** The methods of a store, free of it. */
export function bound(good: SessionStore): Required<SessionStore> {
  return {
    get: (key) => good.get(key),
    set: (key, value, timeout) => good.set(key, value, timeout),
    delete: (key) => good.delete(key),
    take: (key) => good.take?.(key),
    close: () => good.close?.(),
  };
}

export function extend(good: SessionStore, methods: Partial<SessionStore>): SessionStore {
  return { ...bound(good), ...methods };
}

export function values(good: SessionStore, change: (value: Uint8Array) => Uint8Array): SessionStore {
  return extend(good, { set: (key, value, timeout) => good.set(key, change(value), timeout) });
}

function answers(good: MemoryStore, change: (value: Uint8Array | undefined) => Uint8Array | undefined): SessionStore {
  return extend(good, { get: (key) => change(good.get(key)) });
}

function named(good: MemoryStore, change: (key: Uint8Array) => Uint8Array): SessionStore {
  return extend(good, {
    get: (key) => good.get(change(key)),
    set: (key, value, timeout) => good.set(change(key), value, timeout),
    delete: (key) => good.delete(change(key)),
    take: (key) => good.take(change(key)),
  });
}

function timeouts(good: MemoryStore, change: (timeout: number) => number): SessionStore {
  return extend(good, { set: (key, value, timeout) => good.set(key, value, change(timeout)) });
}

function lastSet(good: MemoryStore): SessionStore {
  let last: Buffer | undefined;
  return extend(good, {
    get: () => last && Buffer.from(last),
    set: (_, value) => {
      last = Buffer.from(value);
    },
  });
}

function tombstones(good: MemoryStore): SessionStore {
  const deleted = new Set<string>();
  return extend(good, {
    delete: (key) => {
      deleted.add(good.name(key));
      good.delete(key);
    },
    get: (key) => (deleted.has(good.name(key)) ? undefined : good.get(key)),
  });
}

function keepsGiven(good: MemoryStore): SessionStore {
  return extend(good, {
    set: (key, value, timeout) => {
      good.held.set(good.name(key), { value: value as Buffer, expiresAt: good.clock() + timeout * 1000 });
    },
  });
}

/** Answers all who ask at once with what was asked for last. */
function mixes(good: MemoryStore): SessionStore {
  let asked: Uint8Array;
  return extend(good, {
    get: async (key) => {
      asked = Buffer.from(key);
      await turn();
      return good.get(asked);
    },
  });
}

/** Writes the first half at once, and the second half later: of two sets at once one may get the other's. */
function tears(good: MemoryStore): SessionStore {
  let calls = 0;
  return extend(good, {
    set: async (key, value, timeout) => {
      const [keyCopy, valueCopy] = [Buffer.from(key), Buffer.from(value)];
      const half = valueCopy.length >> 1;
      good.set(keyCopy, valueCopy, timeout);
      if (calls++ % 2 === 0) await turn();
      await turn();
      const head = (good.get(keyCopy) ?? valueCopy).subarray(0, half);
      good.set(keyCopy, Buffer.concat([head, valueCopy.subarray(half)]), timeout);
    },
  });
}

function hides(good: MemoryStore): SessionStore {
  const taken = new Set<string>();
  return extend(good, {
    take: (key) => {
      if (taken.has(good.name(key))) return undefined;
      taken.add(good.name(key));
      return good.get(key);
    },
  });
}

function takesAny(good: MemoryStore): Uint8Array | undefined {
  for (const [name, { value }] of good.held) {
    good.held.delete(name);
    return value;
  }
  return undefined;
}

function answersNone(good: MemoryStore): SessionStore {
  let taking = 0;
  return extend(good, {
    take: async (key) => {
      const copy = Buffer.from(key);
      taking++;
      await turn();
      const alone = taking === 1;
      await turn();
      taking--;
      return alone ? good.take(copy) : undefined;
    },
  });
}

function takesOnce(good: MemoryStore): SessionStore {
  const taken = new Set<string>();
  return extend(good, {
    take: (key) => {
      const value = taken.has(good.name(key)) ? undefined : good.take(key);
      if (value !== undefined) taken.add(good.name(key));
      return value;
    },
  });
}

function remembers(good: MemoryStore): SessionStore {
  const read = new MemoryStore(good.clock);
  return extend(good, {
    get: (key) => {
      const value = read.get(key) ?? good.get(key);
      if (value !== undefined) read.set(key, value, 300);
      return value;
    },
    set: (key, value, timeout) => {
      read.set(key, value, timeout);
      good.set(key, value, timeout);
    },
    delete: (key) => {
      read.delete(key);
      good.delete(key);
    },
  });
}

function takesForEach(good: MemoryStore): SessionStore {
  const taking = new Map<string, Promise<Uint8Array | undefined>>();
  return extend(good, {
    take: async (key) => {
      const name = good.name(key);
      if (taking.has(name)) return undefined;
      const value = good.get(key);
      const copy = Buffer.from(key);
      taking.set(name, Promise.resolve(value));
      await turn();
      good.delete(copy);
      taking.delete(name);
      return value;
    },
  });
}

function firstTimeout(good: MemoryStore): SessionStore {
  return extend(good, {
    set: (key, value, timeout) => {
      const standing = good.held.get(good.name(key));
      good.set(key, value, standing ? (standing.expiresAt - good.clock()) / 1000 : timeout);
    },
  });
}

function longestTimeout(good: MemoryStore): SessionStore {
  return extend(good, {
    set: (key, value, timeout) => {
      const standing = good.held.get(good.name(key));
      good.set(key, value, Math.max(timeout, standing ? (standing.expiresAt - good.clock()) / 1000 : 0));
    },
  });
}

function renews(good: MemoryStore): SessionStore {
  return extend(good, {
    get: (key) => {
      const value = good.get(key);
      if (value !== undefined) good.set(key, value, 4);
      return value;
    },
  });
}
