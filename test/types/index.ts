/** What users may write against the package's root. Compiled by scripts/typecheck-dist, never run. */

import { createSecureServer } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { createServer, type SecureContext, type TLSSocket } from 'node:tls';
import {
  type ClientHello,
  decodeSslSession,
  type MaybePromise,
  parseClientHello,
  type ResumptionConnection,
  ResumptionError,
  type ResumptionErrorCode,
  readClientHello,
  ServerResumption,
  SessionCache,
  SessionCacheMode,
  SessionIdContextGuard,
  type SessionStore,
} from 'tls-resumption';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>): void => {};

// Errors
const error: Error = new ResumptionError('ERR_NOT_SECURED', 'message', { cause: new Error('cause') });
if (error instanceof ResumptionError) {
  same<typeof error.code, ResumptionErrorCode>(true);
  same<typeof error.name, 'ResumptionError'>(true);
  // @ts-expect-error: codes are stable
  error.code = 'ERR_NOT_SECURED';
}
// @ts-expect-error: no such code
new ResumptionError('ERR_OTHER', 'message');

// Stores: at once or later, and without the optional methods
const map = new Map<string, Uint8Array>();
const synchronous: SessionStore = {
  get: (key) => map.get(Buffer.from(key).toString('hex')),
  set: (key, session, timeout) => {
    same<typeof timeout, number>(true);
    map.set(Buffer.from(key).toString('hex'), session);
  },
  delete: (key) => {
    map.delete(Buffer.from(key).toString('hex'));
  },
};
const asynchronous: SessionStore = {
  async get(key) {
    return map.get(Buffer.from(key).toString('hex'));
  },
  async set() {},
  async delete() {},
  async take() {
    return undefined;
  },
  async close() {},
};
same<ReturnType<SessionStore['get']>, MaybePromise<Uint8Array | undefined>>(true);
// @ts-expect-error: a store that cannot delete
const incomplete: SessionStore = { get: () => undefined, set: () => {} };

// The cache: modes are flags
const cache = new SessionCache({
  mode: SessionCacheMode.Server | SessionCacheMode.NoInternalLookup,
  maxSessions: 1000,
  maxBytes: 1e6,
  timeout: 300,
  external: synchronous,
  clock: () => Date.now(),
});
const id = new Uint8Array(32);
same<ReturnType<typeof cache.get>, Buffer | undefined>(true);
same<ReturnType<typeof cache.lookup>, MaybePromise<Buffer | undefined>>(true);
same<ReturnType<typeof cache.take>, MaybePromise<Buffer | undefined>>(true);
const kept: boolean = cache.add(id, new Uint8Array(160));
const hits: number = cache.statistics.hits;
const previous: number = cache.setMode(SessionCacheMode.Both);
// @ts-expect-error: statistics are read, not written
cache.statistics.hits = 0;
// @ts-expect-error: bytes, not text
cache.get('id');

// The guard: optional options may be undefined
const guard = new SessionIdContextGuard({ name: 'shop', shareAcross: ['a.test', 'b.test'], maxChainAge: undefined });
guard.rotate('the key was lost');
const context: Buffer = guard.contextFor({ servername: 'a.test', parameters: new Uint8Array(32) });
// @ts-expect-error: a guard has a name
new SessionIdContextGuard({});

// Servers of all three kinds, with options that only theirs have
const resumption = new ServerResumption({ cache, guard, singleUse: true });
const options = { key: 'key', cert: 'cert' };
const servers = [
  createServer(resumption.secure({ ...options, pauseOnConnect: true }), (socket: TLSSocket) => {
    const connection: ResumptionConnection | undefined = resumption.connection(socket);
    const way: 'session-id' | 'stateful-ticket' | 'ticket' | null | undefined = connection?.way;
    const hello: ClientHello | undefined = connection?.hello;
    socket.end(`${way} ${hello?.servername}`);
  }),
  createHttpsServer(resumption.secure({ ...options, keepAlive: true }), (request, response) => {
    response.end(String(resumption.connection(request.socket)?.resumed));
  }),
];
const http2Server = createSecureServer(resumption.secure({ ...options, allowHTTP1: true }));
const attachments: Disposable[] = [...servers, http2Server].map((server) => resumption.attach(server));
for (const attachment of attachments) attachment[Symbol.dispose]();
const secureContext: SecureContext = resumption.secureContext(options);
servers[0]?.addContext('a.test', secureContext);
same<ReturnType<typeof resumption.idle>, Promise<void>>(true);
// @ts-expect-error: not a TLS option's type
resumption.secure({ requestCert: 'yes' });

// The wire
const hello: ClientHello | undefined = parseClientHello(new Uint8Array(0));
const offered: Uint8Array | undefined = hello?.pskIdentities[0]?.identity;
const session = decodeSslSession(new Uint8Array(0));
const made: number | undefined = session?.time;
const read = (socket: Socket): Promise<ClientHello | undefined> => readClientHello(socket, { timeout: 1000 });

export { asynchronous, context, hits, incomplete, kept, made, offered, previous, read, synchronous };
