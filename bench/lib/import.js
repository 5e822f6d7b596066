/**
 * A process of its own: the milliseconds that it takes to load the last module that is named, after the others. Loaded
 * with `import`, or with `require` where the first argument says so.
 */

import { createRequire } from 'node:module';

const [form, ...specifiers] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const load = form === 'require' ? require : (specifier) => import(specifier);

const last = specifiers.pop();
for (const specifier of specifiers) await load(specifier);
const start = performance.now();
const module = await load(last);
const taken = performance.now() - start;
if (Object.keys(module).length === 0) throw new Error(`${last} offers nothing`);
process.stdout.write(JSON.stringify(taken));
