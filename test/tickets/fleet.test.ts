import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyClockwork } from '../../src/tickets/key-clockwork.js';
import { FilePlan } from '../../src/tickets/key-plan-file.js';
import { sealingKeyOf, TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { numberedKey } from './keys.js';

const SECRET = createHash('sha256').update('fleet').digest();

interface Host {
  /** The name of the key that it seals with now. */
  seal(): Buffer;
  opens(name: Uint8Array): boolean;
}

/** What the hosts sealed: by the name of its key, when that was for the last time, and by whom. */
class Tickets {
  readonly #last = new Map<string, { readonly name: Buffer; readonly at: number; readonly by: number }>();

  constructor(
    readonly hosts: readonly Host[],
    readonly lifetime: number,
  ) {}

  seal(by: number, at: number): void {
    const name = Buffer.from((this.hosts[by] as Host).seal());
    this.#last.set(name.toString('hex'), { name, at, by });
  }

  /** Shows each ticket that is within its lifetime to every host, and says which host did not open which. */
  show(now: number): string | undefined {
    for (const [id, { name, at, by }] of this.#last) {
      if (now - at > this.lifetime) this.#last.delete(id);
      else {
        const host = this.hosts.findIndex((host) => !host.opens(name));
        if (host >= 0) return `host ${host} at ${now} does not open what host ${by} sealed at ${at}`;
      }
    }
    return undefined;
  }
}

describe('a fleet with one secret', () => {
  const INTERVAL = 20_000;
  const LIFETIME = 30_000;
  const SKEW = 5000;

  /** Whole milliseconds of steps, and which host then seals. */
  const STEPS = fc.array(
    fc.record({
      by: fc.oneof(fc.nat(3000), fc.constantFrom(0, 1, 2500, 5000, 20_000), fc.nat(60_000)),
      host: fc.nat(3),
    }),
    { maxLength: 60 },
  );

  function run(offsets: readonly number[], steps: readonly { by: number; host: number }[]): string | undefined {
    const clocks = offsets.map((offset) => stoppedClock(1e9 + offset));
    const rings = clocks.map((clock) => {
      const seconds = { interval: INTERVAL / 1000, lifetime: LIFETIME / 1000, skew: SKEW / 1000 };
      return TicketKeyRing.fromSecret(SECRET, { ...seconds, clock });
    });
    const hosts = rings.map(
      (ring): Host => ({ seal: () => sealingKeyOf(ring).name, opens: (name) => ring.find(name) !== undefined }),
    );
    const tickets = new Tickets(hosts, LIFETIME);
    let now = 0;
    try {
      for (const { by, host } of steps) {
        now += by;
        for (const clock of clocks) clock.now += by;
        tickets.seal(host % hosts.length, now);
        const failed = tickets.show(now);
        if (failed !== undefined) return failed;
      }
      return undefined;
    } finally {
      for (const ring of rings) ring[Symbol.dispose]();
    }
  }

  it('opens at every host what any host seals, with clocks that differ by up to the skew', () => {
    const offset = fc.oneof(fc.nat(SKEW), fc.constantFrom(0, SKEW));
    fc.assert(
      fc.property(fc.array(offset, { minLength: 2, maxLength: 4 }), STEPS, (offsets, steps) => {
        expect(run(offsets, steps)).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  });

  it('opens at every host, at every millisecond around a change, with the clocks as far apart as they may be', () => {
    for (let start = -SKEW - 5; start <= 5; start++) {
      const toStart = INTERVAL - (1e9 % INTERVAL) + start;
      for (const host of [0, 1]) {
        const steps = [
          { by: toStart, host },
          { by: LIFETIME, host: 1 - host },
        ];
        expect(run([0, SKEW], steps)).toBeUndefined();
      }
    }
  });

  it.each([
    ['before a change: the slow host does not have the next key yet', INTERVAL - (1e9 % INTERVAL) - SKEW - 1, 1, 1],
    ['after a change: the fast host has the last key no more', 2 * INTERVAL - (1e9 % INTERVAL) - 1, 0, 2],
  ])('does not, with clocks that differ by a little more, %s', (_title, at, host, more) => {
    const steps = [
      { by: at, host },
      { by: LIFETIME, host },
    ];
    expect(run([0, SKEW + more], steps)).toMatch(/does not open/);
    expect(run([0, SKEW], steps)).toBeUndefined();
  });

  it('opens at a host that has just started what the others sealed before', () => {
    const clock = stoppedClock(1e9);
    const options = { interval: 20, lifetime: 30, skew: 5, clock };
    using old = TicketKeyRing.fromSecret(SECRET, options);
    for (let i = 0; i < 200; i++) {
      const { name } = sealingKeyOf(old);
      const copy = Buffer.from(name);
      clock.now += (i * 997) % 30_001;
      using fresh = TicketKeyRing.fromSecret(SECRET, options);
      expect(fresh.find(copy)).toBeDefined();
      expect(fresh.current.name).toEqual(old.current.name);
    }
  });

  it('turns over together, with no traffic', () => {
    const clock = stoppedClock(1e9);
    const rings = [1, 2, 3, 4].map(() => TicketKeyRing.fromSecret(SECRET, { clock }));
    const seen = new Set<string>();
    for (let hour = 0; hour < 50; hour++) {
      const sealing = new Set(rings.map((ring) => sealingKeyOf(ring).name.toString('hex')));
      expect(sealing.size).toBe(1);
      for (const name of sealing) seen.add(name);
      clock.now += 3_600_000;
    }
    expect(seen.size).toBe(50);
    for (const ring of rings) ring[Symbol.dispose]();
  });
});

describe('a fleet with one key file', () => {
  const LIFETIME = 30_000;
  const SKEW = 5000;

  class FileHost implements Host {
    readonly clock = stoppedClock(0);
    readonly #plan: FilePlan;
    readonly #clockwork: KeyClockwork;

    constructor(list: readonly number[], announces: boolean) {
      const settings = { lifetime: LIFETIME, maxSeals: 2 ** 30, clock: this.clock };
      const plans: FilePlan[] = [];
      this.#clockwork = new KeyClockwork(
        settings,
        48,
        (host, now) => {
          const plan = new FilePlan(
            host,
            now,
            { lifetime: LIFETIME, skew: SKEW, announces },
            list.map((n) => numberedKey(n)),
          );
          plans.push(plan);
          return plan;
        },
        { rotated: () => {}, fault: () => {} },
      );
      this.#plan = plans[0] as FilePlan;
    }

    read(list: readonly number[]): void {
      this.#clockwork.act((now) =>
        this.#plan.replace(
          list.map((n) => numberedKey(n)),
          now,
        ),
      );
    }

    seal(): Buffer {
      return this.#clockwork.seal().name;
    }

    opens(name: Uint8Array): boolean {
      this.#clockwork.turn();
      return this.#clockwork.keys.find(name) !== undefined;
    }

    dispose(): void {
      this.#clockwork.dispose();
    }
  }

  interface Version {
    readonly list: readonly number[];
    /** Milliseconds after the version before. */
    readonly after: number;
    /** Milliseconds until each host reads it. */
    readonly delays: readonly number[];
  }

  interface Read {
    readonly at: number;
    readonly host: number;
    readonly list: readonly number[];
  }

  function readsOf(versions: readonly Version[]): Read[] {
    let published = 0;
    return versions.flatMap(({ list, after, delays }) => {
      published += after;
      return delays.map((delay, host) => ({ at: published + delay, host, list }));
    });
  }

  /** Every host seals, and every ticket is shown to every host, at every `step` and whenever a host read a file. */
  function run(
    first: readonly number[],
    versions: readonly Version[],
    announces: boolean,
    step: number,
  ): string | undefined {
    const hosts = [0, 1, 2].map(() => new FileHost(first, announces));
    const tickets = new Tickets(hosts, LIFETIME);
    const reads = readsOf(versions);
    const moments = new Set(reads.map(({ at }) => at));
    const end = Math.max(0, ...moments) + 2 * SKEW + LIFETIME;
    for (let at = 0; at <= end; at += step) moments.add(at);
    const at = (now: number): string | undefined => {
      for (const host of hosts) host.clock.now = now;
      for (const { host, list } of reads.filter((read) => read.at === now)) hosts[host]?.read(list);
      for (const by of hosts.keys()) tickets.seal(by, now);
      return tickets.show(now);
    };
    let failed: string | undefined;
    for (const now of [...moments].sort((one, other) => one - other)) failed ??= at(now);
    for (const host of hosts) host.dispose();
    return failed;
  }

  const LIST = fc.uniqueArray(fc.nat(7), { minLength: 1, maxLength: 4 });
  const delay = (most: number) => fc.oneof(fc.nat(most), fc.constantFrom(0, most));
  const versions = (most: number, least: number) =>
    fc.array(
      fc.record({
        list: LIST,
        after: fc.oneof(fc.integer({ min: least, max: least + 60_000 }), fc.constant(least)),
        delays: fc.array(delay(most), { minLength: 3, maxLength: 3 }),
      }),
      { maxLength: 6 },
    );

  it('opens at every host what any host seals, with a file that comes within the skew, whatever keys it lists', () => {
    fc.assert(
      fc.property(LIST, versions(SKEW, 2 * SKEW + 1), fc.boolean(), (first, list, announces) => {
        expect(run(first, list, announces, 1000)).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });

  const late = (delays: readonly number[]): Version => ({ list: [2], after: 10_000, delays });
  it('does not, with a file that comes to one host later than that', () => {
    expect(run([1], [late([0, SKEW + 1, 0])], false, 1)).toMatch(
      /^host 1 at 15000 does not open what host [02] sealed/,
    );
    expect(run([1], [late([0, SKEW, 0])], false, 1)).toBeUndefined();
  });

  it('does, with a file that comes later, if the key was announced in the one before', () => {
    const announced = { list: [1, 2], after: 10_000, delays: [0, SKEW, 0] };
    expect(run([1], [announced, late([0, SKEW + 1, 0])], true, 100)).toBeUndefined();
  });
});
