/** The README's example, pasted into a new project. */

import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { freePort } from '../support/ports.js';
import { comeBack, only, VERSIONS, type Version } from '../support/visits.js';
import { Program, ROOT } from './processes.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id', 'TLSv1.3': 'stateful-ticket' };
const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

let readme: string;
let project: string;
let blocks: string[];

beforeAll(async () => {
  readme = await readFile(join(ROOT, 'README.md'), 'utf8');
  blocks = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code as string);
  project = await mkdtemp(join(tmpdir(), 'readme-'));
  const installed = join(project, 'node_modules', 'tls-resumption');
  await mkdir(installed, { recursive: true });
  const { key, cert } = await makeCertificate({ names: ['localhost'] });
  await Promise.all([
    writeFile(join(project, 'package.json'), '{ "type": "module" }'),
    writeFile(join(project, 'key.pem'), key),
    writeFile(join(project, 'cert.pem'), cert),
    // The sources in place of the package, so that nothing needs to be built first.
    writeFile(join(installed, 'package.json'), '{ "type": "module", "exports": "./index.ts" }'),
    writeFile(join(installed, 'index.ts'), `export * from ${JSON.stringify(join(ROOT, 'src', 'index.ts'))};\n`),
  ]);
});

afterAll(() => rm(project, { recursive: true, force: true }));

async function run(name: string, code: string): Promise<Program> {
  await writeFile(join(project, name), code);
  // tsx is named by its place: the new project does not have it.
  const tsx = import.meta.resolve('tsx');
  return new Program(process.execPath, ['--import', tsx, name], { cwd: project });
}

describe('README', () => {
  test.each(VERSIONS)('its first example resumes over %s', async (version) => {
    const port = await freePort();
    const code = blocks[0] as string;
    expect(code.trimEnd().split('\n').filter(Boolean).length).toBeLessThanOrEqual(10);
    expect(code).toContain('8443');
    const program = await run('server.js', code.replaceAll('8443', String(port)));
    expect(await program.port()).toBe(port);
    const [first, second] = await comeBack(port, { ...only(version), servername: 'localhost', send: GET });
    expect(first.received).toMatch(/\r\n\r\n.*full handshake\n/s);
    expect(second.resumed).toBe(true);
    expect(second.received).toContain(`${WAYS[version]}\n`);
  });

  test('its other examples run', async () => {
    const complete = blocks.slice(1).filter((code) => code.includes('import '));
    expect(complete.length).toBeGreaterThan(1);
    for (const [index, code] of complete.entries()) {
      const { code: exitCode, stderr } = await (await run(`other-${index}.js`, code)).ended;
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    }
  });

  test('what it links to is there', async () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path as string);
    expect(links).toContain('SECURITY.md');
    for (const path of links) await expect(access(join(ROOT, path)), path).resolves.toBeUndefined();
  });
});
