/** The cases of the conformance suite for shared states. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type SharedState, watchSharedState } from '../stores/shared-state.js';
import { answerOf, assertBytes, assertNothing, ends, everyByte } from './conformance.js';

/** What a case can do besides calling its state. */
interface Stage {
  /** What the names of the case begin with: several runs may share one state. */
  readonly prefix: string;
  readonly pass: (seconds: number) => Promise<void>;
  readonly peer: () => Promise<PatientState>;
}
type Check = (state: PatientState, stage: Stage) => Promise<void>;
/** Cases by name. */
export type StateCases = Readonly<Record<string, Check>>;

/** A state whose every call ends. */
export class PatientState {
  constructor(
    readonly state: SharedState,
    readonly patience: number,
  ) {}

  get(name: string): Promise<Uint8Array | undefined> {
    return answerOf('get', this.patience, () => this.state.get(name));
  }

  set(name: string, value: Uint8Array, timeout?: number): Promise<void> {
    return answerOf('set', this.patience, () => this.state.set(name, value, timeout));
  }

  setIfAbsent(name: string, value: Uint8Array, timeout?: number): Promise<Uint8Array> {
    return answerOf('setIfAbsent', this.patience, () => this.state.setIfAbsent(name, value, timeout));
  }

  entries(prefix: string): Promise<Map<string, Uint8Array>> {
    return answerOf('entries', this.patience, () => this.state.entries(prefix));
  }
}

const newValue = (bytes = 32): Buffer => randomBytes(bytes);

export const STATE_BASE: StateCases = {
  'get answers with undefined for a fact that was never set': async (state, { prefix }) => {
    assertNothing(await state.get(`${prefix}none`), 'a fact that was never set');
  },
  'get answers with the bytes that were set, none to 1024': async (state, { prefix }) => {
    for (const value of [new Uint8Array(0), everyByte(), newValue(1), newValue(1024)]) {
      await state.set(`${prefix}${value.length}`, value);
      assertBytes(await state.get(`${prefix}${value.length}`), value, `a fact of ${value.length} bytes`);
    }
  },
  'set replaces the value': async (state, { prefix }) => {
    for (const length of [32, 5, 900, 0, 1]) {
      const value = newValue(length);
      await state.set(`${prefix}epoch`, value);
      assertBytes(await state.get(`${prefix}epoch`), value, 'the value set last');
    }
  },
  'names are of any visible ASCII characters, and each has its own fact': async (state, { prefix }) => {
    const visible = String.fromCharCode(...Array.from({ length: 94 }, (_, n) => 0x21 + n));
    const names = [...visible, visible, 'a/b', 'a/b/', 'a//b', 'a*', 'ab', 'aB', 'A', 'x'.repeat(200 - prefix.length)];
    const facts = new Map([...new Set(names)].map((name) => [prefix + name, newValue()]));
    for (const [name, value] of facts) await state.set(name, value);
    for (const [name, value] of facts) assertBytes(await state.get(name), value, `the fact ${name}`);
    assert.deepEqual([...(await state.entries(prefix)).keys()].sort(), [...facts.keys()].sort());
  },
  'setIfAbsent sets what does not stand, and leaves what stands': async (state, { prefix }) => {
    const [first, second, third] = [newValue(), newValue(), newValue()];
    assertBytes(await state.setIfAbsent(`${prefix}epoch`, first), first, 'the answer to the first');
    assertBytes(await state.setIfAbsent(`${prefix}epoch`, second), first, 'the answer to the second');
    assertBytes(await state.get(`${prefix}epoch`), first, 'the fact');
    await state.set(`${prefix}epoch`, third);
    assertBytes(await state.setIfAbsent(`${prefix}epoch`, second), third, 'the answer after a set');
  },
  'setIfAbsent takes a value of no bytes for one that stands': async (state, { prefix }) => {
    await state.set(`${prefix}empty`, new Uint8Array(0));
    assertBytes(await state.setIfAbsent(`${prefix}empty`, newValue()), new Uint8Array(0), 'the answer');
  },
  'of 100 setIfAbsent at once all get the same value': async (state, { prefix }) => {
    await allTheSame(
      `${prefix}epoch`,
      Array.from({ length: 100 }, () => state),
    );
  },
  'entries answers with the facts under the prefix, and takes it as it is': async (state, { prefix }) => {
    const value = newValue();
    const names = ['r/1', 'r/2', 'r', 'R/1', 'q/1', 'r*1', 'r%1', 'r_1', 'r[12]', 'r.1', 'r\\1', 's'].map(
      (name) => prefix + name,
    );
    for (const name of names) await state.set(name, value);
    for (const asked of ['r/', 'r*', 'r%', 'r_', 'r[1', 'r.', 'r\\', 'r/1', 'none', '?', '']) {
      const found = await state.entries(prefix + asked);
      assert.deepEqual([...found.keys()].sort(), names.filter((name) => name.startsWith(prefix + asked)).sort(), asked);
      for (const bytes of found.values()) assertBytes(bytes, value, 'one of the entries');
    }
    const all = await state.entries('');
    for (const name of names) assert.ok(all.has(name), 'entries of the empty prefix lacks a fact');
  },
  'values are copied in and out': async (state, { prefix }) => {
    const value = newValue();
    const given = Buffer.from(value);
    const written = state.set(`${prefix}epoch`, given);
    given.fill(0);
    await written;
    (await state.get(`${prefix}epoch`))?.fill(0);
    (await state.setIfAbsent(`${prefix}epoch`, newValue())).fill(0);
    (await state.entries(prefix)).get(`${prefix}epoch`)?.fill(0);
    assertBytes(await state.get(`${prefix}epoch`), value, 'the fact');
    const fresh = Buffer.from(value);
    const stands = state.setIfAbsent(`${prefix}fresh`, fresh);
    fresh.fill(0);
    (await stands).fill(0);
    assertBytes(await state.get(`${prefix}fresh`), value, 'the fact set with setIfAbsent');
  },
  'values may be parts of larger buffers': async (state, { prefix }) => {
    const value = new Uint8Array(newValue(200)).subarray(50, 82);
    await state.set(`${prefix}part`, value);
    assertBytes(await state.get(`${prefix}part`), Uint8Array.from(value), 'the fact');
  },
  'wrong names, values and timeouts are refused at once': async ({ state }, { prefix }) => {
    const name = `${prefix}epoch`;
    const value = newValue();
    for (const wrong of ['', ' ', 'a b', 'a\n', 'é', '\x7f', 'x'.repeat(201), 1, undefined] as string[]) {
      refuses(() => state.get(wrong), 'get of a wrong name');
      refuses(() => state.set(wrong, value), 'set of a wrong name');
      refuses(() => state.setIfAbsent(wrong, value), 'setIfAbsent of a wrong name');
      if (wrong !== '') refuses(() => state.entries(wrong), 'entries of a wrong prefix');
    }
    for (const wrong of [newValue(1025), 'text', undefined, [1]] as Uint8Array[]) {
      refuses(() => state.set(name, wrong), 'set of a wrong value');
      refuses(() => state.setIfAbsent(name, wrong), 'setIfAbsent of a wrong value');
    }
    for (const wrong of [0, -1, 1.5, Number.NaN, 31_536_001, '1', null] as number[]) {
      refuses(() => state.set(name, value, wrong), 'set with a wrong timeout');
      refuses(() => state.setIfAbsent(name, value, wrong), 'setIfAbsent with a wrong timeout');
    }
  },
  'a thousand facts all stand': async (state, { prefix }) => {
    const names = Array.from({ length: 1000 }, (_, n) => `${prefix}revoked/${n}`);
    await Promise.all(names.map((name) => state.set(name, Buffer.from(name))));
    for (const name of names) assertBytes(await state.get(name), Buffer.from(name), 'one of a thousand facts');
    assert.equal((await state.entries(prefix)).size, 1000, 'entries does not have all facts');
  },
  'timeouts of 1 second to a year are taken': async (state, { prefix }) => {
    await state.set(`${prefix}short`, newValue(), 1);
    const value = newValue();
    await state.set(`${prefix}set`, value, 31_536_000);
    await state.setIfAbsent(`${prefix}setIfAbsent`, value, 31_536_000);
    assertBytes(await state.get(`${prefix}set`), value, 'a fact set for a year');
    assertBytes(await state.get(`${prefix}setIfAbsent`), value, 'a fact set for a year');
  },
  'watching tells of what stands and of what changes, under its prefix alone': async (state, { prefix }) => {
    await state.set(`${prefix}a/1`, Buffer.from('one'));
    await state.set(`${prefix}b/1`, Buffer.from('other'));
    const seen = new Witness(state, `${prefix}a/`);
    await seen.until(`${prefix}a/1`, 'one');
    await state.set(`${prefix}a/2`, Buffer.from('two'));
    await seen.until(`${prefix}a/2`, 'two');
    await state.set(`${prefix}b/1`, Buffer.from('changed'));
    await state.set(`${prefix}a/1`, Buffer.from('first'));
    await state.set(`${prefix}a/1`, Buffer.from('again'));
    await seen.until(`${prefix}a/1`, 'again');
    await state.setIfAbsent(`${prefix}a/3`, Buffer.from('three'));
    await seen.until(`${prefix}a/3`, 'three');
    assert.deepEqual(
      [...seen.facts.keys()].sort(),
      ['a/1', 'a/2', 'a/3'].map((name) => prefix + name),
    );
    seen.end();
  },
  'a listener hears no more once it has ended, and others do': async (state, { prefix }) => {
    const [ended, seen] = [new Witness(state, prefix), new Witness(state, prefix)];
    ended.end();
    await state.set(`${prefix}epoch`, Buffer.from('new'));
    await seen.until(`${prefix}epoch`, 'new');
    assert.equal(ended.facts.size, 0, 'a listener was called after it had ended');
    ended.end();
    seen.end();
  },
  'a listener that throws, and one that writes to what it is told, spoils nothing': async (state, { prefix }) => {
    const thrown = new Error('thrown by a listener');
    const failed = new Witness(state, prefix, thrown);
    const seen = new Witness(state, prefix);
    for (const value of ['new', 'newer']) {
      await state.set(`${prefix}epoch`, Buffer.from(value));
      await seen.until(`${prefix}epoch`, value);
      await failed.until(`${prefix}epoch`, value);
    }
    failed.end();
    seen.end();
    assert.ok(failed.failures.includes(thrown), 'nobody was told what the listener threw');
    assertBytes(await state.get(`${prefix}epoch`), Buffer.from('newer'), 'the fact');
  },
};

export const STATE_PEER: StateCases = {
  'another state over the same storage sees what one has set': async (state, { prefix, peer }) => {
    const other = await peer();
    const [value, later] = [newValue(), newValue()];
    await state.set(`${prefix}epoch`, value);
    assertBytes(await other.get(`${prefix}epoch`), value, 'what the other one set');
    assertBytes(await other.setIfAbsent(`${prefix}epoch`, later), value, 'what the other one set');
    await other.set(`${prefix}epoch`, later);
    assertBytes(await state.get(`${prefix}epoch`), later, 'what the other one replaced');
    assertBytes((await state.entries(prefix)).get(`${prefix}epoch`), later, 'what the other one replaced');
  },
  'of 100 setIfAbsent at once over two states of one storage all get the same value': async (
    state,
    { prefix, peer },
  ) => {
    const other = await peer();
    for (let round = 0; round < 5; round++) {
      await allTheSame(
        `${prefix}${round}`,
        Array.from({ length: 100 }, (_, n) => (n % 2 === 0 ? state : other)),
      );
    }
  },
  'watching tells of what another one has changed': async (state, { prefix, peer }) => {
    const other = await peer();
    const seen = new Witness(state, prefix);
    await other.set(`${prefix}epoch`, Buffer.from('new'));
    await seen.until(`${prefix}epoch`, 'new');
    await other.set(`${prefix}epoch`, Buffer.from('newer'));
    await seen.until(`${prefix}epoch`, 'newer');
    seen.end();
  },
};

export const STATE_TIMEOUTS: StateCases = {
  'a fact is over after its timeout, and stands before it': async (state, { prefix, pass }) => {
    const value = newValue();
    await state.set(`${prefix}revoked`, value, 3);
    await state.setIfAbsent(`${prefix}too`, value, 3);
    await state.set(`${prefix}epoch`, value);
    await pass(1);
    assertBytes(await state.get(`${prefix}revoked`), value, 'the fact before its timeout');
    await pass(4);
    assertNothing(await state.get(`${prefix}revoked`), 'the fact after its timeout');
    assertNothing(await state.get(`${prefix}too`), 'the fact after its timeout');
    assertBytes(await state.get(`${prefix}epoch`), value, 'the fact without a timeout');
    assert.deepEqual([...(await state.entries(prefix)).keys()], [`${prefix}epoch`]);
  },
  'setIfAbsent replaces a fact that is over, and changes no timeout of one that stands': async (
    state,
    { prefix, pass },
  ) => {
    const [value, later] = [newValue(), newValue()];
    await state.set(`${prefix}over`, value, 2);
    await state.setIfAbsent(`${prefix}over`, later, 60);
    await pass(4);
    assertBytes(await state.setIfAbsent(`${prefix}over`, later), later, 'the fact after its timeout');
    await pass(4);
    assertBytes(await state.get(`${prefix}over`), later, 'the fact set without a timeout');
  },
  'each set has its own timeout, or none': async (state, { prefix, pass }) => {
    const value = newValue();
    await state.set(`${prefix}kept`, newValue(), 2);
    await state.set(`${prefix}kept`, value);
    await state.set(`${prefix}ended`, newValue());
    await state.set(`${prefix}ended`, value, 2);
    await pass(4);
    assertBytes(await state.get(`${prefix}kept`), value, 'the fact whose timeout was taken away');
    assertNothing(await state.get(`${prefix}ended`), 'the fact that was given a timeout');
  },
};

export const STATE_CLOSE: StateCases = {
  'close can be called twice, ends watching, and calls after it end': async ({ state, patience }, { prefix }) => {
    const name = `${prefix}epoch`;
    watchSharedState(state, prefix, () => {}, { interval: 0.05 });
    await answerOf('set', patience, () => state.set(name, newValue()));
    await answerOf('close', patience, () => state.close?.());
    await answerOf('the second close', patience, () => state.close?.());
    await ends('get after close', patience, () => state.get(name));
    await ends('set after close', patience, () => state.set(name, newValue()));
    await ends('setIfAbsent after close', patience, () => state.setIfAbsent(name, newValue()));
    await ends('entries after close', patience, () => state.entries(prefix));
    await ends('watch after close', patience, () => state.watch?.(prefix, () => {})[Symbol.dispose]());
  },
};

async function allTheSame(name: string, states: readonly PatientState[]): Promise<void> {
  const offered = states.map(() => newValue());
  const answers = await Promise.all(states.map((state, n) => state.setIfAbsent(name, offered[n] as Buffer)));
  const [first] = answers;
  assert.ok(first !== undefined && offered.some((value) => Buffer.compare(value, first) === 0), 'a value of nobody');
  for (const answer of answers) assertBytes(answer, first, 'an answer to one of many setIfAbsent');
  for (const state of states.slice(0, 2)) assertBytes(await state.get(name), first, 'the fact after many setIfAbsent');
}

function refuses(call: () => unknown, what: string): void {
  const watched = (): void => {
    // That it rejects is too late, and no reason to end the process.
    Promise.resolve(call()).catch(() => {});
  };
  assert.throws(
    watched,
    (error) => error instanceof TypeError || error instanceof RangeError,
    `${what} is not refused`,
  );
}

/** Remembers what a listener was told. */
class Witness {
  readonly facts = new Map<string, string>();
  readonly failures: unknown[] = [];
  readonly #patience: number;
  readonly #watching: Disposable;
  #told: () => void = () => {};

  /** With an error, writes to what it is told and throws. */
  constructor({ state, patience }: PatientState, prefix: string, error?: Error) {
    this.#patience = patience;
    const tell = (name: string, value: Uint8Array | undefined): void => {
      if (value !== undefined) this.facts.set(name, Buffer.from(value).toString('latin1'));
      this.#told();
      if (error === undefined) return;
      value?.fill(0);
      throw error;
    };
    const failed = (failure: unknown): void => void this.failures.push(failure);
    this.#watching = watchSharedState(state, prefix, tell, { interval: 0.05, failed });
  }

  /** Waits until the last that was told of a fact is `value`. */
  until(name: string, value: string): Promise<void> {
    return answerOf(`being told of ${name}`, this.#patience, () => {
      return new Promise((resolve) => {
        this.#told = () => {
          if (this.facts.get(name) === value) resolve();
        };
        this.#told();
      });
    });
  }

  end(): void {
    this.#watching[Symbol.dispose]();
  }
}
