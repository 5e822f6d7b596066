/** How two contexts differ, and which settings are over when contexts get others. */

import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { differencesOf, factsOf } from '../../src/server/context-facts.js';
import { type ContextMove, Departures } from '../../src/server/departures.js';
import { type Certificates, certificates } from './fixtures/reloading.js';

let all: Certificates;
beforeAll(async () => {
  all = await certificates();
});

const between = (before: object, after: object): string[] =>
  differencesOf(factsOf(before), factsOf(after)).map(({ setting, change }) => `${setting} ${change}`);

describe('differencesOf', () => {
  it('is nothing for the same settings in another form', () => {
    const { a, intermediate, authority, otherAuthority } = all;
    const cas = [authority.cert, otherAuthority.cert];
    expect(between({}, {})).toEqual([]);
    expect(between({ cert: `${a.cert}\n${intermediate.cert}` }, { cert: [a.cert + intermediate.cert] })).toEqual([]);
    expect(between({ ca: cas }, { ca: cas.toReversed().join('') })).toEqual([]);
    expect(between({ key: a.key }, { key: [{ pem: Buffer.from(a.key) }] })).toEqual([]);
    expect(between({ ciphers: 'A:B' }, { ciphers: 'A,B' })).toEqual([]);
    expect(between({ secureOptions: 0, honorCipherOrder: true }, {})).toEqual([]);
  });

  it('tells the server’s certificate from its chain, with several certificates too', () => {
    const { a, b, renewed, intermediate, authority } = all;
    const chain = [a.cert, intermediate.cert, authority.cert].join('\n');
    expect(between({ cert: chain }, { cert: [a.cert, authority.cert, intermediate.cert].join('\n') })).toEqual([
      'chain reordered',
    ]);
    expect(between({ cert: [chain] }, { cert: [chain, b.cert] })).toEqual(['certificate added']);
    expect(between({ cert: [chain, b.cert] }, { cert: [b.cert, chain] })).toEqual(['certificate reordered']);
    expect(between({ cert: chain }, { cert: renewed.cert + intermediate.cert })).toEqual([
      'certificate replaced',
      'chain removed',
    ]);
  });

  it('knows another key alone, and one that it cannot read', () => {
    const { a, b } = all;
    expect(between({ key: a.key }, { key: b.key })).toEqual(['key replaced']);
    expect(between({ key: 'unreadable' }, { key: 'another' })).toEqual(['key replaced']);
    expect(between({ key: 'unreadable' }, { key: 'unreadable' })).toEqual([]);
    expect(between({ key: [a.key] }, { key: [a.key, b.key] })).toEqual(['key added']);
  });

  it('names what else differs', () => {
    expect(between({}, { pfx: Buffer.from('one') })).toEqual(['pfx added']);
    expect(between({ maxVersion: 'TLSv1.2' }, {})).toEqual(['maxVersion replaced']);
    expect(between({}, { secureProtocol: 'TLSv1_2_method' })).toEqual([
      'minVersion removed',
      'maxVersion removed',
      'secureProtocol added',
    ]);
    expect(between({}, { privateKeyEngine: 'e', privateKeyIdentifier: 'i' })).toEqual(['engine added']);
    expect(between({}, { certificateCompression: ['zlib'] })).toEqual(['certificateCompression added']);
    expect(between({ secureOptions: 1 }, { secureOptions: 2 })).toEqual(['secureOptions replaced']);
    expect(between({}, { allowPartialTrustChain: true })).toEqual(['allowPartialTrustChain added']);
  });

  it('holds nothing of a key', () => {
    const facts = JSON.stringify([...factsOf({ key: 'not a key', passphrase: 'hush' })]);
    expect(facts).not.toMatch(/not a key|hush/);
  });
});

const CONTEXTS = ['', 'b', 'c'] as const;
const digest = (name: string): Buffer => Buffer.alloc(32, name);

interface Step {
  readonly moves: Record<string, string>;
  readonly differ: boolean;
}

/** Contexts, the generation of each settings, and one session of each context, made in the beginning. */
class World {
  readonly departures = new Departures();
  readonly #now: Map<string, string>;
  readonly #generations = new Map<string, number>();
  readonly #sessions: { readonly name: string; readonly made: string; gone: boolean }[];

  constructor(settings: readonly string[]) {
    this.#now = new Map(CONTEXTS.map((name, i) => [name, settings[i] as string]));
    this.#sessions = CONTEXTS.map((name) => ({ name, made: this.#placeOf(name), gone: false }));
  }

  #placeOf(name: string): string {
    const settings = this.#now.get(name) as string;
    return `${settings}/${this.#generations.get(settings) ?? 0}`;
  }

  take({ moves, differ }: Step): void {
    const settled: ContextMove[] = Object.entries(moves).map(([pattern, after]) => {
      const before = this.#now.get(pattern) as string;
      if (differ || after !== before) for (const each of this.#sessions) each.gone ||= each.name === pattern;
      return { pattern, before: digest(before), after: digest(after), changed: differ };
    });
    for (const [name, after] of Object.entries(moves)) this.#now.set(name, after);
    const inForce = new Set([...this.#now.values()].map((each) => digest(each).toString('hex')));
    for (const over of this.departures.settle(settled, inForce)) {
      const settings = String.fromCharCode(over[0] as number);
      this.#generations.set(settings, (this.#generations.get(settings) ?? 0) + 1);
    }
  }

  /** The sessions that could be resumed although their context was another meanwhile. */
  get revenants(): string[] {
    return this.#sessions
      .filter(({ name, made, gone }) => gone && this.#placeOf(name) === made)
      .map(({ name }) => name);
  }
}

describe('Departures', () => {
  it('lets no session come back at a context that was another meanwhile', () => {
    const settings = fc.constantFrom('P', 'Q', 'R');
    const step = fc.record({
      moves: fc.dictionary(fc.constantFrom(...CONTEXTS), settings, { minKeys: 1 }),
      differ: fc.boolean(),
    });
    const beginning = fc.array(settings, { minLength: CONTEXTS.length, maxLength: CONTEXTS.length });
    fc.assert(
      fc.property(beginning, fc.array(step, { maxLength: 12 }), (begin, steps) => {
        const world = new World(begin);
        for (const each of steps) {
          world.take(each);
          expect(world.revenants).toEqual([]);
        }
        expect(world.departures.size).toBeLessThanOrEqual(CONTEXTS.length);
      }),
      { numRuns: 1000 },
    );
  });

  it('takes nothing from a context that keeps settings which another one leaves', () => {
    const departures = new Departures();
    const [p, q] = [Buffer.alloc(32, 'P'), Buffer.alloc(32, 'Q')];
    const hex = (...each: Buffer[]): Set<string> => new Set(each.map((one) => one.toString('hex')));
    const move = { pattern: 'b', before: p, after: q, changed: true };
    expect(departures.settle([move], hex(p, q))).toEqual([]);
    expect(departures.settle([{ ...move, before: q, after: p }], hex(p))).toEqual([p, q]);
    expect(departures.size).toBe(0);
    expect(departures.settle([{ ...move, before: p, after: p }], hex(p))).toEqual([p]);
    expect(departures.settle([{ ...move, before: p, after: p, changed: false }], hex(p))).toEqual([]);
    expect(departures.settle([{ ...move, before: undefined, after: p }], hex(p))).toEqual([]);
  });
});
