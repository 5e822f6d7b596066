/** What is under way, by the async IDs that Node names as its trigger. */

const FIRST_SLOTS = 64;

/**
 * A hash table with linear probing, whose entries come and go all the time while few are there. A `Map` makes itself
 * anew every few entries then; each table that V8 promoted keeps the next ones alive until a major collection, and with
 * them what they held: measured, six of ten handshakes, each with its hello and its session.
 */
export class AsyncIdTable<Value extends { asyncId(): number }> {
  /** As many as a power of 2. */
  #slots: (Value | undefined)[] = emptySlots(FIRST_SLOTS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Value | undefined {
    return this.#slots[this.#find(id)];
  }

  add(value: Value): void {
    if ((this.#size + 1) * 2 > this.#slots.length) this.#resize(this.#slots.length * 2);
    this.#slots[this.#find(value.asyncId())] = value;
    this.#size++;
  }

  /** @returns what was there */
  delete(id: number): Value | undefined {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let free = this.#find(id);
    const value = slots[free];
    if (value === undefined) return undefined;
    // What stands behind it, and would not be found past a free slot, moves up.
    for (let at = (free + 1) & mask; ; at = (at + 1) & mask) {
      const next = slots[at];
      if (next === undefined) break;
      if (((at - this.#home(next.asyncId())) & mask) < ((at - free) & mask)) continue;
      slots[free] = next;
      free = at;
    }
    slots[free] = undefined;
    this.#size--;
    if (slots.length > FIRST_SLOTS && this.#size * 8 < slots.length) this.#resize(slots.length / 2);
    return value;
  }

  values(): Value[] {
    return this.#slots.filter((value) => value !== undefined);
  }

  clear(): void {
    this.#slots = emptySlots(FIRST_SLOTS);
    this.#size = 0;
  }

  /** Where it is, or else the free slot where it would be. */
  #find(id: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let at = this.#home(id); ; at = (at + 1) & mask) {
      const value = slots[at];
      if (value === undefined || value.asyncId() === id) return at;
    }
  }

  /** IDs have equal distances: multiplied by 2³² / φ they spread over all slots. */
  #home(id: number): number {
    return Math.imul(id, 0x9e3779b1) >>> (Math.clz32(this.#slots.length) + 1);
  }

  #resize(slots: number): void {
    const values = this.values();
    this.#slots = emptySlots(slots);
    for (const value of values) this.#slots[this.#find(value.asyncId())] = value;
  }
}

function emptySlots<Value>(slots: number): (Value | undefined)[] {
  return new Array<Value | undefined>(slots).fill(undefined);
}
