/** The command: what was asked for, and how it ended. */

import { HELP } from './help.js';
import { runInspect } from './inspect.js';
import { CommandError, type ExitCode, type Io, printable, UsageError } from './io.js';
import { runKeys } from './keys.js';
import { runProbe } from './probe.js';

type Command = (args: readonly string[], io: Io) => Promise<ExitCode>;

const COMMANDS: Readonly<Record<string, Command>> = { probe: runProbe, inspect: runInspect, keys: runKeys };

/**
 * Runs the command line.
 *
 * @param args what was typed after the program's name
 */
export async function main(args: readonly string[], io: Io): Promise<ExitCode> {
  const terminator = args.indexOf('--');
  const asked = (flag: string): boolean => args.slice(0, terminator < 0 ? undefined : terminator).includes(flag);
  if (asked('--help') || asked('-h')) return say(io, HELP);
  if (asked('--version')) return say(io, `${io.version}\n`);
  try {
    return await commandOf(args[0])(args.slice(1), io);
  } catch (error) {
    if (error instanceof UsageError) {
      io.err(`tls-resumption: ${printable(error.message)}\nTry: tls-resumption --help\n`);
      return 2;
    }
    if (!(error instanceof CommandError)) throw error;
    io.err(`tls-resumption: ${printable(error.message)}\n`);
    return 3;
  }
}

function say(io: Io, text: string): ExitCode {
  io.out(text);
  return 0;
}

function commandOf(name: string | undefined): Command {
  if (name !== undefined && Object.hasOwn(COMMANDS, name)) return COMMANDS[name] as Command;
  const given = name === undefined ? 'nothing' : JSON.stringify(name);
  throw new UsageError(`expected ${Object.keys(COMMANDS).join(', ')}, got ${given}`);
}
