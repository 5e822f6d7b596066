import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Where .ci/run wants the counts of this run. */
const report = process.env['VITEST_REPORT'];

export default defineConfig({
  // Tests and examples import the package by its name and get the sources: nothing needs to be built first.
  resolve: { alias: { 'tls-resumption': fileURLToPath(new URL('src/index.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    coverage: { include: ['src/**'], provider: 'v8' },
  },
});
