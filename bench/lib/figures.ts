/** What benchmarks give: plain values, which know nothing of tables and charts. `docs/benchmarks.json` holds them as they are. */

import { mean, median, quantile } from './harness.js';

/** A figure held against another of the same run. */
export interface Ratio {
  /** The name of the other figure, in the same group unless it says otherwise. */
  readonly to: string;
  /** The median of what the rounds say; of a {@link cost}, of all of it to all of the other. */
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
  /** The median of the samples; of a {@link cost} their mean. */
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

type What = Pick<Figure, 'group' | 'quantity' | 'name' | 'at' | 'unit' | 'atMost'>;

/** How many samples become one value, and two lists of them a ratio. */
interface Method {
  readonly average: (samples: readonly number[]) => number;
  readonly compare: (samples: readonly number[], others: readonly number[]) => number;
}

const roundsOf = (samples: readonly number[], others: readonly number[]): number[] =>
  samples.map((value, i) => value / (others[i] as number));

/** Samples that were taken in turns are compared round by round: what slowed the machine for a while slowed both. */
const MEDIANS: Method = {
  average: median,
  compare: (samples, others) =>
    samples.length === others.length ? median(roundsOf(samples, others)) : median(samples) / median(others),
};

const MEANS: Method = { average: mean, compare: (samples, others) => mean(samples) / mean(others) };

function ratio(samples: readonly number[], against: Against, { compare }: Method): Ratio {
  const { to, samples: others, atMost, atLeast } = against;
  const rounds = samples.length === others.length ? roundsOf(samples, others) : [];
  const spread = [rounded(quantile(rounds, 0.25)), rounded(quantile(rounds, 0.75))] as const;
  return {
    to,
    value: rounded(compare(samples, others)),
    ...(rounds.length > 2 && { spread }),
    ...(atMost !== undefined && { atMost }),
    ...(atLeast !== undefined && { atLeast }),
  };
}

function made(what: What, samples: readonly number[], against: readonly Against[], method: Method): Figure {
  return {
    ...what,
    value: rounded(method.average(samples)),
    samples: samples.map(rounded),
    ratios: against.filter(({ to }) => to !== what.name).map((other) => ratio(samples, other, method)),
  };
}

export function figure(what: What, samples: readonly number[], against: readonly Against[] = []): Figure {
  return made(what, samples, against, MEDIANS);
}

/**
 * What is spent, as processor time: all of it counts. A collection falls into one round and not into another, and the
 * median of the rounds says by chance how many of them were paid for.
 */
export function cost(what: What, samples: readonly number[], against: readonly Against[] = []): Figure {
  return made(what, samples, against, MEANS);
}

/** Whether a figure or a ratio keeps to its limits; `undefined` when it has none. */
export function isMet({ value, atMost, atLeast }: Pick<Ratio, 'value' | 'atMost' | 'atLeast'>): boolean | undefined {
  if (atMost === undefined && atLeast === undefined) return undefined;
  return value <= (atMost ?? Number.POSITIVE_INFINITY) && value >= (atLeast ?? 0);
}
