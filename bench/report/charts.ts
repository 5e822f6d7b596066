/** Figures as SVG charts, drawn by echarts on a ground of their own: readable on a light page and on a dark one. */

import { type EChartsOption, init } from 'echarts';
import type { Figure, Ratio } from '../lib/figures.js';
import { count, number, times } from './numbers.js';

const WIDTH = 960;
const FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
const INK = '#1a1f27';
const DIM = '#5b6472';
const RULE = '#e3e7ec';

/** By who is measured, whatever the part: the library is always green. */
const COLOURS: readonly (readonly [RegExp, string])[] = [
  [/^ours|^Session|^TicketCodec|^Rfc5077|^lmdb/, '#0a7a4b'],
  [/^nginx/, '#c2570c'],
  [/^lru-cache|^jose|^redis/, '#1f5fd0'],
  [/^@hapi|^memcached/, '#7b3fb3'],
  [/^TLS 1\.2/, '#0a7a4b'],
  [/^TLS 1\.3/, '#1f5fd0'],
];
const OTHER = '#78838f';

const colourOf = (name: string): string => COLOURS.find(([pattern]) => pattern.test(name))?.[1] ?? OTHER;

export interface ChartText {
  readonly title: string;
  readonly subtitle: string;
  /** What the axis of values shows, with its unit. */
  readonly values: string;
}

export interface BarsOptions extends ChartText {
  /** What the ratios behind the bars are to: the first of these that a figure is held against. */
  readonly to: readonly string[];
  readonly logarithmic?: boolean;
}

const unique = <T>(values: Iterable<T>): T[] => [...new Set(values)];

/** Draws it, and gives it a title for those who do not see it. */
function draw(option: EChartsOption, height: number, { title, subtitle }: ChartText): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  try {
    chart.setOption({
      animation: false,
      backgroundColor: '#ffffff',
      textStyle: { fontFamily: FONT, color: INK },
      ...option,
    });
    const label = `<title>${escaped(`${title}: ${subtitle}`)}</title>`;
    // Styles are for a pointer over the chart, which a picture does not have.
    const svg = chart.renderToSVGString().replace(/<style ?>.*?<\/style>\n?/gs, '');
    return `${svg.replace(/<svg [^>]*>/, (tag) => `${tag.slice(0, -1)} role="img">\n${label}`)}\n`;
  } finally {
    chart.dispose();
  }
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

const heading = ({ title, subtitle }: ChartText) => ({
  text: title,
  subtext: subtitle,
  left: 20,
  top: 14,
  itemGap: 6,
  textStyle: { fontSize: 17, color: INK, fontFamily: FONT },
  subtextStyle: { fontSize: 12.5, color: DIM, fontFamily: FONT },
});

const panelHeading = (text: string, left: number, top: number) => ({
  text,
  left,
  top,
  textStyle: { fontSize: 13.5, fontWeight: 600 as const, color: INK, fontFamily: FONT },
});

const axisText = { color: DIM, fontSize: 11.5, fontFamily: FONT };
/** Ticks are round: no digits that say nothing. */
const roundLabels = { ...axisText, formatter: count };
const valueAxis = (values: string) => ({
  name: values,
  nameLocation: 'middle' as const,
  nameTextStyle: { ...axisText, color: DIM },
  axisLabel: roundLabels,
  axisLine: { show: false },
  axisTick: { show: false },
  splitLine: { lineStyle: { color: RULE } },
});

const HEAD = 78;
const BAR = 25;
const PANEL_HEAD = 30;
const PANEL_FOOT = 52;

/** From zero, in about four round steps to beyond the largest. */
function steps(figures: readonly Figure[]) {
  const largest = Math.max(...figures.map(({ value }) => value));
  const power = 10 ** Math.floor(Math.log10(largest / 4));
  const interval = power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= largest / 4) ?? 10);
  return { type: 'value' as const, min: 0, max: interval * Math.ceil(largest / interval), interval };
}

/** Whole powers of ten, from below the smallest. */
function decades(figures: readonly Figure[]) {
  const powers = figures.map(({ value }) => Math.log10(value));
  const [min, max] = [Math.floor(Math.min(...powers) - 0.2), Math.ceil(Math.max(...powers))];
  return { type: 'log' as const, min: 10 ** min, max: 10 ** max };
}

/** The value, and its ratio to the first of `to` that it is held against. */
function labelOf(value: number, ratios: readonly Ratio[], to: readonly string[]): string {
  const ratio = to.flatMap((name) => ratios.filter((each) => each.to === name))[0];
  return ratio === undefined ? number(value) : `${number(value)}{dim|${times(ratio.value)} ×}`;
}

/** Horizontal bars, a panel for each group, all with the same scale; behind each bar the value and a ratio. */
export function bars(figures: readonly Figure[], options: BarsOptions): string {
  const groups = unique(figures.map(({ group }) => group));
  const columns = groups.length === 1 ? 1 : 2;
  const names = unique(figures.map(({ name }) => name));
  const nameWidth = 14 + 6.6 * Math.max(...names.map((name) => name.length));
  const width = (WIDTH - 40) / columns;
  const scale = options.logarithmic ? decades(figures) : steps(figures);
  const perGroup = groups.map((group) => figures.filter((figure) => figure.group === group));
  const heights = perGroup.map((of) => of.length * BAR);
  // The panels of a line are as high as the higher one.
  const lines = Array.from({ length: Math.ceil(groups.length / columns) }, (_, line) => {
    return Math.max(...heights.slice(line * columns, line * columns + columns));
  });
  const topOf = (line: number): number => {
    return HEAD + lines.slice(0, line).reduce((sum, height) => sum + height + PANEL_HEAD + PANEL_FOOT, 0);
  };
  const place = (i: number) => {
    const [line, column] = [Math.floor(i / columns), i % columns];
    return { left: 20 + column * width, top: topOf(line) };
  };
  const option: EChartsOption = {
    title: [heading(options), ...groups.map((group, i) => panelHeading(group, place(i).left, place(i).top))],
    grid: groups.map((_, i) => ({
      left: place(i).left + nameWidth,
      top: place(i).top + PANEL_HEAD,
      width: width - nameWidth - 118,
      height: heights[i] as number,
    })),
    xAxis: groups.map((_, gridIndex) => ({
      gridIndex,
      ...scale,
      ...valueAxis(options.values),
      nameGap: 26,
    })),
    yAxis: perGroup.map((of, gridIndex) => ({
      gridIndex,
      type: 'category' as const,
      inverse: true,
      data: of.map(({ name }) => name),
      axisLabel: { color: INK, fontSize: 12, fontFamily: FONT },
      axisLine: { lineStyle: { color: DIM } },
      axisTick: { show: false },
    })),
    series: perGroup.map((of, i) => ({
      type: 'bar' as const,
      xAxisIndex: i,
      yAxisIndex: i,
      barWidth: 15,
      data: of.map(({ name, value, ratios }) => ({
        value,
        itemStyle: { color: colourOf(name) },
        label: {
          show: true,
          position: 'right' as const,
          color: INK,
          fontSize: 11.5,
          fontFamily: FONT,
          formatter: labelOf(value, ratios, options.to),
          rich: { dim: { color: DIM, padding: [0, 0, 0, 10], fontSize: 11.5, fontFamily: FONT } },
        },
      })),
    })),
  };
  return draw(option, topOf(lines.length) - 4, options);
}

export interface LinesOptions extends Omit<ChartText, 'values'> {
  /** What the figures are measured at, and whether it grows by factors. */
  readonly at: string;
  readonly logarithmic?: boolean;
  /** Panels: the quantity that each shows, the text of its axis, and whether as the first ratio. */
  readonly panels: readonly { readonly quantity: string; readonly values: string; readonly relative?: boolean }[];
}

/** Curves over what the figures are measured at: a panel for each quantity, a curve for each name. */
export function lines(figures: readonly Figure[], options: LinesOptions): string {
  const { panels, at, logarithmic } = options;
  const names = unique(figures.filter((each) => each.at !== undefined).map(({ name }) => name));
  const width = (WIDTH - 40) / panels.length;
  const pointsOf = (name: string, { quantity, relative }: LinesOptions['panels'][number]): [number, number][] => {
    const of = figures.filter((each) => each.quantity === quantity && each.name === name && each.at !== undefined);
    return of.map(({ at, value, ratios }) => [at as number, relative ? (ratios[0]?.value ?? 1) : value]);
  };
  const ends = unique(figures.flatMap((each) => (each.at === undefined ? [] : [each.at])));
  const option: EChartsOption = {
    title: [heading({ ...options, values: '' })],
    legend: {
      right: 24,
      top: 20,
      itemWidth: 22,
      itemGap: 18,
      textStyle: { color: INK, fontSize: 12.5, fontFamily: FONT },
      data: names,
    },
    grid: panels.map((_, i) => ({ left: 20 + i * width + 64, top: HEAD + 14, width: width - 100, height: 250 })),
    xAxis: panels.map((_, gridIndex) => ({
      gridIndex,
      type: logarithmic ? ('log' as const) : ('value' as const),
      min: Math.min(...ends),
      max: Math.max(...ends),
      ...(!logarithmic && { minInterval: 1 }),
      ...valueAxis(at),
      nameGap: 30,
      axisLine: { show: true, onZero: false, lineStyle: { color: DIM } },
    })),
    yAxis: panels.map(({ values }, gridIndex) => ({
      gridIndex,
      type: 'value' as const,
      min: 0,
      ...valueAxis(values),
      nameGap: 46,
    })),
    series: panels.flatMap((panel, i) =>
      names.map((name) => ({
        type: 'line' as const,
        name,
        xAxisIndex: i,
        yAxisIndex: i,
        symbol: 'circle',
        symbolSize: 7,
        lineStyle: { width: 2.2, color: colourOf(name) },
        itemStyle: { color: colourOf(name) },
        data: pointsOf(name, panel),
      })),
    ),
  };
  return draw(option, HEAD + 14 + 250 + 58, { ...options, values: '' });
}
