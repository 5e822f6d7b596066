import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const sources = fileURLToPath(new URL('src', import.meta.url));

/** Where .ci/run wants the counts of this run. */
const report = process.env['VITEST_REPORT'];

export default defineConfig({
  // Tests and examples import the package by its name and get the sources: nothing needs to be built first.
  resolve: {
    alias: [
      { find: /^tls-resumption$/, replacement: `${sources}/index.ts` },
      { find: /^tls-resumption\/(.+)$/, replacement: `${sources}/$1.ts` },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // Most tests wait for other programs: one worker for each core, where Vitest leaves one core out.
    maxWorkers: '100%',
    // For tests that hang, not for slow machines: some compute for seconds, beside others.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    coverage: { include: ['src/**'], provider: 'v8' },
  },
});
