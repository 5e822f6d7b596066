/** What the charts of the page are drawn from: a few minutes of handshakes and of the cache, in columns. */

/** Seconds that a column stands for. */
export const STEP = 2;
/** Columns of a chart. */
export const COLUMNS = 90;
/** Handshakes that the share is of. */
const RECENT = 20;

export interface Column {
  /** Seconds since 1970, divided by {@link STEP}. */
  readonly at: number;
  /** Handshakes. */
  readonly full: number;
  readonly resumed: number;
  /** Of the latest {@link RECENT} handshakes, those that resumed: 0 to 1. `null` before the first. */
  readonly share: number | null;
  /** Sessions in the cache, and their bytes. */
  readonly sessions: number;
  readonly bytes: number;
}

export class History {
  readonly #clock: () => number;
  #columns: readonly Column[] = [];
  #recent: readonly boolean[] = [];

  /** @param clock milliseconds since 1970 */
  constructor(clock: () => number = Date.now) {
    this.#clock = clock;
  }

  /** Those in which something happened, oldest first: as many as a chart shows, and the latest before these. */
  get columns(): readonly Column[] {
    return this.#columns;
  }

  handshake(resumed: boolean): void {
    this.#recent = [...this.#recent.slice(1 - RECENT), resumed];
    const column = this.#column();
    const share = this.#recent.filter(Boolean).length / this.#recent.length;
    this.#put({ ...column, share, full: column.full + Number(!resumed), resumed: column.resumed + Number(resumed) });
  }

  cache(sessions: number, bytes: number): void {
    const last = this.#columns.at(-1);
    if (last?.sessions !== sessions || last.bytes !== bytes) this.#put({ ...this.#column(), sessions, bytes });
  }

  /** Of now. A clock that was put back goes on with the last one. */
  #column(): Column {
    const last = this.#columns.at(-1) ?? { at: 0, share: null, sessions: 0, bytes: 0 };
    const at = Math.max(Math.floor(this.#clock() / 1000 / STEP), last.at);
    return last.at === at ? (last as Column) : { ...last, at, full: 0, resumed: 0 };
  }

  #put(column: Column): void {
    const before = this.#columns.at(-1)?.at === column.at ? this.#columns.slice(0, -1) : this.#columns;
    const seen = before.findIndex(({ at }) => at > column.at - COLUMNS);
    this.#columns = [...(seen < 0 ? before.slice(-1) : before.slice(Math.max(0, seen - 1))), column];
  }
}
