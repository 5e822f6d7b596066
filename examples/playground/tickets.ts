/** The keys of the playground's tickets: its own, or those in a file. */

import { TicketKeyRing } from 'tls-resumption';
import type { PlaygroundOptions } from './arguments.js';

/** What Node takes. */
const KEY_BYTES = 48;

/** Seconds: the processes that follow one file are on one machine. */
const FILE_TIMES = { pollInterval: 0.25, skew: 2 };

/** What `GET /statistics` says of the keys. */
export interface TicketKeysReport {
  /** Names, in hexadecimal: what seals, what will seal, and what else opens. */
  readonly current: string | undefined;
  readonly next: readonly string[];
  readonly previous: readonly string[];
  /** Seconds that a key opens after it stopped sealing. */
  readonly lifetime: number;
  readonly rotations: number;
  /** Of the last rotation, in milliseconds since 1970. */
  readonly rotatedAt: number | null;
}

/** A key as the page shows it. Times are milliseconds since 1970, `null` when only the file knows. */
export interface ShownKey {
  /** The first bytes of the name, in hexadecimal. */
  readonly name: string;
  readonly use: 'seals' | 'will seal' | 'opens';
  /** Since when, and until when. */
  readonly since: number | null;
  readonly until: number | null;
}

/** Keys that the page shows. */
const SHOWN = 8;

export class PlaygroundTickets {
  readonly ring: TicketKeyRing;
  /** Whether keys are made here: otherwise other hosts would not know a new one. */
  readonly own: boolean;
  readonly #interval: number;
  readonly #rotated: { count: number; at: number | null } = { count: 0, at: null };
  readonly #begun = Date.now();
  /** When each key that no longer seals stopped, the latest last. */
  #ended: ReadonlyMap<string, number> = new Map();

  /**
   * @param changed another key seals
   * @param fault the file is not good any more
   * @throws ResumptionError when it is not good now
   */
  constructor(options: PlaygroundOptions, changed: () => void, fault: (message: string) => void) {
    this.ring = ringOf(options);
    this.own = options.ticketKeys === undefined;
    this.#interval = options.rotate * 1000;
    this.ring.on('rotate', ({ previous }) => {
      this.#rotated.count++;
      this.#rotated.at = Date.now();
      const ended = [...this.#ended, [previous.name.toString('hex'), this.#rotated.at] as const];
      this.#ended = new Map(ended.slice(-SHOWN));
      changed();
    });
    this.ring.on('fault', (error) => fault(error.message));
  }

  get report(): TicketKeysReport {
    return { ...this.ring.toJSON(), rotations: this.#rotated.count, rotatedAt: this.#rotated.at };
  }

  /** What seals, what will, and what else opens, newest first; not all when there are many. */
  get shown(): readonly ShownKey[] {
    const { current, next, previous, lifetime } = this.ring.toJSON();
    const since = this.#rotated.at ?? this.#begun;
    const key = (name: string, use: ShownKey['use'], from: number | null, length: number): ShownKey => {
      const known = this.own && from !== null;
      return { name: name.slice(0, 8), use, since: known ? from : null, until: known ? from + length : null };
    };
    return [
      ...(current === undefined ? [] : [key(current, 'seals', since, this.#interval)]),
      ...next.map((name) => key(name, 'will seal', null, 0)),
      ...previous.map((name) => key(name, 'opens', this.#ended.get(name) ?? null, lifetime * 1000)),
    ].slice(0, SHOWN);
  }
}

function ringOf({ ticketKeys, rotate, timeout }: PlaygroundOptions): TicketKeyRing {
  if (ticketKeys === undefined) return TicketKeyRing.generate({ interval: rotate, lifetime: timeout });
  const { file, format } = ticketKeys;
  const ring = TicketKeyRing.fromFile(file, { format, lifetime: timeout, ...FILE_TIMES });
  if (ring.keyLength !== KEY_BYTES) {
    throw new Error(`the ticket keys in ${file} have ${ring.keyLength} bytes each, and Node takes ${KEY_BYTES}`);
  }
  return ring;
}
