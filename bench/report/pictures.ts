/** Which charts are drawn of which part. A part without one is shown by its tables alone. */

import type { Figure } from '../lib/figures.js';
import { bars, type ChartText, lines } from './charts.js';
import type { Illustration } from './markdown.js';
import type { Results } from './results.js';

interface Picture extends Pick<ChartText, 'title' | 'subtitle'> {
  readonly part: string;
  /** The file, without its ending. */
  readonly name: string;
  readonly shows: (figure: Figure) => boolean;
  readonly draw: (figures: readonly Figure[], text: Pick<ChartText, 'title' | 'subtitle'>) => string;
}

const TO_FULL =
  "Behind each bar: the value, and its ratio to Node's full handshake in the same run. Shorter is better.";
const withCertificates = ({ group }: Figure): boolean => group.includes('client certificates');

const PICTURES: readonly Picture[] = [
  {
    part: 'handshakes',
    name: 'handshakes-cpu',
    title: 'Server CPU of a handshake',
    subtitle: TO_FULL,
    shows: (figure) => figure.quantity === 'server CPU' && !withCertificates(figure),
    draw: (figures, text) => bars(figures, { ...text, values: 'server CPU of a connection, µs', to: ['Node: full'] }),
  },
  {
    part: 'handshakes',
    name: 'handshakes-cpu-client-certificates',
    title: 'Server CPU of a handshake with client certificates',
    subtitle: TO_FULL,
    shows: (figure) => figure.quantity === 'server CPU' && withCertificates(figure),
    draw: (figures, text) => bars(figures, { ...text, values: 'server CPU of a connection, µs', to: ['Node: full'] }),
  },
  {
    part: 'handshakes',
    name: 'handshakes-time',
    title: 'Time of a handshake, as the client sees it',
    subtitle: TO_FULL,
    shows: (figure) => figure.quantity === 'handshake time' && !withCertificates(figure),
    draw: (figures, text) =>
      bars(figures, { ...text, values: 'time from connect to the end of the handshake, µs', to: ['Node: full'] }),
  },
  {
    part: 'cache',
    name: 'cache-operations',
    title: 'Operations of the session cache',
    subtitle: 'Behind each bar: the value, and its ratio to lru-cache in the same run. Shorter is better.',
    shows: ({ quantity }) => quantity === 'time of an operation',
    draw: (figures, text) => bars(figures, { ...text, values: 'time of an operation, ns', to: ['lru-cache'] }),
  },
  {
    part: 'cache',
    name: 'cache-stall',
    title: 'How long the event loop stands still while all sessions expire',
    subtitle:
      'Logarithmic scale. Behind each bar: the value, and its ratio to purgeStale of lru-cache. Shorter is better.',
    shows: ({ quantity }) => quantity === 'longest stall',
    draw: (figures, text) =>
      bars(figures, {
        ...text,
        values: 'longest turn of the event loop, ms',
        logarithmic: true,
        to: ['lru-cache, purgeStale'],
      }),
  },
  {
    part: 'growth',
    name: 'growth',
    title: 'From a thousand sessions to a million',
    subtitle: 'Caches of that size; lower is better.',
    shows: ({ at }) => at !== undefined,
    draw: (figures, text) =>
      lines(figures, {
        ...text,
        at: 'sessions in the cache',
        logarithmic: true,
        panels: [
          { quantity: 'get', values: 'time of a get, ns' },
          { quantity: 'memory of a session', values: 'memory of a session, bytes' },
        ],
      }),
  },
  {
    part: 'codec',
    name: 'codec',
    title: 'Sealing and opening a session',
    subtitle:
      'Logarithmic scale. Behind each bar: the value, and its ratio to node:crypto; of jose and iron, to TicketCodec.',
    shows: () => true,
    draw: (figures, text) =>
      bars(figures, { ...text, values: 'time, µs', logarithmic: true, to: ['node:crypto AES-256-GCM', 'TicketCodec'] }),
  },
  {
    part: 'stores',
    name: 'stores',
    title: 'Server CPU of a resumed handshake, by where its session lies',
    subtitle: 'Behind each bar: the value, and its ratio to sessions in memory in the same run. Shorter is better.',
    shows: () => true,
    draw: (figures, text) => bars(figures, { ...text, values: 'server CPU of a connection, µs', to: ['memory'] }),
  },
  {
    part: 'processes',
    name: 'processes',
    title: 'A cluster over one LMDB store',
    subtitle: 'Resumed handshakes, as a ratio to one worker. The clients run on the same processors.',
    shows: ({ at }) => at !== undefined,
    draw: (figures, text) =>
      lines(figures, {
        ...text,
        at: 'worker processes',
        panels: [
          { quantity: 'resumed handshakes', values: 'handshakes a second, × one worker', relative: true },
          { quantity: 'server CPU', values: 'server CPU of a handshake, × one worker', relative: true },
        ],
      }),
  },
];

/** The charts of what there are figures of: their illustrations, and their files by name. */
export function pictures(results: Results): { illustrations: Illustration[]; files: Map<string, string> } {
  const files = new Map<string, string>();
  const illustrations: Illustration[] = [];
  for (const { part, name, title, subtitle, shows, draw } of PICTURES) {
    const figures = results[part]?.figures.filter(shows) ?? [];
    if (figures.length === 0) continue;
    const file = `charts/${name}.svg`;
    files.set(file, draw(figures, { title, subtitle }));
    illustrations.push({ part, file, title });
  }
  return { illustrations, files };
}
