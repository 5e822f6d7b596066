/** What is under way, by the async IDs that Node names as its trigger. */

const FIRST_BITS = 6;

/**
 * A hash table with linear probing, whose entries come and go all the time while few are there. A `Map` makes itself
 * anew every few entries then; each table that V8 promoted keeps the next ones alive until a major collection, and with
 * them what they held: measured, six of ten handshakes, each with its hello and its session.
 */
export class AsyncIdTable<Value extends { asyncId(): number }> {
  #bits = FIRST_BITS;
  #slots: (Value | undefined)[] = emptySlots(FIRST_BITS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Value | undefined {
    return this.#slots[this.#find(id)];
  }

  add(value: Value): void {
    if ((this.#size + 1) * 2 > this.#slots.length) this.#resize(this.#bits + 1);
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
    let next = slots[(free + 1) & mask];
    for (let at = (free + 1) & mask; next !== undefined; next = slots[at]) {
      if (((at - this.#home(next.asyncId())) & mask) >= ((at - free) & mask)) {
        slots[free] = next;
        free = at;
      }
      at = (at + 1) & mask;
    }
    slots[free] = undefined;
    this.#size--;
    if (this.#bits > FIRST_BITS && this.#size * 8 < slots.length) this.#resize(this.#bits - 1);
    return value;
  }

  values(): Value[] {
    return this.#slots.filter((value) => value !== undefined);
  }

  clear(): void {
    this.#bits = FIRST_BITS;
    this.#slots = emptySlots(FIRST_BITS);
    this.#size = 0;
  }

  /** Where it is, or else the free slot where it would be. */
  #find(id: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = this.#home(id);
    for (let value = slots[at]; value !== undefined && value.asyncId() !== id; value = slots[at]) at = (at + 1) & mask;
    return at;
  }

  /** IDs have equal distances: multiplied by 2³² / φ they spread over all slots. */
  #home(id: number): number {
    return Math.imul(id, 0x9e3779b1) >>> (32 - this.#bits);
  }

  #resize(bits: number): void {
    const values = this.values();
    this.#bits = bits;
    this.#slots = emptySlots(bits);
    for (const value of values) this.#slots[this.#find(value.asyncId())] = value;
  }
}

function emptySlots<Value>(bits: number): (Value | undefined)[] {
  return new Array<Value | undefined>(2 ** bits).fill(undefined);
}
