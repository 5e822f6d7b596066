/** Streams and turns of the event loop, for the tests. */

import { Duplex, type DuplexOptions } from 'node:stream';

/** Two ends; what is written to one is read from the other. */
export function duplexPair(options: Pick<DuplexOptions, 'allowHalfOpen' | 'emitClose'> = {}): [Duplex, Duplex] {
  const ends: Duplex[] = [];
  for (const other of [1, 0]) {
    ends.push(
      new Duplex({
        ...options,
        read() {},
        write(chunk, _encoding, done) {
          ends[other]?.push(chunk);
          done();
        },
        final(done) {
          ends[other]?.push(null);
          done();
        },
      }),
    );
  }
  return ends as [Duplex, Duplex];
}

/** Turns the event loop until something is true; an error when it never is. */
export async function waitUntil(condition: () => boolean): Promise<void> {
  for (let turn = 0; !condition(); turn++) {
    if (turn > 100_000) throw new Error('the condition never came true');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
