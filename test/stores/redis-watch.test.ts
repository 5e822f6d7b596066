import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RedisWatch, type RedisWatchSource } from '../../src/stores/redis-watch.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A source that can be made to hang or fail, and says what it was asked. */
class Source implements RedisWatchSource {
  readonly interval = 1;
  readonly asked: string[] = [];
  facts: Record<string, string> = {};
  now = 1;
  fault: Promise<never> | undefined;
  hear: () => void = () => {};
  subscriptions = 0;

  async version(): Promise<string> {
    this.asked.push('version');
    await this.fault;
    return String(this.now);
  }

  async read(): Promise<{ version: string; facts: Map<string, Uint8Array> }> {
    this.asked.push('read');
    const facts = Object.entries(this.facts).map(([name, value]) => [name, Buffer.from(value)] as const);
    const version = String(this.now);
    await this.fault;
    return { version, facts: new Map(facts) };
  }

  subscribe(heard: () => void): Disposable {
    this.hear = heard;
    this.subscriptions++;
    return { [Symbol.dispose]: () => void this.subscriptions-- };
  }

  set(name: string, value: string): void {
    this.facts[name] = value;
    this.now++;
  }
}

function setup(source = new Source()) {
  const watch = new RedisWatch(source);
  const add = (prefix = '') => {
    const told: string[] = [];
    const failures: unknown[] = [];
    const watching = watch.add(
      prefix,
      (name, value) => void told.push(`${name}=${value && Buffer.from(value)}`),
      (error) => void failures.push(error),
    );
    return { told, failures, end: () => watching[Symbol.dispose]() };
  };
  return { source, watch, add };
}
const turn = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const seconds = (n: number): Promise<unknown> => vi.advanceTimersByTimeAsync(n * 1000);

describe('watching facts in Redis', () => {
  it('reads when it begins, and then only when the version is another one', async () => {
    const { source, add } = setup();
    source.set('a', '1');
    const { told } = add();
    await turn();
    expect(told).toEqual(['a=1']);
    await seconds(3);
    expect(source.asked).toEqual(['read', 'version', 'version', 'version']);
    source.set('a', '2');
    await seconds(1);
    expect(told).toEqual(['a=1', 'a=2']);
    expect(source.asked.slice(4)).toEqual(['version', 'read']);
  });

  it('looks at once when it hears of a change, and once more for all that it hears meanwhile', async () => {
    const { source, add } = setup();
    const { told } = add();
    await turn();
    source.asked.length = 0;
    source.set('a', '1');
    for (let n = 0; n < 100; n++) source.hear();
    await turn();
    expect(told).toEqual(['a=1']);
    expect(source.asked).toEqual(['version', 'read', 'version']);
  });

  it('tells each of its prefix, also those who come later, of what is gone, and nobody twice', async () => {
    const { source, add } = setup();
    source.set('a/1', '1');
    source.set('b/1', '1');
    const [a, b] = [add('a/'), add('b/')];
    await turn();
    const all = add();
    await turn();
    expect([a.told, b.told, all.told]).toEqual([['a/1=1'], ['b/1=1'], ['a/1=1', 'b/1=1']]);
    source.facts = { 'b/1': '1', 'b/2': '2' };
    source.now++;
    await seconds(1);
    expect([a.told.slice(1), b.told.slice(1), all.told.slice(2)]).toEqual([
      ['a/1=undefined'],
      ['b/2=2'],
      ['b/2=2', 'a/1=undefined'],
    ]);
    expect(source.subscriptions).toBe(1);
  });

  it('gives up a look that has no end after ten intervals, says so, and drops what comes of it later', async () => {
    const { source, add } = setup();
    source.set('a', '1');
    const { told, failures } = add();
    await turn();
    let goOn: () => void = () => {};
    source.fault = new Promise<void>((resolve) => {
      goOn = resolve;
    }) as Promise<never>;
    source.set('a', '2');
    await seconds(1);
    expect(source.asked).toEqual(['read', 'version']);
    await seconds(9);
    expect(failures).toEqual([]);
    source.fault = undefined;
    source.set('a', '3');
    await seconds(1);
    expect(failures).toEqual([expect.objectContaining({ code: 'ERR_STORE_TIMEOUT' })]);
    expect(told).toEqual(['a=1', 'a=3']);
    const asked = source.asked.length;
    goOn();
    await turn();
    expect(told).toEqual(['a=1', 'a=3']);
    // The look that was given up still reads, and nobody listens.
    expect(source.asked.length - asked).toBeLessThanOrEqual(1);
    source.set('a', '4');
    await seconds(1);
    expect(told).toEqual(['a=1', 'a=3', 'a=4']);
  });

  it('tells of a failure at each look, and goes on', async () => {
    const { source, add } = setup();
    const { told, failures } = add();
    await turn();
    source.fault = Promise.reject(new Error('lost'));
    source.fault.catch(() => {});
    await seconds(3);
    expect(failures).toHaveLength(3);
    source.fault = undefined;
    source.set('a', '1');
    await seconds(1);
    expect(told).toEqual(['a=1']);
    expect(failures).toHaveLength(3);
  });

  it('is told to one who joins while a look is on its way', async () => {
    const { source, add } = setup();
    source.set('a', '1');
    add();
    const late = add();
    await turn();
    expect(late.told).toEqual(['a=1']);
  });

  it('ends with its last watcher, and begins anew', async () => {
    const { source, add, watch } = setup();
    source.set('a', '1');
    const [one, other] = [add(), add()];
    await turn();
    one.end();
    one.end();
    expect(source.subscriptions).toBe(1);
    other.end();
    expect(source.subscriptions).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    source.hear();
    source.asked.length = 0;
    await seconds(5);
    expect(source.asked).toEqual([]);
    const again = add();
    await turn();
    expect(again.told).toEqual(['a=1']);
    watch.close();
    watch.close();
    source.set('a', '2');
    const never = add();
    await seconds(5);
    expect([again.told, never.told]).toEqual([['a=1'], []]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends when a listener ends it, and lets one that throws hurt nobody', async () => {
    const { source, watch } = setup();
    source.facts = { a: '1', b: '2' };
    const failures: unknown[] = [];
    const told: string[] = [];
    const watching = watch.add(
      '',
      (name) => {
        told.push(name);
        watching[Symbol.dispose]();
      },
      () => {},
    );
    watch.add(
      '',
      () => {
        throw new Error('thrown');
      },
      (error) => failures.push(error),
    );
    await turn();
    expect(told).toEqual(['a']);
    expect(failures).toHaveLength(2);
    watch.close();
  });

  it('survives one who throws when told of a failure', async () => {
    const { source, watch, add } = setup();
    watch.add(
      '',
      () => {
        throw new Error('thrown');
      },
      () => {
        throw new Error('thrown again');
      },
    );
    const { told } = add();
    source.set('a', '1');
    await turn();
    source.set('a', '2');
    await seconds(1);
    expect(told).toEqual(['a=1', 'a=2']);
    watch.close();
  });

  it('looks at its interval where it cannot subscribe', async () => {
    const source = new Source();
    source.subscribe = () => {
      throw new Error('not here');
    };
    const { add } = setup(source);
    const { told } = add();
    await turn();
    source.set('a', '1');
    await seconds(1);
    expect(told).toEqual(['a=1']);
  });
});
