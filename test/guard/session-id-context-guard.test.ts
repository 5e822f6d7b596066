import { createHash } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestParameters } from '../../src/guard/parameters-digest.js';
import { SessionIdContextGuard, type SessionPolicy } from '../../src/guard/session-id-context-guard.js';

const parameters = digestParameters({});
const policy = (servername?: string, other = parameters): SessionPolicy => ({ servername, parameters: other });

describe('SessionIdContextGuard', () => {
  it('gives a context of 32 bytes, the same for the same policy and from another guard of the same name', () => {
    const one = new SessionIdContextGuard({ name: 'shop' }).contextFor(policy('a.test'));
    const other = new SessionIdContextGuard({ name: 'shop' }).contextFor(policy('a.test'));
    expect(one).toHaveLength(32);
    expect(other).toEqual(one);
  });

  it('separates names exactly as sent, no name from every name, and services', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    const service = new SessionIdContextGuard({ name: 'shop2' });
    const names = ['a.test', 'A.test', 'a.test.', 'b.test', '', undefined];
    const contexts = names.flatMap((name) =>
      [guard, service].map((each) => each.contextFor(policy(name)).toString('hex')),
    );
    expect(new Set(contexts).size).toBe(names.length * 2);
  });

  it('separates settings', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    expect(guard.contextFor(policy('a.test', digestParameters({ requestCert: true })))).not.toEqual(
      guard.contextFor(policy('a.test')),
    );
  });

  it('never gives one context to two names (property)', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), fc.string({ maxLength: 40 }), (a, b) => {
        fc.pre(a !== b);
        return !guard.contextFor(policy(a)).equals(guard.contextFor(policy(b)));
      }),
    );
  });

  it('accepts a connection in place of its policy', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    expect(guard.contextFor({ policy: policy('a.test') })).toEqual(guard.contextFor(policy('a.test')));
  });

  it('shares sessions across the exact names that are listed, and only within their group', () => {
    const guard = new SessionIdContextGuard({
      name: 'shop',
      shareAcross: [
        ['a.test', 'b.test'],
        ['c.test', 'd.test'],
      ],
    });
    const context = (name: string) => guard.contextFor(policy(name)).toString('hex');
    expect(context('a.test')).toBe(context('b.test'));
    expect(context('c.test')).toBe(context('d.test'));
    expect(new Set([context('a.test'), context('c.test'), context('A.test'), context('e.test')]).size).toBe(4);
  });

  it('shares in whatever order names are listed, and however often in a group', () => {
    const context = (...shareAcross: string[]) =>
      new SessionIdContextGuard({ name: 'shop', shareAcross }).contextFor(policy('a.test')).toString('hex');
    expect(context('b.test', 'a.test', 'b.test')).toBe(context('a.test', 'b.test'));
    expect(context('a.test', 'c.test')).not.toBe(context('a.test', 'b.test'));
  });

  it('takes one flat list as one group', () => {
    const guard = new SessionIdContextGuard({ name: 'shop', shareAcross: ['a.test', 'b.test'] });
    expect(guard.contextFor(policy('a.test'))).toEqual(guard.contextFor(policy('b.test')));
  });

  it('makes the context part of the key, as SHA-256(context ‖ session ID)', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    const context = guard.contextFor(policy('a.test'));
    const id = Buffer.alloc(32, 7);
    expect(guard.keyFor(context, id)).toEqual(createHash('sha256').update(context).update(id).digest());
  });

  it('gives the contexts that it always gave, so that sessions in a store outlive an upgrade', () => {
    const sha256 = (...parts: (string | Uint8Array)[]) => {
      const hash = createHash('sha256');
      for (const part of parts) hash.update(part);
      return hash.digest();
    };
    const guard = new SessionIdContextGuard({ name: 'shop', shareAcross: ['c.test', 'b.test'] });
    const beginning = [sha256('tls-resumption context v1\0shop'), Buffer.alloc(32), parameters];
    expect(guard.contextFor(policy())).toEqual(sha256(...beginning, '\0'));
    expect(guard.contextFor(policy('a.test'))).toEqual(sha256(...beginning, '\x01a.test'));
    const group = sha256(JSON.stringify(['b.test', 'c.test']));
    expect(guard.contextFor(policy('b.test'))).toEqual(sha256(...beginning, '\x02', group));
  });

  it('moves every context when rotated, to one that never was, and says so', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    const told: unknown[] = [];
    const listener = (message: unknown) => told.push(message);
    subscribe('tls-resumption:rotated', listener);
    const seen = new Set<string>();
    for (let i = 0; i < 5; i++) {
      seen.add(guard.contextFor(policy('a.test')).toString('hex'));
      guard.rotate('certificate replaced');
    }
    unsubscribe('tls-resumption:rotated', listener);
    expect(seen.size).toBe(5);
    expect(told[0]).toEqual({ guard: 'shop', reason: 'certificate replaced' });
  });

  it('ends a chain of resumptions at its age', () => {
    const guard = new SessionIdContextGuard({ name: 'shop', maxChainAge: 60 });
    expect(guard.withinChainAge(0, 60_000)).toBe(true);
    expect(guard.withinChainAge(0, 60_001)).toBe(false);
  });

  it('takes a name of 32 bytes, the longest session ID context of OpenSSL', () => {
    for (const name of ['x', 'ü'.repeat(16)]) expect(new SessionIdContextGuard({ name }).name).toBe(name);
  });

  it.each([
    [undefined, TypeError, '"name" expected a string, got undefined'],
    [{}, TypeError, '"name" expected a string, got undefined'],
    [{ name: '' }, RangeError, '"name" expected 1 to 32 bytes of UTF-8 without NUL, got a string of 0 characters'],
    [{ name: 'ü'.repeat(17) }, RangeError, '"name" expected 1 to 32 bytes'],
    [{ name: 'a\0b' }, RangeError, 'without NUL'],
    [{ name: 'a', maxChainAge: 0 }, RangeError, '"maxChainAge" expected 1 to 604800 seconds, got number 0'],
    [{ name: 'a', maxChainAge: '1' }, TypeError, '"maxChainAge" expected a number of seconds'],
    [{ name: 'a', maxChainAge: Number.NaN }, RangeError, 'got number NaN'],
    [{ name: 'a', shareAcross: 'a.test' }, TypeError, '"shareAcross" expected an array of server names'],
    [
      { name: 'a', shareAcross: [['a.test'], 'b.test'] },
      TypeError,
      '"shareAcross" expected only arrays beside an array',
    ],
    [{ name: 'a', shareAcross: [1] }, TypeError, '"shareAcross" expected a string, got number 1'],
    [{ name: 'a', shareAcross: [['a.test'], ['a.test']] }, RangeError, 'each name in one group'],
  ])('refuses %j', (options, type, message) => {
    const make = () => new SessionIdContextGuard(options as never);
    expect(make).toThrow(type as never);
    expect(make).toThrow(message);
  });

  it('refuses what is no policy, no key and no reason, each by its name', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    const context = Buffer.alloc(32);
    const cases: [call: () => unknown, message: string][] = [
      [() => guard.contextFor(undefined as never), '"connection" expected an object, got undefined'],
      [() => guard.contextFor({ policy: null as never }), '"policy" expected an object, got null'],
      [
        () => guard.contextFor({ servername: 'a', parameters: Buffer.alloc(31) }),
        '"parameters" expected 32 bytes, got Buffer of 31 bytes',
      ],
      [() => guard.contextFor({ servername: 1 as never, parameters }), '"servername" expected a string, got number 1'],
      [() => guard.keyFor(Buffer.alloc(33), context), '"context" expected 32 bytes, got Buffer of 33 bytes'],
      [() => guard.keyFor(context, 'id' as never), '"sessionId" expected a Uint8Array, got a string of 2 characters'],
      [() => guard.keyFor(context, Buffer.alloc(65_536)), '"sessionId" expected 0 to 65535 bytes'],
      [() => guard.rotate(undefined as never), '"reason" expected a string, got undefined'],
      [() => guard.retire(parameters, undefined as never), '"reason" expected a string, got undefined'],
      [() => guard.retire(Buffer.alloc(31), 'test'), '"parameters" expected 32 bytes, got Buffer of 31 bytes'],
    ];
    for (const [call, message] of cases) expect(call).toThrow(message);
  });
});
