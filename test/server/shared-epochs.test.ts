import type * as tls from 'node:tls';
import {
  digestParameters,
  MemorySharedState,
  SessionIdContextGuard,
  type SessionIdContextGuardOptions,
  type SessionStore,
  type SharedState,
  TicketKeyRing,
} from 'tls-resumption';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { ScriptedState } from '../guard/scripted-state.js';
import { MemoryStore } from '../stores/memory-store.js';
import { waitUntil } from '../support/streams.js';
import { only, VERSIONS, visit } from '../support/visits.js';
import { afterwards, CELLS, type Fleet, type Host, type Mode, startHost } from './guarded-server.js';

let hostA: IssuedCertificate;
let hostB: IssuedCertificate;

beforeAll(async () => {
  [hostA, hostB] = await Promise.all([makeCertificate({ names: ['a.test'] }), makeCertificate({ names: ['b.test'] })]);
});

beforeEach(() => {
  // Looks come when the test says so; what else waits goes on as ever.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});

afterEach(() => {
  vi.useRealTimers();
});

let now = 0;
const clock = (): number => now;

async function pass(milliseconds: number): Promise<void> {
  now += milliseconds;
  vi.advanceTimersByTime(milliseconds);
  await new Promise((resolve) => setImmediate(resolve));
}

function guardOf(state: SharedState, options: Partial<SessionIdContextGuardOptions> = {}): SessionIdContextGuard {
  const guard = new SessionIdContextGuard({ name: 'shop', state, clock, ...options });
  afterwards(() => guard[Symbol.dispose]());
  return guard;
}

function fleetOf(mode: Mode, store: SessionStore = new MemoryStore(clock)): Fleet {
  return { mode, store, clock, ring: TicketKeyRing.generate({ clock, interval: false, lifetime: 86_400 }) };
}

/** Of the first connection. */
function settingsOf(host: Host): Uint8Array {
  return host.seen[0]?.policy.parameters ?? Buffer.alloc(0);
}

/** Names a.test and b.test, each with a certificate of its own. */
const byName = (server: tls.Server, resumption: { secureContext(options: object): tls.SecureContext }): void => {
  server.addContext('b.test', resumption.secureContext({ key: hostB.key, cert: hostB.cert }));
};

beforeEach(() => {
  now = Date.now();
});

describe.each(CELLS)('hosts that share a state, %s, %s', (version, mode) => {
  const client = (servername: string): tls.ConnectionOptions => ({ ...only(version), servername });
  const shared = mode !== 'memory';
  const options = (): tls.TlsOptions => ({ key: hostA.key, cert: hostA.cert });

  async function two(state: SharedState): Promise<[Host, Host]> {
    const fleet = fleetOf(mode);
    return [
      await startHost(fleet, guardOf(state), options(), byName),
      await startHost(fleet, guardOf(state), options(), byName),
    ];
  }

  it('forget on all what was rotated on one, within the interval', async () => {
    const [one, other] = await two(new ScriptedState());
    const { session } = await visit(other.port, client('a.test'));
    await one.resumption.idle();
    await visit(one.port, { ...client('a.test'), session });
    expect(one.last()).toBe(shared ? null : 'unknown');
    one.resumption.guard.rotate('test');
    await visit(one.port, { ...client('a.test'), session });
    expect(one.last()).toBe(mode === 'tickets' ? 'other-context' : 'unknown');
    await pass(1000);
    await visit(other.port, { ...client('a.test'), session });
    expect(other.last()).toBe(mode === 'tickets' ? 'other-context' : 'unknown');
    const anew = await visit(other.port, client('a.test'));
    await visit(other.port, { ...client('a.test'), session: anew.session });
    expect(other.last()).toBeNull();
    await visit(one.port, { ...client('a.test'), session: anew.session });
    expect(one.last()).toBe(shared ? null : 'unknown');
  });

  it('forget of retired settings only what was made under them', async () => {
    const [one, other] = await two(new MemorySharedState());
    const [a, b] = [await visit(other.port, client('a.test')), await visit(other.port, client('b.test'))];
    const parameters = settingsOf(other);
    one.resumption.guard.retire(parameters, 'certificate replaced');
    await pass(0);
    for (const host of shared ? [one, other] : [other]) {
      await visit(host.port, { ...client('a.test'), session: a.session });
      expect(host.last()).toBe(mode === 'tickets' ? 'other-context' : 'unknown');
      await visit(host.port, { ...client('b.test'), session: b.session });
      expect(host.last()).toBeNull();
    }
  });

  it('resume nothing when the state does not answer for longer than the interval, refuse nobody, and come back', async () => {
    const state = new ScriptedState();
    const [one] = await two(state);
    const { session } = await visit(one.port, client('a.test'));
    state.way = () => 'rejects';
    await pass(1000);
    await visit(one.port, { ...client('a.test'), session });
    expect(one.last()).toBeNull();
    await pass(1);
    const refused = await visit(one.port, { ...client('a.test'), session });
    expect(refused.received).toBe('hello');
    expect(one.last()).toBe('state-unavailable');
    state.way = () => 'at-once';
    await pass(500);
    await visit(one.port, { ...client('a.test'), session });
    expect(one.last()).toBeNull();
  });

  it('go on without the state where they were told to', async () => {
    const state = new ScriptedState();
    const one = await startHost(fleetOf(mode), guardOf(state, { withoutState: 'resume' }), options());
    const { session } = await visit(one.port, client('a.test'));
    state.way = () => 'hangs';
    await pass(100_000);
    await visit(one.port, { ...client('a.test'), session });
    expect(one.last()).toBeNull();
  });

  it('remember across a restart', async () => {
    const [state, fleet] = [new MemorySharedState(), fleetOf(mode)];
    const before = guardOf(state);
    const one = await startHost(fleet, before, options());
    before.rotate('once');
    const { session } = await visit(one.port, client('a.test'));
    before[Symbol.dispose]();
    const again = await startHost(fleet, guardOf(state), options());
    await visit(again.port, { ...client('a.test'), session });
    expect(again.last()).toBe(shared ? null : 'unknown');
    again.resumption.guard.rotate('twice');
    const third = await startHost(fleet, guardOf(state), options());
    await visit(third.port, { ...client('a.test'), session });
    expect(third.last()).not.toBeNull();
  });
});

describe.each(VERSIONS)('a handshake that was begun before, on %s', (version) => {
  const client = (servername: string): tls.ConnectionOptions => ({ ...only(version), servername });
  type Forget = (guard: SessionIdContextGuard, parameters: Uint8Array) => unknown;
  const other = digestParameters({ ciphers: 'another' });
  const cases: readonly [string, Forget, boolean][] = [
    ['its settings are retired', (guard, parameters) => guard.retire(parameters, 'test'), false],
    ['the guard is rotated', (guard) => guard.rotate('test'), false],
    ['other settings are retired', (guard) => guard.retire(other, 'test'), true],
  ];

  it.each(cases)('and looks for its session while %s', async (_, forget, resumes) => {
    const store = new MemoryStore();
    const answers: (() => void)[] = [];
    let held = false;
    const slow: SessionStore = {
      get: (key) => {
        const found = store.get(Buffer.from(key));
        return held ? new Promise((resolve) => answers.push(() => resolve(found))) : found;
      },
      set: (key, value, timeout) => store.set(key, value, timeout),
      delete: (key) => store.delete(key),
    };
    const guard = new SessionIdContextGuard({ name: 'shop' });
    const host = await startHost(fleetOf('external', slow), guard, { key: hostA.key, cert: hostA.cert });
    const { session } = await visit(host.port, client('a.test'));
    await host.resumption.idle();
    const kept = store.held.size;
    held = true;
    const visited = visit(host.port, { ...client('a.test'), session });
    await waitUntil(() => answers.length > 0);
    forget(guard, settingsOf(host));
    for (const answer of answers) answer();
    await visited;
    expect(host.last()).toBe(resumes ? null : 'unknown');
    await host.resumption.idle();
    // A resumed connection of TLS 1.3 makes a session; one that was begun before makes none that is kept.
    expect(store.held.size).toBe(resumes && version === 'TLSv1.3' ? kept + 1 : kept);
  });

  it.each(cases)('and has its ticket made while %s', async (_, forget, keeps) => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    let forgetNow = (): unknown => undefined;
    const fleet = fleetOf('tickets');
    const host = await startHost(fleet, guard, {
      key: hostA.key,
      cert: hostA.cert,
      SNICallback: (_name, callback) => {
        // The gate has asked; the handshake begins with this answer, and what comes between is before its end.
        callback(null, undefined);
        forgetNow();
      },
    });
    await visit(host.port, client('a.test'));
    const parameters = settingsOf(host);
    forgetNow = () => {
      forget(guard, parameters);
      forgetNow = () => undefined;
    };
    const { session } = await visit(host.port, client('a.test'));
    await visit(host.port, { ...client('a.test'), session });
    // What was made instead is nobody's.
    expect(host.last()).toBe(keeps ? null : 'ticket-key-unknown');
  });
});
