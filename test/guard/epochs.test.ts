import { describe, expect, it } from 'vitest';
import { Epochs, isEpochName, nameOf, parametersOf, WHOLE } from '../../src/guard/epochs.js';

const P = Buffer.alloc(32, 0xa1);
const Q = Buffer.alloc(32, 0xb2);
const NOW = Date.UTC(2030, 0, 1);
/** The last moment that a date can be. */
const LAST_TIME = 8_640_000_000_000_000;

/** A fact as another host writes it: version 1 | epoch 32 | milliseconds since 1970, a double of 8 | reason. */
function fact(since: number, { value = 0x77, version = 1, reason = '' } = {}): Buffer {
  const time = Buffer.alloc(8);
  time.writeDoubleBE(since);
  return Buffer.concat([Buffer.from([version]), Buffer.alloc(32, value), time, Buffer.from(reason)]);
}

describe('epochs', () => {
  it('without a state begin with one that all share, since ever', () => {
    const epochs = new Epochs(undefined);
    expect([epochs.known, epochs.of(P)]).toEqual([true, Buffer.alloc(32)]);
    expect(epochs.forgottenAt(P)).toBe(Number.NEGATIVE_INFINITY);
  });

  it('with a state begin with a proposal, known once hosts agree on it or on another', () => {
    const [one, two] = [new Epochs(NOW), new Epochs(NOW + 1)];
    expect([one.known, one.forgottenAt(P)]).toEqual([false, NOW]);
    expect(one.of(P)).not.toEqual(two.of(P));
    expect(one.adopt(WHOLE, one.factOf(WHOLE) as Buffer)).toBe('known');
    // It is older than the proposal, and stands all the same.
    expect(two.adopt(WHOLE, one.factOf(WHOLE) as Buffer)).toBe('moved');
    expect([one.known, two.known]).toEqual([true, true]);
    expect(two.of(P)).toEqual(one.of(P));
    expect(two.forgottenAt(P)).toBe(NOW);
  });

  it('are not agreed on by settings that were retired', () => {
    const epochs = new Epochs(NOW);
    expect(epochs.adopt(nameOf(P), fact(NOW))).toBe('moved');
    expect(epochs.known).toBe(false);
  });

  it('have another number whenever they are others, and that of other settings stays', () => {
    const epochs = new Epochs(undefined);
    const numbers = new Map<string, number>();
    const look = () => {
      for (const parameters of [P, Q]) {
        const epoch = `${parameters[0]} ${epochs.of(parameters).toString('hex')}`;
        const number = epochs.generationOf(parameters);
        if (numbers.has(epoch)) expect(number).toBe(numbers.get(epoch));
        else
          expect([...numbers].filter(([key]) => key.startsWith(`${parameters[0]}`)).map(([, n]) => n)).not.toContain(
            number,
          );
        numbers.set(epoch, number);
      }
    };
    look();
    for (const name of [nameOf(P), WHOLE, nameOf(Q), nameOf(P), WHOLE, nameOf(P)]) {
      epochs.renew(name, NOW, 'test');
      look();
    }
    expect(numbers.size).toBe(1 + 1 + 6 + 2);
  });

  it('forget what was made by the later of two moments', () => {
    const epochs = new Epochs(undefined);
    const forgotten = () => [P, Q].map((parameters) => epochs.forgottenAt(parameters) - NOW);
    epochs.renew(WHOLE, NOW, 'test');
    epochs.renew(nameOf(P), NOW + 5, 'test');
    expect(forgotten()).toEqual([5, 0]);
    epochs.renew(WHOLE, NOW + 9, 'test');
    expect(forgotten()).toEqual([9, 9]);
    // The clock went back: what was left stays left.
    epochs.renew(WHOLE, NOW, 'test');
    expect(forgotten()).toEqual([10, 10]);
  });

  it('are followed when they are later ones, and only then', () => {
    for (const name of [WHOLE, nameOf(P)]) {
      const epochs = new Epochs(undefined);
      epochs.renew(name, NOW, 'test');
      const own = epochs.factOf(name) as Buffer;
      expect(epochs.adopt(name, own)).toBe('known');
      for (const since of [NOW - 1, NOW]) expect(epochs.adopt(name, fact(since))).toBe('stale');
      expect(epochs.factOf(name)).toEqual(own);
      expect(epochs.adopt(name, fact(NOW + 1, { reason: 'why' }))).toBe('moved');
      expect([epochs.factOf(name), epochs.reasonOf(name)]).toEqual([fact(NOW + 1, { reason: 'why' }), 'why']);
    }
  });

  it('are followed up to the last moment that a date can be, and never when they are no facts', () => {
    const epochs = new Epochs(undefined);
    const wrong: unknown[] = [
      null,
      'text',
      Buffer.alloc(0),
      fact(NOW).subarray(0, 40),
      fact(NOW, { version: 0 }),
      fact(NOW, { version: 2 }),
      fact(Number.NaN),
      fact(Number.POSITIVE_INFINITY),
      fact(LAST_TIME + 2),
    ];
    for (const each of wrong) expect(epochs.adopt(WHOLE, each as never)).toBe('stale');
    expect(epochs.of(P)).toEqual(Buffer.alloc(32));
    expect(epochs.adopt(WHOLE, fact(LAST_TIME))).toBe('moved');
    expect(epochs.of(P)).toEqual(Buffer.alloc(32, 0x77));
  });

  it('have no reason before they are left, and tell others at most 256 bytes of it', () => {
    const epochs = new Epochs(undefined);
    expect([epochs.reasonOf(WHOLE), epochs.reasonOf(nameOf(P))]).toEqual(['', '']);
    expect(epochs.factOf(nameOf(P))).toBeUndefined();
    const told = epochs.renew(nameOf(P), NOW, 'x'.repeat(300));
    expect([epochs.reasonOf(nameOf(P)).length, told.length]).toEqual([300, 41 + 256]);
  });

  it('of settings are as before once their retirement is over', () => {
    const epochs = new Epochs(undefined);
    epochs.renew(nameOf(P), NOW, 'test');
    epochs.renew(nameOf(Q), NOW + 1, 'test');
    expect([...epochs.retired()]).toEqual([
      [nameOf(P), NOW],
      [nameOf(Q), NOW + 1],
    ]);
    epochs.forget(nameOf(P));
    expect([epochs.of(P), epochs.of(Q).equals(Buffer.alloc(32))]).toEqual([Buffer.alloc(32), false]);
  });

  it('have names that tell whose they are', () => {
    const name = nameOf(P);
    expect([name, parametersOf(name), parametersOf(WHOLE)]).toEqual([`retired/${'a1'.repeat(32)}`, P, undefined]);
    expect([WHOLE, name].map(isEpochName)).toEqual([true, true]);
    for (const other of ['', 'epochs', `x${name}`, `${name}0`, name.slice(1), name.slice(0, -1), name.toUpperCase()]) {
      expect(isEpochName(other)).toBe(false);
    }
  });
});
