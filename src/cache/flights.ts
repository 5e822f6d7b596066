/** Lookups on their way outside: what happens to a session meanwhile decides what their answer may still do. */

import type { SessionEntry } from '../stores/session-envelope.js';
import { latin1 } from '../wire/bytes.js';

/** One or several lookups of the same key. */
export interface Flight {
  readonly key: string;
  lookups: number;
  /** Removed, taken or cleared since: the answer is no longer a session. */
  revoked: boolean;
  /** Stored anew since: the answer must not replace what is inside. */
  superseded: boolean;
}

/** A session that was taken, and what became of its key since. */
export interface Loan {
  readonly entry: SessionEntry;
  readonly flight: Flight;
}

/** A store that never answers is not remembered for longer: an answer beyond these keys is no session. */
const MAX_FLIGHTS = 16_384;

/** Holds no more keys than there are lookups waiting, and no more than MAX_FLIGHTS: the oldest is revoked. */
export class Flights {
  readonly #flights = new Map<string, Flight>();

  begin(id: Uint8Array): Flight {
    const key = latin1(id);
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      flight = { key, lookups: 0, revoked: false, superseded: false };
      this.#flights.set(key, flight);
      if (this.#flights.size > MAX_FLIGHTS) this.#revokeOldest();
    }
    flight.lookups++;
    return flight;
  }

  end(flight: Flight): void {
    if (--flight.lookups === 0 && this.#flights.get(flight.key) === flight) this.#flights.delete(flight.key);
  }

  revoke(id: Uint8Array): void {
    if (this.#flights.size === 0) return;
    const flight = this.#flights.get(latin1(id));
    if (flight === undefined) return;
    flight.revoked = true;
    // Lookups that begin after the removal are none of its business.
    this.#flights.delete(flight.key);
  }

  supersede(id: Uint8Array): void {
    if (this.#flights.size === 0) return;
    const flight = this.#flights.get(latin1(id));
    if (flight !== undefined) flight.superseded = true;
  }

  #revokeOldest(): void {
    for (const [key, flight] of this.#flights) {
      flight.revoked = true;
      this.#flights.delete(key);
      return;
    }
  }

  revokeAll(): void {
    for (const flight of this.#flights.values()) flight.revoked = true;
    this.#flights.clear();
  }
}
