/** What users may write against `tls-resumption/stores/lmdb`. Compiled by scripts/typecheck-dist, never run. */

import { type ResumptionError, SessionCache, type SessionStore, TicketCodec, TicketKeyRing } from 'tls-resumption';
import {
  type LmdbSharedState,
  type LmdbSharedStateOptions,
  type LmdbStore,
  type LmdbStoreOptions,
  type LmdbStoreStatistics,
  lmdbSharedState,
  lmdbStore,
} from 'tls-resumption/stores/lmdb';

const options: LmdbStoreOptions = {
  path: 'sessions',
  maxSessions: 1000,
  maxBytes: 2 ** 24,
  seal: undefined,
  delay: 5,
  interval: 30,
  onFault: (fault: ResumptionError) => void fault.code,
  clock: () => Date.now(),
};
const store: LmdbStore = lmdbStore(options);
const sealed: SessionStore = lmdbStore({ path: 'sealed', seal: new TicketCodec(TicketKeyRing.generate()) });
const clear: SessionStore = lmdbStore({ path: 'clear', seal: false });
const cache = new SessionCache({ external: store });
// Reading is done at once.
const session: Uint8Array | undefined = store.get(new Uint8Array(32));
const written: Promise<void> = store.set(new Uint8Array(32), new Uint8Array(160), 300);
const swept: Promise<number> = store.sweep();
const statistics: LmdbStoreStatistics = store.statistics;
// @ts-expect-error: statistics are read, not written
store.statistics.evicted = 0;
// @ts-expect-error: it has to be somewhere
lmdbStore({});
// @ts-expect-error: a path, not a URL
lmdbStore({ path: new URL('file:///sessions') });

const stateOptions: LmdbSharedStateOptions = { path: 'facts', interval: 0.5, maxFacts: 1000 };
const state: LmdbSharedState = lmdbSharedState(stateOptions);
const fact: Uint8Array | undefined = state.get('epoch/a.test');
const facts: Map<string, Uint8Array> = state.entries('epoch/');
const watching: Disposable = state.watch('epoch/', (name, value) => void `${name} ${value?.length}`);

export { cache, clear, fact, facts, sealed, session, statistics, swept, watching, written };
