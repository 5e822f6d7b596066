/** What changes when the TLS settings of a pool of connections do. */

import {
  type ClientTlsOptions,
  clientPolicy,
  ingredientOf,
  POLICY_OPTIONS,
  policyOptions,
  withChanges,
} from './client-policy.js';

/** What {@link ClientResumption.reload} did. */
export interface ClientReloadReport {
  /** The names of the options that changed. */
  readonly changed: readonly string[];
  /** Sessions forgotten in memory. */
  readonly sessions: number;
  /** Idle connections closed. */
  readonly closed: number;
  /** Connections in use under the old settings, which end with what they are used for. */
  readonly inUse: number;
}

/** The method by which a reload reaches a pool; registered, so that subpaths share it. */
export const RELOAD = Symbol.for('tls-resumption.reload');

/** An agent or an undici connector of a ClientResumption. */
export interface Reloadable {
  /** @internal */
  [RELOAD](options: ClientTlsOptions): ClientReloadReport;
}

/** Policies that a pool remembers; an older one's sessions end by themselves. */
const MAX_POLICIES = 4096;

/** The policies that the connections of a pool were made under, each with the options that led to it. */
export class PoolPolicies {
  readonly #policies = new Map<string, ClientTlsOptions>();

  /** @returns the policy; `undefined` for a connection that has no part in resumption */
  note(options: ClientTlsOptions): Buffer | undefined {
    const policy = clientPolicy(options);
    if (policy === undefined) return undefined;
    const key = policy.toString('hex');
    if (!this.#policies.has(key)) {
      this.#policies.set(key, policyOptions(options));
      if (this.#policies.size > MAX_POLICIES) this.#policies.delete(this.#policies.keys().next().value as string);
    }
    return policy;
  }

  /** Takes out the policies that are others under new settings, in hexadecimal. */
  change(options: ClientTlsOptions): { readonly changed: readonly string[]; readonly stale: ReadonlySet<string> } {
    const changed = new Set<string>();
    const stale = new Set<string>();
    for (const [policy, before] of this.#policies) {
      const after = withChanges(before, options);
      const differ = POLICY_OPTIONS.filter((name) => ingredientOf(before, name) !== ingredientOf(after, name));
      if (differ.length === 0) continue;
      for (const name of differ) changed.add(name);
      stale.add(policy);
      this.#policies.delete(policy);
    }
    return { changed: [...changed], stale };
  }
}
