/**
 * Checks the rules of the house that no linter knows: how long files may be, which way imports point, and who may know
 * `tls`. CONTRIBUTING.md says them in words.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import ts from 'typescript';
import { report, root } from './package.js';

const MAX_LINES = 400;

/** The floors of the house, from the top. What stands on one may import what stands on its own and on lower ones. */
const FLOORS = [['cli'], ['testing'], ['server', 'client', 'proxy'], ['guard', 'cache', 'tickets', 'stores'], ['wire']];

/** All may import these; they import nothing of the house but each other. */
const CELLAR = ['errors.ts', 'arguments.ts', 'diagnostics.ts'];

const TLS_MODULES = ['tls', 'https', 'http2', '_tls_wrap', '_tls_common'].flatMap((name) => [name, `node:${name}`]);
const KNOWS_TLS = ['server', 'client', 'proxy', 'testing'];

const source = join(root, 'src');
const faults: string[] = [];

/** Where a file of `src` stands: the number of its floor, or which of the two exceptions it is. */
function floor(file: string): number | 'face' | 'cellar' | undefined {
  if (file === 'index.ts') return 'face';
  if (CELLAR.includes(file)) return 'cellar';
  // The face of a subpath stands with its room: src/testing.ts with src/testing.
  const [room = ''] = file.replace(/\.ts$/, '').split('/');
  const found = FLOORS.findIndex((rooms) => rooms.includes(room));
  return found < 0 ? undefined : found;
}

function mayImport(from: string, to: string): boolean {
  const [above, below] = [floor(from), floor(to)];
  if (below === 'face') return false;
  if (above === 'face' || below === 'cellar') return true;
  return typeof above === 'number' && typeof below === 'number' && above <= below;
}

const files = readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(source, join(entry.parentPath, entry.name)).split(sep).join('/'))
  .sort();

const imports = new Map<string, string[]>();
let total = 0;

for (const file of files) {
  const text = readFileSync(join(source, file), 'utf8');
  const lines = text.split('\n').length - 1;
  total += lines;
  if (lines > MAX_LINES) faults.push(`src/${file} has ${lines} lines; ${MAX_LINES} is the most`);
  if (floor(file) === undefined) faults.push(`src/${file} stands on no floor of the house`);

  const inside: string[] = [];
  imports.set(file, inside);
  for (const { fileName: specifier } of ts.preProcessFile(text, true, true).importedFiles) {
    if (specifier.startsWith('.')) {
      const target = join(dirname(file), specifier).split(sep).join('/').replace(/\.js$/, '.ts');
      inside.push(target);
      if (!mayImport(file, target)) faults.push(`src/${file} may not import src/${target}`);
    } else if (TLS_MODULES.includes(specifier) && !KNOWS_TLS.includes(file.split('/')[0] ?? '')) {
      faults.push(`src/${file} may not know ${specifier}: only ${KNOWS_TLS.join(', ')} do`);
    }
  }
  if (file === 'index.ts') checkFace(ts.createSourceFile(file, text, ts.ScriptTarget.ES2022));
}

/** The public face only re-exports, and by name: what becomes public is said there. */
function checkFace(face: ts.SourceFile): void {
  for (const statement of face.statements) {
    const reexports =
      ts.isExportDeclaration(statement) &&
      statement.moduleSpecifier !== undefined &&
      statement.exportClause !== undefined;
    if (!reexports)
      faults.push(`src/index.ts may only re-export by name, not: ${statement.getText(face).split('\n')[0]}`);
  }
}

/** Files that import each other in a ring cannot be understood, or loaded, one by one. */
function findRings(): void {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) faults.push(`imports form a ring: ${[...path.slice(at), file].join(' → ')}`);
    if (at >= 0 || done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
}

findRings();
console.log(`src has ${files.length} files and ${total} lines`);
report('rules of the house', faults);
