/** All that is known here of Node's own TLS server beyond its documented interface. */

import {
  createSecureContext,
  createServer,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  Server as TlsServer,
} from 'node:tls';

type ConnectionListener = (this: Server, socket: unknown) => void;

/** What Node keeps of its options on a server, on all supported versions. */
interface ServerInternals {
  readonly ticketKeys?: unknown;
  readonly requestCert?: boolean;
  readonly rejectUnauthorized?: boolean;
  readonly ALPNProtocols?: Uint8Array;
  readonly ALPNCallback?: unknown;
  readonly _contexts?: readonly unknown[];
  readonly _sharedCreds?: unknown;
}

let nativeListener: ConnectionListener | undefined;

/** Node's `connection` listener, which makes the TLSSocket: one function for all servers of a process. */
function nativeConnectionListener(): ConnectionListener {
  nativeListener ??= createServer().listeners('connection')[0] as ConnectionListener;
  return nativeListener;
}

/** Puts `replacement` where `listener` stands among the listeners of `event`; the others keep their order. */
function replaceListener(
  server: Server,
  event: string,
  listener: unknown,
  replacement: (...args: never[]) => void,
): boolean {
  const listeners = server.rawListeners(event);
  const position = listeners.indexOf(listener as never);
  if (position === -1) return false;
  const after = listeners.slice(position);
  for (const each of after) server.removeListener(event, each as never);
  for (const each of [replacement, ...after.slice(1)]) server.on(event, each as never);
  return true;
}

/**
 * Puts `gate` in the place of Node's own `connection` listener.
 *
 * @returns Node's listener, bound to the server; `undefined` when the server has none.
 */
export function moveConnectionListener(
  server: Server,
  gate: (socket: never) => void,
): { readonly accept: (socket: unknown) => void; readonly restore: () => void } | undefined {
  const native = nativeConnectionListener();
  if (!replaceListener(server, 'connection', native, gate)) return undefined;
  return {
    accept: (socket) => native.call(server, socket),
    restore: () => void replaceListener(server, 'connection', gate, native as never),
  };
}

/** The `ticketKeys` object that the server was made with: the very one, so that it tells whose options these were. */
export function ticketKeysOf(server: Server): object | undefined {
  const keys = (server as ServerInternals).ticketKeys;
  return typeof keys === 'object' && keys !== null ? keys : undefined;
}

/**
 * The `SNICallback` that the server was made with.
 *
 * @returns `false` when this Node keeps it in another place
 */
export function serverNameCallbackOf(server: Server): unknown {
  const place = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'snicallback');
  return place === undefined ? false : (server as unknown as Record<symbol, unknown>)[place];
}

/** Settings that Node reads from the server itself, at every connection. */
export interface EndpointSettings {
  readonly requestCert: boolean;
  readonly rejectUnauthorized: boolean;
  readonly ALPNProtocols: Uint8Array | undefined;
}

/** What belongs to a server rather than to one of its contexts. */
export function endpointSettingsOf(server: Server): EndpointSettings {
  const { requestCert, rejectUnauthorized, ALPNProtocols, ALPNCallback } = server as ServerInternals;
  return {
    requestCert: requestCert === true,
    rejectUnauthorized: rejectUnauthorized !== false,
    ALPNProtocols: ALPNCallback === undefined ? ALPNProtocols : ALPN_BY_CALLBACK,
  };
}

/** Whether these are the protocols that the server offers; names, or the wire format that Node takes as well. */
export function offersProtocols(server: Server, protocols: unknown): boolean {
  const offered = (server as ServerInternals).ALPNProtocols;
  const names = Array.isArray(protocols) ? protocols.map((name) => Buffer.from(String(name))) : undefined;
  const wire = names ? Buffer.concat(names.flatMap((name) => [Buffer.of(name.length), name])) : protocols;
  return offered !== undefined && wire instanceof Uint8Array && Buffer.compare(offered, wire) === 0;
}

export function sameEndpoint(a: EndpointSettings, b: EndpointSettings | undefined): boolean {
  return (
    a.requestCert === b?.requestCert &&
    a.rejectUnauthorized === b.rejectUnauthorized &&
    a.ALPNProtocols === b.ALPNProtocols
  );
}

/** No list in wire format begins with a zero. */
const ALPN_BY_CALLBACK = Uint8Array.of(0);

/** OpenSSL's context inside a SecureContext, which is what Node itself compares; other things as they are. */
export function nativeContextOf(context: SecureContext | object): object {
  const inner = (context as { context?: unknown }).context;
  return isObject(inner) ? inner : context;
}

/** The context that answers clients without a name, or with one that no other context has. */
export function defaultContextOf(server: Server): object | undefined {
  const context = (server as ServerInternals)._sharedCreds;
  return isObject(context) ? nativeContextOf(context) : undefined;
}

/**
 * The context that Node chooses for a name: that of the last `addContext` whose pattern has it, or else the server's.
 *
 * @returns `undefined` when this Node keeps them in another way: then no connection with a name can be judged.
 */
export function contextForName(server: Server, servername: string): object | undefined {
  const contexts = (server as ServerInternals)._contexts;
  if (!Array.isArray(contexts)) return undefined;
  for (let i = contexts.length - 1; i >= 0; i--) {
    const [pattern, context] = contexts[i] as [unknown, unknown];
    if (!(pattern instanceof RegExp) || !isObject(context)) return undefined;
    if (pattern.test(servername)) return nativeContextOf(context);
  }
  return defaultContextOf(server);
}

/** The contexts that `addContext` was given, beside the server's own. */
export function contextsByName(server: Server): object[] {
  const contexts = (server as ServerInternals)._contexts;
  if (!Array.isArray(contexts)) return [];
  return contexts
    .map((entry: readonly unknown[]) => entry[1])
    .filter(isObject)
    .map(nativeContextOf);
}

type ContextEntry = [pattern: RegExp, context: object];

function contextEntriesOf(server: Server): ContextEntry[] {
  const contexts = (server as ServerInternals)._contexts;
  return Array.isArray(contexts) ? contexts : [];
}

let blankContext: SecureContext | undefined;

/** What `addContext` makes of a name: two names of one pattern are one context. Throws what it throws. */
export function patternOfName(name: string): string {
  blankContext ??= createSecureContext();
  const probe = { _contexts: [] as ContextEntry[] };
  TlsServer.prototype.addContext.call(probe as never, name, blankContext);
  return String(probe._contexts[0]?.[0]);
}

export function patternsOf(server: Server): string[] {
  return contextEntriesOf(server).map(([pattern]) => String(pattern));
}

/** The context that the last `addContext` of this pattern was given. */
export function contextOfPattern(server: Server, pattern: string): object | undefined {
  const entry = contextEntriesOf(server).findLast(([each]) => String(each) === pattern);
  return entry && nativeContextOf(entry[1]);
}

/**
 * Node appends, and lets the newest that matches win: those that the last entry put out of use are taken away.
 *
 * @param place `before`: it takes the place of the one before instead, and so no name from a context in between
 */
export function dropShadowed(server: Server, place: 'last' | 'before'): void {
  const entries = contextEntriesOf(server);
  const added = entries.at(-1);
  if (added === undefined) return;
  const same = [...entries.keys()].slice(0, -1).filter((i) => String(entries[i]?.[0]) === String(added[0]));
  const before = same.at(-1);
  if (before === undefined) return;
  if (place === 'before') {
    entries[before] = added;
    same.splice(-1, 1, entries.length - 1);
  }
  for (const i of same.reverse()) entries.splice(i, 1);
}

/** What `setSecureContext` reads of its options, and the server keeps under the same names. */
const CONTEXT_OPTIONS = [
  'pfx',
  'key',
  'passphrase',
  'cert',
  'clientCertEngine',
  'ca',
  'minVersion',
  'maxVersion',
  'secureProtocol',
  'crl',
  'sigalgs',
  'ciphers',
  'ecdhCurve',
  'dhparam',
  'honorCipherOrder',
  'secureOptions',
  'sessionIdContext',
  'sessionTimeout',
  'privateKeyIdentifier',
  'privateKeyEngine',
  'certificateCompression',
] as const;

/** Whether a live server can be given another value of this option. */
export function isContextOption(name: string): boolean {
  return (CONTEXT_OPTIONS as readonly string[]).includes(name);
}

/** The options of the server's own context as they are now, whoever set them. */
export function contextOptionsOf(server: Server): SecureContextOptions {
  const options: Record<string, unknown> = {};
  for (const name of CONTEXT_OPTIONS) options[name] = (server as unknown as Record<string, unknown>)[name];
  return options;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** Runs Node's `connection` listener with another context in the place of the server's own. */
export function withDefaultContext(server: Server, context: SecureContext, accept: () => void): void {
  const internals = server as { _sharedCreds?: unknown };
  const own = internals._sharedCreds;
  internals._sharedCreds = context;
  try {
    accept();
  } finally {
    internals._sharedCreds = own;
  }
}

/** A new context with the settings of the server's own, or others that it might get, made by Node's own hand. */
export function twinOfDefaultContext(server: Server, options = server as SecureContextOptions): SecureContext {
  const shadow = Object.create(server) as Server & { _sharedCreds: SecureContext };
  TlsServer.prototype.setSecureContext.call(shadow, options);
  return shadow._sharedCreds;
}

/** The ticket key that Node itself would use: its 48 bytes are name, HMAC key and AES key. */
export function ownTicketKeyOf(server: Server): { name: Buffer; hmacKey: Buffer; aesKey: Buffer } {
  const keys = server.getTicketKeys();
  return { name: keys.subarray(0, 16), hmacKey: keys.subarray(16, 32), aesKey: keys.subarray(32, 48) };
}
