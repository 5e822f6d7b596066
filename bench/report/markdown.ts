/** Results as a page of Markdown: the charts and, below each part, every figure with its ratios. */

import { type Figure, isMet, type Ratio } from '../lib/figures.js';
import { count, number, times } from './numbers.js';
import type { Result, Results } from './results.js';

/** A chart of a part: the file, relative to the page, and what it shows in words. */
export interface Illustration {
  readonly part: string;
  readonly file: string;
  readonly title: string;
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), row(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(row)].join('\n');
}

const unique = <T>(values: Iterable<T>): T[] => [...new Set(values)];

/** What must hold of a figure or a ratio, and whether it does. */
function verdict(limited: Pick<Ratio, 'value' | 'atMost' | 'atLeast'>): string {
  const met = isMet(limited);
  if (met === undefined) return '';
  const { atMost, atLeast } = limited;
  const limits = [...(atMost === undefined ? [] : [`≤ ${atMost}`]), ...(atLeast === undefined ? [] : [`≥ ${atLeast}`])];
  return ` (${limits.join(', ')} ${met ? '✓' : '✗'})`;
}

function ratioCell(ratio: Ratio | undefined): string {
  if (ratio === undefined) return '';
  const { value, spread } = ratio;
  const range = spread && times(spread[0]) !== times(spread[1]) ? ` <sub>${spread.map(times).join('–')}</sub>` : '';
  return `${times(value)}${range}${verdict(ratio)}`;
}

/** The columns of a quantity: its value, and a ratio to each figure that any of the rows is held against. */
interface Column {
  readonly quantity: string;
  readonly unit: string;
  readonly others: readonly string[];
}

function columnsOf(figures: readonly Figure[]): Column[] {
  return unique(figures.map(({ quantity }) => quantity)).map((quantity) => {
    const all = figures.filter((figure) => figure.quantity === quantity);
    // In the order of the figure that has the most: none is held against itself.
    const longest = [...all].sort((a, b) => b.ratios.length - a.ratios.length);
    const others = unique(longest.flatMap(({ ratios }) => ratios.map(({ to }) => to)));
    return { quantity, unit: all[0]?.unit ?? '', others };
  });
}

function groupTable(figures: readonly Figure[]): string {
  const columns = columnsOf(figures);
  const rowOf = ({ name, at }: Figure): string => (at === undefined ? name : `${name}, ${count(at)}`);
  const cells = (name: string): string[] => {
    return columns.flatMap(({ quantity, others }) => {
      const figure = figures.find((each) => each.quantity === quantity && rowOf(each) === name);
      const ratios = others.map((other) => ratioCell(figure?.ratios.find(({ to }) => to === other)));
      return [figure === undefined ? '' : `${number(figure.value)}${verdict(figure)}`, ...ratios];
    });
  };
  const head = columns.flatMap(({ quantity, unit, others }) => [
    `${quantity}, ${unit}`,
    ...others.map((other) => `× ${other}`),
  ]);
  return table(
    ['', ...head],
    unique(figures.map(rowOf)).map((name) => [name, ...cells(name)]),
  );
}

function section(name: string, result: Result, illustrations: readonly Illustration[]): string {
  const { title, about, figures, date, seconds, quick } = result;
  const groups = unique(figures.map(({ group }) => group));
  return [
    `## ${title}`,
    ...(quick ? ['**A quick run, which only tries whether the benchmark works: these figures say nothing.**'] : []),
    about.trim(),
    ...illustrations
      .filter(({ part }) => part === name)
      .map(({ file, title: description }) => `![${description}](${file})`),
    ...groups.flatMap((group) => [`**${group}**`, groupTable(figures.filter((figure) => figure.group === group))]),
    `*\`npm run bench -- ${name}\`, ${date}, ${seconds} s.*`,
  ].join('\n\n');
}

/** Every limit that the library sets itself, in one place. */
function limits(results: Results): string {
  const rows = Object.values(results).flatMap(({ title, figures }) =>
    figures.flatMap(({ group, quantity, name, at, unit, value, atMost, ratios }) => {
      const what = [title, group, at === undefined ? name : `${name}, ${count(at)}`, quantity];
      const own =
        atMost === undefined ? [] : [{ value, atMost, shown: `${number(value)} ${unit}`, limit: `≤ ${atMost}` }];
      const others = ratios
        .filter((ratio) => isMet(ratio) !== undefined)
        .map((ratio) => ({ ...ratio, shown: `${times(ratio.value)} × ${ratio.to}`, limit: limitOf(ratio) }));
      return [...own, ...others].map((each) => [...what, each.shown, each.limit, isMet(each) ? 'yes' : '**no**']);
    }),
  );
  return table(['part', 'where', 'what', 'quantity', 'measured', 'limit', 'kept'], rows);
}

const limitOf = ({ atMost, atLeast }: Ratio): string => (atMost === undefined ? `≥ ${atLeast}` : `≤ ${atMost}`);

/** Machines and versions, with the parts that were measured there. */
function environments(results: Results): string {
  const byPlace = new Map<string, Result[]>();
  for (const result of Object.values(results)) {
    const { machine, versions } = result;
    const { cpu, cores, memory, system } = machine;
    const place = [
      `${cpu}, ${cores} cores, ${memory}, ${system}`,
      Object.entries(versions)
        .map((entry) => entry.join(' '))
        .join(', '),
    ].join(' | ');
    byPlace.set(place, [...(byPlace.get(place) ?? []), result]);
  }
  const rows = [...byPlace].map(([place, parts]) => {
    const which = byPlace.size === 1 ? 'all' : parts.map(({ title }) => title).join('; ');
    return row([which, place]);
  });
  return [row(['parts', 'machine', 'versions']), row(['---', '---', '---']), ...rows].join('\n');
}

const INTRODUCTION = `
# Measured

\`npm run bench\` makes this page, its charts and [the values behind them](benchmarks.json), every sample included; \`npm
run bench -- handshakes\` measures one part anew, \`--quick\` only tries. Absolute figures are those of one machine: read
the **ratios**. Each is to something else in the same run, whose rounds took turns with it; it is the median of what the
rounds say, and the small figures are the quartiles; of the server CPU of a handshake it is all that was
spent, to all of the other.
Whatever is timed first proves that it does what it should.
`;

/** The page `docs/benchmarks.md`. */
export function page(results: Results, illustrations: readonly Illustration[]): string {
  const parts = Object.entries(results).map(([name, result]) => section(name, result, illustrations));
  return `${[
    INTRODUCTION.trim(),
    environments(results),
    ...parts,
    '## The limits that the library sets itself',
    limits(results),
  ].join('\n\n')}\n`;
}

/** One part, for the terminal. */
export function partOf(name: string, results: Results): string {
  const result = results[name];
  return result === undefined ? '' : `${section(name, result, [])}\n`;
}
