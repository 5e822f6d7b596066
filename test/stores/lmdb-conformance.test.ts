import { describe, it } from 'vitest';
import { lmdbSharedState, lmdbStore } from '../../src/stores/lmdb.js';
import { sessionStoreConformance, sharedStateConformance } from '../../src/testing.js';
import { TicketCodec } from '../../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { faultless, folder } from './lmdb-folder.js';

const clock = stoppedClock();
const advance = (seconds: number): void => {
  clock.now += seconds * 1000;
};

describe.each([
  ['lmdbStore', false as const],
  ['lmdbStore, sealed', new TicketCodec(TicketKeyRing.generate())],
])('%s', (_name, seal) => {
  // One folder for all: stores may share their storage, and a peer is another store of the same one.
  const path = folder();
  const open = () => lmdbStore({ path: path(), seal, clock, delay: 1, onFault: faultless });
  for (const { name, run } of sessionStoreConformance(open, { advance, peer: open })) it(name, run);
});

describe('lmdbSharedState', () => {
  const path = folder();
  const open = () => lmdbSharedState({ path: path(), clock, interval: 0.02, onFault: faultless });
  for (const { name, run } of sharedStateConformance(open, { advance, peer: open })) it(name, run);
});
