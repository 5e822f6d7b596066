/** Files that are read, and files of secrets that are written. */

import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CommandError, type Io, UsageError } from './io.js';

/** Neither a session nor a key file is larger. */
const MAX_BYTES = 2 ** 20;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'not permitted',
  EPERM: 'not permitted',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is no folder',
  EEXIST: 'it exists, and is left as it is; --force replaces it',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
};

function failed(doing: string, path: string, error: unknown): CommandError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new CommandError(`cannot ${doing} ${JSON.stringify(path)}: ${REASONS[code ?? ''] ?? code ?? message}`);
}

/** Whose standard input was read: it is there once. */
const drained = new WeakSet<Io>();

/** @param path `-` is standard input */
export async function readInput(path: string, io: Io): Promise<Buffer> {
  if (path === '-' && drained.has(io)) throw new UsageError('standard input can be one of the files only');
  if (path === '-') drained.add(io);
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    // What never ends, such as a device, is not read to its end.
    for await (const chunk of path === '-' ? io.stdin() : createReadStream(path)) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > MAX_BYTES) break;
    }
  } catch (error) {
    throw failed('read', path, error);
  }
  const bytes = Buffer.concat(chunks);
  for (const chunk of chunks) chunk.fill(0);
  if (length > MAX_BYTES) throw new CommandError(`cannot read ${JSON.stringify(path)}: it is over 1 MiB`);
  return bytes;
}

/**
 * Writes a file that only its owner may read, whole or not at all: what follows it never sees half of it.
 *
 * @param force whether it may take the place of another
 */
export async function writeSecret(path: string, content: Buffer, force: boolean): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    // A link fails where there is a file, a rename takes its place.
    if (force) await rename(draft, path);
    else await link(draft, path);
  } catch (error) {
    throw failed('write', path, error);
  } finally {
    await rm(draft, { force: true });
  }
}

/** Whether others than the owner may read or write it; `undefined` where there are no such rights. */
export async function openToOthers(path: string): Promise<boolean | undefined> {
  if (path === '-' || process.platform === 'win32') return undefined;
  return ((await stat(path)).mode & 0o077) !== 0;
}
