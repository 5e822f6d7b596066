import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { engineError, saidBy } from '../../src/stores/engine-errors.js';

describe('what an engine said', () => {
  it.each([
    [
      new Error("OOM command not allowed when used memory > 'maxmemory'."),
      'OOM command not allowed when used memory >',
    ],
    [new Error("ERR unknown command 'SET', with args beginning with: 'key' 'SECRET'"), 'ERR unknown command'],
    [new Error('ERR unknown command `SET`, with args beginning with: `key`, `SECRET`'), 'ERR unknown command'],
    [new Error('ERR no such thing, with args beginning with: SECRET'), 'ERR no such thing'],
    [new Error(`Unexpected token 'S', "SECRET" is not valid JSON`), 'Unexpected token'],
    [new Error('"SECRET" is not valid JSON'), ''],
    [new Error("Stream isn't writeable"), "Stream isn't writeable"],
    [new Error('two\nlines\0 é'), 'two lines'],
    [new Error('x'.repeat(500)), 'x'.repeat(160)],
    [
      Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' }),
      'connect ECONNREFUSED 127.0.0.1:1, ECONNREFUSED',
    ],
    [{ message: '', code: 'ECONNREFUSED' }, 'ECONNREFUSED'],
    [new TypeError('fetch failed', { cause: { code: 'UND_ERR_SOCKET' } }), 'fetch failed, UND_ERR_SOCKET'],
    [Object.assign(new Error('no'), { code: 'SECRET in here' }), 'no'],
    ['text', 'text'],
    [undefined, ''],
    [null, ''],
    [7, ''],
    [{ message: 7 }, ''],
    [Object.create({ get message(): string { throw new Error('trap'); } }), ''], // biome-ignore format: a table
  ])('is kept up to what it quotes (%#)', (error, said) => {
    expect(saidBy(error)).toBe(said);
  });

  it('is never missing, and has no cause', () => {
    const error = engineError('Redis GET', undefined);
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', message: 'Redis GET failed: no reason was given' });
    expect(error.cause).toBeUndefined();
  });

  it('is short, printable and never an error, whatever there is', () => {
    fc.assert(
      fc.property(fc.anything(), fc.string({ unit: 'binary', maxLength: 1000 }), (anything, message) => {
        for (const error of [anything, { message: anything, code: anything, cause: anything }, { message }]) {
          expect(saidBy(error)).toMatch(/^[ -~]{0,230}$/);
        }
      }),
    );
  });

  it('has nothing of what stands in quotation marks', () => {
    const marks = fc.constantFrom("'", '"', '`');
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Z a-z]{0,20}$/), marks, (before, mark) => {
        expect(saidBy(new Error(`${before} ${mark}SECRET${mark} after`))).not.toContain('SECRET');
      }),
    );
  });
});
