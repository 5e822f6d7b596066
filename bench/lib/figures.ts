/** What benchmarks give: plain values, which know nothing of tables and charts. `docs/benchmarks.json` holds them as they are. */

import { median, quantile } from './harness.js';

/** A figure held against another of the same run. */
export interface Ratio {
  /** The name of the other figure, in the same group unless it says otherwise. */
  readonly to: string;
  /** The median of what the rounds say. */
  readonly value: number;
  /** The quartiles of what the rounds say. */
  readonly spread?: readonly [low: number, high: number];
  /** What it must not exceed, and what it must reach. */
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** One measured value. */
export interface Figure {
  /** What it is held against others in: the rows of a table that belong together, a panel of a chart. */
  readonly group: string;
  /** What was measured, of which: a column and its rows. */
  readonly quantity: string;
  readonly name: string;
  /** The number that it was measured at, for what is measured at several: sessions, processes. */
  readonly at?: number;
  readonly unit: string;
  /** The median of the samples. */
  readonly value: number;
  readonly samples: readonly number[];
  /** What the value must not exceed. */
  readonly atMost?: number;
  readonly ratios: readonly Ratio[];
}

/** What one part of the benchmarks gives. */
export interface Part {
  readonly title: string;
  /** Markdown: what was measured, how, and what the names mean. */
  readonly about: string;
  readonly figures: readonly Figure[];
}

/** What a part is told: `quick` is for trying whether it works, and its figures say nothing. */
export interface Effort {
  readonly quick: boolean;
}

/** What a ratio is to, with the samples of that. */
export interface Against {
  readonly to: string;
  readonly samples: readonly number[];
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** Five significant digits: more is noise, in a file that people read. */
const rounded = (value: number): number => Number(value.toPrecision(5));

/** Samples that were taken in turns are compared round by round: what slowed the machine for a while slowed both. */
function ratio(samples: readonly number[], { to, samples: others, atMost, atLeast }: Against): Ratio {
  const limits = { ...(atMost !== undefined && { atMost }), ...(atLeast !== undefined && { atLeast }) };
  if (samples.length !== others.length) return { to, value: rounded(median(samples) / median(others)), ...limits };
  const rounds = samples.map((value, i) => value / (others[i] as number));
  const spread = [rounded(quantile(rounds, 0.25)), rounded(quantile(rounds, 0.75))] as const;
  return { to, value: rounded(median(rounds)), ...(rounds.length > 2 && { spread }), ...limits };
}

export function figure(
  what: Pick<Figure, 'group' | 'quantity' | 'name' | 'at' | 'unit' | 'atMost'>,
  samples: readonly number[],
  against: readonly Against[] = [],
): Figure {
  return {
    ...what,
    value: rounded(median(samples)),
    samples: samples.map(rounded),
    ratios: against.filter(({ to }) => to !== what.name).map((other) => ratio(samples, other)),
  };
}

/** Whether a figure or a ratio keeps to its limits; `undefined` when it has none. */
export function isMet({ value, atMost, atLeast }: Pick<Ratio, 'value' | 'atMost' | 'atLeast'>): boolean | undefined {
  if (atMost === undefined && atLeast === undefined) return undefined;
  return value <= (atMost ?? Number.POSITIVE_INFINITY) && value >= (atLeast ?? 0);
}
