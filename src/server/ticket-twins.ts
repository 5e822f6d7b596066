/**
 * Contexts for TLS 1.2 handshakes, each lent to one virtual host at a time: which context asks for a key is all that
 * tells whose ticket OpenSSL is making or opening there.
 */

import type { SecureContext, Server } from 'node:tls';
import { nativeContextOf, twinOfDefaultContext } from './node-tls-server.js';
import type { TicketJudgement } from './ticket-judgement.js';
import { setTicketKeyCallback, type TicketKeySource } from './ticket-key-callback.js';

/** Virtual hosts whose handshakes can be under way at once; those of more make no ticket. */
const MAX_TWINS = 64;

/** Like the server's own context, but for what its tickets are stamped with. */
export class Twin {
  readonly secureContext: SecureContext;
  /** Tickets that may be opened under it now, and those that may not. */
  readonly open = new Set<TicketJudgement>();
  /** Where its tickets belong; `undefined` for one whose tickets are nobody's. */
  stamp: Buffer | undefined;
  /** What must still be true of the guard when a ticket is made. */
  rotations = 0;
  host: string | undefined;
  users = 0;

  constructor(secureContext: SecureContext) {
    this.secureContext = secureContext;
  }
}

export class TwinPool {
  readonly #server: Server;
  readonly #sourceOf: (twin: Twin) => TicketKeySource;
  readonly #all: Twin[] = [];
  readonly #byHost = new Map<string, Twin>();
  #nobody: Twin | undefined;

  constructor(server: Server, sourceOf: (twin: Twin) => TicketKeySource) {
    this.#server = server;
    this.#sourceOf = sourceOf;
  }

  /** The one of a host, to be given back when the handshake is over. */
  lend(host: string, rotations: number, stamp: () => Buffer): Twin {
    let twin = this.#byHost.get(host);
    if (twin === undefined) {
      twin = this.#free();
      if (twin === undefined) return this.nobody;
      if (twin.host !== undefined) this.#byHost.delete(twin.host);
      twin.host = host;
      twin.rotations = rotations;
      twin.stamp = stamp();
      this.#byHost.set(host, twin);
    }
    twin.users++;
    return twin;
  }

  giveBack(twin: Twin): void {
    if (twin !== this.#nobody) twin.users--;
  }

  /** For handshakes that no host is known of: their tickets open nowhere, and none is opened. */
  get nobody(): Twin {
    this.#nobody ??= this.#make();
    return this.#nobody;
  }

  /** The server's own context is another now. What runs under the twins of the one before makes no ticket any more. */
  retire(): void {
    for (const twin of this.#all.splice(0)) twin.stamp = undefined;
    this.#byHost.clear();
    this.#nobody = undefined;
  }

  #free(): Twin | undefined {
    const idle = this.#all.find(({ users }) => users === 0);
    if (idle !== undefined || this.#all.length === MAX_TWINS) return idle;
    const made = this.#make();
    this.#all.push(made);
    return made;
  }

  #make(): Twin {
    const twin = new Twin(twinOfDefaultContext(this.#server));
    setTicketKeyCallback(nativeContextOf(twin.secureContext), this.#sourceOf(twin));
    return twin;
  }
}
