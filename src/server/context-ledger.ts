/** The contexts of one server, and what is to be forgotten when they change. */

import type { Server } from 'node:tls';
import type { SessionIdContextGuard } from '../guard/session-id-context-guard.js';
import type { MaybePromise } from '../stores/session-store.js';
import type { ContextRegistry } from './context-registry.js';
import { type ContextMove, Departures } from './departures.js';
import * as node from './node-tls-server.js';

/** The pattern of the server's own context, which no name has. */
export const OWN_CONTEXT = '';

/** Sessions kept under some settings. */
export interface SessionTally {
  sessions: number;
}

/** What a change of contexts ended. */
export interface ContextChange {
  /** The settings that are over, in hex: nothing that was made under them may be resumed. */
  readonly over: ReadonlySet<string>;
  /** Sessions kept under them. */
  readonly sessions: number;
  /** What the guard says of their being forgotten. */
  readonly told: readonly MaybePromise<void>[];
}

const NOTHING: ContextChange = { over: new Set(), sessions: 0, told: [] };

export class ContextLedger {
  readonly #server: Server;
  readonly #contexts: ContextRegistry;
  readonly #guard: SessionIdContextGuard;
  readonly #patterns: Set<string>;
  readonly #departures = new Departures();
  readonly #tallies = new Map<string, SessionTally>();

  constructor(server: Server, contexts: ContextRegistry, guard: SessionIdContextGuard) {
    this.#server = server;
    this.#contexts = contexts;
    this.#guard = guard;
    this.#patterns = new Set(node.patternsOf(server));
  }

  contextOf(pattern: string): object | undefined {
    if (pattern === OWN_CONTEXT) return node.defaultContextOf(this.#server);
    return this.#patterns.has(pattern) ? node.contextOfPattern(this.#server, pattern) : undefined;
  }

  /** Whether these are the settings of a context, at present. */
  isDigestOf(parameters: Buffer, context: object | undefined): boolean {
    return context !== undefined && this.#digestOf(context).equals(parameters);
  }

  /** Counts for a context of the server; `undefined` for one that an SNICallback chose. */
  tallyOf(context: object | undefined, parameters: Buffer): SessionTally | undefined {
    if (context === undefined || !this.#all().includes(context)) return undefined;
    const settings = parameters.toString('hex');
    let tally = this.#tallies.get(settings);
    if (tally === undefined) {
      tally = { sessions: 0 };
      this.#tallies.set(settings, tally);
    }
    return tally;
  }

  /**
   * Changes contexts. What was made under the settings of before is forgotten, unless another context has them still:
   * then when they come back. With the server's own context those of names may change, too.
   *
   * @param given patterns of the contexts that are changed
   * @param differ whether they are others even where the same is digested of them
   * @param reason for the guard
   */
  change(given: readonly string[], differ: boolean, reason: string, change: () => void): ContextChange {
    const patterns = given.includes(OWN_CONTEXT) ? [...new Set([...given, ...this.#patterns])] : given;
    const before = patterns.map((pattern) => this.contextOf(pattern));
    const digests = before.map((context) => context && this.#digestOf(context));
    change();
    for (const pattern of patterns) this.#patterns.add(pattern);
    if (this.#departures.size === 0 && before.every((each) => each === undefined)) return NOTHING;
    const after = patterns.map((pattern) => this.contextOf(pattern));
    const moves = patterns.flatMap((pattern, i): ContextMove[] => {
      const context = after[i];
      const changed = differ && given.includes(pattern);
      return context ? [{ pattern, before: digests[i], after: this.#digestOf(context), changed }] : [];
    });
    const inForce = new Set(this.#all().map((each) => this.#digestOf(each).toString('hex')));
    return this.#end(this.#departures.settle(moves, inForce), [...before, ...after], reason);
  }

  #end(settings: readonly Buffer[], contexts: readonly (object | undefined)[], reason: string): ContextChange {
    const over = new Set(settings.map((each) => each.toString('hex')));
    const strangers = this.#disown(contexts, over);
    let sessions = 0;
    for (const each of over) {
      sessions += this.#tallies.get(each)?.sessions ?? 0;
      this.#tallies.delete(each);
    }
    const told = settings
      .filter((each) => !strangers.has(each.toString('hex')))
      .map((each) => this.#guard.retire(each, reason));
    return { over, sessions, told };
  }

  /** Of contexts made elsewhere nobody else knows the digest: they get another, and the guard need not remember it. */
  #disown(contexts: readonly (object | undefined)[], over: ReadonlySet<string>): Set<string> {
    const disowned = new Set<string>();
    for (const context of new Set(contexts)) {
      if (context === undefined || this.#contexts.factsOf(context) !== undefined) continue;
      const digest = this.#digestOf(context).toString('hex');
      if (!over.has(digest)) continue;
      this.#contexts.disown(context);
      disowned.add(digest);
    }
    return disowned;
  }

  #all(): object[] {
    const own = node.defaultContextOf(this.#server);
    return own ? [own, ...node.contextsByName(this.#server)] : node.contextsByName(this.#server);
  }

  #digestOf(context: object): Buffer {
    const own = node.defaultContextOf(this.#server);
    return this.#contexts.digest(context, node.endpointSettingsOf(this.#server), own);
  }
}
