/** Watches the facts of a shared state in Redis: looks at an interval, and as soon as it hears that there is something. */

import { requireFunction } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import type { SharedStateListener } from './shared-state.js';

export interface RedisWatchSource {
  /** Seconds. */
  readonly interval: number;
  /** Differs once anything was set. */
  version(): Promise<string>;
  read(): Promise<{ readonly version: string; readonly facts: Map<string, Uint8Array> }>;
  subscribe(heard: () => void): Disposable | undefined;
}

interface Watcher {
  readonly prefix: string;
  readonly listener: SharedStateListener;
  readonly failed: (error: unknown) => void;
  /** What it was told last, and is not over as far as it knows. */
  told: Map<string, Uint8Array>;
}

/** Intervals after which a look that has not ended is given up. */
const PATIENCE = 10;

/** One look serves all watchers of a state. */
export class RedisWatch {
  readonly #source: RedisWatchSource;
  readonly #watchers = new Set<Watcher>();
  #timer: NodeJS.Timeout | undefined;
  #subscription: Disposable | undefined;
  #version: string | undefined;
  /** Counts looks: what comes of one that was given up is no news. */
  #look = 0;
  /** Intervals that the look on its way has taken. */
  #waited: number | undefined;
  /** There is reason to look again. */
  #heard = false;
  #closed = false;

  constructor(source: RedisWatchSource) {
    this.#source = source;
  }

  add(prefix: string, listener: SharedStateListener, failed: (error: unknown) => void): Disposable {
    requireFunction('listener', listener);
    requireFunction('failed', failed);
    const watcher: Watcher = { prefix, listener, failed, told: new Map() };
    if (!this.#closed) {
      this.#watchers.add(watcher);
      // All that stands is read for the new one.
      this.#version = undefined;
      this.#begin();
      this.#lookNow();
    }
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(watcher);
        watcher.told.clear();
        if (this.#watchers.size === 0) this.#end();
      },
    };
  }

  close(): void {
    this.#closed = true;
    this.#watchers.clear();
    this.#end();
  }

  #begin(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#tick(), this.#source.interval * 1000);
    this.#timer.unref();
    try {
      this.#subscription = this.#source.subscribe(() => this.#lookNow());
    } catch {
      // The interval has to do.
    }
  }

  #end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#subscription?.[Symbol.dispose]();
    this.#subscription = undefined;
    this.#version = undefined;
    this.#waited = undefined;
    this.#look++;
  }

  #tick(): void {
    if (this.#waited !== undefined && ++this.#waited < PATIENCE) return;
    if (this.#waited !== undefined) {
      this.#waited = undefined;
      this.#fail(new ResumptionError('ERR_STORE_TIMEOUT', `Redis did not answer for ${PATIENCE} intervals`));
    }
    this.#lookNow();
  }

  #lookNow(): void {
    if (this.#timer === undefined) return;
    this.#heard = true;
    if (this.#waited === undefined) void this.#lookWhileHeard(++this.#look);
  }

  async #lookWhileHeard(look: number): Promise<void> {
    this.#waited = 0;
    while (this.#heard && look === this.#look) {
      this.#heard = false;
      try {
        await this.#compare(look);
      } catch (error) {
        if (look === this.#look) this.#fail(error);
      }
    }
    if (look === this.#look) this.#waited = undefined;
  }

  async #compare(look: number): Promise<void> {
    if (this.#version !== undefined && (await this.#source.version()) === this.#version) return;
    const { version, facts } = await this.#source.read();
    if (look !== this.#look) return;
    this.#version = version;
    for (const watcher of [...this.#watchers]) this.#tell(watcher, facts);
  }

  #tell(watcher: Watcher, facts: Map<string, Uint8Array>): void {
    const before = watcher.told;
    watcher.told = new Map([...facts].filter(([name]) => name.startsWith(watcher.prefix)));
    for (const [name, value] of watcher.told) {
      const known = before.get(name);
      if (known === undefined || Buffer.compare(known, value) !== 0) this.#call(watcher, name, Uint8Array.from(value));
    }
    for (const name of before.keys()) if (!facts.has(name)) this.#call(watcher, name, undefined);
  }

  #call(watcher: Watcher, name: string, value: Uint8Array | undefined): void {
    if (!this.#watchers.has(watcher)) return;
    try {
      watcher.listener(name, value);
    } catch (error) {
      report(watcher, error);
    }
  }

  #fail(error: unknown): void {
    for (const watcher of [...this.#watchers]) report(watcher, error);
  }
}

function report({ failed }: Watcher, error: unknown): void {
  try {
    failed(error);
  } catch {
    // Who is told of failures has nobody to tell.
  }
}
