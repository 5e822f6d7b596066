/**
 * Adds up the counts of the JSON reports in a folder. Prints each test that failed with the first lines of what it
 * said, and as the last line the counts: "3 passed, 0 failed". Fails when something failed, or nothing passed.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';

interface Counts {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests?: number;
  readonly testResults?: readonly TestFile[];
}

/** A test file in vitest's report: one that cannot be loaded has no tests, and says why in its message. */
interface TestFile {
  readonly name: string;
  readonly status: string;
  readonly message: string;
  readonly assertionResults: readonly {
    readonly status: string;
    readonly fullName: string;
    readonly failureMessages: readonly string[];
  }[];
}

const LINES_OF_A_FAILURE = 12;

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new TypeError('usage: add-up FOLDER');

let [passed, failed, skipped] = [0, 0, 0];
for (const name of readdirSync(folder).filter((each) => each.endsWith('.json'))) {
  const counts = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Counts;
  passed += counts.numPassedTests;
  failed += counts.numFailedTests;
  skipped += counts.numPendingTests ?? 0;
  for (const file of counts.testResults ?? []) {
    if (isUnloadable(file)) failed += 1;
    for (const failure of failuresOf(file)) console.log(`failed in ${basename(name, '.json')}: ${failure}\n`);
  }
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

function isUnloadable(file: TestFile): boolean {
  return file.status === 'failed' && file.assertionResults.length === 0;
}

function failuresOf(file: TestFile): string[] {
  const path = relative(process.cwd(), file.name);
  if (isUnloadable(file)) return [`${path}\n${firstLines(file.message)}`];
  return file.assertionResults
    .filter((test) => test.status === 'failed')
    .map((test) => `${path} > ${test.fullName}\n${firstLines(test.failureMessages.join('\n'))}`);
}

function firstLines(text: string): string {
  return text
    .split('\n')
    .slice(0, LINES_OF_A_FAILURE)
    .map((line) => `  ${line}`)
    .join('\n');
}
