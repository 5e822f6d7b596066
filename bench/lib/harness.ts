/** What benchmarks share: medians of interleaved rounds, children for what needs a process of its own, proofs. */

import { spawnSync } from 'node:child_process';
import { openSync, readSync } from 'node:fs';

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * In another order each time: one that always comes after the same, or now and then after itself, would find the caches of
 * the processor in another state than the others do.
 */
export function shuffled<T>(items: readonly T[]): T[] {
  const order = [...items];
  for (let left = order.length; left > 1; left--) {
    const [picked] = order.splice(Math.floor(Math.random() * left), 1);
    order.push(picked as T);
  }
  return order;
}

/** One turn in so many is for all; the others are for those that a limit depends on. */
export const SELDOM = 3;

/** What each gave at its turns, which all take in another order each time. */
export async function takeTurns<T extends { readonly isLimited: boolean }, Given>(
  all: readonly T[],
  turns: number,
  take: (each: T) => Promise<Given>,
): Promise<Map<T, Given[]>> {
  const given = new Map(all.map((each) => [each, [] as Given[]]));
  for (let turn = 0; turn < turns; turn++) {
    const due = all.filter(({ isLimited }) => isLimited || turn % SELDOM === 0);
    for (const each of shuffled(due)) given.get(each)?.push(await take(each));
  }
  return given;
}

export interface Timing {
  readonly calls: number;
  readonly rounds: number;
  /** Rounds before the first that counts, for the compiler. */
  readonly warmUp?: number;
}

/**
 * Nanoseconds a call of each candidate, round by round. The candidates take turns, so that what slows the machine down
 * for a while slows all of them.
 */
export function time<Name extends string>(
  candidates: Readonly<Record<Name, (i: number) => unknown>>,
  { calls, rounds, warmUp = 2 }: Timing,
): Record<Name, number[]> {
  const names = Object.keys(candidates) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = -warmUp; round < rounds; round++) {
    for (const name of names) {
      const call = candidates[name];
      const start = performance.now();
      let kept: unknown;
      for (let i = 0; i < calls; i++) kept = call(i);
      const taken = ((performance.now() - start) * 1e6) / calls;
      if (kept !== time && round >= 0) times[name].push(taken);
    }
  }
  return times;
}

/** The same for candidates of which some give promises, which are waited for one by one. */
export async function timeAsync<Name extends string>(
  candidates: Readonly<Record<Name, (i: number) => unknown>>,
  { calls, rounds, warmUp = 2 }: Timing,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(candidates) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = -warmUp; round < rounds; round++) {
    for (const name of names) {
      const call = candidates[name];
      const start = performance.now();
      for (let i = 0; i < calls; i++) {
        const answer = call(i);
        if (answer instanceof Promise) await answer;
      }
      if (round >= 0) times[name].push(((performance.now() - start) * 1e6) / calls);
    }
  }
  return times;
}

/** Runs a part of the benchmark in a fresh process, which prints one JSON value. */
export function inChild<T>(file: string, ...args: string[]): T {
  const flags = ['--import', 'tsx', '--expose-gc'];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, file, ...args], { encoding: 'utf8' });
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

export function prove(claim: boolean, what: string): void {
  if (!claim) throw new Error(`disqualified: ${what}`);
}

/** Tells on the terminal, and nowhere else, what goes on. */
export function progress(what: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)}  ${what}\n`);
}
