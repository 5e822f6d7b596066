/** Reads ticket keys from a file, and sees when it is replaced. */

import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { wrongType } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import type { TicketKey } from './ticket-key.js';
import { parseTicketKeys, type TicketKeyFormat } from './ticket-key-formats.js';

const MAX_BYTES = 1024 * 1024;

/** A named pipe would block the thread that opens it. Windows has no such flag, and no such pipes. */
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** Milliseconds after which the times of a file tell of every change: some file systems count whole seconds. */
const TIMES_SETTLE = 3000;

/** Who hears of a followed file. */
export interface TicketKeyFileListener {
  /** The file holds other keys. A throw means that they cannot be used. */
  replaced(keys: readonly TicketKey[]): void;
  /** The file cannot be read or used: told once for as long as it is so. */
  failed(error: ResumptionError): void;
}

/** What a look at the file found: its content, or what is wrong with it. */
type Sight = { readonly id: string; readonly bytes: Buffer } | { readonly id: string; readonly error: unknown };

/**
 * A file of ticket keys. It may be replaced in any way: renamed over, behind a symbolic link that is switched, removed
 * and made again, or written in place. What a look finds counts once the next look finds the same, so that a write in
 * progress is not taken for the file.
 */
export class TicketKeyFile {
  readonly path: string;
  readonly #format: TicketKeyFormat;
  readonly #clock: () => number;
  #listener: TicketKeyFileListener | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** What the last look found. */
  #seen: string | undefined;
  /** What is in use. */
  #used: string | undefined;
  /** The fault that was told. */
  #told: string | undefined;
  #times = '';
  #timesSince = 0;
  #readAt = 0;

  /** @param clock milliseconds */
  constructor(path: string | URL, format: TicketKeyFormat, clock: () => number) {
    if (typeof path !== 'string' && !(path instanceof URL)) throw wrongType('path', 'a string or a file URL', path);
    this.path = resolve(path instanceof URL ? fileURLToPath(path) : path);
    this.#format = format;
    this.#clock = clock;
  }

  /**
   * Reads the file at once, and hands its keys to `use`, after which they are overwritten.
   *
   * @throws ResumptionError ERR_KEY_FILE when it cannot be read, is no regular file, is longer than 1 MiB, holds no keys
   *   in the format, or `use` throws
   */
  read<T>(use: (keys: readonly TicketKey[]) => T): T {
    const buffer = Buffer.allocUnsafeSlow(MAX_BYTES + 1);
    let length = 0;
    let keys: TicketKey[] = [];
    try {
      const file = openSync(this.path, READ);
      try {
        if (!fstatSync(file).isFile()) throw notRegular();
        for (let more = -1; more !== 0; length += more) {
          more = readSync(file, buffer, length, buffer.length - length, null);
        }
      } finally {
        closeSync(file);
      }
      const bytes = whole(buffer, length);
      keys = parseTicketKeys(bytes, this.#format);
      this.#seen = this.#used = contentId(bytes);
      return use(keys);
    } catch (cause) {
      throw this.#error(cause);
    } finally {
      buffer.fill(0, 0, length);
      for (const key of keys) key.destroy();
    }
  }

  /** Looks at the file again and again, without keeping the process alive. */
  follow(pollInterval: number, listener: TicketKeyFileListener): void {
    this.#listener = listener;
    const look = (): void => {
      this.poll().finally(() => {
        if (this.#listener !== undefined) this.#timer = setTimeout(look, pollInterval).unref();
      });
    };
    this.#timer = setTimeout(look, pollInterval).unref();
  }

  stop(): void {
    this.#listener = undefined;
    clearTimeout(this.#timer);
  }

  /** One look. Never rejects. */
  async poll(): Promise<void> {
    const sight = await this.#look();
    if (sight === undefined) return;
    try {
      this.#judge(sight);
    } finally {
      if ('bytes' in sight) sight.bytes.fill(0);
    }
  }

  #judge(sight: Sight): void {
    const settled = sight.id === this.#seen;
    this.#seen = sight.id;
    if (!settled || this.#listener === undefined) return;
    if (sight.id === this.#used) {
      this.#told = undefined;
      return;
    }
    let keys: TicketKey[] = [];
    try {
      if ('error' in sight) throw sight.error;
      keys = parseTicketKeys(sight.bytes, this.#format);
      this.#listener.replaced(keys);
      this.#used = sight.id;
      this.#told = undefined;
    } catch (cause) {
      const error = this.#error(cause);
      const fault = `${sight.id} ${error.message}`;
      if (fault === this.#told) return;
      this.#told = fault;
      this.#listener?.failed(error);
    } finally {
      for (const key of keys) key.destroy();
    }
  }

  /** `undefined` when nothing can have changed since the content in use was read. */
  async #look(): Promise<Sight | undefined> {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(this.path, { bigint: true });
      const times = [dev, ino, size, mtimeNs, ctimeNs].join();
      const now = this.#clock();
      if (times !== this.#times) this.#timesSince = now;
      const settled = this.#readAt - this.#timesSince >= TIMES_SETTLE;
      if (times === this.#times && settled && this.#seen === this.#used) return undefined;
      this.#times = times;
      this.#readAt = now;
      return await this.#content();
    } catch (error) {
      return { id: `${(error as NodeJS.ErrnoException)?.code} ${(error as Error)?.message}`, error };
    }
  }

  async #content(): Promise<Sight> {
    const buffer = Buffer.allocUnsafeSlow(MAX_BYTES + 1);
    let length = 0;
    try {
      const file = await open(this.path, READ);
      try {
        if (!(await file.stat()).isFile()) throw notRegular();
        for (let more = -1; more !== 0; length += more) {
          more = (await file.read(buffer, length, buffer.length - length, null)).bytesRead;
        }
      } finally {
        await file.close();
      }
      const bytes = whole(buffer, length);
      return { id: contentId(bytes), bytes };
    } catch (error) {
      buffer.fill(0, 0, length);
      throw error;
    }
  }

  #error(cause: unknown): ResumptionError {
    const message = `The ticket keys in ${this.path} cannot be used: ${cause instanceof Error ? cause.message : cause}`;
    return new ResumptionError('ERR_KEY_FILE', message, { cause });
  }
}

function whole(buffer: Buffer, length: number): Buffer {
  if (length > MAX_BYTES) throw new RangeError(`longer than ${MAX_BYTES} bytes`);
  return buffer.subarray(0, length);
}

function notRegular(): Error {
  return new Error('not a regular file');
}

function contentId(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64');
}
