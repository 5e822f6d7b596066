/** The directory of a store over LMDB: which file of it is the current one, and what is done with a corrupt one. */

import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { ResumptionError } from '../errors.js';
import { saidBy } from './engine-errors.js';

/**
 * Bytes of a lock file, room for the slots of 1024 readers and what is before them. LMDB would make it as a hole, and a
 * hole that cannot be filled because the disk is full ends the process (SIGBUS).
 */
const LOCK_BYTES = 73_728;
export const MAX_READERS = 1024;
/** What a new file needs on the disk before LMDB is asked to make it. */
const NEW_FILE_BYTES = 65_536;
const MAX_GENERATION = 2 ** 31;

/** What no later try will mend: the application must be told when it starts. */
const MISTAKES = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST', 'ELOOP', 'ENAMETOOLONG', 'EINVAL']);

/**
 * Makes the directory if it is not there, with access for this user alone.
 *
 * @returns its real path
 * @throws ResumptionError ERR_STORE_UNAVAILABLE if it cannot be used, or if every user may write to it: who can replace
 *   the file chooses the secrets of the sessions that are resumed
 */
export function requireDirectory(path: string): string {
  let real: string;
  let mode: number;
  try {
    mkdirSync(resolve(path), { recursive: true, mode: 0o700 });
    real = realpathSync(path);
    accessSync(real, constants.R_OK | constants.W_OK | constants.X_OK);
    ({ mode } = statSync(real));
  } catch (error) {
    throw fileError('the directory cannot be used', error);
  }
  if (process.platform !== 'win32' && (mode & 0o002) !== 0) {
    throw new ResumptionError('ERR_STORE_UNAVAILABLE', 'the directory can be written to by every user');
  }
  return real;
}

/**
 * The current file of a name: `NAME-1.mdb`, or with the number after the last that was set aside. A number is used once
 * only, so that of several processes which find a file corrupt each can set it aside, and none sets aside what another
 * one has begun since.
 */
export function currentFile(directory: string, name: string): string {
  const file = new RegExp(`^${name}-(\\d{1,10})\\.mdb(\\.corrupt)?$`);
  let [newest, corrupt] = [1, false];
  for (const entry of readdirSync(directory)) {
    const [, digits, suffix] = file.exec(entry) ?? [];
    const generation = Number(digits);
    if (!(generation >= newest && generation < MAX_GENERATION)) continue;
    // Renamed, and made anew by a process that did not know yet.
    corrupt = suffix !== undefined || (corrupt && generation === newest);
    newest = generation;
  }
  return join(directory, `${name}-${corrupt ? newest + 1 : newest}.mdb`);
}

/**
 * Renames a corrupt file. Of what was set aside before, and of files that were begun under an old number, none is kept:
 * they hold sessions, and fill the disk.
 */
export function setAside(directory: string, name: string, path: string): void {
  const aside = `${path}.corrupt`;
  try {
    renameSync(path, aside);
  } catch (error) {
    // Another process was first.
    if (codeOf(error) !== 'ENOENT') throw error;
  }
  rmSync(`${path}-lock`, { force: true });
  const current = currentFile(directory, name);
  for (const entry of readdirSync(directory)) {
    const other = join(directory, entry);
    const kept = other === aside || other === current || other === `${current}-lock`;
    if (!kept && new RegExp(`^${name}-\\d+\\.mdb(\\.corrupt|-lock)?$`).test(entry)) rmSync(other, { force: true });
  }
}

/**
 * Makes the lock file, whole and at once, as LMDB would: so that there is room for it. LMDB itself cannot say that there
 * is none.
 *
 * Never opens one that is there: closing it would end the locks that this process has on it (fcntl(2)).
 *
 * @throws what the file system throws, such as ENOSPC
 */
export function prepareLockFile(path: string): void {
  const lock = `${path}-lock`;
  if (exists(lock)) return;
  const draft = `${lock}.${process.pid}`;
  rmSync(draft, { force: true });
  try {
    const file = openSync(draft, 'wx', 0o600);
    try {
      writeZeros(file, LOCK_BYTES + (exists(path) ? 0 : NEW_FILE_BYTES));
      // The room that was found beyond is given back, for the file itself.
      ftruncateSync(file, LOCK_BYTES);
    } finally {
      closeSync(file);
    }
    linkSync(draft, lock);
  } catch (error) {
    // Another process was first.
    if (codeOf(error) !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** For this user alone, also what was copied here by other means. */
export function restrict(path: string): void {
  if (process.platform === 'win32') return;
  for (const file of [path, `${path}-lock`]) {
    if ((statSync(file).mode & 0o077) !== 0) chmodSync(file, 0o600);
  }
}

/** Tells files apart, and one from that which took its place. */
export function identity(path: string): string | undefined {
  const status = statSync(path, { throwIfNoEntry: false });
  return status && `${status.dev}:${status.ino}`;
}

/** Whether an error of the file system is one that the application must be told of at once. */
export function isMistake(error: unknown): boolean {
  return MISTAKES.has(codeOf(error) ?? '');
}

export function fileError(what: string, error: unknown): ResumptionError {
  return new ResumptionError('ERR_STORE_UNAVAILABLE', `${what}: ${codeOf(error) ?? saidBy(error)}`);
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

function writeZeros(file: number, length: number): void {
  const zeros = Buffer.alloc(length);
  for (let written = 0; written < length; ) written += writeSync(file, zeros, written);
}
