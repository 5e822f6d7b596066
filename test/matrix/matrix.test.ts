import { beforeAll, describe, expect, it } from 'vitest';
import { columnsOf, type Measured, measure, type Outcome, type Visited } from './cells.js';
import { makeMaterials } from './materials.js';
import { type Expected, groupsOf, type Row } from './rows.js';
import { documentOf } from './table.js';
import type { Engine, Kind } from './worlds.js';

const NODE = Number.parseInt(process.versions.node, 10);
const ENGINES: readonly Engine[] = ['plain', 'library'];
/** Cells that are measured at once, beside those that wait for time to pass. */
const AT_ONCE = 16;
const TIMEOUT = 300_000;

interface Cell {
  readonly row: Row;
  readonly kind: Kind;
  readonly column: number;
  measured?: Measured | Error;
}

const groups = groupsOf(await makeMaterials());
const cells: Cell[] = groups.flatMap(({ rows }) =>
  rows.flatMap((row) =>
    ENGINES.flatMap((engine) =>
      columnsOf(engine).flatMap(({ kinds }, column) =>
        row[engine][column] === undefined ? [] : kinds.map((kind) => ({ row, kind, column })),
      ),
    ),
  ),
);

beforeAll(async () => {
  const take = async (cell: Cell): Promise<void> => {
    cell.measured = await measure(cell.kind, cell.row).catch((error) => error);
  };
  const quick = cells.filter(({ row }) => !row.waits).values();
  const worker = async (): Promise<void> => {
    for (const cell of quick) await take(cell);
  };
  const slow = cells.filter(({ row }) => row.waits).map(take);
  await Promise.all([...slow, ...Array.from({ length: AT_ONCE }, worker)]);
}, TIMEOUT);

function now(expected: Expected): Outcome {
  if (typeof expected === 'string') return expected;
  return NODE < expected.until ? expected.was : expected.is;
}

/** Beside tickets, session IDs can be had where tickets can. */
function expectedOf({ row, kind, column }: Cell): Outcome {
  const outcomes = row[kind.engine];
  const own = now(outcomes[column] as Expected);
  const tickets = outcomes[1];
  return kind.engine === 'library' && kind.ticketless && tickets && now(tickets) === 'none' ? 'none' : own;
}

/** All that a full handshake checks and agrees on. */
function checked({ agreed, arrival }: Visited): unknown {
  return { agreed, arrival: { ...arrival, reason: undefined } };
}

function check(cell: Cell): void {
  const { row, kind, column, measured } = cell;
  const place = JSON.stringify(kind);
  if (measured === undefined || measured instanceof Error) throw measured ?? new Error('not measured');
  const { outcome, control, back, fresh, reason } = measured;
  expect(outcome, place).toBe(expectedOf(cell));
  if (back === undefined || fresh === undefined) return;
  if (control !== undefined)
    expect(control, `before the change, ${place}`).toBe(kind.engine === 'library' || column !== 2);
  if (outcome === 'full') expect(checked(back), place).toEqual(checked(fresh));
  if (kind.engine === 'plain') return;
  expect(back.resumed, `the client, ${place}`).toBe(outcome === 'resumed');
  expect(back.arrival?.servername, place).toBe(fresh.arrival?.servername);
  for (const { arrival } of [back, fresh]) expect(arrival?.fault, place).toBeUndefined();
  if (outcome === 'full' && !row.opensslRefuses) expect(reason, place).not.toBe('not-taken');
  if (row.reason !== undefined) expect(reason, place).toBe(row.reason);
}

describe.each(groups)('$title', ({ rows }) => {
  describe.each(rows)('$title', (row) => {
    const own = cells.filter((cell) => cell.row === row);
    const engines = ENGINES.filter((engine) => own.some(({ kind }) => kind.engine === engine));
    it.each(engines)('%s', (engine) => {
      for (const cell of own) if (cell.kind.engine === engine) check(cell);
    });
  });
});

describe('docs/guard-matrix.md', () => {
  it('says what was measured', async () => {
    await expect(documentOf(groups)).toMatchFileSnapshot('../../docs/guard-matrix.md');
  });
});
