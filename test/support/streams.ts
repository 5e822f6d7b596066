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

/** Milliseconds: turns of an idle loop are so short that their number says nothing of what others had time for. */
const PATIENCE = 20_000;

/** Turns the event loop until something is true; an error when it never is. */
export async function waitUntil(condition: () => boolean): Promise<void> {
  const end = performance.now() + PATIENCE;
  while (!condition()) {
    if (performance.now() > end) throw new Error('the condition never came true');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
