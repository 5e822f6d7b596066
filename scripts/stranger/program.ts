// The same in TypeScript: it only has to compile.
import { createSecureServer } from 'node:http2';
import {
  ServerResumption,
  SessionCache,
  SessionCacheMode,
  SessionIdContextGuard,
  type SessionStore,
} from 'tls-resumption';

const sessions = new Map<string, Uint8Array>();
const external: SessionStore = {
  get: (key) => sessions.get(String(key)),
  set: (key, session) => void sessions.set(String(key), session),
  delete: (key) => void sessions.delete(String(key)),
};

export const resumption = new ServerResumption({
  cache: new SessionCache({ mode: SessionCacheMode.Server, external }),
  guard: new SessionIdContextGuard({ name: 'stranger' }),
});
export const server = createSecureServer(resumption.secure({ key: '', cert: '', allowHTTP1: true }));
export const attachment: Disposable = resumption.attach(server);
