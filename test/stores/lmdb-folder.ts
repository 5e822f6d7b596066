/** Folders for files of LMDB, and what looks at them. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';

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
