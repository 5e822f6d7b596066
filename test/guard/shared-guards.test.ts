import fc from 'fast-check';
import {
  DiagnosticsChannels,
  digestParameters,
  MemorySharedState,
  type RotatedMessage,
  SessionIdContextGuard,
  type SessionIdContextGuardOptions,
  type SharedState,
} from 'tls-resumption';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { hear } from '../support/diagnostics.js';
import { ScriptedState, WAYS, type Way } from './scripted-state.js';

const P = digestParameters({});
const Q = digestParameters({ requestCert: true });
const HOUR = 3_600_000;

const guards: SessionIdContextGuard[] = [];
const cleanups: (() => void)[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'Date'] });
});

afterEach(() => {
  for (const guard of guards.splice(0)) guard[Symbol.dispose]();
  for (const cleanup of cleanups.splice(0)) cleanup();
  vi.useRealTimers();
});

function host(state: SharedState, options: Partial<SessionIdContextGuardOptions> = {}): SessionIdContextGuard {
  const guard = new SessionIdContextGuard({ name: 'shop', state, ...options });
  guards.push(guard);
  return guard;
}

/** Turns in which promises settle. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** Time passes, and what waits for it runs. */
async function pass(milliseconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(milliseconds);
  await turns();
}

const context = (guard: SessionIdContextGuard, parameters = P): string =>
  guard.contextFor({ servername: 'a.test', parameters }).toString('hex');

const refusal = (guard: SessionIdContextGuard, fullHandshakeTime = Date.now()): string | undefined =>
  guard.refusalOf('a.test', Buffer.alloc(32), fullHandshakeTime, undefined);

const listen = <T>(channel: string) => hear<T>(channel, cleanups);

describe('guards that share a state', () => {
  it('agree from the beginning, also one that comes later, and not with those of another name or without a state', () => {
    const state = new MemorySharedState();
    const [one, two] = [host(state), host(state)];
    expect(context(two)).toBe(context(one));
    expect(context(host(state))).toBe(context(one));
    expect(context(host(state, { name: 'other' }))).not.toBe(context(one));
    expect(context(new SessionIdContextGuard({ name: 'shop' }))).not.toBe(context(one));
  });

  it('know at once what a state tells that can push', async () => {
    const state = new MemorySharedState();
    const [one, two] = [host(state), host(state)];
    const before = context(one);
    expect(one.rotate('test')).toBeUndefined();
    expect(context(one)).not.toBe(before);
    await vi.advanceTimersByTimeAsync(0);
    expect(context(two)).toBe(context(one));
  });

  it.each([1, 0.1, 20])('know within an interval of %d s what a state has that cannot', async (interval) => {
    const state = new ScriptedState();
    const [one, two] = [host(state, { interval }), host(state, { interval })];
    const before = context(two);
    await pass(interval * 123);
    one.rotate('test');
    await pass(interval * 100);
    expect(context(two)).toBe(before);
    await pass(interval * 900);
    expect(context(two)).toBe(context(one));
    expect(context(two)).not.toBe(before);
  });

  it('find after a restart what was rotated and retired before it', () => {
    const state = new MemorySharedState();
    const one = host(state);
    one.rotate('test');
    one.retire(P, 'test');
    one[Symbol.dispose]();
    const again = host(state);
    expect([context(again), context(again, Q)]).toEqual([context(one), context(one, Q)]);
  });

  it('retire the settings named, everywhere, and no others', async () => {
    const state = new MemorySharedState();
    const [one, two] = [host(state), host(state)];
    const [p, q, generationOfQ] = [context(one), context(one, Q), two.generationOf(Q)];
    await pass(1);
    one.retire(P, 'certificate replaced');
    await pass(0);
    for (const guard of [one, two]) {
      expect(context(guard)).not.toBe(p);
      expect(context(guard, Q)).toBe(q);
    }
    expect(context(two)).toBe(context(one));
    expect(two.generationOf(Q)).toBe(generationOfQ);
    expect(two.generationOf(P)).not.toBe(generationOfQ);
    expect(two.forgottenAt(P)).toBeGreaterThan(two.forgottenAt(Q));
  });

  it('say why, here and there, once', async () => {
    const state = new ScriptedState();
    const heard = listen<RotatedMessage>(DiagnosticsChannels.Rotated);
    const [one] = [host(state), host(state)];
    one.retire(P, 'certificate replaced');
    one.rotate(`€${'x'.repeat(2000)}`);
    await pass(5000);
    expect(heard).toHaveLength(4);
    const retired = { guard: 'shop', reason: 'certificate replaced', parameters: P };
    expect(heard[0]).toEqual(retired);
    expect(heard.slice(2)).toContainEqual(retired);
    const there = heard.slice(2).find(({ parameters }) => parameters === undefined);
    expect(there?.reason).toBe(`€${'x'.repeat(253)}`);
  });

  it('resume nothing before the state was read, and then what it says', async () => {
    const facts = new MemorySharedState();
    const expected = context(host(facts));
    const state = new ScriptedState(facts);
    state.way = () => 'rejects';
    const guard = host(state);
    const told = vi.fn();
    void guard.ready().then(told);
    await pass(3000);
    expect([refusal(guard), told.mock.calls.length]).toEqual(['state-unavailable', 0]);
    expect(context(guard)).not.toBe(expected);
    state.way = () => 'later';
    await pass(500);
    expect([refusal(guard), told.mock.calls.length]).toEqual([undefined, 1]);
    expect(context(guard)).toBe(expected);
  });

  it.each(['rejects', 'throws', 'hangs'] as const)(
    'resume nothing once a state %s for more than the interval, until it answers',
    async (way) => {
      const state = new ScriptedState();
      const [refusing, resuming] = [host(state), host(state, { withoutState: 'resume' })];
      const errors = listen(DiagnosticsChannels.StoreError);
      const before = context(refusing);
      await pass(600);
      state.way = () => way;
      // The last look that was answered began at 500.
      await pass(900);
      expect(refusal(refusing)).toBeUndefined();
      await pass(1);
      expect([refusal(refusing), refusal(resuming)]).toEqual(['state-unavailable', undefined]);
      await pass(6000);
      expect(errors.length).toBeGreaterThan(0);
      expect([refusal(refusing), refusal(resuming)]).toEqual(['state-unavailable', undefined]);
      state.way = () => 'at-once';
      await pass(6000);
      expect([refusal(refusing), refusal(resuming)]).toEqual([undefined, undefined]);
      expect(context(refusing)).toBe(before);
    },
  );

  it('take a clock that went back, or that throws, for a state that is not known', async () => {
    let now = () => Date.now();
    const guard = host(new ScriptedState(), { clock: () => now() });
    now = () => Date.now() - 1;
    expect(refusal(guard)).toBe('state-unavailable');
    await pass(500);
    expect(refusal(guard)).toBeUndefined();
    now = () => {
      throw new Error('no time');
    };
    await pass(2000);
    now = () => Date.now();
    expect(refusal(guard)).toBe('state-unavailable');
    await pass(500);
    expect(refusal(guard)).toBeUndefined();
  });

  it('write until the state has it, with another epoch each time, and then fulfil', async () => {
    const state = new ScriptedState();
    const [one, two] = [host(state), host(state)];
    const errors = listen(DiagnosticsChannels.StoreError);
    const before = context(one);
    state.way = (operation) => (operation === 'set' ? 'rejects' : 'at-once');
    const done = vi.fn();
    void Promise.resolve(one.rotate('test')).then(done);
    const first = context(one);
    expect(first).not.toBe(before);
    await pass(2000);
    expect([done.mock.calls.length, context(two) === before, errors.length > 2]).toEqual([0, true, true]);
    expect(refusal(one)).toBeUndefined();
    state.way = () => 'later';
    await pass(1500);
    expect(done).toHaveBeenCalledOnce();
    expect(context(two)).toBe(context(one));
    expect([before, first]).not.toContain(context(one));
  });

  it('reject what they could not write when they are disposed of, and raise nothing when nobody waits', async () => {
    const state = new ScriptedState();
    const guard = host(state);
    state.way = () => 'hangs';
    const rotated = guard.rotate('one');
    void guard.revoke({ servername: 'a.test' });
    guard[Symbol.dispose]();
    guard[Symbol.dispose]();
    await expect(rotated).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    const before = context(guard);
    await expect(guard.rotate('two')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(context(guard)).not.toBe(before);
    expect(refusal(guard)).toBe('state-unavailable');
    const calls = state.calls.length;
    await pass(5000);
    expect(state.calls.length).toBe(calls);
  });

  it('do not go back when a look is older than what was written', async () => {
    const state = new ScriptedState();
    const other = host(state);
    const one = host(state);
    state.way = (operation) => (operation === 'entries' ? 'later' : 'at-once');
    // The look has read the fact, and has not answered.
    vi.advanceTimersByTime(500);
    one.rotate('test');
    const after = context(one);
    await turns();
    expect(context(one)).toBe(after);
    await pass(1000);
    expect([context(one), context(other)]).toEqual([after, after]);
  });

  it('let nobody follow an epoch that was left, when its write comes late or the state goes back', async () => {
    const state = new ScriptedState();
    const [one, two] = [host(state), host(state)];
    const first = context(one);
    const before = state.facts.entries('');
    state.way = (operation) => (operation === 'set' ? 'rejects-then-done' : 'at-once');
    void one.rotate('one');
    state.way = () => 'at-once';
    await pass(2000);
    const second = context(one);
    for (const run of state.late) run();
    await pass(3000);
    const third = context(one);
    expect(context(two)).toBe(third);
    for (const [name, value] of before) state.facts.set(name, value);
    await pass(3000);
    expect(context(two)).toBe(context(one));
    expect(new Set([first, second, third, context(one)]).size).toBe(4);
  });

  it('write again what the state has lost', async () => {
    const state = new ScriptedState();
    const one = host(state);
    one.rotate('test');
    one.retire(P, 'test');
    one.revoke({ servername: 'a.test' });
    const known = new Map(state.facts.entries(''));
    expect(known.size).toBe(3);
    const empty = new MemorySharedState();
    Object.assign(state, { facts: empty });
    await pass(1000);
    expect(empty.entries('')).toEqual(known);
    const restarted = host(empty);
    expect(context(restarted)).toBe(context(one));
    expect(refusal(restarted)).toBe('revoked');
  });

  it('retire settings for as long as something from before can come back, and let go of the fact then', async () => {
    let now = Date.now();
    const clock = () => now;
    const state = new ScriptedState(new MemorySharedState({ clock }));
    const one = host(state, { clock, maxChainAge: 3600 });
    const first = context(one);
    one.retire(P, 'test');
    const retired = context(one);
    now += 2 * HOUR - 1000;
    await pass(1000);
    expect(context(one)).toBe(retired);
    expect(context(host(state, { clock, maxChainAge: 3600 }))).toBe(retired);
    now += 2000;
    await pass(1000);
    expect(context(one)).toBe(first);
    expect(state.facts.entries('').size).toBe(1);
    // Nothing that was made in the first context before can be resumed by then.
    expect(one.withinChainAge(now - 2 * HOUR, now)).toBe(false);
  });

  it('forget everything instead of more settings, or more revocations, than they remember', async () => {
    const state = new MemorySharedState();
    const [one, two] = [host(state), host(state)];
    const of = (i: number): Buffer => Buffer.alloc(32, i.toString(16).padStart(8, '0'));
    const before = context(one, Q);
    for (let i = 0; i < 4096; i++) one.retire(of(i), 'test');
    expect(context(one, Q)).toBe(before);
    one.retire(of(9999), 'test');
    const after = context(one, Q);
    expect(after).not.toBe(before);
    for (let i = 0; i < 10_000; i++) one.revoke({ id: Buffer.from(String(i)) });
    expect(context(one, Q)).toBe(after);
    one.revoke({ id: Buffer.from('0') });
    expect(context(one, Q)).toBe(after);
    one.revoke({ id: Buffer.from('one more') });
    expect(context(one, Q)).not.toBe(after);
    await pass(1000);
    expect(context(two, Q)).toBe(context(one, Q));
  });

  it('take what is no fact of theirs for nothing, and what is wrong for lost', async () => {
    const state = new ScriptedState();
    const one = host(state);
    const [name] = state.facts.entries('').keys() as Iterable<string>;
    const prefix = (name as string).slice(0, -'epoch'.length);
    const junk = [
      '',
      'x',
      'revoked/',
      'revoked/name/zz',
      `revoked/id/${'0'.repeat(64)}`,
      `revoked/x/${'0'.repeat(64)}`,
    ];
    for (const each of junk) state.facts.set(`${prefix}${each || '/'}`, Buffer.from('junk'));
    state.facts.set(`${prefix}retired/${P.toString('hex')}`, Buffer.alloc(3));
    await pass(1000);
    expect(refusal(one)).toBeUndefined();
    for (const value of [Buffer.alloc(0), Buffer.alloc(200), Buffer.alloc(41, 0xff)]) {
      const before = context(one, Q);
      state.facts.set(name as string, value);
      await pass(2000);
      expect(context(one, Q)).not.toBe(before);
      expect(context(host(state), Q)).toBe(context(one, Q));
    }
  });

  it.each([
    ['entries answer with null', { entries: () => null as never }],
    ['entries answer with numbers', { entries: () => new Map([['tls-resumption/x', 7]]) as never }],
    [
      'watch throws',
      {
        watch: () => {
          throw new Error('no watch');
        },
      },
    ],
    [
      'ending a watch throws',
      {
        watch: () => ({
          [Symbol.dispose]: () => {
            throw new Error('for ever');
          },
        }),
      },
    ],
  ] as [string, Partial<SharedState>][])('go on when %s', async (_, lies) => {
    const good = new MemorySharedState();
    const state: SharedState = {
      get: (name) => good.get(name),
      set: (...args) => good.set(...args),
      setIfAbsent: (...args) => good.setIfAbsent(...args),
      entries: (prefix) => good.entries(prefix),
      ...lies,
    };
    const guard = host(state);
    await pass(3000);
    expect(refusal(guard)).toBe(lies.entries ? 'state-unavailable' : undefined);
    guard[Symbol.dispose]();
  });

  describe('whatever the state does (property)', () => {
    type Step =
      | { readonly does: 'rotate' | 'retire'; readonly host: number }
      | { readonly does: 'pass'; readonly milliseconds: number }
      | { readonly does: 'way'; readonly way: Way; readonly writes: boolean }
      | { readonly does: 'late' };

    /** Often what brings old writes back, which takes several steps in the right order. */
    const way = fc.oneof(fc.constantFrom<Way>('at-once', 'rejects-then-done'), fc.constantFrom(...WAYS));
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.record({ does: fc.constantFrom('rotate' as const, 'retire' as const), host: fc.nat(1) }),
      fc.record({ does: fc.constant('pass' as const), milliseconds: fc.integer({ min: 0, max: 1500 }) }),
      fc.record({ does: fc.constant('way' as const), way, writes: fc.boolean() }),
      fc.record({ does: fc.constant('late' as const) }),
    );

    /** Three hosts, and for each what any ever had before it forgot: none of that may be its context again. */
    class World {
      readonly state = new ScriptedState();
      readonly hosts = Array.from({ length: 3 }, () => host(this.state));
      readonly left = this.hosts.map(() => new Set<string>());
      readonly #ever = new Set<string>();

      get contexts(): string[] {
        return this.hosts.map((guard) => context(guard));
      }

      async take(step: Step): Promise<void> {
        if (step.does === 'pass') await pass(step.milliseconds);
        else if (step.does === 'way')
          this.state.way = (operation) => (step.writes && operation === 'entries' ? 'at-once' : step.way);
        else if (step.does === 'late') this.#comeLate();
        else this.#forget(step.host, step.does);
        this.check();
      }

      #comeLate(): void {
        for (const run of this.state.late.splice(0).reverse()) run();
      }

      #forget(which: number, does: 'rotate' | 'retire'): void {
        for (const each of this.contexts) this.#ever.add(each);
        for (const each of this.#ever) this.left[which]?.add(each);
        const guard = this.hosts[which] as SessionIdContextGuard;
        void (does === 'rotate' ? guard.rotate('test') : guard.retire(P, 'test'));
      }

      check(): void {
        for (const [i, each] of this.contexts.entries()) {
          this.#ever.add(each);
          expect(this.left[i]?.has(each)).toBe(false);
        }
      }

      async end(): Promise<void> {
        this.#comeLate();
        this.state.way = () => 'at-once';
        await pass(20_000);
        this.check();
        expect(new Set(this.contexts).size).toBe(1);
        expect(this.hosts.map((guard) => refusal(guard))).toEqual([undefined, undefined, undefined]);
        for (const left of this.left) expect(left.has(this.contexts[0] as string)).toBe(false);
        for (const guard of this.hosts) guard[Symbol.dispose]();
      }
    }

    it('nobody goes back, and all agree in the end', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
          const world = new World();
          for (const each of steps) await world.take(each);
          await world.end();
        }),
        { numRuns: 500 },
      );
    }, 120_000);
  });

  it('keep no process alive and begin nothing without a state', () => {
    const guard = new SessionIdContextGuard({ name: 'shop' });
    expect(vi.getTimerCount()).toBe(0);
    expect(guard.rotate('test')).toBeUndefined();
    guard[Symbol.dispose]();
    expect(refusal(guard)).toBeUndefined();
    return guard.ready();
  });

  it.each([
    [{ state: {} }, TypeError, '"state.set" expected a function'],
    [{ state: null }, TypeError, '"state" expected an object'],
    [{ interval: 0 }, RangeError, '"interval" expected 0.02 to 3600 seconds'],
    [{ interval: '1' }, TypeError, '"interval" expected a number'],
    [{ withoutState: 'maybe' }, RangeError, "\"withoutState\" expected 'refuse' or 'resume'"],
    [{ withoutState: 1 }, TypeError, '"withoutState" expected a string'],
    [{ clock: 1 }, TypeError, '"clock" expected a function'],
  ])('refuse %j', (options, type, message) => {
    const make = () => new SessionIdContextGuard({ name: 'shop', ...options } as never);
    expect(make).toThrow(type as never);
    expect(make).toThrow(message);
  });
});
