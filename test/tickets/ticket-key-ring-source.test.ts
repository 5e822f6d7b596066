import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ResumptionError } from '../../src/errors.js';
import type { MaybePromise } from '../../src/stores/session-store.js';
import type { TicketKey, TicketKeyInput } from '../../src/tickets/ticket-key.js';
import { type GeneratedKeysOptions, sealingKeyOf, TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { isOverwritten, names, numberedKey } from './keys.js';

const HOUR = 3_600_000;

/** A ring with a source whose answers a test decides, and what it told. */
function ringFrom(source: () => MaybePromise<TicketKeyInput>, options: GeneratedKeysOptions = {}) {
  const clock = stoppedClock(0);
  const generateKey = vi.fn(source);
  const ring = TicketKeyRing.generate({ clock, generateKey, ...options });
  const told: string[] = [];
  const faults: ResumptionError[] = [];
  ring.on('rotate', ({ reason }) => told.push(reason));
  ring.on('fault', (error) => {
    told.push(error.code);
    faults.push(error);
  });
  return { ring, clock, generateKey, told, faults };
}

function causes(faults: readonly ResumptionError[]): string[] {
  return faults.map(({ cause }) => (cause as Error).message);
}

/** A promise to be settled later. */
function later(): {
  promise: Promise<TicketKeyInput>;
  give: (key: TicketKeyInput) => void;
  fail: (error: unknown) => void;
} {
  const made = {} as ReturnType<typeof later>;
  made.promise = new Promise((resolve, reject) => {
    made.give = resolve;
    made.fail = reject;
  });
  return made;
}

function numbered(): () => TicketKey {
  let n = 0;
  return () => numberedKey(++n);
}

beforeEach(() => {
  // No pause is shortened.
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe('a key source that answers at once', () => {
  it('is asked before the first seal, and at every rotation', () => {
    const { ring, clock, generateKey, told } = ringFrom(numbered(), { maxSeals: 2 });
    using _ = ring;
    expect(ring.current.aesKey).toEqual(numberedKey(1).aesKey);
    clock.now = HOUR;
    expect(sealingKeyOf(ring).name).toEqual(numberedKey(2).name);
    sealingKeyOf(ring);
    expect(sealingKeyOf(ring).name).toEqual(numberedKey(3).name);
    expect(ring.rotate().name).toEqual(numberedKey(4).name);
    expect(told).toEqual(['time', 'seals', 'hand']);
    expect(names(ring.keys)).toEqual(names([4, 3, 2, 1].map((n) => numberedKey(n))));
    expect(generateKey).toHaveBeenCalledTimes(4);
    clock.now = 2 * HOUR - 1;
    void ring.current;
    expect(generateKey).toHaveBeenCalledTimes(4);
  });

  it('is not asked when a key is given by hand', () => {
    const { ring, generateKey } = ringFrom(numbered());
    using _ = ring;
    ring.rotate(numberedKey(9));
    expect(generateKey).toHaveBeenCalledTimes(1);
  });

  it('keeps its keys: copies are held', () => {
    const key = numberedKey(1);
    TicketKeyRing.generate({ generateKey: () => key })[Symbol.dispose]();
    expect(key.destroyed).toBe(false);
  });

  const broken: [string, () => unknown, string | RegExp][] = [
    [
      'throws',
      () => {
        throw new Error('no such key');
      },
      'no such key',
    ],
    ['gives nothing', () => undefined, '"key" expected a TicketKey, its parts, or 48 or 80 bytes, got undefined'],
    ['gives zeros', () => Buffer.alloc(48), '"hmacKey" expected bytes that are not all zero'],
    ['gives a short key', () => randomBytes(32), '"key" expected 48 or 80 bytes, got Buffer of 32 bytes'],
    [
      'gives a key of another length',
      () => randomBytes(80),
      '"key" expected a key of 48 bytes, got Buffer of 80 bytes',
    ],
    [
      'gives what throws when it is looked at',
      () =>
        Object.defineProperty({}, 'then', {
          get() {
            throw new Error('no such property');
          },
        }),
      'no such property',
    ],
  ];
  it.each(broken)('makes no ring when it %s', (_title, source, message) => {
    const attempt = () => TicketKeyRing.generate({ generateKey: source as () => TicketKeyInput });
    expect(attempt).toThrow(
      expect.objectContaining({
        name: 'ResumptionError',
        code: 'ERR_KEY_SOURCE',
        message: 'The key source gave no good key',
        cause: expect.objectContaining({ message: expect.stringContaining(message as string) }),
      }),
    );
  });

  it.each([
    ...broken,
    ['gives the key that it gave before', () => numberedKey(1), 'a name that no other key has'] as const,
  ])('leaves the last key sealing when it %s', (_title, source, message) => {
    const good = numbered();
    let answer: () => unknown = good;
    const { ring, clock, told, faults } = ringFrom(() => answer() as TicketKey, { interval: 3600 });
    using _ = ring;
    answer = source;
    clock.now = HOUR;
    expect(sealingKeyOf(ring).name).toEqual(numberedKey(1).name);
    expect(ring.keys).toHaveLength(1);
    expect(told).toEqual(['ERR_KEY_SOURCE']);
    expect(causes(faults)[0]).toContain(message);
    answer = good;
    clock.now += 1000;
    expect(sealingKeyOf(ring).name).toEqual(numberedKey(2).name);
    expect(told).toEqual(['ERR_KEY_SOURCE', 'time']);
    clock.now = 2 * HOUR + 999;
    expect(ring.current.name).toEqual(numberedKey(2).name);
    clock.now += 1;
    expect(ring.current.name).toEqual(numberedKey(3).name);
  });
});

describe('a key source that fails', () => {
  it('is asked again after 1 second, twice as long each time, up to 5 minutes', () => {
    let works = true;
    const good = numbered();
    const source = () => {
      if (works) return good();
      throw new Error('down');
    };
    const { ring, clock, generateKey, told } = ringFrom(source, { interval: 3600, lifetime: 7200 });
    using _ = ring;
    const key = ring.current;
    works = false;
    clock.now = HOUR;
    const pauses: number[] = [];
    let [asked, last] = [1, HOUR];
    for (; clock.now < 3 * HOUR; clock.now += 500) {
      expect(sealingKeyOf(ring)).toBe(key);
      if (generateKey.mock.calls.length === asked) continue;
      expect(generateKey).toHaveBeenCalledTimes(++asked);
      pauses.push((clock.now - last) / 1000);
      last = clock.now;
    }
    expect(pauses.slice(0, 11)).toEqual([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    expect(new Set(pauses.slice(10))).toEqual(new Set([300]));
    expect(told.splice(0)).toEqual(pauses.map(() => 'ERR_KEY_SOURCE'));

    works = true;
    clock.now = last + 300_000;
    const second = sealingKeyOf(ring);
    expect(second).not.toBe(key);
    // The old key sealed until now, so its lifetime begins now.
    const end = clock.now + 7_200_000;
    expect(told.splice(0)).toEqual(['time']);
    clock.now = end;
    expect(ring.find(key.name)).toBe(key);
    clock.now = end + 1;
    expect(ring.find(key.name)).toBeUndefined();

    works = false;
    clock.now += HOUR;
    void ring.current;
    const before = generateKey.mock.calls.length;
    clock.now += 1000;
    void ring.current;
    expect(generateKey).toHaveBeenCalledTimes(before + 1);
  });

  it('has its pauses shortened at random by up to half', () => {
    let works = true;
    const good = numbered();
    const { ring, clock, generateKey } = ringFrom(() => {
      if (works) return good();
      throw new Error('down');
    });
    using _ = ring;
    works = false;
    vi.mocked(Math.random).mockReturnValue(1 - 2 ** -53);
    clock.now = HOUR;
    void ring.current;
    clock.now += 499;
    void ring.current;
    expect(generateKey).toHaveBeenCalledTimes(2);
    clock.now += 2;
    void ring.current;
    expect(generateKey).toHaveBeenCalledTimes(3);
  });

  it('is asked again by a timer too, and its fault needs no listener', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 0 });
    let works = true;
    const generateKey = vi.fn(numbered());
    using ring = TicketKeyRing.generate({
      generateKey: () => {
        const key = generateKey();
        if (works) return key;
        throw new Error('down');
      },
    });
    works = false;
    vi.advanceTimersByTime(HOUR + 7000);
    expect(generateKey).toHaveBeenCalledTimes(5);
    works = true;
    vi.advanceTimersByTime(8000);
    expect(ring.current.name).toEqual(numberedKey(6).name);
  });

  it('is stood in for by a random key when one must come at once', () => {
    let works = true;
    const good = numbered();
    const { ring, clock, told } = ringFrom(() => {
      if (works) return good();
      throw new Error('down');
    });
    using _ = ring;
    works = false;
    const older = ring.current;
    const random = ring.rotate(undefined, { overlap: false });
    expect([isOverwritten(older), ring.keys]).toEqual([true, [random]]);
    works = true;
    clock.now += 1000;
    expect(ring.current.name).toEqual(numberedKey(2).name);
    expect(ring.previous).toEqual([random]);
    expect(told).toEqual(['ERR_KEY_SOURCE', 'hand', 'source']);
  });

  it('does not end a key before its count of seals is full, and seals on with it then', () => {
    const good = numbered();
    let works = true;
    const { ring, clock, generateKey, told } = ringFrom(
      () => {
        if (works) return good();
        throw new Error('down');
      },
      { maxSeals: 5 },
    );
    using _ = ring;
    works = false;
    const key = ring.current;
    for (let i = 0; i < 5; i++) sealingKeyOf(ring);
    expect(told).toEqual([]);
    for (let i = 0; i < 1000; i++) expect(sealingKeyOf(ring)).toBe(key);
    expect(told.splice(0)).toEqual(['ERR_KEY_SOURCE']);
    expect(generateKey).toHaveBeenCalledTimes(2);
    works = true;
    clock.now += 1000;
    expect(sealingKeyOf(ring).name).toEqual(numberedKey(2).name);
    expect(told).toEqual(['seals']);
  });
});

describe('an asynchronous key source', () => {
  it('is stood in for by a random key until its first answer', async () => {
    const answers = [later(), later()];
    let asked = 0;
    const { ring, clock, told } = ringFrom(() => (answers[asked++] as ReturnType<typeof later>).promise);
    using _ = ring;
    const random = sealingKeyOf(ring);
    answers[0]?.give(numberedKey(1));
    await turn();
    expect(told.splice(0)).toEqual(['source']);
    expect(names(ring.keys)).toEqual(names([numberedKey(1), random]));
    clock.now = HOUR;
    expect(sealingKeyOf(ring).name).toEqual(numberedKey(1).name);
    clock.now = HOUR + 500;
    answers[1]?.give(numberedKey(2));
    await turn();
    expect(told).toEqual(['time']);
    expect(names([ring.current])).toEqual(names([numberedKey(2)]));
    expect(asked).toBe(2);
    // The key before sealed until the answer came.
    clock.now = HOUR + 500 + 2 * HOUR;
    expect(ring.find(numberedKey(1).name)).toBeDefined();
  });

  it('is asked again when it rejects, gives a bad key, or does not answer for 30 seconds', async () => {
    let answer = later();
    const { ring, clock, generateKey, told, faults } = ringFrom(() => {
      answer = later();
      return answer.promise;
    });
    using _ = ring;
    const random = ring.current;
    answer.fail(new Error('no answer today'));
    await turn();
    expect([faults.at(-1)?.code, causes(faults).at(-1)]).toEqual(['ERR_KEY_SOURCE', 'no answer today']);
    clock.now += 1000;
    expect(ring.current).toBe(random);
    answer.give(Buffer.alloc(48));
    await turn();
    expect(causes(faults).at(-1)).toContain('not all zero');
    clock.now += 2000;
    expect(ring.current).toBe(random);
    expect(generateKey).toHaveBeenCalledTimes(3);
    const slow = answer;
    clock.now += 29_999;
    void ring.current;
    expect(faults).toHaveLength(2);
    clock.now += 1;
    void ring.current;
    expect(causes(faults).at(-1)).toBe('No answer within 30 seconds');
    slow.give(numberedKey(7));
    await turn();
    expect(ring.current).toBe(random);
    clock.now += 4000;
    void ring.current;
    answer.give(numberedKey(8));
    await turn();
    expect(names(ring.keys)).toEqual(names([numberedKey(8), random]));
    expect(told).toEqual(['ERR_KEY_SOURCE', 'ERR_KEY_SOURCE', 'ERR_KEY_SOURCE', 'source']);
  });

  it('is not asked twice at a time, whatever the ring goes through', async () => {
    const { ring, clock, generateKey } = ringFrom(() => new Promise(() => {}), { maxSeals: 3 });
    using _ = ring;
    for (let i = 0; i < 100; i++) sealingKeyOf(ring);
    clock.now += 29_999;
    for (let i = 0; i < 100; i++) sealingKeyOf(ring);
    expect(generateKey).toHaveBeenCalledTimes(1);
  });

  it('is not heard any more after a rotation by hand to a key, nor after disposal', async () => {
    const answers: ReturnType<typeof later>[] = [];
    const source = () => {
      answers.push(later());
      return (answers.at(-1) as ReturnType<typeof later>).promise;
    };
    const { ring, told } = ringFrom(source);
    ring.rotate(numberedKey(5));
    answers[0]?.give(numberedKey(1));
    await turn();
    expect(names([ring.current])).toEqual(names([numberedKey(5)]));
    ring.rotate();
    expect(answers).toHaveLength(2);
    ring[Symbol.dispose]();
    answers[1]?.give(numberedKey(2));
    await turn();
    expect(ring.keys).toEqual([]);
    expect(told).toEqual(['hand', 'hand']);
  });
});

describe('a key source that uses the ring', () => {
  it('gets the keys as they are', () => {
    const seen: unknown[] = [];
    let ring: TicketKeyRing | undefined;
    const good = numbered();
    const made = ringFrom(() => {
      seen.push(ring?.current.name.toString('hex'), ring?.find(numberedKey(1).name)?.name.toString('hex'));
      if (ring !== undefined) sealingKeyOf(ring);
      return good();
    });
    ring = made.ring;
    made.clock.now = HOUR;
    sealingKeyOf(ring);
    const [name] = names([numberedKey(1)]);
    expect(seen).toEqual([undefined, undefined, name, name]);
    expect(names([ring.current])).toEqual(names([numberedKey(2)]));
    ring[Symbol.dispose]();
  });

  it.each(['answers', 'fails'])('may rotate it, and dispose of it, and what it then %s does not count', (how) => {
    let act: (() => void) | undefined;
    const good = numbered();
    const { ring, clock, told } = ringFrom(() => {
      if (act === undefined) return good();
      act();
      if (how === 'fails') throw new Error('down');
      return good();
    });
    act = () => ring.rotate(numberedKey(50));
    clock.now = HOUR;
    expect(names([sealingKeyOf(ring)])).toEqual(names([numberedKey(50)]));
    expect(told).toEqual(['hand']);
    act = () => ring[Symbol.dispose]();
    const gone = expect.objectContaining({ code: 'ERR_KEY_RING_DISPOSED' });
    expect(() => ring.rotate()).toThrow(gone);
    expect(() => sealingKeyOf(ring)).toThrow(gone);
    expect(ring.keys).toEqual([]);
  });
});
