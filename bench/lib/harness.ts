/** What benchmarks share: medians of interleaved rounds, children for what needs a process of its own, tables. */

import { spawnSync } from 'node:child_process';
import { openSync, readSync } from 'node:fs';

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/**
 * Nanoseconds a call of each candidate, medians of rounds. The candidates take turns, so that what slows the machine
 * down for a while slows all of them.
 */
export function time<Name extends string>(
  candidates: Readonly<Record<Name, (i: number) => unknown>>,
  { calls = 200_000, rounds = 11 }: { calls?: number; rounds?: number } = {},
): Record<Name, number> {
  const names = Object.keys(candidates) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  // The first two rounds are for the compiler.
  for (let round = -2; round < rounds; round++) {
    for (const name of names) {
      const call = candidates[name];
      const start = performance.now();
      let kept: unknown;
      for (let i = 0; i < calls; i++) kept = call(i);
      const taken = ((performance.now() - start) * 1e6) / calls;
      if (kept !== time && round >= 0) times[name].push(taken);
    }
  }
  return Object.fromEntries(names.map((name) => [name, median(times[name])])) as Record<Name, number>;
}

/** Runs a part of the benchmark in a fresh process, which prints one JSON value. */
export function inChild<T>(file: string, ...args: string[]): T {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, file, ...args], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${args.join(' ')} failed: ${stderr}`);
  return JSON.parse(stdout) as T;
}

let schedstat: number | undefined;
try {
  schedstat = openSync('/proc/thread-self/schedstat', 'r');
} catch {
  schedstat = undefined;
}
const read = Buffer.alloc(128);

/**
 * Milliseconds that this thread has waited for a processor because other processes had it: on a busy machine they are
 * no fault of what is measured. 0 where the system does not tell. Allocates nothing that brings a collection about.
 */
export function waited(): number {
  if (schedstat === undefined) return 0;
  const length = readSync(schedstat, read, 0, read.length, 0);
  return Number(read.toString('latin1', 0, length).split(' ')[1]) / 1e6;
}

export interface Row {
  readonly what: string;
  readonly figure: string;
  /** What it must not exceed, and whether it does not. */
  readonly target?: string;
  readonly met?: boolean;
}

/** A Markdown table. */
export function table(title: string, rows: readonly Row[]): string {
  const lines = rows.map(({ what, figure, target = '', met }) => {
    return `| ${what} | ${figure} | ${target} | ${met === undefined ? '' : met ? 'yes' : 'NO'} |`;
  });
  return [`### ${title}`, '', '| what | figure | target | met |', '|---|---|---|---|', ...lines, ''].join('\n');
}

export function prove(claim: boolean, what: string): void {
  if (!claim) throw new Error(`disqualified: ${what}`);
}
