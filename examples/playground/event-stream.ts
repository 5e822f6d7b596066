/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) for the open pages. */

import type { ServerResponse } from 'node:http';
import type { HandshakeLog } from './handshake-log.js';

/** Pages that can be open at once. */
const MAX_LISTENERS = 32;
/** Milliseconds; several handshakes in a row make one event. */
const INTERVAL = 100;
/** Milliseconds between signs of life. */
const HEARTBEAT = 15_000;

/** What is new since the call before. */
export type News = () => object;

export class EventStream {
  readonly #log: HandshakeLog;
  #listeners = 0;

  constructor(log: HandshakeLog) {
    this.#log = log;
  }

  /**
   * Answers with events from now on: what `news` gives at once, and again whenever there is something.
   *
   * @returns whether there was room
   */
  open(response: ServerResponse, headers: Record<string, string>, news: News): boolean {
    if (this.#listeners >= MAX_LISTENERS) return false;
    this.#listeners++;
    response.writeHead(200, { ...headers, 'Content-Type': 'text/event-stream' });
    let waiting: NodeJS.Timeout | undefined;
    let behind = false;
    const write = (): void => {
      // A reader that is behind gets all of it later, in one event.
      if (response.writableNeedDrain) {
        response.once('drain', write);
        return;
      }
      waiting = undefined;
      response.write(`data: ${JSON.stringify(news())}\n\n`);
    };
    const heartbeat = setInterval(() => {
      if (behind && response.writableNeedDrain) response.destroy();
      behind = response.writableNeedDrain;
      if (!behind) response.write(':\n\n');
    }, HEARTBEAT);
    const stop = (): void => {
      clearTimeout(waiting);
      clearInterval(heartbeat);
      unsubscribe();
    };
    const unsubscribe = this.#log.subscribe({
      changed: () => {
        waiting ??= setTimeout(write, INTERVAL);
      },
      closed: () => {
        stop();
        response.end();
      },
    });
    response.once('close', () => {
      stop();
      this.#listeners--;
    });
    write();
    return true;
  }
}
