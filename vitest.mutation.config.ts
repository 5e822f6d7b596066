import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.js';

/** What a mutation run asks: the tests of the rooms that it mutates, without those that start other programs. */
export default mergeConfig(
  base,
  defineConfig({
    test: {
      include: ['test/{wire,cache,tickets,guard}/**/*.test.ts', 'test/stores/{shared-state,conformance}.test.ts'],
      exclude: ['test/**/*-openssl.test.ts', 'test/**/*-live.test.ts', 'test/tickets/fleet.test.ts'],
    },
  }),
);
