/**
 * Other settings for a server that is running: what depends on the earlier ones is forgotten, and nothing else.
 *
 * @module
 */

import type { SecureContext, SecureContextOptions, Server } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { outOfRange, requireBoolean, requireObject, wrongType } from '../arguments.js';
import { ResumptionError } from '../errors.js';
import { commonOf, differencesOf, factsOf, type ReloadChange, sameKey } from './context-facts.js';
import type { ContextRegistry } from './context-registry.js';
import type { Handshake } from './handshake.js';
import * as node from './node-tls-server.js';
import { type SecuredOptions, type ServerTlsOptions, settingsOf } from './secure-options.js';
import type { TicketMode } from './ticket-mode.js';

/** What `ServerResumption.reload` is to change, and how. */
export interface ReloadOptions {
  /**
   * For the server's own context: merged over the options that it has; one that is given as `undefined` is taken off.
   * OpenSSL takes versions, ciphers and their order, curves, signature algorithms, Diffie-Hellman parameters and
   * `secureOptions` from it under all names (measured): other ones change the contexts of names as well.
   * A `pfx` takes the place of `cert` and `key`, and the reverse. Options that Node reads only once (`requestCert`,
   * `rejectUnauthorized`, `ALPNProtocols`, `SNICallback`, …) are refused unless they are what they were.
   */
  readonly options?: Partial<ServerTlsOptions> | undefined;
  /**
   * By name, as for `addContext`: a new context, or all options of one. It takes the place of the context that was
   * added under this name; a name that is new is added.
   */
  readonly contexts?: Readonly<Record<string, SecureContextOptions | SecureContext>> | undefined;
  /**
   * What becomes of handshakes in progress under what changes: they are ended (their clients see the connection close),
   * or finish under the earlier settings, with nothing to come back with. Those that are resuming a session that is
   * forgotten now are ended either way. Default: `end`.
   */
  readonly handshakes?: 'end' | 'finish' | undefined;
  /** Also closes the connections that live under what changes. Default: false, they go on. */
  readonly hard?: boolean | undefined;
}

/** A context that was changed. */
export interface ReloadedContext {
  /** As it was given; `null` for the server's own. */
  readonly name: string | null;
  /** Each setting that differs. */
  readonly changes: readonly ReloadChange[];
}

/** What a reload did; without secrets. Published on the diagnostics channel `tls-resumption:reloaded`. */
export interface ReloadReport {
  /** The guard's name. */
  readonly guard: string;
  /** The contexts that were given and differ from before, and how: in what the server's own decides for all, too. */
  readonly changed: readonly ReloadedContext[];
  /** The names of those that were given and are what they were; `null` for the server's own. */
  readonly unchanged: readonly (string | null)[];
  /**
   * Sessions that this server made under settings that are over, since they came into force: so many were forgotten, less
   * those that had expired or resumed. `undefined` where sessions live with the clients.
   */
  readonly sessions: number | undefined;
  /** Handshakes that were in progress under what changed. */
  readonly handshakes: {
    /** Whose connections were closed. */
    readonly ended: number;
    /** That finish, with nothing to come back with. */
    readonly finishing: number;
  };
  /** Connections that lived under what changed. */
  readonly connections: {
    /** By `hard`. */
    readonly closed: number;
    /** That were left alone. */
    readonly goOn: number;
  };
}

/** A {@link ReloadOptions} that was looked at. */
export interface CheckedReload {
  readonly options: Partial<ServerTlsOptions> | undefined;
  readonly contexts: ReadonlyMap<string, SecureContextOptions | SecureContext>;
  readonly finish: boolean;
  readonly hard: boolean;
}

/** @throws TypeError or RangeError, naming the option */
export function checkedReload(reload: ReloadOptions): CheckedReload {
  requireObject('reload', reload);
  const { options, contexts = {}, handshakes = 'end', hard = false } = reload;
  if (options !== undefined) requireObject('options', options);
  requireObject('contexts', contexts);
  for (const [name, context] of Object.entries(contexts)) {
    if (name === '') throw outOfRange('contexts', 'names that are not empty', name);
    requireObject(`contexts[${JSON.stringify(name)}]`, context);
  }
  if (typeof handshakes !== 'string') throw wrongType('handshakes', '"end" or "finish"', handshakes);
  if (handshakes !== 'end' && handshakes !== 'finish') throw outOfRange('handshakes', '"end" or "finish"', handshakes);
  return {
    options,
    contexts: new Map(Object.entries(contexts)),
    finish: handshakes === 'finish',
    hard: requireBoolean('hard', hard),
  };
}

/** Where a reload is planned. */
export interface ReloadPlace {
  readonly contexts: ContextRegistry;
  readonly tickets: TicketMode | undefined;
  readonly secured: SecuredOptions;
  readonly prepare: (options: object) => object;
}

/** What is to be done, all of it tried out. */
export interface ReloadPlan {
  /** For `setSecureContext`; `undefined` when the server's own context stays. */
  readonly own: SecureContextOptions | undefined;
  /** For `addContext`, without those that stay. */
  readonly named: ReadonlyMap<string, SecureContext>;
  readonly changed: readonly ReloadedContext[];
  readonly unchanged: readonly (string | null)[];
}

/**
 * Compares what is given with what is in force, and tries out what differs. Changes nothing.
 *
 * @throws ResumptionError ERR_NEEDS_NEW_SERVER, ERR_TICKETS_UNSAFE; RangeError for `sessionTimeout` and
 *   `sessionIdContext`; what `tls.createSecureContext` throws
 */
export function planReload(server: Server, place: ReloadPlace, { options, contexts }: CheckedReload): ReloadPlan {
  const changed: ReloadedContext[] = [];
  const unchanged: (string | null)[] = [];
  const note = (name: string | null, changes: readonly ReloadChange[]): boolean => {
    if (changes.length === 0) unchanged.push(name);
    else changed.push({ name, changes });
    return changes.length > 0;
  };
  let own: SecureContextOptions | undefined;
  let common: ReloadChange[] = [];
  if (options !== undefined) {
    requireChangeable(server, place.secured, options);
    const next = place.prepare(mergedOptions(server, options)) as SecureContextOptions;
    node.twinOfDefaultContext(server, next);
    const changes = differencesOf(factsOf(node.contextOptionsOf(server)), factsOf(next));
    common = commonOf(changes);
    if (note(null, changes)) own = next;
  }
  if (contexts.size > 0 && place.secured.serverNameCallback !== undefined) {
    throw new RangeError('"contexts" expected none: the SNICallback of the server chooses them, not the names');
  }
  const named = new Map<string, SecureContext>();
  const added: object[] = [];
  const replaced: object[] = [];
  for (const [name, given] of contexts) {
    const before = node.contextOfPattern(server, node.patternOfName(name));
    const changes = changesOf(place.contexts, before, given);
    note(name, [...changes, ...common]);
    if (changes.length === 0) continue;
    const context = place.contexts.ensure(given);
    named.set(name, context);
    added.push(node.nativeContextOf(context));
    if (before !== undefined) replaced.push(before);
  }
  place.tickets?.requireSafe(settingsOf(own ?? server), added, replaced);
  return { own, named, changed, unchanged };
}

function changesOf(
  contexts: ContextRegistry,
  before: object | undefined,
  given: SecureContextOptions | SecureContext,
): ReloadChange[] {
  if (before === undefined) return [{ setting: 'context', change: 'added' }];
  const after = node.nativeContextOf(given);
  if (before === after) return [];
  const then = contexts.factsOf(before);
  const now = after === given ? factsOf(given) : contexts.factsOf(after);
  // A key in another form may also be one that the certificate is not for.
  if (after === given && then && now && !sameKey(then, now)) contexts.ensure(given);
  // Nobody can say in what a context differs that was made elsewhere.
  return then && now ? differencesOf(then, now) : [{ setting: 'context', change: 'replaced' }];
}

function mergedOptions(server: Server, options: Partial<ServerTlsOptions>): SecureContextOptions {
  const merged: Record<string, unknown> = { ...node.contextOptionsOf(server) };
  if (options.pfx !== undefined) Object.assign(merged, { cert: undefined, key: undefined });
  else if (options.cert !== undefined || options.key !== undefined) merged['pfx'] = undefined;
  for (const [name, value] of Object.entries(options)) if (node.isContextOption(name)) merged[name] = value;
  return merged;
}

function requireChangeable(server: Server, secured: SecuredOptions, options: Partial<ServerTlsOptions>): void {
  const names = Object.entries(options)
    .filter(([name, value]) => !node.isContextOption(name) && !isInForce(server, secured, name, value))
    .map(([name]) => name);
  if (names.length === 0) return;
  throw new ResumptionError(
    'ERR_NEEDS_NEW_SERVER',
    `a server that runs cannot get another ${names.join(', ')}: make a new server, or leave it out`,
  );
}

function isInForce(server: Server, secured: SecuredOptions, name: string, value: unknown): boolean {
  const endpoint = node.endpointSettingsOf(server);
  switch (name) {
    case 'requestCert':
      return (value === true) === endpoint.requestCert;
    case 'rejectUnauthorized':
      return (value !== false) === endpoint.rejectUnauthorized;
    case 'ALPNProtocols':
      return value === undefined ? secured.fixed[name] === undefined : node.offersProtocols(server, value);
    case 'SNICallback':
      return value === secured.serverNameCallback || value === secured.installedCallback;
    case 'handshakeTimeout':
      return value === secured.handshakeTimeout || value === secured.fixed[name];
    default:
      return isDeepStrictEqual(value, secured.fixed[name]);
  }
}

export function notAttached(): ResumptionError {
  return new ResumptionError('ERR_NOT_ATTACHED', 'the server is not attached to this ServerResumption');
}

/** Closes what a reload does not let go on, of the handshakes and connections under what changed. */
export function closeAffected(
  affected: readonly Handshake[],
  { finish, hard }: CheckedReload,
): Pick<ReloadReport, 'handshakes' | 'connections'> {
  const handshakes = { ended: 0, finishing: 0 };
  const connections = { closed: 0, goOn: 0 };
  for (const each of affected) {
    const close = each.over ? hard : !finish || each.resuming;
    if (each.over) connections[close ? 'closed' : 'goOn']++;
    else handshakes[close ? 'ended' : 'finishing']++;
    if (close) (each.carrier instanceof WeakRef ? each.carrier.deref() : each.carrier)?.destroy();
  }
  return { handshakes, connections };
}
