/** Says what is going on: in one line that moves on a terminal, in few lines elsewhere. */

import type { WriteStream } from 'node:tty';

const FRAMES = ['|', '/', '-', '\\'];
const BAR = 24;

export class Progress {
  readonly #stream: WriteStream;
  #frame = 0;
  #said: string | undefined;

  constructor(stream: WriteStream) {
    this.#stream = stream;
  }

  /** @param share how much of `what` is done, 0 to 1 */
  show(what: string, share: number): void {
    if (this.#stream.isTTY) {
      const done = Math.round(share * BAR);
      const frame = FRAMES[this.#frame++ % FRAMES.length];
      this.#stream.write(`\r\x1b[K${frame} [${'#'.repeat(done)}${'.'.repeat(BAR - done)}] ${what}`);
    } else {
      const [subject] = what.split(':');
      if (subject !== this.#said) this.#stream.write(`measuring ${subject} ...\n`);
      this.#said = subject;
    }
  }

  clear(): void {
    if (this.#stream.isTTY) this.#stream.write('\r\x1b[K');
  }
}
