/** What users may write against `tls-resumption/testing`. Compiled by scripts/typecheck-dist, never run. */

import { createSecureServer } from 'node:http2';
import { createServer } from 'node:https';
import { SessionCache, type SessionStore } from 'tls-resumption';
import {
  assertNotResumed,
  assertResumed,
  type ConformanceCase,
  CountingStore,
  type FakeClock,
  FaultyStore,
  fakeClock,
  type MatcherResult,
  MemoryStore,
  makeCertificate,
  measureResumption,
  type ResumptionMatchers,
  resumptionMatchers,
  type SessionStoreConformanceOptions,
  type SharedState,
  type SharedStateConformanceOptions,
  type StoreFault,
  sessionStoreConformance,
  sharedStateConformance,
  type TestCertificate,
  type Visit,
  type VisitOptions,
  type VisitReason,
  visit,
} from 'tls-resumption/testing';

declare const open: (storage?: SessionStore) => Promise<SessionStore>;
declare const openState: (storage?: SharedState) => SharedState;
declare const test: (title: string, run: () => Promise<void>) => void;

const options: SessionStoreConformanceOptions = {
  take: false,
  advance: async (seconds) => void seconds.toFixed(),
  peer: (store) => open(store),
  maxBytes: 1000,
  patience: undefined,
};
const cases: ConformanceCase[] = sessionStoreConformance(() => open(), options);
for (const { name, run } of cases) test(name, run);

const stateOptions: SharedStateConformanceOptions = { peer: (state) => openState(state), advance: () => {} };
for (const { name, run } of sharedStateConformance(openState, stateOptions)) test(name, run);

// @ts-expect-error: a store has get, set and delete
sessionStoreConformance(() => ({ get: () => undefined }));
// @ts-expect-error: read, not written
if (cases[0]) cases[0].name = 'other';

const clock: FakeClock = fakeClock(0);
clock.advance(1.5);
const fault: StoreFault = 'swaps';
const faulty: SessionStore = new FaultyStore(fault, { store: new MemoryStore({ clock }), delay: 10 });
const cache = new SessionCache({ clock, external: new CountingStore(faulty) });
cache.clear();
// @ts-expect-error: no such fault
new FaultyStore('breaks');

const authority: TestCertificate = makeCertificate({ authority: true, names: [] });
const { key, cert } = makeCertificate({ issuer: authority, notAfter: new Date() });
const server = createServer({ key, cert });
declare const expecting: ResumptionMatchers<void>;
async function visitIt(): Promise<void> {
  const visitOptions: VisitOptions = { version: 'TLSv1.3', servername: 'a.test', ca: cert, session: undefined };
  const seen: Visit = await visit(server, visitOptions);
  const reason: VisitReason | null = seen.reason;
  if (reason === 'no-session' || reason === 'chain-too-old') assertNotResumed(seen);
  assertResumed(await visit({ port: 443 }, { session: seen.session, tickets: false }), 'stateful-ticket');
  for (const { way, visits } of await measureResumption(443, { versions: ['TLSv1.2'], visits: 4 })) {
    const [first] = visits;
    if (first) assertResumed(first, way ?? 'ticket');
  }
  const result: MatcherResult = resumptionMatchers.toHaveResumed(seen, 'session-id');
  result.message().trim();
  expecting.toHaveResumed();
  await visit(createSecureServer(), { ALPNProtocols: ['h2'], send: Buffer.of(1), patience: 1, timeout: 1 });
  // @ts-expect-error: where a visit goes is its first argument
  await visit(server, { host: 'localhost' });
  // @ts-expect-error: no such way
  assertResumed(seen, 'psk');
}
void visitIt();
