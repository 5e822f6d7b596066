/**
 * Contexts for TLS 1.2 handshakes, each lent to one context of the guard at a time: which of them asks for a key is all that
 * tells whose ticket OpenSSL is making or opening there.
 */

import type { SecureContext, Server } from 'node:tls';
import { nativeContextOf, twinOfDefaultContext } from './node-tls-server.js';
import type { TicketJudgement } from './ticket-judgement.js';
import { setTicketKeyCallback, type TicketKeySource } from './ticket-key-callback.js';

/** Names whose handshakes can be under way at once; those of more make tickets that are nobody's. */
const MAX_TWINS = 64;

const NOBODYS: Buffer = Buffer.alloc(32);

/** Like the server's own context, but for what its tickets are stamped with. */
export class Twin {
  readonly secureContext: SecureContext;
  /** Tickets that may be opened under it now, and those that may not. */
  readonly open = new Set<TicketJudgement>();
  /** Where its tickets belong; `undefined` for one whose tickets are nobody's. */
  stamp: Buffer | undefined;
  /** The settings that it is lent under, and what must still be the guard's generation of them when a ticket is made. */
  parameters = NOBODYS;
  generation = 0;
  holder: string | undefined;
  users = 0;

  constructor(secureContext: SecureContext) {
    this.secureContext = secureContext;
  }
}

export class TwinPool {
  readonly #server: Server;
  readonly #sourceOf: (twin: Twin) => TicketKeySource;
  readonly #all: Twin[] = [];
  readonly #byHolder = new Map<string, Twin>();
  #nobody: Twin | undefined;

  constructor(server: Server, sourceOf: (twin: Twin) => TicketKeySource) {
    this.#server = server;
    this.#sourceOf = sourceOf;
  }

  /** The one of a context, to be given back when the handshake is over. */
  lend(context: Buffer, parameters: Buffer, generation: number, stamp: () => Buffer): Twin {
    const holder = context.toString('latin1');
    let twin = this.#byHolder.get(holder);
    if (twin === undefined) {
      twin = this.#free();
      if (twin === undefined) return this.nobody;
      if (twin.holder !== undefined) this.#byHolder.delete(twin.holder);
      twin.holder = holder;
      twin.parameters = parameters;
      twin.generation = generation;
      twin.stamp = stamp();
      this.#byHolder.set(holder, twin);
    }
    twin.users++;
    return twin;
  }

  giveBack(twin: Twin): void {
    if (twin !== this.#nobody) twin.users--;
  }

  /** For handshakes whose settings are not known: their tickets open nowhere, and none is opened. */
  get nobody(): Twin {
    this.#nobody ??= this.#make();
    return this.#nobody;
  }

  /** The server's own context is another now. What runs under the twins of the one before may end under them. */
  renew(): void {
    this.#all.length = 0;
    this.#byHolder.clear();
    this.#nobody = undefined;
  }

  /** What runs under a twin makes no ticket any more. */
  end(): void {
    for (const twin of this.#all) twin.stamp = undefined;
    this.renew();
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
