/** What users may write against `tls-resumption/testing`. Compiled by scripts/typecheck-dist, never run. */

import type { SessionStore } from 'tls-resumption';
import {
  type ConformanceCase,
  type SessionStoreConformanceOptions,
  type SharedState,
  type SharedStateConformanceOptions,
  sessionStoreConformance,
  sharedStateConformance,
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
