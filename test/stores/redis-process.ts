/** Another process over the same Redis: takes what its parent names over IPC, many times at once. */

import { redisStore } from '../../src/stores/redis.js';
import { CLIENTS, type ClientKind } from './redis-clients.js';

/** A key in base64, and how many takes of it to begin at once. */
export interface Order {
  readonly key: string;
  readonly times: number;
}

/** What was taken, as text. */
export type Booty = readonly string[];

const { KIND, PORT } = process.env;
const { client, close } = await (CLIENTS[Number(KIND)] as ClientKind).open(Number(PORT));
const store = redisStore(client, { seal: false });

process.on('message', async ({ key, times }: Order) => {
  const asked = Buffer.from(key, 'base64');
  const answers = await Promise.all(Array.from({ length: times }, () => store.take?.(asked)));
  const taken = answers.filter((answer) => answer !== undefined);
  process.send?.(taken.map((answer) => Buffer.from(answer).toString()) satisfies Booty);
});
process.on('disconnect', () => void close());
process.send?.('ready');
