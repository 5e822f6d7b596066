import { createHash } from 'node:crypto';
import {
  digestParameters,
  MemorySharedState,
  type Revocation,
  SessionIdContextGuard,
  type SessionIdContextGuardOptions,
} from 'tls-resumption';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { decodeRevocation, encodeRevocation, factNameOf, keyOfFactName } from '../../src/guard/revocations.js';

const NOW = Date.UTC(2030, 0, 1) + 250;
const HOUR = 3_600_000;
const ID = Buffer.alloc(32, 0x1d);
const CERTIFICATE = Buffer.from('the DER of a certificate');
const FINGERPRINT = createHash('sha256').update(CERTIFICATE).digest('hex');

const guards: SessionIdContextGuard[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'Date'], now: NOW });
});

afterEach(() => {
  for (const guard of guards.splice(0)) guard[Symbol.dispose]();
  vi.useRealTimers();
});

function newGuard(options: Partial<SessionIdContextGuardOptions> = {}): SessionIdContextGuard {
  const guard = new SessionIdContextGuard({ name: 'shop', withoutState: 'resume', ...options });
  guards.push(guard);
  return guard;
}

interface Shown {
  readonly id?: Uint8Array;
  readonly made?: number;
  readonly peerCertificate?: Uint8Array;
  readonly servername?: string | undefined;
}

/** Whether a session may not come back; by default, one of `a.test` that was made now. */
function ended(guard: SessionIdContextGuard, shown: Shown = {}): boolean {
  const { id = ID, made = NOW, peerCertificate } = shown;
  const servername = 'servername' in shown ? shown.servername : 'a.test';
  return guard.refusalOf(servername, id, made, { peerCertificate }) === 'revoked';
}

describe('a revocation', () => {
  it('of an ID ends this one session, whenever it was made and under whatever name it is shown', () => {
    const guard = newGuard();
    guard.revoke({ id: ID });
    for (const servername of ['a.test', 'b.test', undefined]) {
      expect(ended(guard, { servername, made: NOW + HOUR })).toBe(true);
    }
    for (const id of [ID.subarray(1), Buffer.alloc(32), Buffer.alloc(0)]) expect(ended(guard, { id })).toBe(false);
  });

  it('of a name ends what descends from full handshakes up to now, under this name only', () => {
    const guard = newGuard();
    guard.revoke({ servername: 'a.test' });
    expect([NOW - HOUR, NOW, NOW + 1].map((made) => ended(guard, { made }))).toEqual([true, true, false]);
    for (const servername of ['b.test', 'A.test', 'a.test.', undefined])
      expect(ended(guard, { servername })).toBe(false);
  });

  it('of a name ends what was made under any name of its group, and no other', () => {
    const guard = newGuard({
      shareAcross: [
        ['a.test', 'b.test'],
        ['c.test', 'd.test'],
      ],
    });
    guard.revoke({ servername: 'a.test' });
    const names = ['a.test', 'b.test', 'c.test', 'd.test', 'e.test', undefined];
    expect(names.map((servername) => ended(guard, { servername }))).toEqual([true, true, false, false, false, false]);
    guard.revoke({ servername: 'e.test' });
    expect(names.map((servername) => ended(guard, { servername }))).toEqual([true, true, false, false, true, false]);
  });

  it('of a certificate ends what its client made up to now, under every name', () => {
    for (const peerFingerprint of [FINGERPRINT, FINGERPRINT.toUpperCase().replace(/..(?=.)/g, '$&:')]) {
      const guard = newGuard();
      guard.revoke({ peerFingerprint });
      const peerCertificate = CERTIFICATE;
      expect([NOW, NOW + 1].map((made) => ended(guard, { made, peerCertificate }))).toEqual([true, false]);
      expect(ended(guard, { peerCertificate, servername: undefined })).toBe(true);
      expect(ended(guard, { peerCertificate: Buffer.from('another') })).toBe(false);
      expect(ended(guard)).toBe(false);
    }
  });

  it('of a connection ends what descends from its full handshake, and nothing else of its name', () => {
    for (const servername of ['a.test', undefined]) {
      const guard = newGuard();
      guard.revoke({ connection: { servername, fullHandshakeTime: NOW } });
      const made = [NOW - 1000, NOW - 1, NOW, NOW + 1, NOW + 1000, NOW - (NOW % 1000)];
      expect(made.map((each) => ended(guard, { servername, made: each }))).toEqual([
        false,
        false,
        true,
        false,
        false,
        false,
      ]);
      for (const other of ['b.test', servername === undefined ? 'a.test' : undefined]) {
        expect(ended(guard, { servername: other })).toBe(false);
      }
    }
  });

  it('of a connection is one of all names that share sessions with its own', () => {
    const guard = newGuard({ shareAcross: ['a.test', 'b.test'] });
    guard.revoke({ connection: { servername: 'a.test', fullHandshakeTime: NOW } });
    const names = ['a.test', 'b.test', 'c.test', undefined];
    expect(names.map((servername) => ended(guard, { servername }))).toEqual([true, true, false, false]);
  });

  it('of a connection by ticket goes a second to each side, as a ticket says whole seconds and may say the one before', () => {
    const guard = newGuard();
    const second = NOW - (NOW % 1000);
    guard.revoke({ connection: { servername: 'a.test', fullHandshakeTime: second } });
    const after = [-2000, -1001, -1000, -999, -1, 0, 1, 999, 1000, 1001, 2000];
    const refused = after.filter((milliseconds) => ended(guard, { made: second + milliseconds }));
    expect(refused).toEqual([-1000, 0, 1000]);
  });

  it('of a connection that kept no session is nothing', () => {
    const guard = newGuard();
    expect(guard.revoke({ connection: { servername: 'a.test', fullHandshakeTime: null } })).toBeUndefined();
    expect(ended(guard)).toBe(false);
  });

  it('is repeated for what was made since, and not taken back by a clock that went back', () => {
    const guard = newGuard();
    guard.revoke({ servername: 'a.test' });
    vi.setSystemTime(NOW + 1000);
    expect(ended(guard, { made: NOW + 1000 })).toBe(false);
    guard.revoke({ servername: 'a.test' });
    expect(ended(guard, { made: NOW + 1000 })).toBe(true);
    vi.setSystemTime(NOW - 1000);
    guard.revoke({ servername: 'a.test' });
    expect(ended(guard, { made: NOW + 1000 })).toBe(true);
  });

  it('leaves room for clocks of hosts that share a state to differ, 5 s', () => {
    const guard = newGuard({ state: new MemorySharedState() });
    const parameters = digestParameters({});
    guard.revoke({ servername: 'a.test' });
    guard.revoke({ peerFingerprint: FINGERPRINT });
    guard.retire(parameters, 'test');
    for (const shown of [{}, { servername: undefined, peerCertificate: CERTIFICATE }]) {
      expect([5000, 5001].map((later) => ended(guard, { ...shown, made: NOW + later }))).toEqual([true, false]);
    }
    expect(guard.forgottenAt(parameters)).toBe(NOW + 5000);
    const alone = newGuard();
    alone.retire(parameters, 'test');
    expect(alone.forgottenAt(parameters)).toBe(NOW);
  });

  it('is remembered until nothing from before can come back, maxChainAge and an hour, and no longer', () => {
    const guard = newGuard({ state: new MemorySharedState(), maxChainAge: 3600 });
    guard.revoke({ id: ID });
    vi.setSystemTime(NOW + 2 * HOUR - 500);
    vi.advanceTimersByTime(500);
    expect(ended(guard)).toBe(true);
    vi.advanceTimersByTime(500);
    expect(ended(guard)).toBe(false);
  });

  it('takes the room of one that is over, without a state too, before everything is forgotten', () => {
    const guard = newGuard({ maxChainAge: 3600 });
    const context = () => guard.contextFor({ servername: 'a.test', parameters: digestParameters({}) });
    const before = context();
    for (let i = 0; i < 10_000; i++) guard.revoke({ id: Buffer.from(String(i)) });
    vi.setSystemTime(NOW + 2 * HOUR + 1);
    guard.revoke({ id: ID });
    expect(context()).toEqual(before);
    expect([ended(guard), ended(guard, { id: Buffer.from('0') })]).toEqual([true, false]);
  });
});

describe('what is no revocation is refused', () => {
  const forms = '"id", "connection", "peerFingerprint" or "servername"';
  const digits = '"peerFingerprint" expected 32 bytes in hexadecimal (SHA-256), with or without colons';
  const time = (fullHandshakeTime: unknown) => ({ connection: { servername: 'a.test', fullHandshakeTime } });

  it.each([
    [undefined, TypeError, '"revocation" expected an object, got undefined'],
    [{}, TypeError, `"revocation" expected one of ${forms}, got object Object`],
    [{ id: ID, servername: 'a.test' }, RangeError, `"revocation" expected one of ${forms}, got several: revoke each`],
    [{ id: 'id' }, TypeError, '"id" expected a Uint8Array, got a string of 2 characters'],
    [{ id: Buffer.alloc(0) }, RangeError, '"id" expected 1 to 65535 bytes, got Buffer of 0 bytes'],
    [{ id: Buffer.alloc(65_536) }, RangeError, '"id" expected 1 to 65535 bytes, got Buffer of 65536 bytes'],
    [{ peerFingerprint: CERTIFICATE }, TypeError, '"peerFingerprint" expected a string, got Buffer of 24 bytes'],
    [{ peerFingerprint: FINGERPRINT.slice(1) }, RangeError, digits],
    [{ peerFingerprint: `0${FINGERPRINT}` }, RangeError, digits],
    [{ peerFingerprint: `x${FINGERPRINT}` }, RangeError, digits],
    [{ peerFingerprint: `${FINGERPRINT}x` }, RangeError, digits],
    [{ peerFingerprint: 'x'.repeat(64) }, RangeError, digits],
    [{ servername: '' }, RangeError, '"servername" expected a name, got an empty string'],
    [{ servername: 1 }, TypeError, '"servername" expected a string, got number 1'],
    [{ connection: 1 }, TypeError, '"connection" expected an object, got number 1'],
    [
      { connection: { servername: 1, fullHandshakeTime: 1 } },
      TypeError,
      '"servername" expected a string, got number 1',
    ],
    [time('1'), TypeError, '"fullHandshakeTime" expected a number of ms, got a string of 1 characters'],
    [time(-1), RangeError, '"fullHandshakeTime" expected 0 to 9007199254740991 ms, got number -1'],
  ])('%j', (revocation, type, message) => {
    const guard = newGuard();
    const revoke = () => guard.revoke(revocation as never as Revocation);
    expect(revoke).toThrow(type as never);
    expect(revoke).toThrow(message);
    expect(ended(guard)).toBe(false);
  });
});

describe('the fact of a revocation', () => {
  const hash = '0a'.repeat(32);

  it.each(['id', 'chain', 'peer', 'name'])('has a name that tells what it is of: %s', (kind) => {
    const name = factNameOf(`${kind}/${hash}`);
    expect(name).toBe(`revoked/${kind}/${hash}`);
    expect(keyOfFactName(name)).toBe(`${kind}/${hash}`);
  });

  it('has the name that it always had: hosts of two versions agree while a fleet is upgraded', () => {
    const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
    const state = new MemorySharedState();
    const guard = newGuard({ state, shareAcross: ['c.test', 'b.test'] });
    guard.revoke({ id: Buffer.from('id') });
    guard.revoke({ peerFingerprint: FINGERPRINT });
    guard.revoke({ servername: 'a.test' });
    guard.revoke({ servername: 'b.test' });
    guard.revoke({ connection: { servername: 'a.test', fullHandshakeTime: NOW } });
    guard.revoke({ connection: { servername: undefined, fullHandshakeTime: NOW } });
    const keys = [
      `id/${sha256('tls-resumption revoked id v1\0id')}`,
      `peer/${FINGERPRINT}`,
      `name/${sha256('name\0a.test')}`,
      `name/${sha256(`group\0${sha256('["b.test","c.test"]')}`)}`,
      `chain/${sha256(`${NOW}\0name\0a.test`)}`,
      `chain/${sha256(`${NOW}\0none`)}`,
    ];
    const prefix = `tls-resumption/${sha256('shop')}/`;
    const names = ['epoch', ...keys.map((key) => `revoked/${key}`)].map((name) => prefix + name);
    expect([...state.entries('').keys()].sort()).toEqual(names.sort());
  });

  it('is not taken from any other name', () => {
    const names = [`${hash}`, `id/${hash}`, `xrevoked/id/${hash}`, `revoked/id/${hash}0`, `revoked/ids/${hash}`];
    for (const name of names) expect(keyOfFactName(name)).toBeUndefined();
    expect(keyOfFactName(`revoked/id/${hash.toUpperCase()}`)).toBeUndefined();
  });

  it('is the time of it, and nothing else is', () => {
    expect(decodeRevocation(encodeRevocation(NOW))).toBe(NOW);
    const wrong = [Buffer.alloc(0), Buffer.alloc(7), Buffer.alloc(9), encodeRevocation(Number.NaN), null, 'eight...'];
    for (const fact of [...wrong, encodeRevocation(Number.POSITIVE_INFINITY)]) {
      expect(decodeRevocation(fact as never)).toBeUndefined();
    }
  });
});
