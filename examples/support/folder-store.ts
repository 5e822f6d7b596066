/**
 * Keeps sessions in a folder, each in a file that is named by its key: for the processes of one machine, and over
 * restarts. Files this small are there at once, and what answers at once holds up nobody.
 */

import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SessionStore } from 'tls-resumption';

export class FolderStore implements SessionStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#read(this.#pathOf(key));
  }

  set(key: Uint8Array, session: Uint8Array, timeout: number): void {
    const draft = this.#draft();
    writeFileSync(draft, session, { mode: 0o600 });
    // The time of a file is that of its session's end.
    const end = Date.now() / 1000 + timeout;
    utimesSync(draft, end, end);
    renameSync(draft, this.#pathOf(key));
  }

  delete(key: Uint8Array): void {
    rmSync(this.#pathOf(key), { force: true });
  }

  take(key: Uint8Array): Uint8Array | undefined {
    const taken = this.#draft();
    try {
      // Of several processes one can rename the file.
      renameSync(this.#pathOf(key), taken);
    } catch (error) {
      return nothing(error);
    }
    const session = this.#read(taken);
    rmSync(taken);
    return session;
  }

  #read(path: string): Uint8Array | undefined {
    try {
      return statSync(path).mtimeMs > Date.now() ? readFileSync(path) : undefined;
    } catch (error) {
      return nothing(error);
    }
  }

  #pathOf(key: Uint8Array): string {
    return join(this.#folder, Buffer.from(key).toString('hex'));
  }

  #draft(): string {
    return join(this.#folder, `.${randomUUID()}`);
  }
}

function nothing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
