/** Checks what each name of scripts/sizes.json weighs, in kilobytes, in a program that uses nothing else of the package. */

import { readFileSync } from 'node:fs';
import { bundledSize } from './bundled-size.js';
import { report, temporaryProject } from './package.js';

const limits = JSON.parse(readFileSync(new URL('sizes.json', import.meta.url), 'utf8')) as Record<string, number>;

const project = temporaryProject();
const faults: string[] = [];

for (const [name, limit] of Object.entries(limits)) {
  const kilobytes = await bundledSize(name, project);
  console.log(`${name}: ${kilobytes.toFixed(1)} kB`);
  if (!(kilobytes <= limit)) faults.push(`${name} weighs ${kilobytes.toFixed(1)} kB, more than ${limit}`);
}

report('sizes', faults);
