/** Folders for files of LMDB, and other processes that use them. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll } from 'vitest';
import type { Order } from './lmdb-process.js';

const PROCESS = fileURLToPath(new URL('./lmdb-process.ts', import.meta.url));

/** A folder for the tests of one `describe`. */
export function folder(): () => string {
  let path = '';
  beforeAll(() => {
    path = newFolder();
  });
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return () => path;
}

export function newFolder(): string {
  return mkdtempSync(join(tmpdir(), 'tls-resumption-lmdb-'));
}

/** For stores that must have no faults: what it throws is an uncaught exception, and fails the run. */
export function faultless(fault: Error): void {
  throw fault;
}

const peers = new Set<Peer>();

/** Another process over a folder. */
export class Peer {
  readonly #child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: string | null }>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
    peers.add(this);
  }

  /** @param limit bytes that a file may have at most, for a disk that is full */
  static async start(path: string, limit?: number): Promise<Peer> {
    const env = { ...process.env, STORE: path };
    const options = { execArgv: ['--import', 'tsx'], env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] as 'ignore'[] };
    const shell = `ulimit -f ${Math.ceil((limit ?? 0) / 512)}; exec "$0" "$@"`;
    const child =
      limit === undefined
        ? fork(PROCESS, options)
        : fork('-c', [shell, process.execPath, '--import', 'tsx', PROCESS], {
            ...options,
            execPath: '/bin/sh',
            execArgv: [],
          });
    child.stderr?.resume();
    const peer = new Peer(child);
    await peer.#answer();
    return peer;
  }

  /** What it answers; rejects if it ends instead. */
  async do<T>(order: Order): Promise<T> {
    this.#child.send(order);
    return (await this.#answer()) as T;
  }

  /** Begins what has no end. */
  begin(order: Order): void {
    this.#child.send(order);
  }

  kill(): Promise<unknown> {
    this.#child.kill('SIGKILL');
    return this.ended;
  }

  async #answer(): Promise<unknown> {
    const waiting = new AbortController();
    const { signal } = waiting;
    const ended = once(this.#child, 'exit', { signal }).then((end) => {
      throw new Error(`ended with ${end}`);
    });
    try {
      const [answer] = await Promise.race([once(this.#child, 'message', { signal }), ended]);
      return answer;
    } finally {
      ended.catch(() => {});
      waiting.abort();
    }
  }
}

/** Several at once. */
export function startPeers(path: string, count = 4): Promise<Peer[]> {
  return Promise.all(Array.from({ length: count }, () => Peer.start(path)));
}

export async function endPeers(): Promise<void> {
  await Promise.all([...peers].map((peer) => peer.kill()));
  peers.clear();
}
