import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseTicketKeys, type TicketKeyFormat } from '../../src/index.js';
import { temporaryFolder } from '../support/peers.js';
import { run, stdinOf } from './fake-io.js';

const FORMATS: readonly TicketKeyFormat[] = ['node', 'nginx', 'haproxy', 'apache', 'ats'];
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(() => folder.remove());

const at = (name: string): string => join(folder.path, name);
const mode = async (name: string): Promise<number> => (await stat(at(name))).mode & 0o777;

async function generate(format: TicketKeyFormat, name: string, ...more: string[]): Promise<Buffer> {
  const { code, err } = await run(['keys', 'generate', '--format', format, '--out', at(name), ...more]);
  expect([code, err]).toEqual([0, '']);
  return readFile(at(name));
}

describe('keys generate', () => {
  it.each([
    ['node', '128', 1, 48],
    ['nginx', '128', 1, 48],
    ['nginx', '256', 1, 80],
    ['haproxy', '128', 3, 48],
    ['haproxy', '256', 3, 80],
    ['apache', '128', 1, 48],
    ['ats', '128', 1, 48],
  ] as const)('%s with %s bits', async (format, bits, count, length) => {
    const keys = parseTicketKeys(await generate(format, 'keys', '--bits', bits), format);
    expect(keys.map((key) => key.length)).toEqual(Array(count).fill(length));
  });

  it('makes as many as it is told, each random, and prints no secret', async () => {
    const { out } = await run(['keys', 'generate', '--format', 'ats', '--count', '5', '--out', at('keys')]);
    const keys = parseTicketKeys(await readFile(at('keys')), 'ats');
    expect(new Set(keys.map(({ name }) => name.toString('hex'))).size).toBe(5);
    for (const { name, hmacKey, aesKey } of keys) {
      expect(out).toContain(name.toString('hex'));
      for (const secret of [hmacKey, aesKey]) expect(out).not.toContain(secret.toString('hex'));
    }
  });

  it('writes for the owner alone, and over no other file unless told so', async () => {
    const first = await generate('node', 'keys');
    expect(await mode('keys')).toBe(0o600);
    await chmod(at('keys'), 0o644);
    const again = await run(['keys', 'generate', '--format', 'node', '--out', at('keys')]);
    expect(again).toMatchObject({ code: 3, out: '', err: expect.stringContaining('--force replaces it') });
    expect(await readFile(at('keys'))).toEqual(first);
    expect(await generate('node', 'keys', '--force')).not.toEqual(first);
    expect(await mode('keys')).toBe(0o600);
    expect(await readdir(folder.path)).toEqual(['keys']);
  });

  it('leaves nothing behind where it cannot write', async () => {
    await mkdir(at('folder'));
    const into = (path: string) => run(['keys', 'generate', '--format', 'node', '--force', '--out', path]);
    expect(await into(at('folder'))).toMatchObject({ code: 3 });
    expect(await into(at('none/keys'))).toMatchObject({ code: 3, err: expect.stringContaining('no such file') });
    expect(await readdir(folder.path)).toEqual(['folder']);
  });

  it.each([
    [['generate'], '--format is needed: node, nginx, haproxy, apache or ats'],
    [['generate', '--format', 'x'], '--format expected'],
    [['generate', '--format', 'node'], '--out FILE is needed'],
    [['generate', '--format', 'node', '--out', '-'], '--out FILE is needed'],
    [['generate', '--format', 'node', '--out', ''], '--out FILE is needed'],
    [['generate', '--format', 'node', '--bits', '256', '--out', 'x'], 'keys of 48 bytes'],
    [['generate', '--format', 'nginx', '--count', '2', '--out', 'x'], '1 key at most'],
    [['generate', '--format', 'nginx', '--bits', '192', '--out', 'x'], '--bits expected 128 or 256'],
    [['generate', 'x', '--format', 'nginx'], 'options only'],
    [['generate', '--from', 'node'], 'takes no --from'],
    [['convert'], 'expected a file'],
    [['check'], 'expected a file'],
    [['check', 'x'], '--format is needed'],
    [[], 'generate, convert or check, got nothing'],
    [['make'], 'got "make"'],
  ])('refuses keys %j', async (args, message) => {
    expect(await run(['keys', ...args])).toMatchObject({ code: 2, out: '', err: expect.stringContaining(message) });
  });
});

describe('keys convert', () => {
  it('keeps keys and their order, between any formats that can hold them', async () => {
    const same = (a: Buffer, from: TicketKeyFormat, b: Buffer, to: TicketKeyFormat): void => {
      const hex = (bytes: Buffer, format: TicketKeyFormat) =>
        parseTicketKeys(bytes, format).map(({ name, hmacKey, aesKey }) =>
          Buffer.concat([name, hmacKey, aesKey]).toString('hex'),
        );
      expect(hex(b, to)).toEqual(hex(a, from));
    };
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...FORMATS), fc.constantFrom(...FORMATS), async (from, to) => {
        const multiple = (format: TicketKeyFormat) => format === 'haproxy' || format === 'ats';
        const count = multiple(from) && multiple(to) ? '4' : from === 'haproxy' ? '3' : '1';
        fc.pre(to !== 'haproxy' || count === '4');
        const original = await generate(from, 'from', '--count', count, '--force');
        const one = count === '3' && !multiple(to) ? ['--key', '1'] : [];
        const args = ['--from', from, '--to', to, '--out', at('to'), '--force', ...one];
        const { code, err } = await run(['keys', 'convert', at('from'), ...args]);
        expect([code, err]).toEqual([0, '']);
        const converted = await readFile(at('to'));
        if (one.length === 0) same(original, from, converted, to);
        else expect(parseTicketKeys(converted, to)[0]?.name).toEqual(parseTicketKeys(original, from)[0]?.name);
      }),
      { numRuns: 40 },
    );
  });

  it('puts the files of nginx into one of HAProxy', async () => {
    const names = ['first', 'second', 'third'];
    const keys = [];
    for (const name of names) keys.push(...parseTicketKeys(await generate('nginx', name), 'nginx'));
    const args = ['keys', 'convert', ...names.map(at), '--from', 'nginx', '--to', 'haproxy', '--out', at('all')];
    expect((await run(args)).out).toMatch(/seals\n.*seals next\n.*opens\n$/);
    const converted = parseTicketKeys(await readFile(at('all')), 'haproxy');
    expect(converted.map(({ name }) => name)).toEqual(keys.map(({ name }) => name));
    expect(await mode('all')).toBe(0o600);
  });

  it('says what helps where a format cannot hold the keys, and where the file is of another', async () => {
    await generate('haproxy', 'keys');
    const to = (format: string, ...more: string[]) =>
      run(['keys', 'convert', at('keys'), '--from', 'haproxy', '--to', format, '--out', at('out'), ...more]);
    expect(await to('nginx')).toMatchObject({ code: 2, err: expect.stringContaining('--key N') });
    expect(await to('nginx', '--key', '4')).toMatchObject({ code: 2, err: expect.stringContaining('from 1 to 3') });
    const wrong = await run(['keys', 'convert', at('keys'), '--from', 'node', '--to', 'ats', '--out', at('out')]);
    expect(wrong).toMatchObject({ code: 3, err: expect.stringContaining("the format 'node' is") });
    expect(await readdir(folder.path)).toEqual(['keys']);
  });
});

describe('keys check', () => {
  it('tells names and uses of good keys', async () => {
    const keys = parseTicketKeys(await generate('haproxy', 'keys'), 'haproxy');
    const { code, out } = await run(['keys', 'check', at('keys'), '--format', 'haproxy']);
    expect(code).toBe(0);
    const [sealing, next, previous] = keys.map(({ name }) => name.toString('hex'));
    expect(out).toBe(
      `${JSON.stringify(at('keys'))}: good\n  ${sealing}  AES-128  seals\n  ${next}  AES-128  seals next\n  ${previous}  AES-128  opens\n`,
    );
  });

  it('finds a bad file, and one that others may read', async () => {
    await writeFile(at('bad'), randomBytes(47), { mode: 0o600 });
    const bad = await run(['keys', 'check', at('bad'), '--format', 'nginx']);
    expect(bad).toMatchObject({ code: 1, out: expect.stringContaining('bad: ') });
    await generate('node', 'open');
    await chmod(at('open'), 0o640);
    const both = await run(['keys', 'check', at('bad'), at('open'), '--format', 'node', '--json']);
    expect(both.code).toBe(1);
    expect(JSON.parse(both.out)).toMatchObject({
      good: false,
      files: [
        { fault: expect.any(String), keys: [] },
        { openToOthers: true, keys: [{ bits: 128 }] },
      ],
    });
    expect((await run(['keys', 'check', at('open'), '--format', 'node'])).out).toContain('chmod 600');
  });

  it('reads standard input, and cannot read what is not there', async () => {
    const stdin = stdinOf(randomBytes(48));
    expect(await run(['keys', 'check', '-', '--format', 'ats'], { stdin })).toMatchObject({ code: 0 });
    expect(await run(['keys', 'check', at('none'), '--format', 'ats'])).toMatchObject({ code: 3 });
  });
});
