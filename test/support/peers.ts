/** Other programs as clients: found on this machine, run beside the server, ended in time. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Writable } from 'node:stream';
import { describe, it } from 'vitest';

/** With REQUIRE_PEERS=1 a program that is not there is a failure, and a skip otherwise. */
const peersRequired = process.env['REQUIRE_PEERS'] === '1';

const DEFAULT_TIMEOUT = 60_000;

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

/** A program that goes on running. */
export interface Running {
  readonly pid: number | undefined;
  /** What it said so far. */
  readonly said: Readonly<Omit<Run, 'code'>>;
  /** When it has ended; rejects when it could not be started. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** Ends it, and what it started. */
  end(): void;
}

export interface Peer {
  readonly name: string;
  /** Vitest's `describe`, or what stands for it where the program is missing. */
  describe(title: string, tests: () => void): void;
  run(args: readonly string[], options?: RunOptions): Promise<Run>;
  /** Leaves it running, with nothing to read, until it is ended or this process is gone. */
  start(args: readonly string[], env?: NodeJS.ProcessEnv): Running;
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
    run: async (args, options) => run(found(name, program), args, options),
    start: (args, env) => start('/bin/sh', ['-c', WATCHED, 'sh', found(name, program), ...args], env),
  };
}

function found(name: string, program: string | undefined): string {
  if (program === undefined) throw new Error(`${name} was not found`);
  return program;
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

/** Servers are in /usr/sbin, which is not on everybody's PATH. */
function findOnPath(name: string): string | undefined {
  return [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']
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

/** Whatever ends this process closes the pipe that is read here; then the group of the program ends. */
const WATCHED = 'exec 3<&0; (cat; kill -9 0) <&3 >/dev/null 2>&1 & exec "$@" 3<&- </dev/null';

function start(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Running & { readonly input: Writable } {
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
  const ended = once(child, 'close')
    .then(([code, signal]) => ({ code, signal }))
    .finally(() => {
      end(child);
      running.delete(child);
    });
  return { pid: child.pid, said, ended, input: child.stdin, end: () => running.has(child) && end(child) };
}

/** Never blocks: the server that the program talks to may be in this process. */
async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const { input, env, timeout = DEFAULT_TIMEOUT } = options;
  const { said, ended, input: stdin, end } = start(program, args, env);
  if (input === undefined) stdin.end();
  else stdin.write(input);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end();
  }, timeout);
  try {
    const { code, signal } = await ended;
    if (!late) return { code, ...said };
    throw new Error(`no end within ${timeout} ms (${signal}): ${[program, ...args].join(' ')}\n${said.output}`);
  } finally {
    clearTimeout(timer);
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
