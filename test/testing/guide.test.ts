/** The snippets of the guide, as they stand there. */

import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Ended, Program, ROOT } from '../examples/processes.js';

let project: string;
let blocks: string[];
let typed: string[];

beforeAll(async () => {
  const guide = await readFile(join(ROOT, 'docs', 'guides', 'testing.md'), 'utf8');
  const found = [...guide.matchAll(/^```(js|ts)\n(.*?)^```$/gms)];
  blocks = found.flatMap(([, language, code]) => (language === 'js' ? [code as string] : []));
  typed = found.flatMap(([, language, code]) => (language === 'ts' ? [code as string] : []));
  project = await mkdtemp(join(tmpdir(), 'guide-'));
  const installed = join(project, 'node_modules', 'tls-resumption');
  await mkdir(installed, { recursive: true });
  const exports = { '.': './index.ts', './testing': './testing.ts' };
  await writeFile(join(project, 'package.json'), '{ "type": "module" }');
  await writeFile(join(installed, 'package.json'), JSON.stringify({ type: 'module', exports }));
  for (const name of ['index.ts', 'testing.ts']) {
    await writeFile(join(installed, name), `export * from ${JSON.stringify(join(ROOT, 'src', name))};\n`);
  }
});

afterAll(() => rm(project, { recursive: true, force: true }));

async function runIn(code: string, ...more: string[]): Promise<Ended> {
  await writeFile(join(project, 'snippet.mjs'), code);
  const args = ['--import', import.meta.resolve('tsx'), ...more, 'snippet.mjs'];
  return new Program(process.execPath, args, { cwd: project }).ended;
}

async function run(code: string): Promise<string> {
  const { code: status, stdout, stderr } = await runIn(code);
  expect(status, stdout + stderr).toBe(0);
  return stdout;
}

describe('the guide "Test that your server resumes"', () => {
  it.each([
    ['the tests with node:test', 'measureResumption', /pass 3\n|ℹ pass 3/],
    ['the clock', 'fakeClock', /^undefined\n$/],
    ['the store that fails', 'FaultyStore', /^undefined\n\[ 'set', 'get' \]\n$/],
    ['the conformance cases', 'sessionStoreConformance', /(#|ℹ) fail 0/],
    ['the certificates', 'makeCertificate({ commonName', /^true\n$/],
  ])(
    'runs: %s',
    async (_, marker, expected) => {
      const found = blocks.filter((block) => block.includes(marker));
      expect(found).toHaveLength(1);
      expect(await run(found[0] as string)).toMatch(expected);
    },
    60_000,
  );

  it('has tests that fail, by node --test, where the server resumes by another way', async () => {
    const [test] = blocks.filter((block) => block.includes('measureResumption'));
    const { code, stdout } = await runIn((test as string).replace("'stateful-ticket'", "'session-id'"), '--test');
    expect(code).toBe(1);
    expect(stdout).toContain("expected resumption by 'session-id', got it by 'stateful-ticket'");
    expect(stdout).toMatch(/(#|ℹ) fail 1\n/);
  });

  it('has a test for Vitest that passes, and fails where the server resumes by another way', async () => {
    const [test] = typed as [string];
    await writeFile(join(project, 'good.test.ts'), test);
    await writeFile(join(project, 'bad.test.ts'), test.replace("'stateful-ticket'", "'session-id'"));
    await symlink(join(ROOT, 'node_modules', 'vitest'), join(project, 'node_modules', 'vitest'));
    const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
    const config = { test: { server: { deps: { inline: ['tls-resumption'] } } } };
    await writeFile(join(project, 'vitest.config.mjs'), `export default ${JSON.stringify(config)};`);
    const env = { NO_COLOR: '1', VITEST: undefined };
    const args = [vitest, 'run', '--root', project];
    const { code, stdout, stderr } = await new Program(process.execPath, args, { cwd: project, env }).ended;
    expect(code, stdout + stderr).toBe(1);
    expect(stdout, stderr).toMatch(/Tests +1 failed \| 1 passed/);
    expect(stderr).toContain("expected resumption by 'session-id', got it by 'stateful-ticket'");
  });

  it('has no snippet that is not run', () => {
    expect([blocks.length, typed.length]).toEqual([5, 1]);
  });
});
