import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type IdHash, NO_SLOT, SessionArena } from '../../src/cache/session-arena.js';
import { SessionIndex } from '../../src/cache/session-index.js';

/** An index over a plain list of IDs: the slot is the position. */
function indexed(maxSessions: number, hash?: IdHash) {
  const ids: Buffer[] = [];
  const id = (slot: number) => ids[slot] as Buffer;
  const arena = {
    id,
    hasId: (slot: number, other: Uint8Array) => id(slot).equals(other),
    hashOfId: (slot: number, hash: IdHash, seed: number) => hash(id(slot), 0, id(slot).length, seed),
  };
  const index = new SessionIndex(maxSessions, arena, hash);
  const add = (id: Buffer) => {
    ids.push(id);
    index.add(id, ids.length - 1);
  };
  return { ids, index, add };
}

const HASHES: [string, IdHash | undefined][] = [
  ['the hash', undefined],
  ['a hash with 2048 values', (bytes, start, end) => sum(bytes, start, end) & 2047],
  ['a hash with four values', (bytes, start, end) => sum(bytes, start, end) & 3],
  ['a hash with one value', () => 7],
];

function sum(bytes: Uint8Array, start: number, end: number): number {
  let total = 0;
  for (let i = start; i < end; i++) total = total * 7 + (bytes[i] as number);
  return total;
}

/** An index over an arena, beside a map in order of insertion. */
class Indexed {
  readonly arena = new SessionArena();
  readonly index: SessionIndex;
  readonly held = new Map<number, number>();
  next = 0;

  constructor(maxSessions: number, hash: IdHash | undefined) {
    this.index = new SessionIndex(maxSessions, this.arena, hash);
  }

  add(n: number = this.next++): void {
    if (this.held.has(n)) return;
    const slot = this.arena.insert(Indexed.id(n), Buffer.alloc(8), 0, 0);
    this.index.add(Indexed.id(n), slot);
    this.held.set(n, slot);
  }

  drop(how: 'delete' | 'evict', n: number = this.held.keys().next().value as number): void {
    const slot = this.held.get(n) as number;
    this.index[how](slot);
    this.arena.remove(slot);
    this.held.delete(n);
  }

  fillTo(size: number): void {
    while (this.held.size < size) this.add();
  }

  drainTo(size: number, how: 'delete' | 'evict'): void {
    while (this.held.size > size) this.drop(how);
  }

  wrong(): number[] {
    const all = Array.from({ length: this.next }, (_, n) => n);
    return all.filter((n) => this.index.find(Indexed.id(n)) !== (this.held.get(n) ?? NO_SLOT));
  }

  static id(n: number): Buffer {
    // One of them is all zero, as are the bytes of a slot that was given back.
    const id = Buffer.alloc(6);
    id.writeUInt32BE(n ^ 3990, 2);
    return id;
  }
}

describe('SessionIndex', () => {
  it.each(HASHES)('finds every ID, and none that is not there, with %s', (_name, hash) => {
    const { ids, index, add } = indexed(1000, hash);
    for (let i = 0; i < 300; i++) add(Buffer.from([i, i >> 8]));
    ids.forEach((id, slot) => {
      expect(index.find(id)).toBe(slot);
    });
    expect(index.find(Buffer.from([1, 7]))).toBe(NO_SLOT);
    expect(index.find(Buffer.from([1]))).toBe(NO_SLOT);
    index.clear();
    for (const id of ids) expect(index.find(id)).toBe(NO_SLOT);
  });

  it.each(HASHES)('evicts oldest first and deletes in any order, with %s', (_name, hash) => {
    fc.assert(
      fc.property(fc.array(fc.record({ evict: fc.boolean(), add: fc.boolean(), pick: fc.nat() })), (steps) => {
        const { ids, index, add } = indexed(1000, hash);
        const held: number[] = [];
        for (const step of steps) {
          if (step.add || held.length === 0) {
            held.push(ids.length);
            add(Buffer.from([ids.length & 255, ids.length >> 8]));
          } else {
            const [slot] = held.splice(step.evict ? 0 : step.pick % held.length, 1) as [number];
            index[step.evict ? 'evict' : 'delete'](slot);
          }
        }
        ids.forEach((id, slot) => {
          expect(index.find(id)).toBe(held.includes(slot) ? slot : NO_SLOT);
        });
      }),
    );
  });

  it.each(HASHES)('is right while most of a large shard goes, comes back and is evicted, with %s', (_name, hash) => {
    const both = new Indexed(4000, hash);
    for (let round = 0; round < 6; round++) {
      both.fillTo(4000);
      expect(both.wrong()).toEqual([]);
      for (const n of [...both.held.keys()].filter((n) => n % 50 !== round)) both.drop('delete', n);
      expect(both.wrong()).toEqual([]);
      // Some come back under the IDs that went, in slots that others had.
      for (let n = both.next - 1; n > both.next - 300; n -= 2) both.add(n);
      if (round % 3 === 2) both.fillTo(4000);
      expect(both.wrong()).toEqual([]);
      both.drainTo(60, 'evict');
      expect(both.wrong()).toEqual([]);
      both.fillTo(1060);
      both.drainTo(100, 'evict');
      expect(both.wrong()).toEqual([]);
      if (round % 2 === 1) both.drainTo(0, 'delete');
    }
    expect(both.wrong()).toEqual([]);
    expect(both.next).toBeGreaterThan(20_000);
  });

  it('spreads a large cache over shards, grows them, and lets go of them when they are empty', () => {
    const { ids, index, add } = indexed(100_000);
    for (let i = 0; i < 60_000; i++) add(Buffer.from(`${i}`));
    ids.forEach((id, slot) => {
      if (index.find(id) !== slot) expect.unreachable();
    });
    ids.forEach((_id, slot) => {
      if (slot % 2 === 0) index.delete(slot);
    });
    ids.forEach((_id, slot) => {
      if (slot % 2 === 1) index.evict(slot);
    });
    ids.forEach((id) => {
      if (index.find(id) !== NO_SLOT) expect.unreachable();
    });
    expect(ids).toHaveLength(60_000);
  });

  it('holds more IDs in one shard than evenly spread ones would ever bring there', () => {
    const { ids, index, add } = indexed(100_000, (id) => Buffer.from(id).readUInt32BE() & 0xffffff);
    for (let i = 0; i < 60_000; i++) {
      const id = Buffer.alloc(4);
      id.writeUInt32BE(i);
      add(id);
    }
    ids.forEach((id, slot) => {
      if (index.find(id) !== slot) expect.unreachable();
    });
    expect(ids).toHaveLength(60_000);
  });
});
