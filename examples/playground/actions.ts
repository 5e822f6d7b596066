/** What the buttons of the page do. */

import type { IncomingMessage } from 'node:http';

/** @returns what was done, in a sentence */
export type Action = () => string | Promise<string>;

export interface Answer {
  readonly done: boolean;
  readonly text: string;
}

export class Actions {
  readonly #actions: ReadonlyMap<string, Action>;
  #busy: string | undefined;

  /** @param actions by name: those that there are with the options given */
  constructor(actions: Readonly<Record<string, Action>>) {
    this.#actions = new Map(Object.entries(actions));
  }

  get names(): readonly string[] {
    return [...this.#actions.keys()];
  }

  has(name: string): boolean {
    return this.#actions.has(name);
  }

  /** One at a time. Never rejects. */
  async run(name: string): Promise<Answer> {
    const action = this.#actions.get(name);
    if (action === undefined) return { done: false, text: 'There is no such action.' };
    if (this.#busy !== undefined) return { done: false, text: this.#busy };
    this.#busy = 'Another action is under way.';
    try {
      return { done: true, text: await action() };
    } catch (error) {
      return { done: false, text: `Not done: ${(error as Error).message}.` };
    } finally {
      this.#busy = undefined;
    }
  }

  /**
   * No more of them while something runs that they would disturb.
   *
   * @param why what those who come meanwhile are told
   */
  async without<T>(why: string, run: () => Promise<T>): Promise<T> {
    this.#busy = why;
    return run().finally(() => {
      this.#busy = undefined;
    });
  }
}

/**
 * Whether a request comes from a page of this server, and not from another site that somebody has open beside it
 * (https://www.w3.org/TR/fetch-metadata/). Browsers say so themselves; what is not one has to say where it comes from.
 */
export function isFromOurPage({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin';
  return headers.host !== undefined && headers.origin === `https://${headers.host}`;
}
