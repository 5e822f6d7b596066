/**
 * Opens a file of LMDB while nobody writes to it.
 *
 * LMDB must be kept from doing otherwise (`lmdb` 3.5.6, `mdb_env_open2`): whoever opens a file reads which transaction is
 * the last, and a moment later says so to all processes, without a lock. One that was committed in that moment is taken
 * back under the feet of who made it, and its pages are given out again: of 20 runs with four processes that began to
 * write at the same time, three to six ended with a corrupt file. And who is the last to close a file destroys the locks
 * that one who is just opening it goes on to use.
 *
 * So a small file beside it says that a process opens it. Others that see it put their writing and closing off; what they
 * had begun has ended when there was no new transaction for a while; and whether there was one all the same is seen after
 * the opening, which is then repeated. A file that says so for long is of a process that is gone.
 */

import { closeSync, openSync, readdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ResumptionError } from '../errors.js';
import { lastTransaction } from './lmdb-check.js';

/** What follows the file's name in the name of a sign; then the process's number. */
const SIGN = '.opening-';
/** Milliseconds without a transaction after which none is on its way, and how often that is looked for. */
const QUIET = 15;
const MAX_LOOKS = 40;
const MAX_TRIES = 5;
/** Milliseconds that an opening takes at most. */
const MAX_OPENING = 3000;
/** Nanoseconds: no file system tells times that are farther apart from each other. */
const CLOCK_STEP = 2_500_000_000n;
/** Milliseconds between looks of those who wait. */
const PAUSE = 3;

/**
 * @param open opens the file
 * @param close closes it, at once
 * @throws what `open` throws; ResumptionError ERR_STORE_TIMEOUT if others write all the time, which they should not
 */
export function openInQuiet<T>(path: string, open: () => T, close: (opened: T) => void): T {
  const sign = `${path}${SIGN}${process.pid}`;
  try {
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      closeSync(openSync(sign, 'w', 0o600));
      const before = whenQuiet(path);
      const opened = open();
      if (before === lastTransaction(path)) return opened;
      close(opened);
    }
  } finally {
    rmSync(sign, { force: true });
  }
  throw new ResumptionError('ERR_STORE_TIMEOUT', 'other processes write to the file while it is opened');
}

/** Fulfilled when nobody opens the file; nothing if nobody does. */
export function whileOpening(path: string): Promise<void> | undefined {
  return isOpening(path) ? waitForOpening(path) : undefined;
}

async function waitForOpening(path: string): Promise<void> {
  while (isOpening(path)) await sleep(PAUSE);
}

/** When a directory was changed last, if nobody was opening anything in it and it had not just been changed. */
const atRest = new Map<string, bigint>();

function isOpening(path: string): boolean {
  const folder = dirname(path);
  const start = `${basename(path)}${SIGN}`;
  try {
    // Looking through the directory costs a good part of a transaction; a sign that comes or goes changes it.
    const { mtimeNs } = statSync(folder, { bigint: true });
    if (atRest.get(folder) === mtimeNs) return false;
    const now = BigInt(Date.now()) * 1_000_000n;
    const signs = readdirSync(folder).filter((name) => name.includes(SIGN));
    if (signs.length === 0 && now - mtimeNs > CLOCK_STEP) atRest.set(folder, mtimeNs);
    return signs.some((name) => name.startsWith(start) && isFresh(join(folder, name)));
  } catch {
    // A folder that is gone, or is not to be read, is found to be so elsewhere.
    return false;
  }
}

function isFresh(sign: string): boolean {
  const status = statSync(sign, { throwIfNoEntry: false });
  if (status === undefined) return false;
  if (Math.abs(Date.now() - status.mtimeMs) < MAX_OPENING) return true;
  rmSync(sign, { force: true });
  return false;
}

/** @returns the last transaction, which was the last for a while */
function whenQuiet(path: string): number | undefined {
  let last = lastTransaction(path);
  for (let look = 0; look < MAX_LOOKS; look++) {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return last;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, QUIET);
    const now = lastTransaction(path);
    if (now === last) return last;
    last = now;
  }
  return last;
}
