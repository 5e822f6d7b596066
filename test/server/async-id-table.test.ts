import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AsyncIdTable } from '../../src/server/async-id-table.js';

class Entry {
  readonly #id: number;

  constructor(id: number) {
    this.#id = id;
  }

  asyncId(): number {
    return this.#id;
  }
}

const idsOf = (table: AsyncIdTable<Entry>): number[] =>
  table
    .values()
    .map((entry) => entry.asyncId())
    .sort((a, b) => a - b);

describe('the table of async IDs', () => {
  it('is a Map, whatever comes and goes in whatever order', () => {
    // Few IDs collide often; large ones are beyond 32 bits.
    const id = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(2 ** 31, 2 ** 32 + 1, 2 ** 40));
    const action = fc.record({ id, adds: fc.boolean() });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 400 }), (actions) => {
        const table = new AsyncIdTable<Entry>();
        const map = new Map<number, Entry>();
        for (const { id, adds } of actions) {
          if (adds && !map.has(id)) {
            const entry = new Entry(id);
            map.set(id, entry);
            table.add(entry);
          } else if (!adds) {
            expect(table.delete(id)).toBe(map.get(id));
            map.delete(id);
          }
          expect(table.size).toBe(map.size);
          expect(table.get(id)).toBe(map.get(id));
        }
        expect(idsOf(table)).toEqual([...map.keys()].sort((a, b) => a - b));
      }),
    );
  });

  it.each([1, 7, 16, 64, 4096])('grows, shrinks, and finds what is there: distances of %i', (distance) => {
    const table = new AsyncIdTable<Entry>();
    const ids = Array.from({ length: 3000 }, (_, i) => 5 + i * distance);
    for (const id of ids) table.add(new Entry(id));
    expect(idsOf(table)).toEqual(ids);
    for (const [i, id] of ids.entries()) {
      if (i % 3 !== 0) expect(table.delete(id)?.asyncId()).toBe(id);
    }
    for (const [i, id] of ids.entries()) expect(table.get(id)?.asyncId()).toBe(i % 3 === 0 ? id : undefined);
    for (const id of ids) table.delete(id);
    expect(table.size).toBe(0);
    expect(table.values()).toEqual([]);
  });

  it('is empty when it was cleared', () => {
    const table = new AsyncIdTable<Entry>();
    for (let id = 1; id <= 100; id++) table.add(new Entry(id));
    table.clear();
    expect(table.size).toBe(0);
    expect(table.get(1)).toBeUndefined();
    expect(table.delete(1)).toBeUndefined();
  });
});
