/** The cases of the conformance suite for session stores. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { SessionStore } from '../stores/session-store.js';
import { answerOf, assertBytes, assertNothing, ends, everyByte } from './conformance.js';

/** What a case can do besides calling its store. */
interface Stage {
  readonly pass: (seconds: number) => Promise<void>;
  readonly peer: () => Promise<Patient>;
}
type Check = (store: Patient, stage: Stage) => Promise<void>;
/** Cases by name. */
export type Cases = Readonly<Record<string, Check>>;

/** A store whose every call ends. */
export class Patient {
  constructor(
    readonly store: SessionStore,
    readonly patience: number,
  ) {}

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return answerOf('get', this.patience, () => this.store.get(key));
  }

  set(key: Uint8Array, value: Uint8Array, timeout = TIMEOUT): Promise<void> {
    return answerOf('set', this.patience, () => this.store.set(key, value, timeout));
  }

  delete(key: Uint8Array): Promise<void> {
    return answerOf('delete', this.patience, () => this.store.delete(key));
  }

  take(key: Uint8Array): Promise<Uint8Array | undefined> {
    assert.equal(typeof this.store.take, 'function', 'the store has no take; say { take: false } if it offers none');
    return answerOf('take', this.patience, () => this.store.take?.(key));
  }
}

const TIMEOUT = 300;
const AT_ONCE = 100;

/** Keys are made anew for each case: several runs may share a storage. */
const newKey = (): Buffer => randomBytes(32);
const newValue = (bytes = 160): Buffer => randomBytes(bytes);

/** `key` with other bytes at its start. */
function keyOf(start: string | readonly number[], rest: Uint8Array): Buffer {
  const bytes = typeof start === 'string' ? Buffer.from(start, 'latin1') : Buffer.from(start);
  return Buffer.concat([bytes, rest], 32);
}

/** Sets a value of its own under each key, and sees that each key has its own. */
async function eachItsOwn(store: Patient, keys: readonly Uint8Array[], what: string): Promise<void> {
  const values = keys.map((_, index) => Buffer.concat([newValue(), Buffer.from(`${index}`)]));
  for (const [index, key] of keys.entries()) await store.set(key, values[index] as Buffer);
  for (const [index, key] of keys.entries()) assertBytes(await store.get(key), values[index] as Buffer, what);
}

export const BASE = (maxBytes: number): Cases => ({
  'get answers with the bytes that were set, from one byte to the longest': async (store) => {
    for (const length of [1, 2, 31, 32, 33, 160, 255, 256, 1023, 1024, 4096, 10_240, 16_383, 65_537, maxBytes]) {
      if (length > maxBytes) continue;
      const [key, value] = [newKey(), newValue(length)];
      await store.set(key, value);
      assertBytes(await store.get(key), value, `a value of ${length} bytes`);
    }
  },
  'get answers with every byte value': async (store) => {
    const all = everyByte();
    for (const value of [
      all,
      Uint8Array.from(all).reverse(),
      Uint8Array.of(0),
      Uint8Array.of(0x0a),
      Uint8Array.of(0xff),
    ]) {
      const key = newKey();
      await store.set(key, value);
      assertBytes(await store.get(key), value, 'all byte values');
    }
  },
  'get answers with undefined for a key that was never set': async (store) => {
    assertNothing(await store.get(newKey()), 'a key that was never set');
    await store.set(newKey(), newValue());
    assertNothing(await store.get(newKey()), 'a key that was never set, when another one was');
  },
  'get leaves the value where it is': async (store) => {
    const [key, value] = [newKey(), newValue()];
    await store.set(key, value);
    for (let i = 0; i < 3; i++) assertBytes(await store.get(key), value, `get number ${i + 1}`);
  },
  "a key has no other key's value, though they differ in one bit only": async (store) => {
    const key = newKey();
    const keys = [key];
    for (let bit = 0; bit < 256; bit++) {
      const near = Buffer.from(key);
      near[bit >> 3] = (near[bit >> 3] as number) ^ (1 << (bit & 7));
      keys.push(near);
    }
    await store.set(key, newValue());
    for (const near of keys.slice(1)) assertNothing(await store.get(near), 'a key that differs in one bit');
    await eachItsOwn(store, keys, 'keys that differ in one bit');
  },
  'keys are bytes, not text': async (store) => {
    const rest = randomBytes(24);
    // Not UTF-8, upper and lower case, ends of strings and lines, blanks, and what only a base64 without case confuses.
    const starts = [[0x80], [0x81], [0xc3, 0x28], [0xff], 'a', 'A', [0x00], [0x00, 0x00], '\r\n', ' ', '  ', '\t'];
    await eachItsOwn(
      store,
      [...starts.map((start) => keyOf(start, rest)), Buffer.alloc(32), Buffer.alloc(32, 0xff)],
      'keys',
    );
    // 'abcd' and 'ABCD'.
    const base64 = randomBytes(29);
    await eachItsOwn(store, [keyOf([0x69, 0xb7, 0x1d], base64), keyOf([0x00, 0x10, 0x83], base64)], 'keys in base64');
    const ended = newKey().fill(0x20, 20);
    await eachItsOwn(store, [ended, Buffer.from(ended).fill(0, 20), Buffer.from(ended).fill(0x0a, 20)], 'ends of keys');
  },
  'set replaces the value, be it shorter or longer': async (store) => {
    const key = newKey();
    for (const length of [160, 20, 160, 1, Math.min(2000, maxBytes)]) {
      const value = newValue(length);
      await store.set(key, value);
      assertBytes(await store.get(key), value, 'the value set last');
    }
  },
  'delete forgets that key alone': async (store) => {
    const [key, other, value] = [newKey(), newKey(), newValue()];
    await store.set(key, value);
    await store.set(other, value);
    await store.delete(key);
    assertNothing(await store.get(key), 'the deleted key');
    assertBytes(await store.get(other), value, 'the other key');
  },
  'delete of a key that was never set is no error': async (store) => {
    const key = newKey();
    await store.delete(key);
    await store.delete(key);
    assertNothing(await store.get(key), 'the deleted key');
  },
  'a key that was deleted can be set again': async (store) => {
    const [key, value] = [newKey(), newValue()];
    await store.set(key, newValue());
    await store.delete(key);
    await store.set(key, value);
    assertBytes(await store.get(key), value, 'the value set after the deletion');
  },
  'keys that look like patterns, paths or commands mean nothing': async (store) => {
    const [key, value] = [newKey(), newValue()];
    await store.set(key, value);
    const traps = [
      '*'.repeat(32),
      '?'.repeat(32),
      '%'.repeat(32),
      '../'.repeat(11),
      '[^a]*',
      '\r\nflush_all\r\n',
      '{x}',
      "'--",
    ];
    for (const trap of traps) {
      const asked = keyOf(trap.slice(0, 32), Buffer.alloc(32));
      assertNothing(await store.get(asked), 'a key that was never set');
      await store.delete(asked);
      assertBytes(await store.get(key), value, 'the other key');
    }
  },
  'set copies: the caller may write to its key and value at once': async (store) => {
    const [key, value] = [newKey(), newValue()];
    const [givenKey, givenValue] = [Buffer.from(key), Buffer.from(value)];
    const written = store.set(givenKey, givenValue);
    givenKey.fill(0);
    givenValue.fill(0);
    await written;
    const askedKey = Buffer.from(key);
    const asked = store.get(askedKey);
    askedKey.fill(0);
    assertBytes(await asked, value, 'the value as it was when it was set');
  },
  'get hands out copies: the caller may write to its answer': async (store) => {
    const [key, value] = [newKey(), newValue()];
    await store.set(key, value);
    (await store.get(key))?.fill(0);
    assertBytes(await store.get(key), value, 'the value after an answer was written to');
  },
  'the key and value that are given stay as they are': async (store) => {
    const [key, value] = [newKey(), newValue()];
    const [givenKey, givenValue] = [Buffer.from(key), Buffer.from(value)];
    await store.set(givenKey, givenValue);
    await store.get(givenKey);
    await store.delete(givenKey);
    assertBytes(givenKey, key, 'the key that was given');
    assertBytes(givenValue, value, 'the value that was given');
  },
  'keys and values may be parts of larger buffers': async (store) => {
    const buffer = new Uint8Array(randomBytes(600));
    const [key, value] = [buffer.subarray(7, 39), buffer.subarray(101, 301)];
    await store.set(key, value);
    assertBytes(await store.get(Uint8Array.from(key)), Uint8Array.from(value), 'the part that was set');
  },
  'many calls at once do not mix': async (store) => {
    const sessions = Array.from({ length: 200 }, (_, n) => ({
      key: newKey(),
      value: newValue(1 + ((n * 7) % maxBytes)),
    }));
    await Promise.all(sessions.map(({ key, value }) => store.set(key, value)));
    const answers = await Promise.all(sessions.map(({ key }) => store.get(key)));
    for (const [n, { value }] of sessions.entries()) assertBytes(answers[n], value, 'one of many values');
    await Promise.all(sessions.map(({ key }, n) => (n % 2 === 0 ? store.delete(key) : store.get(key))));
    for (const [n, { key, value }] of sessions.entries()) {
      if (n % 2 === 0) assertNothing(await store.get(key), 'one of many deleted');
      else assertBytes(await store.get(key), value, 'one of many left');
    }
  },
  'of sets of one key at once one stands, whole': async (store) => {
    const key = newKey();
    const values = Array.from({ length: 50 }, (_, n) => newValue(1 + Math.min(n * 9, maxBytes - 1)));
    await Promise.all(values.map((value) => store.set(key, value)));
    const answer = await store.get(key);
    assert.ok(
      values.some((value) => answer !== undefined && Buffer.compare(value, answer) === 0),
      'the value is none of those that were set',
    );
  },
  'timeouts of 1 second to 7 days are taken': async (store) => {
    await store.set(newKey(), newValue(), 1);
    for (const timeout of [60, 86_400, 604_800]) {
      const [key, value] = [newKey(), newValue()];
      await store.set(key, value, timeout);
      assertBytes(await store.get(key), value, `a value set for ${timeout} s`);
    }
  },
});

export const TAKE: Cases = {
  'take answers with the value once, and it is gone': async (store) => {
    const [key, value] = [newKey(), newValue()];
    await store.set(key, value);
    assertBytes(await store.take(key), value, 'the first take');
    assertNothing(await store.take(key), 'the second take');
    assertNothing(await store.get(key), 'get after take');
  },
  'take of a key that was never set or was deleted answers with undefined, and leaves the others': async (store) => {
    const [key, other, value] = [newKey(), newKey(), newValue()];
    await store.set(key, value);
    await store.set(other, value);
    await store.delete(other);
    assertNothing(await store.take(newKey()), 'a key that was never set');
    assertNothing(await store.take(other), 'a key that was deleted');
    assertBytes(await store.get(key), value, 'the other key');
  },
  'of 100 takes at once one is answered': async (store) => {
    for (let round = 0; round < 5; round++) {
      const [key, value] = [newKey(), newValue()];
      await store.set(key, value);
      await oneOf(
        Array.from({ length: AT_ONCE }, () => store.take(key)),
        value,
      );
    }
  },
  'a value that was taken can be set again': async (store) => {
    const [key, value] = [newKey(), newValue()];
    await store.set(key, newValue());
    await store.take(key);
    await store.set(key, value);
    assertBytes(await store.take(key), value, 'the value set after the first take');
    assertNothing(await store.take(key), 'the third take');
  },
};

async function oneOf(takes: readonly Promise<Uint8Array | undefined>[], value: Uint8Array): Promise<void> {
  const answers = (await Promise.all(takes)).filter((answer) => answer !== undefined);
  assert.equal(answers.length, 1, `of ${takes.length} takes at once ${answers.length} were answered`);
  assertBytes(answers[0], value, 'the one answer');
}

export const PEER: Cases = {
  'another store over the same storage finds what one set, and no longer what one deleted': async (store, stage) => {
    const peer = await stage.peer();
    const [key, value, later] = [newKey(), newValue(), newValue()];
    await store.set(key, value);
    assertBytes(await peer.get(key), value, 'what the other one set');
    await peer.set(key, later);
    assertBytes(await store.get(key), later, 'what the other one replaced');
    await store.delete(key);
    assertNothing(await peer.get(key), 'what the other one deleted');
  },
};

export const PEER_TAKE: Cases = {
  'of 100 takes at once over two stores of one storage one is answered': async (store, stage) => {
    const peer = await stage.peer();
    for (let round = 0; round < 5; round++) {
      const [key, value] = [newKey(), newValue()];
      await store.set(key, value);
      await oneOf(
        Array.from({ length: AT_ONCE }, (_, n) => (n % 2 === 0 ? store : peer).take(key)),
        value,
      );
      assertNothing(await peer.get(key), 'get after take');
    }
  },
};

/** Seconds are let pass with one to spare on each side: stores may count in whole ones. */
export const TIMEOUTS: Cases = {
  'get answers until the timeout, and no more after it': async (store, { pass }) => {
    const [key, value] = [newKey(), newValue()];
    await store.set(key, value, 3);
    await pass(1);
    assertBytes(await store.get(key), value, 'the value before its timeout');
    await pass(4);
    assertNothing(await store.get(key), 'the value after its timeout');
  },
  'each set has its own timeout': async (store, { pass }) => {
    const [longer, shorter, value] = [newKey(), newKey(), newValue()];
    await store.set(longer, newValue(), 2);
    await store.set(longer, value, 60);
    await store.set(shorter, newValue(), 60);
    await store.set(shorter, value, 2);
    await pass(4);
    assertBytes(await store.get(longer), value, 'the value whose timeout was made longer');
    assertNothing(await store.get(shorter), 'the value whose timeout was made shorter');
  },
  'get does not make the timeout longer': async (store, { pass }) => {
    const key = newKey();
    await store.set(key, newValue(), 4);
    await pass(3);
    await store.get(key);
    await pass(3);
    assertNothing(await store.get(key), 'the value after its timeout');
  },
};

export const TIMEOUTS_TAKE: Cases = {
  'take does not answer after the timeout': async (store, { pass }) => {
    const key = newKey();
    await store.set(key, newValue(), 2);
    await pass(4);
    assertNothing(await store.take(key), 'the value after its timeout');
  },
};

export const CLOSE: Cases = {
  'close can be called twice, and calls after it end': async ({ store, patience }) => {
    const key = newKey();
    await answerOf('set', patience, () => store.set(key, newValue(), TIMEOUT));
    await answerOf('close', patience, () => store.close?.());
    await answerOf('the second close', patience, () => store.close?.());
    await ends('get after close', patience, () => store.get(key));
    await ends('set after close', patience, () => store.set(key, newValue(), TIMEOUT));
    await ends('delete after close', patience, () => store.delete(key));
    await ends('take after close', patience, () => store.take?.(key));
  },
};
