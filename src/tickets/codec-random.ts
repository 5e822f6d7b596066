/** Random bytes for nonces and initialization vectors, drawn in bulk: alone they cost half as much as the cipher. */

import { randomFillSync } from 'node:crypto';
import { isBuildingSnapshot } from './startup-snapshot.js';

/** Small, so that a copy of the process (a virtual machine that was cloned) soon draws others. */
const POOL_BYTES = 1024;

let pool: Buffer | undefined;
let used = POOL_BYTES;

/** Puts random bytes into `target` from `start` to `end`, at most 1024. No byte is given twice. */
export function writeRandom(target: Buffer, start: number, end: number): void {
  if (pool === undefined || used + end - start > POOL_BYTES) {
    pool = randomFillSync(pool ?? Buffer.allocUnsafeSlow(POOL_BYTES));
    used = 0;
  }
  // For so few bytes, faster than a call of `copy`.
  for (let at = start; at < end; at++) target[at] = pool[used++] as number;
  // What a startup snapshot holds, every process that starts from it has.
  if (used === end - start && isBuildingSnapshot()) used = POOL_BYTES;
}
