/** The last handshakes, how many there were, and who wants to hear of new ones. */

import type { NotResumedReason } from 'tls-resumption';
import type { ConnectionReport } from './server.js';

export interface LoggedHandshake extends ConnectionReport {
  /** Counts up from 1. */
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Why it did not resume; `null` when it did, and when nothing ever does. */
  readonly reason: NotResumedReason | null;
}

export interface HandshakeSubscriber {
  changed(): void;
  closed(): void;
}

const KEPT = 50;

export class HandshakeLog {
  #last: readonly LoggedHandshake[] = [];
  #resumed = 0;
  #number = 0;
  readonly #reasons = new Map<NotResumedReason, number>();
  readonly #bySocket = new WeakMap<object, LoggedHandshake>();
  readonly #subscribers = new Set<HandshakeSubscriber>();

  /** Newest first. */
  get last(): readonly LoggedHandshake[] {
    return this.#last;
  }

  /** How many there were, and why they did not resume. */
  get totals(): { readonly handshakes: number; readonly resumed: number; readonly reasons: Record<string, number> } {
    return { handshakes: this.#number, resumed: this.#resumed, reasons: Object.fromEntries(this.#reasons) };
  }

  add(socket: object, report: ConnectionReport, reason: NotResumedReason | null): void {
    const logged = { number: ++this.#number, time: Date.now(), ...report, reason };
    this.#last = [logged, ...this.#last.slice(0, KEPT - 1)];
    this.#bySocket.set(socket, logged);
    if (report.resumed) this.#resumed++;
    if (reason !== null) this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
    this.tell();
  }

  /** That of a connection, however long ago. */
  of(socket: object): LoggedHandshake | undefined {
    return this.#bySocket.get(socket);
  }

  /** Tells those who want to hear of handshakes that something else has changed. */
  tell(): void {
    for (const subscriber of this.#subscribers) subscriber.changed();
  }

  /** @returns what ends it */
  subscribe(subscriber: HandshakeSubscriber): () => void {
    this.#subscribers.add(subscriber);
    return () => void this.#subscribers.delete(subscriber);
  }

  close(): void {
    for (const subscriber of this.#subscribers) subscriber.closed();
    this.#subscribers.clear();
  }
}
