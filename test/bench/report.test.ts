import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cost, type Figure, figure, isMet } from '../../bench/lib/figures.js';
import { bars, lines } from '../../bench/report/charts.js';
import { readResults, writeResults } from '../../bench/report/folder.js';
import { page } from '../../bench/report/markdown.js';
import { number, times } from '../../bench/report/numbers.js';
import { pictures } from '../../bench/report/pictures.js';
import { merged, type Result, withGroups } from '../../bench/report/results.js';

const full = [300, 310, 320];
const handshake = { group: 'ECDSA P-256, TLS 1.3', quantity: 'server CPU', unit: 'µs' };
const FIGURES: readonly Figure[] = [
  figure({ ...handshake, name: 'Node: full' }, full, [{ to: 'Node: full', samples: full }]),
  figure({ ...handshake, name: 'ours: ticket' }, [150, 155, 320], [{ to: 'Node: full', samples: full, atMost: 0.6 }]),
  figure({ ...handshake, name: 'nginx: <odd> & "quoted"' }, [1200], [{ to: 'Node: full', samples: full, atMost: 2 }]),
];
const CURVES: readonly Figure[] = [1000, 10_000].flatMap((at, i) =>
  ['SessionCache', 'Map'].map((name) =>
    figure({ group: 'sessions held', quantity: 'get', name, at, unit: 'ns' }, [100 + 50 * i]),
  ),
);

function result(figures: readonly Figure[], more: Partial<Result> = {}): Result {
  return {
    title: 'Handshakes',
    about: 'What was measured.',
    date: '2026-01-31',
    seconds: 7,
    quick: false,
    machine: { cpu: 'A processor', cores: 2, memory: '4 GiB', system: 'linux x64' },
    versions: { Node: '20.19.0', OpenSSL: '3.0.15' },
    figures,
    ...more,
  };
}

/** The element names of an XML text whose tags close in order; throws when they do not. */
function elements(xml: string): string[] {
  const open: string[] = [];
  const seen: string[] = [];
  for (const [tag, close, name = '', self] of xml.matchAll(/<(\/?)([a-zA-Z:]+)(?:\s[^<>]*?)?(\/?)>/g)) {
    if (close === '/') {
      if (open.pop() !== name) throw new Error(`${tag} closes nothing`);
      continue;
    }
    seen.push(name);
    if (self !== '/') open.push(name);
  }
  if (open.length > 0) throw new Error(`${open} stay open`);
  return seen;
}

describe('a figure', () => {
  it('is the median of its samples, and its ratio the median of what the rounds say', () => {
    expect(FIGURES[1]).toMatchObject({ value: 155, samples: [150, 155, 320] });
    expect(FIGURES[1]?.ratios).toEqual([{ to: 'Node: full', value: 0.5, spread: [0.5, 1], atMost: 0.6 }]);
  });

  it('is held against medians when the rounds are not the same', () => {
    expect(FIGURES[2]?.ratios[0]).toEqual({ to: 'Node: full', value: 3.871, atMost: 2 });
  });

  it('is the mean of its samples where they are what was spent, and its ratio that of the means', () => {
    const full = { to: 'Node: full', samples: [100, 200, 600], atMost: 1.05 };
    const what = { group: 'TLS 1.3', quantity: 'server CPU', name: 'ours', unit: 'µs' };
    expect(cost(what, [110, 220, 300], [full])).toEqual({
      ...what,
      value: 210,
      samples: [110, 220, 300],
      ratios: [{ to: 'Node: full', value: 0.7, spread: [0.5, 1.1], atMost: 1.05 }],
    });
  });

  it('is not held against itself', () => {
    expect(FIGURES[0]?.ratios).toEqual([]);
  });

  it.each([
    [{ value: 1 }, undefined],
    [{ value: 1.05, atMost: 1.05 }, true],
    [{ value: 1.06, atMost: 1.05 }, false],
    [{ value: 14, atLeast: 15 }, false],
    [{ value: 15, atLeast: 15 }, true],
  ])('keeps to its limits or does not: %j', (ratio, kept) => {
    expect(isMet(ratio)).toBe(kept);
  });
});

describe('numbers', () => {
  it.each([
    [0.012345, '0.0123'],
    [2.71, '2.71'],
    [42.25, '42.3'],
    [99.96, '100'],
    [314.15, '314'],
    [999.7, '1 000'],
    [1234567, '1 234 567'],
    [Number.NaN, '–'],
  ])('have three digits that count: %d is %s', (value, shown) => {
    expect(number(value)).toBe(shown);
  });

  it('have two digits behind the point as ratios', () => {
    expect([0.951, 1, 12.34, 140.6].map(times)).toEqual(['0.95', '1.00', '12.3', '141']);
  });
});

describe('the page', () => {
  const results = { handshakes: result(FIGURES), growth: result(CURVES, { title: 'Growth', quick: true }) };
  const text = page(results, [{ part: 'handshakes', file: 'charts/a.svg', title: 'A chart' }]);

  it('has a row for each name, with its value, its ratios and whether they keep to their limits', () => {
    expect(text).toContain('|  | server CPU, µs | × Node: full |\n| --- | ---: | ---: |\n| Node: full | 310 |  |');
    expect(text).toContain('| ours: ticket | 155 | 0.50 <sub>0.50–1.00</sub> (≤ 0.6 ✓) |');
    expect(text).toContain('(≤ 2 ✗) |');
    expect(text).toContain('| SessionCache, 10 000 | 150 |');
  });

  it('has tables whose rows are as long as their heads', () => {
    for (const table of text.split('\n\n').filter((block) => block.startsWith('|'))) {
      const widths = new Set(
        table
          .trim()
          .split('\n')
          .map((line) => line.split('|').length),
      );
      expect(widths.size, table).toBe(1);
    }
  });

  it('shows the charts, names the machine and the versions, and says which figures say nothing', () => {
    expect(text).toContain('![A chart](charts/a.svg)');
    expect(text).toContain('| all | A processor, 2 cores, 4 GiB, linux x64 | Node 20.19.0, OpenSSL 3.0.15 |');
    expect(text.match(/A quick run/g)).toHaveLength(1);
    expect(text).toContain('*`npm run bench -- handshakes`, 2026-01-31, 7 s.*');
  });

  it('lists what must hold, and whether it does', () => {
    const limits = text.slice(text.indexOf('## The limits'));
    expect(limits).toContain('| ours: ticket | server CPU | 0.50 × Node: full | ≤ 0.6 | yes |');
    expect(limits).toContain('| 3.87 × Node: full | ≤ 2 | **no** |');
  });

  it('names each machine when the parts come from several', () => {
    const other = result(CURVES, { title: 'Growth', versions: { Node: '26.0.0' } });
    const both = page({ handshakes: result(FIGURES), growth: other }, []);
    expect(both).toContain('| Handshakes | A processor');
    expect(both).toMatch(/\| Growth \| A processor.*Node 26\.0\.0 \|/);
  });
});

describe('charts', () => {
  const text = { title: 'CPU & time', subtitle: 'Shorter is <better>.', values: 'server CPU, µs' };

  it.each([
    ['bars', bars(FIGURES, { ...text, to: ['Node: full'] })],
    ['bars on a logarithmic scale', bars(FIGURES, { ...text, to: [], logarithmic: true })],
    [
      'lines',
      lines(CURVES, {
        ...text,
        at: 'sessions',
        logarithmic: true,
        panels: [{ quantity: 'get', values: 'server CPU, µs' }],
      }),
    ],
  ])('%s are well-formed SVG with a ground of its own, a title, and axes that say their unit', (_, svg) => {
    expect(elements(svg).slice(0, 2)).toEqual(['svg', 'title']);
    expect(svg).toMatch(/<rect width="960" height="\d+"[^>]* fill="#ffffff"/);
    expect(svg).toContain('<title>CPU &amp; time: Shorter is &lt;better&gt;.</title>');
    expect(svg).toContain('server CPU, µs');
    expect(svg).not.toContain('NaN');
    expect(svg).not.toContain('<style');
  });

  it('show each value with the ratio that is asked for', () => {
    const svg = bars(FIGURES, { ...text, to: ['Node: full'] });
    for (const shown of ['Node: full', '310', 'ours: ticket', '155', '0.50 ×', '1 200', '3.87 ×']) {
      expect(svg).toContain(`>${shown}<`);
    }
    expect(svg).toContain('nginx: &lt;odd&gt; &amp; ');
    expect(bars(FIGURES, { ...text, to: [] })).not.toContain('0.50 ×');
  });

  it('have curves of values, or of ratios to the first of them', () => {
    const figures = [1, 2].map((at) => {
      const against = at === 1 ? [] : [{ to: 'one', samples: [100] }];
      return figure({ group: 'g', quantity: 'rate', name: 'TLS', at, unit: 'a second' }, [at * 75], against);
    });
    const draw = (relative: boolean) => {
      return lines(figures, { ...text, at: 'processes', panels: [{ quantity: 'rate', values: 'rate', relative }] });
    };
    expect(draw(false)).toContain('>150<');
    expect(draw(true)).toContain('>1.5<');
    expect(draw(true)).not.toContain('>150<');
  });

  it('have a bar as long as its value', () => {
    const svg = bars(FIGURES.slice(0, 2), { ...text, to: [] });
    // A rectangle of 15 pixels height: M left top l width 0 l 0 15 …
    const lengths = [...svg.matchAll(/d="M[\d.]+ [\d.]+l([\d.]+) 0l0 15l-/g)].map(([, width]) => Number(width));
    expect(lengths).toHaveLength(2);
    expect((lengths[0] as number) / (lengths[1] as number)).toBeCloseTo(2, 2);
  });

  it('are drawn only of parts that there are figures of', () => {
    const { illustrations, files } = pictures({ growth: result(CURVES) });
    expect(illustrations.map(({ file }) => file)).toEqual(['charts/growth.svg']);
    expect([...files.keys()]).toEqual(['charts/growth.svg']);
  });
});

describe('the folder of results', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bench-report-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('is empty at first, and keeps other parts when one is measured anew', async () => {
    const names = ['handshakes', 'growth'];
    expect(readResults(folder)).toEqual({});
    const growth = result(CURVES, { title: 'Growth' });
    writeResults(folder, merged(readResults(folder), { growth }, names));
    writeResults(folder, merged(readResults(folder), { handshakes: result(FIGURES) }, names));
    const anew = result(FIGURES.slice(0, 2), { seconds: 8 });
    writeResults(folder, merged(readResults(folder), { handshakes: anew }, names));
    expect(readResults(folder)).toEqual({ handshakes: anew, growth });
    expect(Object.keys(readResults(folder))).toEqual(names);
    expect(await readdir(folder)).toEqual(['benchmarks.json', 'benchmarks.md', 'charts']);
    const text = await readFile(join(folder, 'benchmarks.md'), 'utf8');
    const shown = [...text.matchAll(/!\[[^\]]+\]\(charts\/(.+?)\)/g)].map(([, file]) => file);
    expect(shown).toEqual(['handshakes-cpu.svg', 'growth.svg']);
    expect((await readdir(join(folder, 'charts'))).sort()).toEqual([...shown].sort());
  });

  it('keeps the groups of a part that were not measured anew, in their places', () => {
    const of = (group: string, value: number): Figure => figure({ ...handshake, group, name: 'full' }, [value]);
    const before = result([of('a', 1), of('b', 2), of('b', 3), of('c', 4)], { seconds: 60 });
    const anew = result([of('b', 5), of('d', 6)], { seconds: 7, date: '2026-02-01' });
    const figures = [of('a', 1), of('b', 5), of('c', 4), of('d', 6)];
    expect(withGroups(before, anew)).toEqual({ ...anew, figures, seconds: 67 });
  });

  it('loses the charts that are drawn no more', async () => {
    await writeFile(join(folder, 'charts', 'old.svg'), '<svg/>');
    writeResults(folder, readResults(folder));
    expect(await readdir(join(folder, 'charts'))).not.toContain('old.svg');
  });
});
