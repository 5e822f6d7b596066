import { defineConfig } from 'vitest/config';
import base from './vitest.config.js';

/**
 * What a mutation run asks: the tests of the rooms that it mutates, without those that start other programs. Not merged:
 * that would add these files to all the others.
 */
export default defineConfig({
  ...base,
  test: {
    ...base.test,
    include: ['test/{wire,cache,tickets,guard}/**/*.test.ts', 'test/stores/{shared-state,conformance}.test.ts'],
    exclude: ['test/**/*-openssl.test.ts', 'test/**/*-live.test.ts', 'test/tickets/fleet.test.ts'],
    // Stryker takes no pattern of names: what takes long is left out there.
    setupFiles: ['test/support/mutation-setup.ts'],
  },
});
