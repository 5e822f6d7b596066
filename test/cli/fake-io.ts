/** The command, run in this process. */

import type { ExitCode, Io } from '../../src/cli/io.js';
import { main } from '../../src/cli/main.js';
import type { ProbeReport } from '../../src/cli/probe-report.js';

export interface Ran {
  readonly code: ExitCode;
  readonly out: string;
  readonly err: string;
}

export async function run(args: readonly string[], more: Partial<Io> = {}): Promise<Ran> {
  const said = { out: '', err: '' };
  const code = await main(args, {
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    stdin: stdinOf(Buffer.alloc(0)),
    now: Date.now,
    sleep: async () => {},
    colours: false,
    progress: false,
    version: '1.2.3',
    ...more,
  });
  return { code, ...said };
}

/** Standard input that holds this; what was read of it is overwritten. */
export function stdinOf(bytes: Uint8Array): Io['stdin'] {
  return async function* () {
    yield Buffer.from(bytes);
  };
}

/** The report of a probe that could be made; less patient than it is by itself. */
export async function probe(
  args: readonly string[],
  more: Partial<Io> = {},
): Promise<ProbeReport & { code: ExitCode }> {
  const { code, out, err } = await run(['probe', '--json', '--patience', '0.05', ...args], more);
  if (code > 1) throw new Error(err);
  return { ...(JSON.parse(out) as ProbeReport), code };
}
