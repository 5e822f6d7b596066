/** Another process over the same file: does what its parent says over IPC. */

import { randomBytes } from 'node:crypto';
import { type LmdbSharedState, type LmdbStore, lmdbSharedState, lmdbStore } from '../../src/stores/lmdb.js';
import { LmdbFile } from '../../src/stores/lmdb-file.js';

/** What a parent may ask for. Keys are in base64. */
export type Order =
  | { readonly what: 'open' | 'hold' | 'flood' | 'close' }
  | { readonly what: 'take'; readonly key: string; readonly times: number }
  | { readonly what: 'set'; readonly count: number }
  | { readonly what: 'find'; readonly keys: readonly string[] }
  | { readonly what: 'agree'; readonly name: string };

const path = process.env['STORE'] as string;
const faults: string[] = [];
let store: LmdbStore | undefined;
let state: LmdbSharedState | undefined;

async function set(open: LmdbStore, count: number): Promise<string[]> {
  const keys = Array.from({ length: count }, () => randomBytes(32));
  await Promise.all(keys.map((key) => open.set(key, Buffer.concat([key, randomBytes(160)]), 300)));
  return keys.map((key) => key.toString('base64'));
}

async function obey(order: Order): Promise<unknown> {
  const onFault = (fault: Error): void => void faults.push(fault.message);
  store ??= lmdbStore({ path, delay: 1, maxBytes: 16 * 1024 * 1024, onFault });
  const open = store;
  switch (order.what) {
    case 'open':
      return faults;
    case 'hold': {
      // As one that was stopped in the middle of a read.
      const file = LmdbFile.use({ directory: path, name: 'sessions', mapSize: 2 ** 25, sync: false }, onFault);
      file.table.useReadTransaction();
      return file.isOpen;
    }
    case 'flood':
      for (;;) await set(open, 1 + Math.floor(Math.random() * 100));
    case 'set':
      return set(open, order.count);
    case 'find':
      return order.keys.filter((key) => {
        const asked = Buffer.from(key, 'base64');
        return open.get(asked)?.subarray(0, 32).toString() === asked.toString();
      }).length;
    case 'take': {
      const key = Buffer.from(order.key, 'base64');
      const answers = await Promise.all(Array.from({ length: order.times }, () => open.take(key)));
      return answers.filter((answer) => answer !== undefined).length;
    }
    case 'agree':
      state ??= lmdbSharedState({ path, onFault });
      return Buffer.from(await state.setIfAbsent(order.name, randomBytes(16))).toString('base64');
    case 'close':
      await Promise.all([store.close(), state?.close()]);
      [store, state] = [undefined, undefined];
      return faults;
  }
}

process.on('message', async (order: Order) => {
  process.send?.(await obey(order).catch((error: Error) => ({ error: error.message })));
});
process.send?.('ready');
