/**
 * What a balancer and its affinity say to each other.
 *
 * @module
 */

/** A server behind the balancer; further properties, its address say, are the balancer's own. */
export interface AffinityBackend {
  /** 1 to 255 bytes of UTF-8, the same at all balancers that share a store: what is remembered. */
  readonly name: string;
  /**
   * Its share of the clients that are not remembered, relative to that of others: 0 to 1 000 000. 0 drains it: no new
   * clients, those of its sessions still come. Default: 1.
   */
  readonly weight?: number | undefined;
}

/** Where a connection goes. */
export interface AffinityChoice<B extends AffinityBackend> {
  /** Which back end. */
  readonly backend: B;
  /** What decided: the session that the client shows, remembered here or in the store, or else the key. */
  readonly by: 'memory' | 'store' | 'key';
}

/** Sees what the server sends first, in order. */
export interface FlightObserver {
  /** Takes the next bytes, keeping none of them; never throws. `false`: no more are needed. */
  push(chunk: Uint8Array): boolean;
}
