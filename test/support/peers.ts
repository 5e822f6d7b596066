/** Other programs as clients: found on this machine, run beside the server, ended in time. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, it } from 'vitest';

/** With REQUIRE_PEERS=1 a program that is not there is a failure, and a skip otherwise. */
const peersRequired = process.env['REQUIRE_PEERS'] === '1';

const DEFAULT_TIMEOUT = 10_000;

export interface RunOptions {
  /** Written to its standard input, which then stays open until it exits. */
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Milliseconds; then it is killed, and the run fails. */
  readonly timeout?: number;
}

/** What a program said and how it ended. */
export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Both, in the order of arrival. */
  readonly output: string;
}

export interface Peer {
  readonly name: string;
  /** Vitest's `describe`, or what stands for it where the program is missing. */
  describe(title: string, tests: () => void): void;
  run(args: readonly string[], options?: RunOptions): Promise<Run>;
}

/** A program by any of its names on the PATH. */
export function peer(...names: [string, ...string[]]): Peer {
  return peerAt(names[0], names.map(findOnPath).find(Boolean));
}

/** A program by its path; `undefined` stands for one that was not found. */
export function peerAt(name: string, path: string | undefined): Peer {
  const program = path !== undefined && isProgram(path) ? path : undefined;
  return {
    name,
    describe: program === undefined ? (title) => describeMissing(name, title) : describe,
    run: (args, options) => {
      if (program === undefined) throw new Error(`${name} was not found`);
      return run(program, args, options);
    },
  };
}

function describeMissing(name: string, title: string): void {
  if (!peersRequired) {
    describe.skip(title, () => it(`needs ${name}`, () => {}));
    return;
  }
  describe(title, () =>
    it(`needs ${name}`, () => {
      throw new Error(`${name} was not found, and REQUIRE_PEERS=1 asks for it`);
    }),
  );
}

function findOnPath(name: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

const running = new Set<ChildProcess>();

/** Never blocks: the server that the program talks to may be in this process. */
async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const { input, env = process.env, timeout = DEFAULT_TIMEOUT } = options;
  // A group of its own, so that what it starts ends with it.
  const child = spawn(program, args, { env, stdio: 'pipe', detached: true });
  running.add(child);
  const said = { stdout: '', stderr: '', output: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
      said.output += text;
    });
  }
  child.stdin.on('error', () => {});
  if (input === undefined) child.stdin.end();
  else child.stdin.write(input);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end(child);
  }, timeout);
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    if (!late) return { code, ...said };
    throw new Error(`no end within ${timeout} ms (${signal}): ${[program, ...args].join(' ')}\n${said.output}`);
  } finally {
    clearTimeout(timer);
    end(child);
    running.delete(child);
  }
}

function end(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Nothing of the group is left.
  }
}

process.on('exit', () => running.forEach(end));

/** A folder for one test, and its removal. */
export async function temporaryFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'tls-resumption-peers-'));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }) };
}
