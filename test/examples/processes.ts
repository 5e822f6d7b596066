/** Child processes for the tests of what is run from a command line. */

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach } from 'vitest';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const running = new Set<Program>();

/** In a process group of its own, so that nothing it started outlives the test. */
export class Program {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  readonly #waiting = new Set<() => void>();

  constructor(command: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
    this.#child = spawn(command, args, {
      cwd: options.cwd ?? ROOT,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(this);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#wake();
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
        this.#wake();
      };
      this.#child.once('error', () => end(null, null));
      this.#child.once('close', end);
    });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Waits until the pattern is in what was printed so far, on either stream. */
  async printed(pattern: RegExp): Promise<RegExpMatchArray> {
    let over = false;
    void this.ended.then(() => {
      over = true;
    });
    for (;;) {
      const match = `${this.#stdout}\n${this.#stderr}`.match(pattern);
      if (match) return match;
      if (over) throw new Error(`ended without ${pattern}:\n${this.#stdout}${this.#stderr}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** The port in the line that says that the program is ready. */
  async port(): Promise<number> {
    return Number((await this.printed(/^listening on \S*:(\d+)$/m))[1]);
  }

  /** Sends a signal to this process alone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.#child.kill(signal);
    return this.ended;
  }

  destroy(): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // All of it is gone already.
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

/** Runs TypeScript with the Node that runs the tests. */
export function runTypeScript(
  file: string,
  options: { args?: readonly string[]; env?: NodeJS.ProcessEnv } = {},
): Program {
  return new Program(process.execPath, ['--import', 'tsx', file, ...(options.args ?? [])], options);
}

/** The playground itself, without npm around it. */
export const playground = (...args: string[]): Program => runTypeScript('examples/playground/main.ts', { args });

afterEach(() => {
  for (const program of running) program.destroy();
  running.clear();
});
