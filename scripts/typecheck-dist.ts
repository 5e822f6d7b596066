/**
 * Type-checks test/types, programs that use the package, against the declarations of the packed package, under each
 * way of resolving modules that users have. The declarations themselves are checked as well: `skipLibCheck` must
 * not be what makes them compile.
 */

import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { manifest, report, root, subpaths, temporaryProject } from './package.js';

interface Mode {
  readonly type: 'module' | 'commonjs';
  readonly options: Readonly<Record<string, unknown>>;
}

const MODES: Readonly<Record<string, Mode>> = {
  'node16, an ES module': { type: 'module', options: { module: 'node16', moduleResolution: 'node16' } },
  'node16, CommonJS': { type: 'commonjs', options: { module: 'node16', moduleResolution: 'node16' } },
  'nodenext, an ES module': { type: 'module', options: { module: 'nodenext', moduleResolution: 'nodenext' } },
  'nodenext, CommonJS': { type: 'commonjs', options: { module: 'nodenext', moduleResolution: 'nodenext' } },
  bundler: { type: 'module', options: { module: 'preserve', moduleResolution: 'bundler' } },
  'node10, CommonJS': { type: 'commonjs', options: { module: 'commonjs', moduleResolution: 'node10' } },
};

/** The least and the most that users ask of their compiler. */
const STRICTNESS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'as strict as can be': {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noPropertyAccessFromIndexSignature: true,
  },
  'just strict, with the DOM': { strict: true, lib: ['ES2022', 'DOM'] },
};

const consumers = join(root, 'test', 'types');
const names = readdirSync(consumers).filter((name) => name.endsWith('.ts'));
const faults: string[] = [];

const imported = new Set(
  names.flatMap((name) =>
    ts.preProcessFile(readFileSync(join(consumers, name), 'utf8')).importedFiles.map(({ fileName }) => fileName),
  ),
);
for (const { specifier } of subpaths) {
  if (!imported.has(specifier)) faults.push(`no file in test/types uses ${specifier}`);
}

const project = temporaryProject(['@types/node', 'undici-types']);

/** What does not change from mode to mode is parsed once. */
const unchanging = new Map<string, ts.SourceFile | undefined>();

/** Checks the consumers and the package's declarations, not TypeScript's own and Node's. */
function compile(directory: string, options: ts.CompilerOptions): readonly ts.Diagnostic[] {
  const host = ts.createCompilerHost(options);
  const read = host.getSourceFile;
  host.getCurrentDirectory = () => directory;
  host.getSourceFile = (file, language, ...rest) => {
    if (!/\/(typescript|@types|undici-types)\//.test(file)) return read(file, language, ...rest);
    const key = `${file} ${JSON.stringify(language)}`;
    if (!unchanging.has(key)) unchanging.set(key, read(file, language, ...rest));
    return unchanging.get(key);
  };
  const compilation = ts.createProgram(
    names.map((name) => join(directory, name)),
    options,
    host,
  );
  return [
    ...compilation.getConfigFileParsingDiagnostics(),
    ...compilation.getOptionsDiagnostics(),
    ...compilation.getGlobalDiagnostics(),
    ...compilation
      .getSourceFiles()
      .filter(({ fileName }) => fileName.startsWith(directory) || fileName.includes(`/node_modules/${manifest.name}/`))
      .flatMap((file) => [...compilation.getSyntacticDiagnostics(file), ...compilation.getSemanticDiagnostics(file)]),
  ];
}

for (const [mode, { type, options }] of Object.entries(MODES)) {
  for (const [strictness, more] of Object.entries(STRICTNESS)) {
    const directory = join(project, `${mode} ${strictness}`.replaceAll(/\W+/g, '-'));
    mkdirSync(directory);
    writeFileSync(join(directory, 'package.json'), JSON.stringify({ type, private: true }));
    for (const name of names) cpSync(join(consumers, name), join(directory, name));
    const asked = {
      target: 'es2022',
      lib: ['ES2022'],
      types: ['node'],
      esModuleInterop: true,
      noEmit: true,
      ...options,
      ...more,
    };
    const parsed = ts.convertCompilerOptionsFromJson(asked, directory);
    const diagnostics = [...parsed.errors, ...compile(directory, parsed.options)];
    console.log(`${diagnostics.length === 0 ? 'good' : 'BAD '}  ${mode}, ${strictness}`);
    if (diagnostics.length > 0) {
      const text = ts.formatDiagnostics(diagnostics, {
        getCanonicalFileName: (name) => name,
        getCurrentDirectory: () => directory,
        getNewLine: () => '\n',
      });
      faults.push(`${mode}, ${strictness}:\n${text.trimEnd().replaceAll(/^/gm, '    ')}`);
    }
  }
}

report('built types', faults);
