/** The table at the end. */

import type { Cost, Measurement } from './measure.js';

const HEADINGS = ['way', 'protocol', 'handshake', 'number', 'share', 'median time', 'server CPU', 'bytes'];
/** Columns of words stand left, those of figures right. */
const WORDS = 3;
const NONE = '-';

const figure = (value: number | undefined, digits: number, unit: string): string =>
  value === undefined ? NONE : `${value.toFixed(digits)}${unit}`;

function percent(part: number, whole: number): string {
  if (whole === 0) return NONE;
  // Only all is 100 %.
  const share = Math.floor((1000 * part) / whole) / 10;
  return `${Number.isInteger(share) ? share : share.toFixed(1)} %`;
}

function row({ way, version, full, resumed, cameBack }: Measurement, kind: 'full' | 'resumed'): string[] {
  const cost: Cost = kind === 'full' ? full : resumed;
  return [
    way,
    version,
    kind,
    String(cost.count),
    kind === 'full' ? '' : percent(resumed.count, cameBack),
    figure(cost.time, 2, ' ms'),
    figure(cost.cpu, 0, ' µs'),
    figure(cost.bytes, 0, ''),
  ];
}

export function formatTable(measurements: readonly Measurement[]): string {
  const rows = [HEADINGS, ...measurements.flatMap((each) => [row(each, 'full'), row(each, 'resumed')])];
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((cells) => (cells[column] ?? '').length)));
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => (column < WORDS ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '));
  return `${lines.join('\n')}\n`;
}

export const LEGEND = `share        of the connections that came back with a session
median time  of the TLS handshake, as the client process saw it
server CPU   of this process for a connection, measured in separate batches
bytes        on the wire in both directions, from the ClientHello to the close

Both kinds of TLS 1.3 handshake exchange keys, so with an ECDSA certificate resuming saves the
server little; it saves RSA signatures, checks of client certificates, bytes and the client's work.
`;
