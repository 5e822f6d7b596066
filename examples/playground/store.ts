/** Where the playground's sessions are kept, other than in its memory. */

import type { SessionStore } from 'tls-resumption';
import type { StoreChoice } from './arguments.js';

/** Milliseconds between attempts to reach Redis again. */
const RECONNECT = 100;
/** Milliseconds that Redis gets to answer for the first time. */
const PATIENCE = 5000;

export interface PlaygroundStore {
  readonly sessions: SessionStore;
  close(): Promise<void>;
}

/**
 * Sessions are stored in clear, so that another playground finds them without a secret to share. They protect what a
 * playground serves: nothing. A service gives `redisStore` a codec, and so does one whose disk is not its own.
 *
 * @param warn is told in a line of trouble later on
 * @returns `undefined` for sessions in memory
 * @throws when the store cannot be reached now
 */
export async function openStore(
  choice: StoreChoice,
  warn: (message: string) => void,
): Promise<PlaygroundStore | undefined> {
  if (choice.kind === 'lmdb') return openLmdb(choice.path, warn);
  if (choice.kind === 'redis') return openRedis(choice.url, warn);
  return undefined;
}

async function openLmdb(path: string, warn: (message: string) => void): Promise<PlaygroundStore> {
  const { lmdbStore } = await import('tls-resumption/stores/lmdb');
  const sessions = lmdbStore({ path, seal: false, onFault: ({ message }) => warn(message) });
  return { sessions, close: () => sessions.close() };
}

async function openRedis(url: string, warn: (message: string) => void): Promise<PlaygroundStore> {
  const { createClient } = await import('redis');
  const { redisStore } = await import('tls-resumption/stores/redis');
  let state: 'starting' | 'ready' | 'away' = 'starting';
  const client = createClient({
    url,
    // While Redis is away calls fail at once: those are full handshakes.
    disableOfflineQueue: true,
    socket: { reconnectStrategy: (_retries, cause) => (state === 'starting' ? cause : RECONNECT) },
  });
  client.on('ready', () => {
    if (state === 'away') warn('Redis is back');
    state = 'ready';
  });
  client.on('error', () => {
    if (state === 'ready') warn('Redis is away: full handshakes until it is back');
    if (state === 'ready') state = 'away';
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    client.destroy();
  }, PATIENCE);
  try {
    await client.connect();
  } catch (error) {
    throw new Error(`Redis cannot be reached: ${late ? 'no answer' : (error as Error).message}`);
  } finally {
    clearTimeout(timer);
  }
  return { sessions: redisStore(client, { seal: false }), close: async () => client.destroy() };
}
