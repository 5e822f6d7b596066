/** What the page shows of the server: all of it to begin with, then what is new. */

import type { PlaygroundOptions } from './arguments.js';
import { HandshakeLog } from './handshake-log.js';
import { Happenings } from './happenings.js';
import { COLUMNS, History, STEP } from './history.js';
import { REASONS } from './reasons.js';
import type { ConnectionReport, Statistics } from './server.js';
import type { PlaygroundTickets } from './tickets.js';

/** What the page asks the server for again and again. */
export interface DashboardSource {
  readonly statistics: Statistics;
  /** Bytes of the sessions in the cache. */
  readonly cacheBytes: number;
}

function describe({ mode, store, min, max, timeout }: PlaygroundOptions): string {
  const where = store.kind === 'memory' ? '' : `, in ${store.kind === 'lmdb' ? 'LMDB' : 'Redis'},`;
  const kept = mode === 'stateful' ? `the server${where}` : 'the clients, in tickets,';
  const sessions = mode === 'none' ? 'Nothing resumes' : `Sessions are kept by ${kept} for ${timeout} s`;
  return `${sessions}. ${min === max ? min : `${min} and ${max}`}.`.replaceAll('TLSv', 'TLS ');
}

export class Dashboard {
  readonly handshakes = new HandshakeLog();
  readonly #history = new History();
  readonly #happenings: Happenings;
  readonly #source: DashboardSource;
  readonly #tickets: PlaygroundTickets | undefined;
  readonly #settings: object;

  constructor(options: PlaygroundOptions, tickets: PlaygroundTickets | undefined, source: DashboardSource) {
    const { mode, store } = options;
    const cache = mode === 'stateful' && store.kind === 'memory';
    this.#settings = { says: describe(options), cache, step: STEP, columns: COLUMNS, reasons: REASONS };
    this.#tickets = tickets;
    this.#source = source;
    this.#happenings = new Happenings(tickets?.ring, () => this.handshakes.tell());
  }

  handshake(socket: object, report: ConnectionReport, reason: Parameters<HandshakeLog['add']>[2]): void {
    this.#history.handshake(report.resumed);
    this.handshakes.add(socket, report, reason);
  }

  /**
   * For one page, over its connection.
   *
   * @param actions the names of what its buttons may do
   */
  news(socket: object, actions: readonly string[]): () => object {
    let [handshake, happening, column] = [0, 0, 0];
    const settings = { ...this.#settings, actions, number: this.handshakes.of(socket)?.number };
    let first: object | undefined = settings;
    return () => {
      const { statistics, cacheBytes: bytes } = this.#source;
      const { ticketKeys, ...counters } = statistics;
      this.#history.cache(counters.number, bytes);
      const news = {
        ...(first && { settings: first }),
        now: Date.now(),
        totals: this.handshakes.totals,
        statistics: { ...counters, bytes },
        ...(this.#tickets && { keys: this.#tickets.shown, rotations: ticketKeys?.rotations }),
        handshakes: this.handshakes.last.filter(({ number }) => number > handshake),
        ...((this.#happenings.last[0]?.number ?? 0) > happening && { happenings: this.#happenings.last }),
        columns: this.#history.columns.filter(({ at }) => at >= column),
      };
      first = undefined;
      handshake = news.handshakes[0]?.number ?? handshake;
      happening = this.#happenings.last[0]?.number ?? happening;
      column = news.columns.at(-1)?.at ?? column;
      return news;
    };
  }

  close(): void {
    this.#happenings.close();
    this.handshakes.close();
  }
}
