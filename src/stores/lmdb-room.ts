/** How full a file is, and how many sessions must go so that others can come. */

import type { SessionEnvironment } from './lmdb-records.js';

/** What `getStats()` of the `lmdb` package answers with; its types do not say. */
interface Tree {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
  readonly entryCount: number;
}
interface TableStatistics extends Tree {
  readonly root: Tree;
  readonly free: Tree;
  readonly lastPageNumber: number;
  readonly lastTxnId: number;
}

/** The part of the file that sessions may fill. The rest is for pages that are free, or copies that were replaced. */
const FILL = 0.7;
/** From here on the file should not grow any more. */
const BRIM = 0.875;
/** Transactions after which every reader has gone on, unless it cannot. */
const LAG = 4;

/** Milliseconds from one look to the next, at most. */
const LOOK = 250;
/** Bytes of the file that a session takes at least. */
const LEAST_BYTES = 256;

/** What a file holds. */
export interface Fill {
  /** Places in the order: sessions, and few that were replaced by another process at the same time. */
  readonly sessions: number;
  /** Bytes of pages in use. */
  readonly used: number;
  /** Bytes of the file. */
  readonly bytes: number;
}

export interface Bounds {
  readonly maxSessions: number;
  readonly maxBytes: number;
}

export function fillOf({ tables }: SessionEnvironment): Fill {
  const order = tables.order.getStats() as TableStatistics;
  const sessions = tables.sessions.getStats() as TableStatistics;
  const pages = pagesOf(order) + pagesOf(sessions) + pagesOf(order.root) + pagesOf(order.free);
  return {
    sessions: order.entryCount,
    used: pages * order.pageSize,
    bytes: (order.lastPageNumber + 1) * order.pageSize,
  };
}

/** How many must go before `added` come. */
export function surplusOf({ sessions, used }: Fill, added: number, { maxSessions, maxBytes }: Bounds): number {
  const tooMany = sessions + added - maxSessions;
  const tooLong = used - maxBytes * FILL;
  // Pages become free when several sessions of them have gone: so some more than come, and the rest next time.
  const tooBig = tooLong > 0 ? added + Math.min(Math.ceil((tooLong * sessions) / used), added + 64) : 0;
  return Math.max(tooMany, tooBig, 0);
}

/** Looks how full a file is, not more often than it must. */
export class Room {
  readonly #bounds: Bounds;
  #left = 0;
  #lookAt = Number.NEGATIVE_INFINITY;

  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  /** @returns nothing if there is room for so many; else what the file holds, to see what must go */
  claim(environment: SessionEnvironment, count: number): Fill | undefined {
    this.#left -= count;
    if (this.#left >= 0 && performance.now() < this.#lookAt) return undefined;
    const fill = fillOf(environment);
    // A part of what is left: others take from it too.
    this.#left = Math.floor(this.#roomFor(fill) / 16);
    this.#lookAt = performance.now() + LOOK;
    return fill;
  }

  #roomFor({ sessions, used }: Fill): number {
    const { maxSessions, maxBytes } = this.#bounds;
    const each = Math.max(used / Math.max(sessions, 1), LEAST_BYTES);
    return Math.min(maxSessions - sessions, (maxBytes * FILL - used) / each);
  }
}

/**
 * Sessions that one transaction may set. Each copies a few pages, and what was copied can be used again only after some
 * more: the file must have room for that.
 */
export function maxBatchOf(maxBytes: number): number {
  return Math.min(Math.max(Math.floor(maxBytes / 2 ** 19), 8), 256);
}

/**
 * Whether a file that must not grow would: a process that stands still in the middle of a read keeps all that was
 * replaced since from being used again.
 */
export function isHeldUp({ root, tables }: SessionEnvironment, { bytes }: Fill, maxBytes: number): boolean {
  if (bytes < maxBytes * BRIM) return false;
  const { lastTxnId } = tables.order.getStats() as TableStatistics;
  tables.order.resetReadTxn();
  // mdb_reader_list(): a line for each reader, with its process, its thread, and the transaction that it sees or a dash.
  for (const [, transaction] of root.readerList().matchAll(/^\s*\d+\s+[0-9a-f]+\s+(\d+)\s*$/gm)) {
    if (lastTxnId - Number(transaction) > LAG) return true;
  }
  return false;
}

function pagesOf({ treeBranchPageCount, treeLeafPageCount, overflowPages }: Tree): number {
  return treeBranchPageCount + treeLeafPageCount + overflowPages;
}
