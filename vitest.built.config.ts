import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { root, subpaths } from './scripts/package.js';
import { publicTests } from './scripts/public-tests.js';
import base from './vitest.config.js';

const built = subpaths.map(({ path, specifier, import: { default: file } }) => ({
  /** As in `src` and without its extension; of the core, whatever no other subpath has. */
  source: path === '.' ? '.*' : path.slice(2),
  specifier,
  replacement: join(root, file),
}));
built.sort((a, b) => Number(a.source === '.*') - Number(b.source === '.*'));

/** `npm run build`, and then the tests that need nothing but what the package offers, on what was built. */
export default defineConfig({
  ...base,
  resolve: {
    alias: built.flatMap(({ source, specifier, replacement }) => [
      { find: new RegExp(`^(?:\\.\\./)+src/${source}\\.js$`), replacement },
      { find: new RegExp(`^${specifier}$`), replacement },
    ]),
  },
  test: { ...base.test, include: publicTests() },
});
