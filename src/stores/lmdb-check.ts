/**
 * Looks through a file of LMDB before LMDB itself does, which trusts its files: it reads them through a memory map, and a
 * page that was cut off or overwritten ends the process (measured: SIGBUS and SIGSEGV).
 *
 * The layout is that of the `lmdb` package 3, data version 2: pages of 24 bytes of header and nodes
 * (its `dependencies/lmdb/libraries/liblmdb/mdb.c`). A file of another version is none of ours.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { arch, endianness } from 'node:os';

const HEADER = 24;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const META_PAGES = 2;
const [BRANCH, LEAF, OVERFLOW, META] = [1, 2, 4, 8];
const [BIG_DATA, SUB_DATABASE] = [1, 2];
/** MDB_DUPSORT and its relatives: nothing of ours has them. */
const DUPLICATES = 0x74;
const DATABASE_BYTES = 48;
const BIG_DATA_BYTES = 24;
const NO_PAGE = Number.POSITIVE_INFINITY;
/** Pages that a transaction may have given numbers and never written: MDB_IDL_UM_MAX. */
const MAX_UNWRITTEN = 131_071;
const MAX_DEPTH = 32;
/** Pages of a file that the bitmap of visited ones may cover: 2 TiB of 4 KiB. */
const MAX_PAGES = 2 ** 29;
const TRIES = 3;
/** Milliseconds that a file of which only the beginning is there gets to become whole: somebody may be making it. */
const PATIENCE = 20;

/** What is wrong with a file, in words for a log. */
class Fault extends Error {}

interface Database {
  readonly flags: number;
  readonly depth: number;
  readonly branchPages: number;
  readonly leafPages: number;
  readonly overflowPages: number;
  readonly entries: number;
  readonly root: number;
}

interface Snapshot {
  readonly pageSize: number;
  readonly transaction: number;
  readonly lastPage: number;
  readonly free: Database;
  readonly main: Database;
}

/** What a whole file holds: entries by name of the database. */
export type LmdbCensus = ReadonlyMap<string, number>;

/** The answer to {@link checkLmdbFile}. */
export type LmdbCheck = { readonly census: LmdbCensus } | { readonly fault: string };

/**
 * Walks all that the newest snapshot of a file reaches, and its list of free pages. An empty file is whole.
 *
 * Others may write to the file meanwhile: what one snapshot reaches is not written to while there is no newer one. If
 * there always is, the file is in use, and so it is whole.
 *
 * @throws what reading the file throws, such as ENOENT
 */
export function checkLmdbFile(path: string): LmdbCheck {
  // 32-bit builds have shorter page numbers.
  if (endianness() !== 'LE' || !['x64', 'arm64'].includes(arch())) return { census: new Map() };
  const file = openSync(path, 'r');
  try {
    return checkOpenFile(file);
  } finally {
    closeSync(file);
  }
}

function checkOpenFile(file: number): LmdbCheck {
  let fault = '';
  for (let attempt = 0; attempt < TRIES; attempt++) {
    let before: Snapshot | undefined;
    try {
      const { size } = fstatSync(file);
      if (size === 0) return { census: new Map() };
      before = readSnapshot(file);
      return { census: new Walk(file, before).census() };
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      fault = error.message;
    }
    if (before === undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PATIENCE);
    else if (isCurrent(file, before)) return { fault };
  }
  return fault.startsWith('the header') ? { fault } : { census: new Map() };
}

function isCurrent(file: number, { transaction }: Snapshot): boolean {
  try {
    return readSnapshot(file).transaction === transaction;
  } catch (error) {
    if (error instanceof Fault) return true;
    throw error;
  }
}

/** The newer of the two meta pages. */
function readSnapshot(file: number): Snapshot {
  const first = readMeta(file, 0, 0);
  const second = readMeta(file, first.pageSize, 1);
  if (first.pageSize !== second.pageSize) throw new Fault('the header has two page sizes');
  return first.transaction >= second.transaction ? first : second;
}

function readMeta(file: number, position: number, page: number): Snapshot {
  const bytes = Buffer.alloc(HEADER + 160);
  if (readSync(file, bytes, 0, bytes.length, position) !== bytes.length) throw new Fault('the header is not whole');
  if (bytes.readUInt16LE(18) !== META || readNumber(bytes, 0) !== page) throw new Fault('the header is none of LMDB');
  if (bytes.readUInt32LE(HEADER) !== MAGIC) throw new Fault('the header is none of LMDB');
  const version = bytes.readUInt16LE(HEADER + 4);
  if (version !== DATA_VERSION) throw new Fault(`the header says data version ${version}`);
  const pageSize = bytes.readUInt32LE(HEADER + 24);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) {
    throw new Fault('the header has no page size');
  }
  return {
    pageSize,
    free: readDatabase(bytes, HEADER + 24),
    main: readDatabase(bytes, HEADER + 24 + DATABASE_BYTES),
    lastPage: readNumber(bytes, HEADER + 24 + 2 * DATABASE_BYTES),
    transaction: readNumber(bytes, HEADER + 32 + 2 * DATABASE_BYTES),
  };
}

function readDatabase(bytes: Buffer, at: number): Database {
  return {
    flags: bytes.readUInt16LE(at + 4),
    depth: bytes.readUInt16LE(at + 6),
    branchPages: readNumber(bytes, at + 8),
    leafPages: readNumber(bytes, at + 16),
    overflowPages: readNumber(bytes, at + 24),
    entries: readNumber(bytes, at + 32),
    root: readNumber(bytes, at + 40),
  };
}

/** 64 bits; all ones are `NO_PAGE`. */
function readNumber(bytes: Buffer, at: number): number {
  const [low, high] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
  return low === 0xffffffff && high === 0xffffffff ? NO_PAGE : high * 2 ** 32 + low;
}

/** Where a node of a page is. */
interface Node {
  readonly flags: number;
  readonly key: number;
  readonly data: number;
  /** Of a leaf: bytes of the data. Of a branch: the page below. */
  readonly value: number;
}

interface Step {
  readonly page: number;
  readonly level: number;
  /** All keys of the page are from here… */
  readonly from: Buffer | undefined;
  /** …to before here. */
  readonly to: Buffer | undefined;
}

/** What the pages of one database add up to. */
type Sum = Record<'branchPages' | 'leafPages' | 'overflowPages' | 'entries', number>;

type Visit = (node: Node, page: Buffer) => void;

class Walk {
  readonly #file: number;
  readonly #snapshot: Snapshot;
  readonly #page: Buffer;
  readonly #big: Buffer;
  readonly #reached: Uint8Array;

  constructor(file: number, snapshot: Snapshot) {
    const pages = Math.floor(fstatSync(file).size / snapshot.pageSize);
    if (!(snapshot.lastPage < Math.min(pages + MAX_UNWRITTEN, MAX_PAGES))) throw new Fault('the file was cut off');
    this.#file = file;
    this.#snapshot = snapshot;
    this.#page = Buffer.alloc(snapshot.pageSize);
    this.#big = Buffer.alloc(snapshot.pageSize);
    this.#reached = new Uint8Array(snapshot.lastPage + 1);
    this.#reached.fill(1, 0, META_PAGES);
  }

  census(): LmdbCensus {
    const { main, free } = this.#snapshot;
    const inside = new Map<string, Database>();
    try {
      this.#walk(main, true, ({ flags, key, data, value }, page) => {
        if (flags !== SUB_DATABASE) return;
        if (value !== DATABASE_BYTES) throw new Fault('a database has no root');
        inside.set(page.toString('latin1', key, data), readDatabase(page, data));
      });
      for (const database of inside.values()) {
        this.#walk(database, true, ({ flags }) => {
          if (flags === SUB_DATABASE) throw new Fault('a database is inside another one');
        });
      }
      // Last, when it is known which pages are in use: they would be overwritten.
      this.#walk(free, false, (node, page) => this.#free(node, page));
    } finally {
      // What was read are sessions.
      this.#page.fill(0);
      this.#big.fill(0);
    }
    // The `lmdb` package ends the names of databases with a zero.
    return new Map([...inside].map(([name, { entries }]) => [name.replace(/\0+$/, ''), entries]));
  }

  #walk(database: Database, ordered: boolean, visit: Visit): void {
    if ((database.flags & DUPLICATES) !== 0) throw new Fault('a database has strange flags');
    if (database.depth > MAX_DEPTH) throw new Fault('a tree is too deep');
    const sum: Sum = { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0 };
    const steps: Step[] = [];
    if (database.root !== NO_PAGE) steps.push({ page: database.root, level: 1, from: undefined, to: undefined });
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      if (step.level < database.depth) this.#branch(step, steps, sum, ordered);
      else this.#leaf(step, sum, ordered, visit);
    }
    for (const what of ['branchPages', 'leafPages', 'overflowPages', 'entries'] as const) {
      if (sum[what] !== database[what]) throw new Fault('a tree is not what its header says');
    }
  }

  #branch(step: Step, steps: Step[], sum: Sum, ordered: boolean): void {
    const nodes = this.#nodes(step.page, BRANCH);
    sum.branchPages++;
    const keys: Buffer[] = nodes.map(({ key, data }) => Buffer.from(this.#page.subarray(key, data)));
    // The first key stands for all that is less, and may be anything.
    keys[0] = step.from ?? Buffer.alloc(0);
    for (const [i, { value }] of nodes.entries()) {
      const [from, to] = [keys[i] as Buffer, keys[i + 1] ?? step.to];
      if (ordered && to !== undefined && Buffer.compare(from, to) >= 0) throw outOfOrder();
      steps.push({ page: value, level: step.level + 1, from, to });
    }
  }

  #leaf(step: Step, sum: Sum, ordered: boolean, visit: Visit): void {
    const nodes = this.#nodes(step.page, LEAF);
    const page = this.#page;
    if (ordered) requireOrder(page, nodes, step);
    sum.leafPages++;
    sum.entries += nodes.length;
    for (const node of nodes) {
      if (node.flags === BIG_DATA) sum.overflowPages += this.#overflow(node);
      visit(node, page);
    }
  }

  /** The nodes of a page, each of them inside of it. */
  #nodes(number: number, kind: number): Node[] {
    this.#reach(number, 1);
    const page = this.#page;
    this.#load(number, page);
    if (page.readUInt16LE(18) !== kind) throw new Fault('a page is of the wrong kind');
    const [lower, upper] = [page.readUInt16LE(20), page.readUInt16LE(22)];
    if (lower < 2 || lower % 2 !== 0 || lower > upper || HEADER + upper > page.length) {
      throw new Fault('a page has no bounds');
    }
    const nodes: Node[] = [];
    for (let at = HEADER; at < HEADER + lower; at += 2) {
      const offset = page.readUInt16LE(at);
      if (offset < upper) throw new Fault('a node is outside its page');
      nodes.push(readNode(page, HEADER + offset, kind));
    }
    return nodes;
  }

  #overflow({ data, value }: Node): number {
    const first = readNumber(this.#page, data);
    const pages = Math.floor((HEADER - 1 + value) / this.#snapshot.pageSize) + 1;
    this.#reach(first, pages);
    this.#load(first, this.#big);
    if (this.#big.readUInt16LE(18) !== OVERFLOW) throw new Fault('a page is of the wrong kind');
    if (this.#big.readUInt32LE(20) !== pages) throw new Fault('a page has no bounds');
    return pages;
  }

  /** One list of free pages: how many numbers, then single pages, and runs as their negative length and first page. */
  #free({ flags, key, data, value }: Node, page: Buffer): void {
    if (data - key !== 8 || value < 8) throw new Fault('a list of free pages is not whole');
    let list: Buffer<ArrayBufferLike> = page.subarray(data, data + value);
    if (flags === BIG_DATA) {
      list = Buffer.alloc(value);
      const position = readNumber(page, data) * this.#snapshot.pageSize + HEADER;
      if (readSync(this.#file, list, 0, value, position) !== value) throw cutOff();
    }
    const count = readNumber(list, 0);
    if (!(count * 8 + 8 <= value)) throw new Fault('a list of free pages is not whole');
    let run = 1;
    for (let at = 8; at < count * 8 + 8; at += 8) {
      const number = Number(list.readBigInt64LE(at));
      if (number > 0) this.#requireFree(number, run);
      run = number < 0 ? -number : 1;
    }
  }

  #requireFree(first: number, count: number): void {
    if (first < META_PAGES || first + count - 1 > this.#snapshot.lastPage)
      throw new Fault('a free page does not exist');
    for (let page = first; page < first + count; page++) {
      if (this.#reached[page] !== 0) throw new Fault('a page is free and in use');
    }
  }

  #reach(first: number, count: number): void {
    if (!(first >= META_PAGES && first + count - 1 <= this.#snapshot.lastPage))
      throw new Fault('a page does not exist');
    for (let page = first; page < first + count; page++) {
      if (this.#reached[page] !== 0) throw new Fault('a page is used twice');
      this.#reached[page] = 1;
    }
  }

  #load(page: number, into: Buffer): void {
    const { pageSize, transaction } = this.#snapshot;
    if (readSync(this.#file, into, 0, pageSize, page * pageSize) !== pageSize) throw cutOff();
    if (readNumber(into, 0) !== page) throw new Fault('a page has the number of another');
    if (!(readNumber(into, 8) <= transaction)) throw new Fault('a page is newer than the file');
  }
}

function readNode(page: Buffer, at: number, kind: number): Node {
  if (at + 8 > page.length) throw new Fault('a node is outside its page');
  const low = page.readUInt32LE(at);
  const flags = page.readUInt16LE(at + 4);
  const data = at + 8 + page.readUInt16LE(at + 6);
  if (kind === BRANCH) {
    if (data > page.length) throw new Fault('a node is outside its page');
    return { flags: 0, key: at + 8, data, value: flags * 2 ** 32 + low };
  }
  if (flags > SUB_DATABASE) throw new Fault('a node has strange flags');
  if (data + (flags === BIG_DATA ? BIG_DATA_BYTES : low) > page.length) throw new Fault('a node is outside its page');
  return { flags, key: at + 8, data, value: low };
}

function requireOrder(page: Buffer, nodes: readonly Node[], { from, to }: Step): void {
  const first = nodes[0] as Node;
  const last = nodes.at(-1) as Node;
  if (from !== undefined && page.compare(from, 0, from.length, first.key, first.data) < 0) throw outOfOrder();
  if (to !== undefined && page.compare(to, 0, to.length, last.key, last.data) >= 0) throw outOfOrder();
  let least = first;
  for (const node of nodes) {
    if (node === first) continue;
    if (page.compare(page, least.key, least.data, node.key, node.data) <= 0) throw outOfOrder();
    least = node;
  }
}

const outOfOrder = (): Fault => new Fault('keys are out of order');
const cutOff = (): Fault => new Fault('the file was cut off');
