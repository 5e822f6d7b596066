/** The guides: each program in them is run in a new project, and what they link to is there. */

import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import type { NotResumedReason } from '../../src/index.js';
import { Program, ROOT } from '../examples/processes.js';
import { freePort } from '../support/ports.js';
import { describeRedis, type StoreServers, storeServers } from '../support/store-servers.js';

const GUIDES = join(ROOT, 'docs', 'guides');
const guides = (await readdir(GUIDES)).filter((name) => name.endsWith('.md')).sort();
const textOf = (name: string): Promise<string> => readFile(join(GUIDES, name), 'utf8');
const PORT = /\b8443\b/g;

interface Manifest {
  exports: Record<string, string | { import: { default: string } }>;
}

let project: string;
let stores: StoreServers;

/** The sources in place of the package, so that nothing needs to be built first. */
async function install(modules: string): Promise<void> {
  const installed = join(modules, 'tls-resumption');
  await mkdir(installed, { recursive: true });
  const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as Manifest;
  const exports: Record<string, string> = {};
  for (const [subpath, target] of Object.entries(manifest.exports)) {
    if (typeof target === 'string') continue;
    const source = target.import.default.replace(/^\.\/dist\/(.*)\.js$/, 'src/$1.ts');
    exports[subpath] = `./${source.replaceAll('/', '-')}`;
    await writeFile(
      join(installed, source.replaceAll('/', '-')),
      `export * from ${JSON.stringify(join(ROOT, source))};\n`,
    );
  }
  await writeFile(join(installed, 'package.json'), JSON.stringify({ type: 'module', exports }));
  for (const name of ['ioredis', 'lmdb', 'undici']) {
    await symlink(join(ROOT, 'node_modules', name), join(modules, name), 'dir');
  }
}

beforeAll(async () => {
  stores = await storeServers();
  project = await mkdtemp(join(tmpdir(), 'guides-'));
  await install(join(project, 'node_modules'));
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  await Promise.all([
    writeFile(join(project, 'package.json'), '{ "type": "module" }'),
    writeFile(join(project, 'key.pem'), key),
    writeFile(join(project, 'cert.pem'), cert),
    writeFile(join(project, 'secret'), randomBytes(32)),
  ]);
});

afterAll(async () => {
  await stores.remove();
  await rm(project, { recursive: true, force: true });
});

async function run(file: string, code: string, env: NodeJS.ProcessEnv): Promise<void> {
  await writeFile(join(project, file), code.replaceAll(PORT, String(await freePort())));
  // tsx is named by its place: the new project does not have it.
  const args = ['--import', import.meta.resolve('tsx'), file];
  const program = new Program(process.execPath, args, { cwd: project, env: { ...process.env, ...env } });
  if (code.includes("'listening'")) {
    await program.printed(/^listening$/m);
    program.destroy();
    expect((await program.ended).stderr).toBe('');
  } else {
    const { code: exitCode, stderr } = await program.ended;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  }
}

async function programsOf(name: string): Promise<string[]> {
  return [...(await textOf(name)).matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code as string);
}

const needsRedis = (code: string): boolean => code.includes('REDIS_URL');

describe.each(guides)('%s', (name) => {
  it('has programs that run', async () => {
    const programs = await programsOf(name);
    expect(programs.length).toBeGreaterThan(0);
    for (const [i, code] of programs.entries()) {
      expect(code).toContain('import ');
      if (!needsRedis(code)) await run(`${name}-${i}.js`, code, {});
    }
  });

  it('links to what is there', async () => {
    for (const [, path] of (await textOf(name)).matchAll(/\]\(([^)#:]+)\)/g)) {
      const target = resolve(GUIDES, path as string);
      await expect(readFile(target), relative(ROOT, target)).resolves.toBeDefined();
      expect(dirname(target).startsWith(ROOT)).toBe(true);
    }
  });
});

it('explain every reason, and no other', async () => {
  const source = await readFile(join(ROOT, 'src', 'guard', 'resumption-rules.ts'), 'utf8');
  const union = /export type NotResumedReason =(.*?);\n/s.exec(source)?.[1] as string;
  const reasons = [...union.matchAll(/^ {2}\| '([a-z0-9-]+)'/gm)].map(([, reason]) => reason as NotResumedReason);
  const explained = [...(await textOf('troubleshooting.md')).matchAll(/^\| `([a-z0-9-]+)` \|/gm)].map(([, it]) => it);
  expect(explained.filter((reason) => reason !== 'reason').sort()).toEqual([...reasons].sort());
});

describeRedis('programs over Redis', () => {
  it('run', async () => {
    const all = (await Promise.all(guides.map(programsOf))).flat().filter(needsRedis);
    expect(all.length).toBeGreaterThan(0);
    const { port } = await stores.redis();
    for (const [i, code] of all.entries()) await run(`redis-${i}.js`, code, { REDIS_URL: `redis://127.0.0.1:${port}` });
  });
});
