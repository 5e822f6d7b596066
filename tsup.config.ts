import { defineConfig } from 'tsup';
import { builtinModules, coreInOneChunk, pureModules } from './scripts/bundling.js';
import { manifest, subpaths } from './scripts/package.js';

/** Each subpath of `exports` is built from the source of the same name: ./dist/stores/lmdb.js from src/stores/lmdb.ts. */
const entry: Record<string, string> = {};
for (const { import: target } of subpaths) {
  const name = target.default.replace(/^\.\/dist\/(.*)\.js$/, '$1');
  entry[name] = `src/${name}.ts`;
}

export default defineConfig({
  entry: { ...entry, cli: 'src/cli.ts' },
  format: ['esm', 'cjs'],
  target: `node${manifest.engines.node.replace(/^>=/, '')}`,
  tsconfig: 'tsconfig.build.json',
  // The command is run, not imported.
  dts: { entry },
  sourcemap: true,
  clean: true,
  splitting: true,
  treeshake: true,
  // Node reads half the bytes a sixth faster. Nothing is rewritten, and what a stack trace names keeps its name.
  minify: 'terser',
  terserOptions: {
    compress: false,
    module: false,
    toplevel: false,
    keep_classnames: true,
    format: { preserve_annotations: true },
    sourceMap: true,
  },
  plugins: [pureModules()],
  esbuildPlugins: [builtinModules(), coreInOneChunk('src/index.ts')],
  // What is built names its built-in modules as the sources do.
  removeNodeProtocol: false,
});
