import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_SLOT, SessionArena, slotBytes } from '../../src/cache/session-arena.js';

const none = Buffer.alloc(0);
const filled = (length: number, with_: number) => Buffer.alloc(length, with_);

const COMMAND = fc.oneof(
  fc.record({
    op: fc.constant('insert' as const),
    length: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 401, max: 20_000 })),
    id: fc.integer({ min: 0, max: 40 }),
    lives: fc.integer({ min: 0, max: 20 }),
  }),
  fc.record({ op: fc.constant('remove' as const), pick: fc.nat() }),
  fc.record({ op: fc.constant('sweep' as const), limit: fc.integer({ min: 0, max: 5 }), on: fc.nat({ max: 8 }) }),
  fc.record({ op: fc.constant('clear' as const), sure: fc.integer({ min: 0, max: 20 }) }),
);

/** The arena beside a map in order of insertion; every session has bytes of its own. */
class ArenaAndModel {
  readonly arena = new SessionArena();
  readonly model = new Map<number, { bytes: Buffer; id: Buffer; expiresAt: number }>();
  now = 0;
  stamp = 0;

  insert({ length, id, lives }: { length: number; id: number; lives: number }): void {
    this.stamp = (this.stamp % 255) + 1;
    const held = { bytes: filled(length, this.stamp), id: filled(id, this.stamp), expiresAt: this.now + lives };
    const slot = this.arena.insert(held.id, held.bytes, 0, held.expiresAt);
    expect(this.model.has(slot)).toBe(false);
    this.model.set(slot, held);
  }

  remove({ pick }: { pick: number }): void {
    const slot = [...this.model.keys()][pick % this.model.size];
    if (slot === undefined) return;
    this.arena.remove(slot);
    this.model.delete(slot);
  }

  sweep({ limit, on }: { limit: number; on: number }): void {
    this.now += on;
    const due = [...this.model.values()].filter((held) => held.expiresAt < this.now).length;
    const swept = this.arena.sweep(this.now, limit, (slot) => {
      expect(this.model.get(slot)?.expiresAt).toBeLessThan(this.now);
      this.model.delete(slot);
      this.arena.remove(slot);
    });
    expect(swept).toBe(Math.min(due, limit));
  }

  clear({ sure }: { sure: number }): void {
    if (sure !== 0) return;
    this.arena.clear();
    this.model.clear();
  }

  compare(): void {
    expect(this.arena.count).toBe(this.model.size);
    expect(this.arena.oldest).toBe([...this.model.keys()][0] ?? NO_SLOT);
  }

  compareContents(): void {
    const { arena, model } = this;
    expect(arena.bytes).toBe([...model.values()].reduce((sum, { bytes }) => sum + bytes.length, 0));
    for (const [slot, held] of model) {
      expect(arena.read(slot).equals(held.bytes)).toBe(true);
      expect(arena.hasId(slot, held.id)).toBe(true);
      expect(arena.expiresAt(slot)).toBe(held.expiresAt);
    }
  }
}

describe('size classes', () => {
  it('hold every length, and lose no more than 15 bytes or an eighth', () => {
    for (let length = 1; length < 70_000; length++) {
      const slot = slotBytes(length);
      if (slot < length || slot - length > Math.max(15, length / 8)) expect({ length, slot }).toBe('no such loss');
    }
  });

  it('are few, so that few chunks stand half empty', () => {
    const classes = new Set(Array.from({ length: 10_240 }, (_, i) => slotBytes(i + 1)));
    expect(classes.size).toBeLessThan(70);
    for (const slot of classes) expect(slotBytes(slot)).toBe(slot);
  });
});

describe('SessionArena', () => {
  it('copies in and out', () => {
    const arena = new SessionArena();
    const given = filled(160, 7);
    const slot = arena.insert(filled(32, 1), given, 10, 20);
    given.fill(0);
    expect(arena.read(slot)).toEqual(filled(160, 7));
    arena.read(slot).fill(9);
    expect(arena.read(slot)).toEqual(filled(160, 7));
    expect([arena.madeAt(slot), arena.expiresAt(slot), arena.length(slot)]).toEqual([10, 20, 160]);
    expect([...arena.id(slot)]).toEqual([...filled(32, 1)]);
    expect(arena.hasId(slot, filled(32, 1))).toBe(true);
    expect(arena.hasId(slot, filled(31, 1))).toBe(false);
    expect(arena.hasId(slot, filled(32, 2))).toBe(false);
  });

  it('overwrites session and ID when a slot is given back, and nothing else', () => {
    const arena = new SessionArena();
    const [before, slot, after] = [1, 2, 3].map((n) => arena.insert(filled(32, n), filled(160, n), 0, 9)) as [
      number,
      number,
      number,
    ];
    const bytes = arena.view(slot);
    const id = arena.id(slot);
    expect(bytes.every((byte) => byte === 2)).toBe(true);
    arena.remove(slot);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect(id.every((byte) => byte === 0)).toBe(true);
    expect(arena.read(before)).toEqual(filled(160, 1));
    expect(arena.read(after)).toEqual(filled(160, 3));
  });

  it('overwrites everything when it is cleared', () => {
    const arena = new SessionArena();
    const views = [100, 160, 5000, 10_240].map((length) => arena.view(arena.insert(none, filled(length, 5), 0, 9)));
    expect(views.every((view) => view.every((byte) => byte === 5))).toBe(true);
    arena.clear();
    expect(views.every((view) => view.every((byte) => byte === 0))).toBe(true);
    expect([arena.count, arena.bytes, arena.footprint, arena.oldest]).toEqual([0, 0, 0, NO_SLOT]);
    expect(arena.sweep(100, 1, () => {})).toBe(0);
  });

  it('is small while it holds little, and gives chunks back when they are empty', () => {
    const arena = new SessionArena();
    const slots = [arena.insert(none, filled(160, 1), 0, 9)];
    expect(arena.footprint).toBeLessThanOrEqual(4096);
    for (let i = 1; i < 20_000; i++) slots.push(arena.insert(none, filled(160, 1), 0, 9));
    expect(arena.footprint).toBeLessThan(20_000 * 160 + 256 * 1024 + 8192);
    for (const slot of slots) arena.remove(slot);
    expect(arena.footprint).toBeLessThanOrEqual(256 * 1024);
    expect([arena.count, arena.bytes]).toEqual([0, 0]);
  });

  it('uses the numbers of chunks that were given back again', () => {
    const arena = new SessionArena();
    let highest = 0;
    for (let round = 0; round < 100; round++) {
      const slots = Array.from({ length: 200 }, () => arena.insert(none, filled(5000, 1), 0, 9));
      highest = Math.max(highest, ...slots);
      for (const slot of slots) arena.remove(slot);
    }
    expect(highest).toBeLessThan(4096 * 32);
  });

  it('does not grow while sessions of all lengths come and go', () => {
    const arena = new SessionArena();
    const slots: number[] = [];
    let most = 0;
    for (let i = 0; i < 300_000; i++) {
      slots.push(arena.insert(none, filled(120 + ((i * 7919) % 800), 1), 0, 9));
      if (slots.length > 2000) arena.remove(slots.shift() as number);
      if (i === 20_000) most = arena.footprint;
    }
    expect(arena.footprint).toBeLessThanOrEqual(most * 1.2);
  });

  it('shortens times, and never lengthens them', () => {
    const arena = new SessionArena();
    const slot = arena.insert(none, filled(8, 1), 10, 100);
    arena.shorten(slot, 20, 200);
    expect([arena.madeAt(slot), arena.expiresAt(slot)]).toEqual([10, 100]);
    arena.shorten(slot, 5, 50);
    expect([arena.madeAt(slot), arena.expiresAt(slot)]).toEqual([5, 50]);
    expect(arena.sweep(51, 9, (expired) => arena.remove(expired))).toBe(1);
  });

  it('answers like a map, whatever is done in whatever order, and finds no bytes of another session', () => {
    fc.assert(
      fc.property(fc.array(COMMAND, { maxLength: 120 }), (commands) => {
        const pair = new ArenaAndModel();
        for (const command of commands) {
          pair[command.op](command as never);
          pair.compare();
        }
        pair.compareContents();
      }),
      { numRuns: 300 },
    );
  });

  it('sweeps slices without beginning again, and a whole arena with nothing due at once', () => {
    const arena = new SessionArena();
    for (let i = 0; i < 50_000; i++) arena.insert(none, filled(64, 1), 0, i % 2 === 0 ? 10 : 1000);
    let total = 0;
    let slices = 0;
    for (let removed = -1; removed !== 0; slices++) {
      removed = arena.sweep(11, 100, (slot) => arena.remove(slot));
      total += removed;
    }
    expect([total, slices]).toEqual([25_000, 251]);
    expect(arena.sweep(1000, 1, () => expect.unreachable())).toBe(0);
    expect(arena.sweep(1001, 25_001, (slot) => arena.remove(slot))).toBe(25_000);
    expect(arena.count).toBe(0);
  });
});
