/** What is held after a collection: what garbage is left before one is chance. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
export const collectGarbage = runInNewContext('gc') as () => void;

/** @returns bytes of V8's heap and of the buffers outside of it */
export function heldBytes(): number {
  collectGarbage();
  // A collection frees the buffers that it found beside the program; the next one waits for that.
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
