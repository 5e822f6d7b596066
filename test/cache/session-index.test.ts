import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type IdHash, NO_SLOT } from '../../src/cache/session-arena.js';
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
  ['a hash with four values', (id) => (id[0] as number) & 3],
  ['a hash with one value', () => 7],
];

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
