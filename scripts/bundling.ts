/** What the build does so that the package is loaded quickly, and in parts: plugins of esbuild and of tsup. */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, relative, resolve } from 'node:path';
import type { Plugin } from 'esbuild';
import MagicString from 'magic-string';
import type { Options } from 'tsup';
import ts from 'typescript';

const require = createRequire(import.meta.url);

/**
 * Has built-in modules taken from `process.getBuiltinModule`. An `import` of one makes Node read every export that it
 * has, and with them run every getter that loads more: that took longer than to load the modules themselves.
 */
export function builtinModules(): Plugin {
  return {
    name: 'builtin-modules',
    setup(build) {
      build.onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: 'builtin', sideEffects: false }));
      build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
        const names = Object.keys(require(path) as object).filter(
          (name) => /^[\w$]+$/.test(name) && name !== 'default',
        );
        // Each is a call that is marked as pure, so that those that nobody imports are left out.
        const contents = [
          `const module = /* @__PURE__ */ process.getBuiltinModule('${path}');`,
          'const take = (name) => module[name];',
          ...names.map((name) => `export const ${name} = /* @__PURE__ */ take('${name}');`),
          'export default module;',
        ];
        return { contents: contents.join('\n'), loader: 'js' };
      });
    },
  };
}

/**
 * Keeps all modules of the core in one chunk, which every entry shares. Divided by who needs what, they would be ten
 * files, and Node takes half a millisecond for each file that it imports.
 */
export function coreInOneChunk(core: string): Plugin {
  return {
    name: 'core-in-one-chunk',
    setup(build) {
      const { entryPoints } = build.initialOptions;
      const entries = new Set(Object.values(entryPoints as Record<string, string>).map((entry) => resolve(entry)));
      entries.delete(resolve(core));
      build.onResolve({ filter: /^\.{1,2}\// }, ({ importer, resolveDir, path }) =>
        importer === '' ? undefined : { path: resolve(resolveDir, path.replace(/\.js$/, '.ts')), sideEffects: true },
      );
      build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (!entries.has(path)) return undefined;
        const source = await readFile(path, 'utf8');
        const specifier = relative(dirname(path), resolve(core))
          .replace(/^(?!\.)/, './')
          .replace(/\.ts$/, '.js');
        // At the end, where it moves no line.
        return { contents: `${source}\nimport '${specifier}';\n`, loader: 'ts' };
      });
    },
  };
}

/**
 * Tells bundlers that what a module computes when it is loaded can be left out where nobody uses it. They cannot know it
 * of a class with a method named by `inspect.custom`, of a Buffer, or of a property of another module.
 */
export function pureModules(): NonNullable<Options['plugins']>[number] {
  return {
    name: 'pure-modules',
    renderChunk(code, { path }) {
      // A CommonJS module is taken whole.
      if (this.format !== 'esm') return undefined;
      const source = ts.createSourceFile(path, code, ts.ScriptTarget.Latest);
      const edited = new MagicString(code);
      for (const statement of source.statements) {
        if (!ts.isVariableStatement(statement)) continue;
        for (const { name, initializer } of statement.declarationList.declarations) {
          if (initializer === undefined || isPlain(initializer)) continue;
          const start = initializer.getStart(source);
          edited.appendLeft(start, '/* @__PURE__ */ (() => (');
          if (ts.isClassExpression(initializer) && initializer.name === undefined) {
            edited.appendLeft(start + 'class'.length, ` ${name.getText(source)}`);
          }
          edited.appendRight(initializer.end, '))()');
        }
      }
      return { code: edited.toString(), map: edited.generateMap({ source: path, hires: true }) };
    },
  };
}

/** Whether bundlers see by themselves that an expression gives a value and does nothing else. */
function isPlain(expression: ts.Expression): boolean {
  if (!ts.isClassExpression(expression)) return ts.isLiteralExpression(expression) || ts.isArrowFunction(expression);
  const { heritageClauses, members } = expression;
  return (
    heritageClauses === undefined &&
    !members.some((member) => ts.isClassStaticBlockDeclaration(member)) &&
    !members.some(({ name }) => name !== undefined && ts.isComputedPropertyName(name))
  );
}
