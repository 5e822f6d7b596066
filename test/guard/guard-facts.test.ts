import {
  DiagnosticsChannels,
  digestParameters,
  MemorySharedState,
  type RotatedMessage,
  SessionIdContextGuard,
  type SessionIdContextGuardOptions,
} from 'tls-resumption';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { hear } from '../support/diagnostics.js';
import { ScriptedState } from './scripted-state.js';

const P = digestParameters({});
const Q = digestParameters({ requestCert: true });
const NOW = Date.UTC(2030, 0, 1);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** How long something from before can come back, with a maxChainAge of an hour: that, and an hour for clocks that differ. */
const LIFE = 2 * HOUR;

const cleanups: (() => void)[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'Date'], now: NOW });
});

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  vi.useRealTimers();
});

function host(options: Partial<SessionIdContextGuardOptions> = {}): SessionIdContextGuard {
  const guard = new SessionIdContextGuard({ name: 'shop', maxChainAge: 3600, withoutState: 'resume', ...options });
  cleanups.push(() => guard[Symbol.dispose]());
  return guard;
}

const listen = () => hear<RotatedMessage>(DiagnosticsChannels.Rotated, cleanups);

const context = (guard: SessionIdContextGuard, parameters = P): string =>
  guard.contextFor({ servername: 'a.test', parameters }).toString('hex');

const refusal = (guard: SessionIdContextGuard, made = NOW): string | undefined =>
  guard.refusalOf('a.test', Buffer.alloc(32), made, undefined);

/** The settings that a test retires to have many. */
const settings = (i: number): Buffer => Buffer.alloc(32, i.toString(16).padStart(8, '0'));

/** Lets a look be the first thing at a moment. */
function lookAt(moment: number): void {
  vi.setSystemTime(moment - 500);
  vi.advanceTimersByTime(500);
}

describe('what a guard shares with others', () => {
  it('is not shared with guards of another name', () => {
    const state = new MemorySharedState();
    const [shop, other] = [host({ state }), host({ state, name: 'other' })];
    const before = context(other);
    shop.rotate('test');
    shop.revoke({ servername: 'a.test' });
    vi.advanceTimersByTime(1000);
    expect([context(other), refusal(other), refusal(shop)]).toEqual([before, undefined, 'revoked']);
  });

  it('costs the state nothing but two looks an interval while nothing is missing there', async () => {
    const state = new ScriptedState();
    const guard = host({ state });
    guard.rotate('test');
    guard.retire(P, 'test');
    guard.revoke({ servername: 'a.test' });
    state.calls.length = 0;
    await vi.advanceTimersByTimeAsync(3000);
    expect(state.calls).toEqual(Array(6).fill('entries'));
  });

  it('is not told as news to one that comes later', () => {
    const state = new MemorySharedState();
    const before = host({ state });
    before.rotate('one');
    before.retire(P, 'two');
    const heard = listen();
    const later = host({ state });
    expect([context(later), heard]).toEqual([context(before), []]);
    before.retire(Q, 'three');
    vi.advanceTimersByTime(0);
    expect(heard.map(({ reason }) => reason)).toEqual(['three', 'three']);
  });

  it('is, of a revocation, the later moment, also when the clock of its host went back', () => {
    const state = new MemorySharedState();
    const guard = host({ state });
    vi.setSystemTime(NOW + MINUTE);
    guard.revoke({ servername: 'a.test' });
    vi.setSystemTime(NOW);
    guard.revoke({ servername: 'a.test' });
    expect(refusal(host({ state }), NOW + MINUTE)).toBe('revoked');
  });

  it('is no revocation when its name or its value is none', () => {
    const state = new MemorySharedState();
    host({ state }).revoke({ id: Buffer.alloc(32) });
    const [[name, value] = []] = [...state.entries('')].filter(([each]) => each.includes('revoked'));
    state.set(name as string, Buffer.from('junk'));
    state.set(`${name}x`, value as Uint8Array);
    const guard = host({ state, withoutState: 'refuse' });
    expect(refusal(guard)).toBeUndefined();
    state.set(name as string, value as Uint8Array);
    vi.advanceTimersByTime(0);
    expect(refusal(guard)).toBe('revoked');
  });
});

describe('what a state has lost', () => {
  /** Facts of now, in a state that is found empty at a moment. */
  function loseAt(moment: number, ...calls: ((guard: SessionIdContextGuard) => void)[]) {
    vi.setSystemTime(NOW);
    const state = new ScriptedState();
    const guard = host({ state });
    for (const call of calls) call(guard);
    vi.setSystemTime(moment - 500);
    const empty = new MemorySharedState();
    Object.assign(state, { facts: empty });
    vi.advanceTimersByTime(500);
    guard[Symbol.dispose]();
    return empty;
  }
  const retire = (guard: SessionIdContextGuard) => void guard.retire(P, 'test');
  const revoke = (guard: SessionIdContextGuard) => void guard.revoke({ servername: 'a.test' });

  it('is written again for the time that it had left, and the epoch of all settings for ever', () => {
    const state = loseAt(NOW + HOUR, retire, revoke);
    vi.setSystemTime(NOW + LIFE);
    expect(state.entries('').size).toBe(3);
    vi.setSystemTime(NOW + LIFE + 1);
    expect([...state.entries('').keys()]).toEqual([expect.stringMatching(/\/epoch$/)]);
  });

  it('is not written again in its last half an hour, when others may take it for over', () => {
    expect(loseAt(NOW + LIFE - 30 * MINUTE, retire, revoke).entries('').size).toBe(3);
    expect(loseAt(NOW + LIFE - 30 * MINUTE + 1, retire, revoke).entries('').size).toBe(1);
  });

  it('is written again bit by bit: 100 facts a look, beside the epoch', async () => {
    const state = new ScriptedState();
    const guard = host({ state });
    for (let i = 0; i < 150; i++) guard.revoke({ id: settings(i) });
    for (let i = 0; i < 60; i++) guard.retire(settings(i), 'test');
    Object.assign(state, { facts: new MemorySharedState() });
    state.way = (operation) => (operation === 'setIfAbsent' ? 'later' : 'at-once');
    state.calls.length = 0;
    vi.advanceTimersByTime(500);
    expect(state.calls.filter((call) => call === 'setIfAbsent')).toHaveLength(101);
    await vi.advanceTimersByTimeAsync(3000);
    expect(state.facts.entries('').size).toBe(211);
  });
});

describe('what can come back no more', () => {
  it('is held until then: settings stay retired for maxChainAge and an hour', () => {
    const guard = host({ state: new MemorySharedState() });
    const first = context(guard);
    guard.retire(P, 'test');
    const retired = context(guard);
    lookAt(NOW + LIFE);
    expect(context(guard)).toBe(retired);
    vi.advanceTimersByTime(500);
    expect(context(guard)).toBe(first);
  });

  it('is not held by the state either, but for the epoch of all settings', () => {
    const state = new MemorySharedState();
    const guard = host({ state });
    guard.rotate('test');
    guard.retire(P, 'test');
    guard.revoke({ servername: 'a.test' });
    const after = context(guard, Q);
    guard[Symbol.dispose]();
    vi.setSystemTime(NOW + LIFE);
    expect(state.entries('').size).toBe(3);
    vi.setSystemTime(NOW + 365 * 24 * HOUR);
    expect(state.entries('').size).toBe(1);
    expect(context(host({ state }), Q)).toBe(after);
  });

  it('makes room for more settings without a state, and with one only when that does not have it any more', () => {
    const state = new MemorySharedState();
    for (const [guard, roomy] of [
      [host(), true],
      [host({ state }), false],
    ] as const) {
      vi.setSystemTime(NOW);
      const before = context(guard, Q);
      for (let i = 0; i < 4096; i++) guard.retire(settings(i), 'test');
      vi.setSystemTime(NOW + LIFE + 1);
      guard.retire(P, 'test');
      expect(context(guard, Q) === before).toBe(roomy);
    }
  });

  it('is everything, once more is revoked than is remembered, and that is said', () => {
    const heard = listen();
    const guard = host();
    for (let i = 0; i < 10_000; i++) guard.revoke({ id: settings(i) });
    expect(heard).toEqual([]);
    guard.revoke({ servername: 'a.test' });
    expect(heard).toEqual([{ guard: 'shop', reason: 'too many revocations', parameters: undefined }]);
  });
});
