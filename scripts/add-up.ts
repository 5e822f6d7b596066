/**
 * Adds up the counts of the JSON reports in a folder, and prints them as one line: "3 passed, 0 failed". Fails when
 * something failed, or nothing passed.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Counts {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests?: number;
  /** Files, in vitest's report: one that cannot be loaded has no tests to count. */
  readonly testResults?: readonly { readonly status: string; readonly assertionResults: readonly unknown[] }[];
}

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new TypeError('usage: add-up FOLDER');

let [passed, failed, skipped] = [0, 0, 0];
for (const name of readdirSync(folder).filter((each) => each.endsWith('.json'))) {
  const counts = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Counts;
  passed += counts.numPassedTests;
  failed += counts.numFailedTests;
  skipped += counts.numPendingTests ?? 0;
  const unloadable = counts.testResults?.filter(
    (file) => file.status === 'failed' && file.assertionResults.length === 0,
  );
  failed += unloadable?.length ?? 0;
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
