/**
 * A command that asks once and ends, and resumes the session of its last run: `SESSIONS=DIRECTORY node --import tsx
 * examples/client-across-runs.ts https://a.test/`. `CA` is PEM text, who is trusted beside the usual ones; with a `SECRET`
 * (what `openssl rand -base64 32` prints) the sessions in the directory are sealed.
 */

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:https';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { ClientResumption, SessionCache, SessionCacheMode, TicketCodec, TicketKeyRing } from 'tls-resumption';
import { lmdbStore } from 'tls-resumption/stores/lmdb';

const { SESSIONS = join(tmpdir(), `client-sessions-${userInfo().uid}`), SECRET, CA } = process.env;
const [, , url = 'https://localhost/'] = process.argv;

const seal = SECRET ? new TicketCodec(TicketKeyRing.fromSecret(Buffer.from(SECRET, 'base64'))) : false;
const external = lmdbStore({ path: SESSIONS, seal, delay: 0 });
// The file alone: what a process remembers goes with it. It is on this machine, and needs no deadline.
const mode = SessionCacheMode.Client | SessionCacheMode.NoInternalStore;
const cache = new SessionCache({ mode, timeout: 604_800, external, externalDeadline: false });
const resumption = new ClientResumption({ cache, lookupTimeout: 2000 });
const agent = resumption.agent({ ca: CA });

try {
  const [response] = (await once(get(url, { agent }), 'response')) as [IncomingMessage];
  const resumed = (response.socket as TLSSocket).isSessionReused();
  console.log(`${response.statusCode}, ${resumed ? 'resumed' : 'full handshake'}`);
  await once(response.resume(), 'end');
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
} finally {
  agent.destroy();
  // The next run finds what is written by now.
  await resumption.idle();
  await external.close();
}
