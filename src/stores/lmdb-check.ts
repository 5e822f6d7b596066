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
const BIG_DATA = 1;
const BIG_DATA_BYTES = 24;
/** Of a tree in the header: flags, depth, counts and root. */
const TREE_BYTES = 48;
const NO_PAGE = Number.POSITIVE_INFINITY;
/** MDB_DUPSORT and its relatives: nothing of ours has them. */
const DUPLICATES = 0x74;
/** Pages that a transaction may have given numbers and never written: MDB_IDL_UM_MAX. */
const MAX_UNWRITTEN = 131_071;
const MAX_DEPTH = 32;
/** Pages of a file that the map of visited ones may cover: 2 TiB of 4 KiB. */
const MAX_PAGES = 2 ** 29;
const TRIES = 3;
/** Milliseconds that a file of which only the beginning is there gets to become whole: somebody may be making it. */
const PATIENCE = 20;

/** What is wrong with a file, in words for a log. */
class Fault extends Error {}

interface Tree {
  readonly flags: number;
  readonly depth: number;
  readonly root: number;
}

interface Snapshot {
  readonly pageSize: number;
  readonly transaction: number;
  readonly lastPage: number;
  readonly free: Tree;
  readonly main: Tree;
}

const isReadable = endianness() === 'LE' && ['x64', 'arm64'].includes(arch());

/**
 * Walks all that the newest snapshot of a file reaches, and its list of free pages. An empty file is whole.
 *
 * Others may write to the file meanwhile: what one snapshot reaches is not written to while there is no newer one. If
 * there always is, the file is in use, and so it is whole.
 *
 * @returns what is wrong with the file, if anything is
 * @throws what reading the file throws, such as ENOENT
 */
export function faultOfFile(path: string): string | undefined {
  return isReadable ? withFile(path, faultOfOpen) : undefined;
}

/**
 * The number of the last transaction of a file.
 *
 * @returns 1 for a file that is not there, or new; nothing where the layout is another one (32-bit builds)
 */
export function lastTransaction(path: string): number | undefined {
  if (!isReadable) return undefined;
  try {
    return withFile(path, readSnapshot).transaction;
  } catch (error) {
    if (error instanceof Fault || (error as { code?: unknown }).code === 'ENOENT') return 1;
    throw error;
  }
}

function withFile<T>(path: string, look: (file: number) => T): T {
  const file = openSync(path, 'r');
  try {
    return look(file);
  } finally {
    closeSync(file);
  }
}

function faultOfOpen(file: number): string | undefined {
  let fault = '';
  for (let attempt = 0; attempt < TRIES; attempt++) {
    let before: Snapshot | undefined;
    try {
      if (fstatSync(file).size === 0) return undefined;
      before = readSnapshot(file);
      new Walk(file, before).run();
      return undefined;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      fault = error.message;
    }
    if (before === undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PATIENCE);
    else if (isCurrent(file, before)) return fault;
  }
  return fault.startsWith('the header') ? fault : undefined;
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
  const isMeta = bytes.readUInt16LE(18) === META && readNumber(bytes, 0) === page;
  if (!isMeta || bytes.readUInt32LE(HEADER) !== MAGIC) throw new Fault('the header is none of LMDB');
  if (bytes.readUInt16LE(HEADER + 4) !== DATA_VERSION) throw new Fault('the header is of another version');
  const pageSize = bytes.readUInt32LE(HEADER + 24);
  const isSize = pageSize >= 512 && pageSize <= 65_536 && (pageSize & (pageSize - 1)) === 0;
  if (!isSize) throw new Fault('the header has no page size');
  const trees = HEADER + 24;
  return {
    pageSize,
    free: readTree(bytes, trees),
    main: readTree(bytes, trees + TREE_BYTES),
    lastPage: readNumber(bytes, trees + 2 * TREE_BYTES),
    transaction: readNumber(bytes, trees + 2 * TREE_BYTES + 8),
  };
}

function readTree(bytes: Buffer, at: number): Tree {
  return {
    flags: bytes.readUInt16LE(at + 4),
    depth: bytes.readUInt16LE(at + 6),
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
  readonly from?: Buffer | undefined;
  /** …to before here. */
  readonly to?: Buffer | undefined;
}

class Walk {
  readonly #file: number;
  readonly #snapshot: Snapshot;
  readonly #page: Buffer;
  readonly #reached: Uint8Array;

  constructor(file: number, snapshot: Snapshot) {
    const pages = Math.floor(fstatSync(file).size / snapshot.pageSize);
    if (!(snapshot.lastPage < Math.min(pages + MAX_UNWRITTEN, MAX_PAGES))) throw cutOff();
    this.#file = file;
    this.#snapshot = snapshot;
    this.#page = Buffer.alloc(snapshot.pageSize);
    this.#reached = new Uint8Array(snapshot.lastPage + 1);
    this.#reached.fill(1, 0, META_PAGES);
  }

  run(): void {
    const { main, free } = this.#snapshot;
    this.#walk(main, (nodes, step) => requireOrder(this.#page, nodes, step));
    // Last, when it is known which pages are in use: they would be overwritten.
    this.#walk(free, (nodes) => {
      for (const node of nodes) this.#requireFree(node, Buffer.from(this.#page));
    });
    // What was read are sessions.
    this.#page.fill(0);
  }

  #walk({ root, depth, flags }: Tree, visit: (nodes: readonly Node[], step: Step) => void): void {
    if ((flags & DUPLICATES) !== 0 || depth > MAX_DEPTH) throw new Fault('a tree is of the wrong kind');
    const steps: Step[] = root === NO_PAGE ? [] : [{ page: root, level: 1 }];
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      const nodes = this.#nodes(step.page, step.level < depth ? BRANCH : LEAF);
      if (step.level < depth) {
        const keys = nodes.map(({ key, data }) => Buffer.from(this.#page.subarray(key, data)));
        // The first key stands for all that is less, and may be anything.
        const bounds = [step.from, ...keys.slice(1), step.to];
        for (const [n, { value }] of nodes.entries()) {
          steps.push({ page: value, level: step.level + 1, from: bounds[n], to: bounds[n + 1] });
        }
        continue;
      }
      visit(nodes, step);
      // After the page itself, which they are read into.
      const large = nodes.filter((node) => node.flags === BIG_DATA);
      const runs = large.map(({ data, value }) => ({ first: readNumber(this.#page, data), bytes: value }));
      for (const { first, bytes } of runs) this.#overflow(first, bytes);
    }
  }

  /** The nodes of a page, each of them inside of it. */
  #nodes(number: number, kind: number): Node[] {
    this.#reach(number, 1);
    const page = this.#page;
    this.#load(number, kind);
    const [lower, upper] = [page.readUInt16LE(20), page.readUInt16LE(22)];
    // LMDB itself insists on two ways at least from a branch.
    const least = kind === BRANCH ? 4 : 2;
    if (lower < least || lower % 2 !== 0 || lower > upper || HEADER + upper > page.length) throw outside();
    const nodes: Node[] = [];
    for (let at = HEADER; at < HEADER + lower; at += 2) {
      const offset = page.readUInt16LE(at);
      if (offset < upper) throw outside();
      nodes.push(readNode(page, HEADER + offset, kind));
    }
    return nodes;
  }

  #overflow(first: number, bytes: number): void {
    const pages = Math.floor((HEADER - 1 + bytes) / this.#snapshot.pageSize) + 1;
    this.#reach(first, pages);
    this.#load(first, OVERFLOW);
    if (this.#page.readUInt32LE(20) !== pages) throw outside();
    if ((first + pages) * this.#snapshot.pageSize > fstatSync(this.#file).size) throw cutOff();
  }

  /** One list of free pages: how many numbers, then single pages, and runs as their negative length and first page. */
  #requireFree({ flags, key, data, value }: Node, page: Buffer): void {
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
      if (number > 0) this.#reach(number, run, false);
      run = number < 0 ? -number : 1;
    }
  }

  /** No page is in two places. (A free one may be in several lists while it waits for its readers.) */
  #reach(first: number, count: number, mark = true): void {
    const isInside = first >= META_PAGES && first + count - 1 <= this.#snapshot.lastPage;
    if (!isInside) throw new Fault('a page does not exist');
    for (let page = first; page < first + count; page++) {
      if (this.#reached[page] !== 0) throw new Fault('a page is used twice');
      if (mark) this.#reached[page] = 1;
    }
  }

  #load(number: number, kind: number): void {
    const { pageSize, transaction } = this.#snapshot;
    const page = this.#page;
    if (readSync(this.#file, page, 0, pageSize, number * pageSize) !== pageSize) throw cutOff();
    if (readNumber(page, 0) !== number) throw new Fault('a page has the number of another');
    if (!(readNumber(page, 8) <= transaction)) throw new Fault('a page is newer than the file');
    if (page.readUInt16LE(18) !== kind) throw new Fault('a page is of the wrong kind');
  }
}

function readNode(page: Buffer, at: number, kind: number): Node {
  if (at + 8 > page.length) throw outside();
  const low = page.readUInt32LE(at);
  const flags = page.readUInt16LE(at + 4);
  const data = at + 8 + page.readUInt16LE(at + 6);
  if (kind === BRANCH) {
    if (data > page.length) throw outside();
    return { flags: 0, key: at + 8, data, value: flags * 2 ** 32 + low };
  }
  const isKnown = flags === 0 || flags === BIG_DATA;
  if (!isKnown || data + (flags === BIG_DATA ? BIG_DATA_BYTES : low) > page.length) throw outside();
  return { flags, key: at + 8, data, value: low };
}

/** What was not on the disk when the power failed may be an old page, whole but of another place. */
function requireOrder(page: Buffer, nodes: readonly Node[], { from, to }: Step): void {
  let last = from;
  for (const { key, data } of nodes) {
    const next = page.subarray(key, data);
    const order = last === undefined ? -1 : Buffer.compare(last, next);
    if (order > 0 || (order === 0 && last !== from)) throw outOfOrder();
    last = next;
  }
  if (to !== undefined && last !== undefined && Buffer.compare(last, to) >= 0) throw outOfOrder();
}

const outOfOrder = (): Fault => new Fault('keys are out of order');
const outside = (): Fault => new Fault('a node is outside its page');
const cutOff = (): Fault => new Fault('the file was cut off');
