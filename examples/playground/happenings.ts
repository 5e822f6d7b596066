/** What changes how clients come back, as the library tells it on its diagnostics channels. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import {
  DiagnosticsChannels,
  type FlushedMessage,
  type ReloadReport,
  type RotatedMessage,
  type StoreErrorMessage,
  type TicketKeyRing,
} from 'tls-resumption';

export interface Happening {
  /** Counts up from 1. */
  readonly number: number;
  /** Milliseconds since 1970: of the last time, when it was several times in a row. */
  readonly time: number;
  readonly text: string;
  readonly times: number;
}

const KEPT = 20;

const plural = (count: number, what: string): string =>
  `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;

/** What a reload did, in a sentence. */
export function describeReload({ changed, sessions, handshakes, connections }: ReloadReport): string {
  const settings = changed.flatMap(({ changes }) => changes.map(({ setting }) => setting)).join(' and ');
  if (settings === '') return 'Nothing differs from before.';
  const forgotten =
    sessions === undefined ? 'tickets from before are refused' : `${plural(sessions, 'session')} forgotten`;
  const ended = handshakes.ended > 0 ? `, ${plural(handshakes.ended, 'handshake')} ended` : '';
  return `New ${settings}: ${forgotten}${ended}; ${plural(connections.goOn, 'connection')} under the old one live on.`;
}

export class Happenings {
  #last: readonly Happening[] = [];
  #number = 0;
  readonly #changed: () => void;
  readonly #undo: (() => void)[] = [];

  /** @param changed something happened */
  constructor(ring: TicketKeyRing | undefined, changed: () => void) {
    this.#changed = changed;
    this.#follow<RotatedMessage>(DiagnosticsChannels.Rotated, ({ reason, parameters }) => {
      // That a reload forgets is told by the reload.
      if (parameters === undefined) this.#add(`Everything from before is forgotten (${reason}).`);
    });
    this.#follow<ReloadReport>(DiagnosticsChannels.Reloaded, (report) => this.#add(describeReload(report)));
    this.#follow<FlushedMessage>(DiagnosticsChannels.Flushed, ({ removed, cause }) =>
      this.#add(`${plural(removed, 'session')} left the cache (${cause}).`),
    );
    this.#follow<StoreErrorMessage>(DiagnosticsChannels.StoreError, ({ operation }) =>
      this.#add(`The store failed (${operation}).`),
    );
    ring?.on('rotate', ({ current, reason }) =>
      this.#add(`Another key seals: ${current.name.toString('hex', 0, 4)} (by ${reason}).`),
    );
  }

  /** Newest first. */
  get last(): readonly Happening[] {
    return this.#last;
  }

  close(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  #follow<T>(channel: string, listener: (message: T) => void): void {
    const listen = (message: unknown): void => listener(message as T);
    subscribe(channel, listen);
    this.#undo.push(() => unsubscribe(channel, listen));
  }

  #add(text: string): void {
    const [latest, ...others] = this.#last;
    const again = latest?.text === text;
    const happening = { number: ++this.#number, time: Date.now(), text, times: again ? latest.times + 1 : 1 };
    this.#last = [happening, ...(again ? others : this.#last)].slice(0, KEPT);
    this.#changed();
  }
}
