/** A connection that is tried with a session, and once more without if that fails before anything was sent. */

import type { TLSSocket } from 'node:tls';
import { isPromise, type MaybePromise } from '../stores/session-store.js';
import type { ClientTlsOptions } from './client-policy.js';
import type { Offer } from './session-shelf.js';

/** @param secure whether the handshake is complete; else the connection is made, and may still fail */
export type Opened = (error: Error | null, socket?: TLSSocket, secure?: boolean) => void;

export interface Dialing {
  /** Ends it: what was not opened yet never will be. */
  abort(): void;
}

/** What pools need of their ClientResumption. */
export interface PoolConnections {
  connect(options: ClientTlsOptions): TLSSocket;
  /**
   * A connection with a session if there is one, and if that fails before anything was sent, without.
   *
   * @internal
   */
  open(options: ClientTlsOptions, policy: Buffer | undefined, patience: number | undefined, opened: Opened): Dialing;
  /** @internal */
  forgetPolicy(policy: Uint8Array): number;
}

/**
 * @param make connects; what it throws is thrown, or given to `opened` where a promise was waited for
 * @param patience milliseconds after which a connection is handed over before it is secure, and no more tried again;
 *   `undefined` waits for as long as it takes
 * @param opened called once: at once for a connection without a session
 */
export function dial(
  offer: MaybePromise<Offer | undefined>,
  make: (offer: Offer | undefined) => TLSSocket,
  patience: number | undefined,
  opened: Opened,
): Dialing {
  let attempt: Dialing | undefined;
  let aborted = false;
  const begin = (found: Offer | undefined): void => {
    if (found === undefined) {
      const socket = make(undefined);
      attempt = { abort: () => socket.destroy() };
      opened(null, socket, false);
    } else attempt = tryOffer(make, found, patience, opened);
  };
  if (!isPromise(offer)) begin(offer);
  else {
    void offer.then((found) => {
      if (aborted) return opened(closedEarly());
      try {
        begin(found);
      } catch (error) {
        opened(error as Error);
      }
    });
  }
  return {
    abort() {
      aborted = true;
      attempt?.abort();
    },
  };
}

function tryOffer(
  make: (offer: Offer | undefined) => TLSSocket,
  offer: Offer,
  patience: number | undefined,
  opened: Opened,
): Dialing {
  const socket = make(offer);
  let current = socket;
  // What failed before it reached anybody did not fail for the session.
  let reached = !socket.connecting;
  socket.once('connect', () => {
    reached = true;
  });
  const timer = patience === undefined ? undefined : setTimeout(() => handOver(false), patience);
  const settle = (): void => {
    clearTimeout(timer);
    socket.off('secureConnect', onSecure).off('timeout', onTimeout).off('error', onError).off('close', onClose);
  };
  const handOver = (secure: boolean): void => {
    settle();
    opened(null, socket, secure);
  };
  const onSecure = (): void => handOver(true);
  const onTimeout = (): void => {
    handOver(false);
    // Nobody listened yet: the time starts anew for who does now.
    socket.setTimeout(socket.timeout ?? 0);
  };
  const onError = (error: Error): void => {
    settle();
    // Whatever else it has to say is of no interest to anybody.
    socket.on('error', () => {});
    socket.destroy();
    if (!reached) {
      opened(error);
      return;
    }
    try {
      current = make(undefined);
    } catch (thrown) {
      opened(thrown as Error);
      return;
    }
    opened(null, current, false);
  };
  const onClose = (): void => {
    settle();
    opened(closedEarly());
  };
  socket.on('secureConnect', onSecure).on('timeout', onTimeout).on('error', onError).on('close', onClose);
  return { abort: () => current.destroy() };
}

function closedEarly(): Error {
  return Object.assign(new Error('the connection was closed before it was secure'), { code: 'ECONNRESET' });
}
