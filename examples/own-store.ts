/**
 * A store of your own, in thirty lines: `node --import tsx examples/own-store.ts`. It is checked before it is used, with
 * the suite that checks the library's own stores.
 */

import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ServerResumption, SessionCache, type SessionStore } from 'tls-resumption';
import { sessionStoreConformance } from 'tls-resumption/testing';
import { makeCertificate } from './support/certificates.js';

/** Keeps sessions in memory; put whatever you run in the place of the Map. */
class OwnStore implements SessionStore {
  readonly #sessions = new Map<string, { session: Uint8Array; expiresAt: number }>();

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const found = this.#sessions.get(nameOf(key));
    // A session that is over is none. Callers may write to what they get: it is a copy.
    return found && Date.now() < found.expiresAt ? Uint8Array.from(found.session) : undefined;
  }

  async set(key: Uint8Array, session: Uint8Array, timeout: number): Promise<void> {
    this.#sessions.set(nameOf(key), { session: Uint8Array.from(session), expiresAt: Date.now() + timeout * 1000 });
    // Bounded: a flood of new sessions pushes out the oldest.
    if (this.#sessions.size > 10_000) for (const oldest of this.#sessions.keys()) return this.#forget(oldest);
  }

  async delete(key: Uint8Array): Promise<void> {
    this.#forget(nameOf(key));
  }

  /** Leave it out where getting and deleting cannot be one step for all who use the storage. */
  async take(key: Uint8Array): Promise<Uint8Array | undefined> {
    const session = this.get(key);
    this.#forget(nameOf(key));
    return session;
  }

  #forget(name: string): void {
    this.#sessions.delete(name);
  }
}

/** Keys are 32 bytes of any value, not text. */
function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('base64url');
}

const checks = sessionStoreConformance(() => new OwnStore());
for (const { name, run } of checks) {
  await run().catch((cause: unknown) => {
    throw new Error(`this store does not hold: ${name}`, { cause });
  });
}
console.log(`all ${checks.length} checks passed`);

const resumption = new ServerResumption({ cache: new SessionCache({ external: new OwnStore() }) });
const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });
const server = createServer(resumption.secure({ key, cert }), (request, response) => {
  response.end(`${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
});
resumption.attach(server);
server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
  console.log(`listening on https://127.0.0.1:${(server.address() as AddressInfo).port}`);
});

process.once('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
