/** The last handshakes, and who wants to hear of new ones. */

import type { ConnectionReport } from './server.js';

export interface LoggedHandshake extends ConnectionReport {
  /** Counts up from 1. */
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly time: number;
}

export interface HandshakeSubscriber {
  changed(): void;
  closed(): void;
}

const KEPT = 20;

export class HandshakeLog {
  #last: readonly LoggedHandshake[] = [];
  #number = 0;
  readonly #subscribers = new Set<HandshakeSubscriber>();

  /** Newest first. */
  get last(): readonly LoggedHandshake[] {
    return this.#last;
  }

  add(report: ConnectionReport): void {
    this.#last = [{ number: ++this.#number, time: Date.now(), ...report }, ...this.#last.slice(0, KEPT - 1)];
    this.tell();
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
