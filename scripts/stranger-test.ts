/**
 * Does what a stranger does: installs the packed package into an empty project, without the sources in reach, and runs
 * the programs of scripts/stranger. Needs the npm registry and an openssl program, and dist.
 */

import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { manifest, pack, root, temporaryDirectory } from './package.js';

/** All that the tarball may hold, beside dist. */
const EXPECTED = ['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'dist', 'package.json'];

const project = temporaryDirectory();
const environment: NodeJS.ProcessEnv = { ...process.env };
delete environment['NODE_OPTIONS'];

function run(program: string, ...args: string[]): void {
  console.log(`$ ${[program === process.execPath ? 'node' : program, ...args].join(' ')}`);
  execFileSync(program, args, { cwd: project, env: environment, stdio: ['ignore', 'inherit', 'inherit'] });
}

cpSync(join(root, 'scripts', 'stranger'), project, { recursive: true });
writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'stranger', private: true, type: 'module' }));
writeFileSync(
  join(project, 'tsconfig.json'),
  JSON.stringify({
    compilerOptions: { module: 'nodenext', target: 'es2022', strict: true, noEmit: true, types: ['node'] },
  }),
);

const tools = ['typescript', '@types/node'].map((name) => `${name}@${manifest.devDependencies[name]}`);
run('npm', 'install', '--no-audit', '--no-fund', pack(project), ...tools);

const found = readdirSync(join(project, 'node_modules', manifest.name)).sort();
if (found.join() !== EXPECTED.join()) throw new Error(`the package holds ${found.join(', ')}`);

const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
const keys = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'key.pem'];
execFileSync('openssl', ['req', '-x509', '-days', '2', '-out', 'cert.pem', ...keys, ...subject], {
  cwd: project,
  stdio: 'ignore',
});

/** As CI names them; alone, the one that runs this. */
const nodes = process.env['PEER_NODES']?.split(',') ?? [process.execPath];
const command = join('node_modules', '.bin', manifest.name);
for (const node of nodes) {
  run(node, 'program.mjs');
  run(node, 'program.cjs');
  run(node, command, '--version');
  run(node, command, 'keys', 'generate', '--format', 'nginx', '--out', `${nodes.indexOf(node)}.keys`);
}
run(process.execPath, 'node_modules/typescript/bin/tsc');
console.log('a stranger gets along');
