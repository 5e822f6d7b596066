/**
 * Checks each subpath of `exports`, in both of its forms, on the packed package: that it loads on its own, that both
 * forms offer the same names, and that what it pulls in is what scripts/subpaths.json allows it.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { report, subpaths, temporaryProject } from './package.js';

const allowed = JSON.parse(readFileSync(new URL('subpaths.json', import.meta.url), 'utf8')) as Record<string, string[]>;

const project = temporaryProject();
const installed = join(project, 'node_modules', 'tls-resumption');
const faults: string[] = [];

/** The files of the package and the modules outside it that `entry` reaches, lazily loaded ones included. */
function trace(entry: string): { files: Set<string>; modules: Set<string> } {
  const files = new Set<string>();
  const modules = new Set<string>();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (files.has(file)) continue;
    files.add(file);
    for (const { fileName: specifier } of ts.preProcessFile(readFileSync(file, 'utf8'), true, true).importedFiles) {
      if (specifier.startsWith('.')) waiting.push(join(dirname(file), specifier));
      else modules.add(specifier);
    }
  }
  return { files, modules };
}

/** The names that a fresh process gets when it loads `specifier`. */
function load(specifier: string, form: 'import' | 'require'): string[] {
  const name = JSON.stringify(specifier);
  const program =
    form === 'import'
      ? `console.log(JSON.stringify(Object.keys(await import(${name}))))`
      : `console.log(JSON.stringify(Object.keys(require(${name}))))`;
  const type = form === 'import' ? 'module' : 'commonjs';
  const output = execFileSync(process.execPath, [`--input-type=${type}`, '--eval', program], {
    cwd: project,
    encoding: 'utf8',
  });
  return (JSON.parse(output) as string[]).filter((each) => each !== '__esModule' && each !== 'module.exports').sort();
}

for (const path of Object.keys(allowed)) {
  if (!subpaths.some((subpath) => subpath.path === path)) faults.push(`${path} is in subpaths.json, not in exports`);
}

for (const subpath of subpaths) {
  const permitted = allowed[subpath.path];
  if (permitted === undefined) {
    faults.push(`${subpath.path} is in exports, not in subpaths.json`);
    continue;
  }
  for (const form of ['import', 'require'] as const) {
    const { files, modules } = trace(join(installed, subpath[form].default));
    const bytes = [...files].reduce((sum, file) => sum + statSync(file).size, 0);
    const outside = [...modules].sort().join(' ') || 'nothing';
    console.log(
      `${subpath.path} (${form}): ${files.size} files, ${(bytes / 1024).toFixed(1)} KiB; pulls in ${outside}`,
    );
    for (const module of modules) {
      // A built-in module here is one that the build did not take from process.getBuiltinModule.
      if (!permitted.includes(module)) faults.push(`${subpath.path} (${form}) may not pull in ${module}`);
    }
  }
  try {
    const imported = load(subpath.specifier, 'import').join(' ');
    const required = load(subpath.specifier, 'require').join(' ');
    if (imported === '') faults.push(`${subpath.path} offers nothing`);
    if (imported !== required) faults.push(`${subpath.path} offers ${imported} imported, and ${required} required`);
  } catch (error) {
    faults.push(`${subpath.path} does not load: ${String(error)}`);
  }
}

report('subpaths', faults);
