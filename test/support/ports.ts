/** Ports for servers that are not listening yet, or not all the time. */

import { randomInt } from 'node:crypto';
import * as net from 'node:net';

const [FIRST, END] = [10_000, 32_768];

/** Each worker has every sixteenth port for itself: it cannot know of the servers of the others that will be back. */
const LANES = 16;
const lane = Number(process.env['VITEST_POOL_ID'] ?? 0) % LANES;

const handedOut = new Set<number>();

/**
 * A port of 127.0.0.1 that is left alone until it is bound, and between a server that ends and the next one there. Below
 * the ports that systems give to those who ask for any: another process would be given it meanwhile, and a client that
 * tries again and again to reach a server that is down would sooner or later be connected to itself.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + lane + LANES * randomInt((END - FIRST) / LANES);
    const probe = net.createServer();
    const free = await new Promise((resolve) => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free && !handedOut.has(port)) {
      handedOut.add(port);
      return port;
    }
  }
}
