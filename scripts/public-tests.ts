/** Which tests can be run on the built package: those that import nothing of the sources but what it offers. */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';
import { root, subpaths } from './package.js';

/** They start programs, which use the sources. */
const WITH_PROGRAMS = /^(?:bench|cli|docs|examples|types)\b/;

const sources = join(root, 'src');
const parsed = new Map<string, ts.SourceFile>();

function parse(file: string): ts.SourceFile {
  let source = parsed.get(file);
  if (source === undefined) {
    source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest);
    parsed.set(file, source);
  }
  return source;
}

/** The names of the values that the core offers. */
function coreNames(): Set<string> {
  const names = new Set<string>();
  for (const statement of parse(join(sources, 'index.ts')).statements) {
    if (!ts.isExportDeclaration(statement) || statement.isTypeOnly) continue;
    if (statement.exportClause === undefined || !ts.isNamedExports(statement.exportClause)) continue;
    for (const { isTypeOnly, name } of statement.exportClause.elements) if (!isTypeOnly) names.add(name.text);
  }
  return names;
}

interface Import {
  readonly file: string;
  readonly names: readonly string[];
}

/** The values that a file imports from others of the tree; of a namespace, a name that nothing has. */
function importsOf(file: string): Import[] {
  return parse(file).statements.flatMap((statement) => {
    if (!ts.isImportDeclaration(statement) || statement.importClause?.isTypeOnly) return [];
    const { text } = statement.moduleSpecifier as ts.StringLiteral;
    if (!text.startsWith('.') || !text.endsWith('.js')) return [];
    const bindings = statement.importClause?.namedBindings;
    const names =
      bindings !== undefined && ts.isNamedImports(bindings)
        ? bindings.elements.filter(({ isTypeOnly }) => !isTypeOnly).map((each) => (each.propertyName ?? each.name).text)
        : ['*'];
    return [{ file: resolve(dirname(file), text.replace(/\.js$/, '.ts')), names }];
  });
}

/** Paths from the root of the tree, in order. */
export function publicTests(): string[] {
  const offered = coreNames();
  const entries = new Set(subpaths.map(({ path }) => join(sources, `${path.slice(1)}.ts`)));
  const known = new Map<string, boolean>();

  const isPublic = (file: string): boolean => {
    let answer = known.get(file);
    if (answer === undefined) {
      known.set(file, true); // Files that import each other.
      answer = !parse(file).text.includes('vi.mock(') && importsOf(file).every(isOffered);
      known.set(file, answer);
    }
    return answer;
  };
  const isOffered = ({ file, names }: Import): boolean =>
    file.startsWith(sources) ? entries.has(file) || names.every((name) => offered.has(name)) : isPublic(file);

  const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' });
  return tests
    .filter((path) => path.endsWith('.test.ts') && !WITH_PROGRAMS.test(path))
    .map((path) => join('test', path))
    .filter((path) => isPublic(join(root, path)))
    .sort();
}
