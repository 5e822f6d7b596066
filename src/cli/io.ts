/** What the command has of the world: given to it, so that tests can give it another. */

/** The streams, the clock and the waiting of the command. */
export interface Io {
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
  /** Standard input, which can be read once. */
  stdin(): AsyncIterable<Uint8Array>;
  /** Milliseconds since 1970. */
  now(): number;
  /** Resolves after so many milliseconds. */
  sleep(milliseconds: number): Promise<void>;
  /** Whether standard output is a terminal that takes colours. */
  readonly colours: boolean;
  /** Whether standard error is a terminal: progress is shown there. */
  readonly progress: boolean;
  /** The version of the package. */
  readonly version: string;
}

/** 0 good, 1 something was found, 2 wrong arguments, 3 it could not be done. */
export type ExitCode = 0 | 1 | 2 | 3;

/** A fault of what was typed: the message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What could not be done: the message says why and, where it is known, what helps. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

const CODES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const;

/** How text looks on a terminal; on anything else it stays as it is. */
export type Paint = (style: keyof typeof CODES, text: string) => string;

export function painter(colours: boolean): Paint {
  return (style, text) => (colours ? `\x1b[${CODES[style][0]}m${text}\x1b[${CODES[style][1]}m` : text);
}

/** A line on a terminal that says what is going on, and goes away. */
export class Progress {
  readonly #io: Io;
  #shown = false;

  constructor(io: Io) {
    this.#io = io;
  }

  show(text: string): void {
    if (!this.#io.progress) return;
    this.#shown = true;
    this.#io.err(`\r\x1b[K${text}…`);
  }

  clear(): void {
    if (this.#shown) this.#io.err('\r\x1b[K');
    this.#shown = false;
  }
}

/** What others wrote may hold what moves a terminal's cursor. */
export function printable(text: string): string {
  return text.replace(
    /[^\x20-\x7e\u00a0-\uffff]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** JSON for a terminal or a program: the control characters that JSON leaves as they are, too, are written as escapes. */
export function json(value: unknown): string {
  const text = JSON.stringify(value, undefined, 2);
  return `${text.replace(/[\x7f-\x9f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`)}\n`;
}
