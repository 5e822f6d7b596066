/** What a part of the package weighs in a program that is bundled. */

import { build } from 'esbuild';
import { manifest } from './package.js';

/**
 * The kilobytes that remain of the package and of lru-cache, minified, when only `name` is used, or with `*` everything.
 *
 * @param directory where the package is found as a program there finds it
 */
export async function bundledSize(name: string, directory: string): Promise<number> {
  const used = name === '*' ? '* as used' : `{ ${name} as used }`;
  const { outputFiles } = await build({
    stdin: { contents: `import ${used} from '${manifest.name}';\nconsole.log(used);\n`, resolveDir: directory },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    platform: 'node',
  });
  return (outputFiles[0]?.contents.length ?? Number.NaN) / 1000;
}
