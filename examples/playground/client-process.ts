/** The playground's hold on its client process. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { Answer, Visit, Visits } from './client.js';

export class ClientProcess {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(new URL('./client.ts', import.meta.url), { execArgv: process.execArgv });
    // A failure to start shows in visit() as an end of the process.
    this.#child.on('error', () => {});
  }

  /** One call at a time. */
  async visit(request: Visits): Promise<readonly Visit[]> {
    const over = new AbortController();
    try {
      const answered = once(this.#child, 'message', { signal: over.signal });
      const ended = once(this.#child, 'close', { signal: over.signal }).then(() => undefined);
      this.#child.send(request);
      const [answer] = ((await Promise.race([answered, ended])) ?? []) as [Answer?];
      if (answer === undefined) throw new Error('the client process ended');
      if ('error' in answer) throw new Error(`the client failed: ${answer.error}`);
      return answer.visits;
    } finally {
      over.abort();
    }
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
