/** What was measured, of all parts and runs: the content of `docs/benchmarks.json`. */

import type { Part } from '../lib/figures.js';
import type { Environment } from './environment.js';

/** A part, and the run that made it. */
export interface Result extends Part, Environment {
  /** The day, YYYY-MM-DD. */
  readonly date: string;
  /** How long it took. */
  readonly seconds: number;
  /** Made to try whether it works: the figures say nothing. */
  readonly quick: boolean;
}

/** By the name of the part. */
export type Results = Readonly<Record<string, Result>>;

/** Puts the groups of a part that were measured anew in place of what they were; its other groups stay as they are. */
export function withGroups(before: Result, anew: Result): Result {
  const measured = new Set(anew.figures.map(({ group }) => group));
  const all = [...before.figures.filter(({ group }) => !measured.has(group)), ...anew.figures];
  const groups = new Set([...before.figures, ...anew.figures].map(({ group }) => group));
  const figures = [...groups].flatMap((name) => all.filter(({ group }) => group === name));
  return { ...anew, figures, seconds: before.seconds + anew.seconds };
}

/** Puts the parts of a run in place of what they were, in the order of `names`; other parts stay as they are. */
export function merged(before: Results, run: Results, names: readonly string[]): Results {
  const all = { ...before, ...run };
  return Object.fromEntries(names.flatMap((name) => (all[name] === undefined ? [] : [[name, all[name]]])));
}
