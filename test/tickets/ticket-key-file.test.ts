import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs, { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ResumptionError } from '../../src/errors.js';
import type { TicketKey } from '../../src/tickets/ticket-key.js';
import { TicketKeyFile } from '../../src/tickets/ticket-key-file.js';
import { formatTicketKeys, type TicketKeyFormat } from '../../src/tickets/ticket-key-formats.js';
import { type KeyFileOptions, sealingKeyOf, TicketKeyRing } from '../../src/tickets/ticket-key-ring.js';
import { stoppedClock } from '../cache/counting-store.js';
import { runModule } from './child.js';
import { isOverwritten, names, numberedKey } from './keys.js';

/** Where file content was read to, how many files were opened for it, and how many are open. */
const { read } = vi.hoisted(() => ({ read: { contents: [] as Uint8Array[], opened: 0, open: 0 } }));

vi.mock('node:fs', async (original) => {
  const actual = await original<typeof import('node:fs')>();
  const readSync = (file: number, buffer: Uint8Array, at: number, length: number, position: number | null): number => {
    const count = actual.readSync(file, buffer, at, length, position);
    read.contents.push(buffer.subarray(at, at + count));
    return count;
  };
  return { ...actual, readSync };
});
vi.mock('node:fs/promises', async (original) => {
  const actual = await original<typeof import('node:fs/promises')>();
  const open = async (...args: Parameters<typeof actual.open>): Promise<FileHandle> => {
    const handle = await actual.open(...args);
    read.opened++;
    read.open++;
    const close = handle.close;
    const readBytes = handle.read as (...args: unknown[]) => Promise<{ bytesRead: number }>;
    handle.close = () => {
      read.open--;
      return close.call(handle);
    };
    handle.read = (async (buffer: Uint8Array, at: number, length: number, position: number | null) => {
      const result = await readBytes.call(handle, buffer, at, length, position);
      read.contents.push(buffer.subarray(at, at + result.bytesRead));
      return result;
    }) as FileHandle['read'];
    return handle;
  };
  return { ...actual, open };
});

let folder = '';
let path = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ticket-keys-'));
  path = join(folder, 'keys');
  Object.assign(read, { contents: [], opened: 0, open: 0 });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
  // Whatever a test did: no key bytes stay in a buffer, and no file stays open.
  expect(read.contents.every((bytes) => !Buffer.from(bytes).some((byte) => byte !== 0))).toBe(true);
  expect(read.open).toBe(0);
});

function content(format: TicketKeyFormat, ...numbers: number[]): Buffer {
  return formatTicketKeys(
    numbers.map((n) => numberedKey(n)),
    format,
  );
}

/** Puts a file in the place of another, in one step. */
function replace(bytes: Uint8Array): void {
  writeFileSync(`${path}.new`, bytes);
  renameSync(`${path}.new`, path);
}

/** A followed file, whose looks a test takes by hand. */
class Followed {
  readonly clock = stoppedClock();
  readonly file: TicketKeyFile;
  /** The names of the keys, or the message of the fault. */
  readonly heard: (string | string[])[] = [];
  readonly keys: TicketKey[] = [];
  refuse: Error | undefined;

  constructor(format: TicketKeyFormat = 'ats') {
    this.file = new TicketKeyFile(path, format, this.clock);
    this.file.read((keys) => this.heard.push(names(keys)));
    this.file.follow(86_400_000, {
      replaced: (keys) => {
        this.keys.push(...keys);
        if (this.refuse !== undefined) throw this.refuse;
        this.heard.push(names(keys));
      },
      failed: (error) => {
        expect(error).toMatchObject({ name: 'ResumptionError', code: 'ERR_KEY_FILE' });
        this.heard.push(error.message.replace(path, 'PATH'));
      },
    });
  }

  /** What is heard at this many looks, a second apart. */
  async look(times = 1): Promise<(string | string[])[]> {
    for (let i = 0; i < times; i++) {
      await this.file.poll();
      this.clock.now += 1000;
    }
    return this.heard.splice(0);
  }

  [Symbol.dispose](): void {
    this.file.stop();
  }
}

const named = (...numbers: number[]) => names(numbers.map((n) => numberedKey(n)));

describe('reading a file of ticket keys', () => {
  it.each([
    ['node', [1]],
    ['apache', [1]],
    ['nginx', [1]],
    ['ats', [1, 2, 3]],
    ['haproxy', [1, 2, 3, 4]],
  ] as const)('in the format %s', (format, numbers) => {
    writeFileSync(path, content(format, ...numbers));
    const kept: TicketKey[] = [];
    const file = new TicketKeyFile(path, format, Date.now);
    const found = file.read((keys) => {
      kept.push(...keys);
      return keys.map(({ name, hmacKey, aesKey }) => Buffer.concat([name, hmacKey, aesKey]));
    });
    expect(found).toEqual(
      numbers.map((n) => Buffer.concat([numberedKey(n).name, numberedKey(n).hmacKey, numberedKey(n).aesKey])),
    );
    expect(kept.every(isOverwritten)).toBe(true);
  });

  const bad: [string, () => void, string][] = [
    ['a missing one', () => {}, 'ENOENT: no such file or directory'],
    ['a folder', () => mkdirSync(path), 'not a regular file'],
    ['a named pipe', () => execFileSync('mkfifo', [path]), 'not a regular file'],
    ['a device', () => symlinkSync('/dev/zero', path), 'not a regular file'],
    ['a symbolic link to nothing', () => symlinkSync('nothing', path), 'ENOENT'],
    ['a symbolic link to itself', () => symlinkSync('keys', path), 'ELOOP'],
    ['an empty one', () => writeFileSync(path, ''), "the format 'ats' is"],
    ['one that is too long', () => writeFileSync(path, Buffer.alloc(2 ** 20 + 1, 1)), 'longer than 1048576 bytes'],
    ['text', () => writeFileSync(path, content('haproxy', 1, 2, 3)), "the format 'ats' is"],
    ['a key cut short', () => writeFileSync(path, content('ats', 1, 2).subarray(0, 95)), "the format 'ats' is"],
    ['a key of zeros', () => writeFileSync(path, Buffer.alloc(48)), "the format 'ats' is"],
  ];
  it.each(bad)('says what is wrong with %s, and goes on when it is right', async (_title, write, message) => {
    write();
    const attempt = () => new TicketKeyFile(path, 'ats', Date.now).read((keys) => keys.length);
    expect(attempt).toThrow(expect.objectContaining({ name: 'ResumptionError', code: 'ERR_KEY_FILE' }));
    expect(attempt).toThrow(`The ticket keys in ${path} cannot be used: `);
    expect(attempt).toThrow(message);

    rmSync(path, { recursive: true, force: true });
    writeFileSync(path, content('ats', 1));
    using followed = new Followed();
    expect(await followed.look(3)).toEqual([named(1)]);
    rmSync(path);
    write();
    expect(await followed.look()).toEqual([]);
    const [told, ...more] = await followed.look(10);
    expect(more).toEqual([]);
    expect(told).toContain('The ticket keys in PATH cannot be used: ');
    expect(told).toContain(message);
    rmSync(path, { recursive: true, force: true });
    writeFileSync(path, content('ats', 2));
    expect(await followed.look(10)).toEqual([named(2)]);
  });

  it('takes a URL, and a relative path from where the process was then', () => {
    writeFileSync(path, content('ats', 1));
    expect(new TicketKeyFile(pathToFileURL(path), 'ats', Date.now).path).toBe(path);
    expect(new TicketKeyFile(relative(process.cwd(), path), 'ats', Date.now).path).toBe(path);
    expect(() => new TicketKeyFile(3 as never, 'ats', Date.now)).toThrow('"path" expected a string or a file URL');
  });
});

/** Linux before 6.13 gives the same times to all that is written within some milliseconds. */
async function clockOfFilesMoves(): Promise<void> {
  const other = join(folder, 'clock');
  const { ctimeNs } = fs.statSync(path, { bigint: true });
  do {
    await turn();
    writeFileSync(other, '');
  } while (fs.statSync(other, { bigint: true }).ctimeNs <= ctimeNs);
}

describe('following a file', () => {
  const ways: [string, (bytes: Uint8Array) => void][] = [
    ['renamed over', replace],
    ['written in place', (bytes) => writeFileSync(path, bytes)],
    [
      'removed and made again',
      (bytes) => {
        rmSync(path);
        writeFileSync(path, bytes);
      },
    ],
    [
      'written in place with the times that it had',
      (bytes) => {
        const { atime, mtime } = fs.statSync(path);
        writeFileSync(path, bytes);
        utimesSync(path, atime, mtime);
      },
    ],
  ];
  it.each(ways)('tells of one that was %s, at the second look', async (_title, write) => {
    writeFileSync(path, content('ats', 1));
    using followed = new Followed();
    expect(await followed.look(10)).toEqual([named(1)]);
    for (let n = 2; n < 12; n++) {
      await clockOfFilesMoves();
      write(content('ats', n, n - 1));
      expect(await followed.look()).toEqual([]);
      expect(await followed.look()).toEqual([named(n, n - 1)]);
      expect(await followed.look(n)).toEqual([]);
    }
  });

  // As Kubernetes mounts a secret: keys -> ..data/keys, ..data -> ..1, and ..data is renamed over.
  it('tells of one behind a symbolic link that was switched', async () => {
    const mount = (n: number): void => {
      mkdirSync(join(folder, `..${n}`));
      writeFileSync(join(folder, `..${n}`, 'keys'), content('ats', n));
      symlinkSync(`..${n}`, join(folder, '..data_tmp'));
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    mount(1);
    symlinkSync(join('..data', 'keys'), path);
    using followed = new Followed();
    expect(await followed.look(5)).toEqual([named(1)]);
    mount(2);
    expect(await followed.look(5)).toEqual([named(2)]);
    rmSync(join(folder, '..1'), { recursive: true });
    expect(await followed.look(5)).toEqual([]);
  });

  it('says nothing of a write in progress, wherever it stands at a look', async () => {
    for (const format of ['ats', 'haproxy'] as const) {
      const bytes = content(format, 5, 6, 7, 8, 9);
      for (let length = 0; length < bytes.length; length += 7) {
        writeFileSync(path, content(format, 1, 2, 3));
        using followed = new Followed(format);
        writeFileSync(path, bytes.subarray(0, length));
        expect(await followed.look()).toEqual([named(1, 2, 3)]);
        writeFileSync(path, bytes);
        expect(await followed.look(4)).toEqual([named(5, 6, 7, 8, 9)]);
      }
    }
  });

  it('says nothing of a file that is gone at one look, or other than it was, and then as before', async () => {
    writeFileSync(path, content('ats', 1));
    using followed = new Followed();
    await followed.look(5);
    rmSync(path);
    expect(await followed.look()).toEqual([]);
    replace(content('ats', 1));
    expect(await followed.look(5)).toEqual([]);
    replace(content('ats', 2));
    expect(await followed.look()).toEqual([]);
    replace(content('ats', 1));
    expect(await followed.look(5)).toEqual([]);
  });

  it('tells a fault once, another one too, and the same one again after the file was good', async () => {
    writeFileSync(path, content('ats', 1));
    using followed = new Followed();
    await followed.look();
    const missing = () => rmSync(path);
    const gone = expect.stringContaining('ENOENT');
    missing();
    expect(await followed.look(20)).toEqual([gone]);
    writeFileSync(path, 'no keys');
    expect(await followed.look(20)).toEqual([expect.stringContaining("the format 'ats'")]);
    writeFileSync(path, 'no keys either');
    expect(await followed.look(20)).toHaveLength(1);
    missing();
    expect(await followed.look(20)).toEqual([gone]);
    writeFileSync(path, content('ats', 1));
    expect(await followed.look(20)).toEqual([]);
    missing();
    expect(await followed.look(20)).toEqual([gone]);
    writeFileSync(path, content('ats', 2));
    expect(await followed.look(2)).toEqual([named(2)]);
    missing();
    expect(await followed.look(2)).toEqual([gone]);
  });

  it('offers keys that could not be used again and again, and tells why once', async () => {
    writeFileSync(path, content('ats', 1));
    using followed = new Followed();
    await followed.look();
    followed.refuse = new RangeError('not now');
    replace(content('ats', 2));
    expect(await followed.look(20)).toEqual(['The ticket keys in PATH cannot be used: not now']);
    expect(followed.keys).toHaveLength(19);
    expect(followed.keys.every(isOverwritten)).toBe(true);
    followed.refuse = undefined;
    expect(await followed.look(5)).toEqual([named(2)]);
    expect(followed.keys).toHaveLength(20);
  });

  it('reads the file until its times must tell of a change, and then no more', async () => {
    writeFileSync(path, content('ats', 1));
    using followed = new Followed();
    await followed.look(100);
    // Looks at 0, 1, 2 and 3 seconds.
    expect(read.opened).toBe(4);
    replace(content('ats', 1));
    expect(await followed.look(100)).toEqual([]);
    expect(read.opened).toBe(8);
    replace(content('ats', 2));
    expect(await followed.look(100)).toEqual([named(2)]);
    expect(read.opened).toBe(12);
  });

  it('ends in the middle of a look', async () => {
    writeFileSync(path, content('ats', 1));
    const followed = new Followed();
    await followed.look();
    replace(content('ats', 2));
    await followed.look();
    const look = followed.file.poll();
    followed.file.stop();
    await look;
    expect(followed.heard).toEqual([]);
    await followed.file.poll();
    expect(followed.heard).toEqual([]);
  });
});

describe('TicketKeyRing.fromFile', () => {
  const bad: [string, unknown, unknown, typeof TypeError | typeof RangeError, string][] = [
    ['no options', 'keys', undefined, TypeError, '"options" expected an object, got undefined'],
    ['no format', 'keys', {}, TypeError, '"format" expected node, apache, ats, nginx, haproxy, got undefined'],
    ['a format that is none', 'keys', { format: 'pem' }, RangeError, '"format" expected node, apache'],
    ['no path', undefined, { format: 'ats' }, TypeError, '"path" expected a string or a file URL, got undefined'],
    ['pollInterval', 'keys', { format: 'ats', pollInterval: 0 }, RangeError, '"pollInterval" expected 0.01 to 86400'],
    ['skew', 'keys', { format: 'ats', skew: Number.NaN }, RangeError, '"skew" expected 0 to 86400 seconds'],
  ];
  it.each(bad)('checks its arguments: %s', (_title, file, options, type, message) => {
    const attempt = () => TicketKeyRing.fromFile(file as string, options as KeyFileOptions);
    expect(attempt).toThrow(type);
    expect(attempt).toThrow(message.split(' got')[0]?.replace(/node, apache.*/, ''));
  });

  it('throws a clear error for keys that it cannot begin with', () => {
    const attempt = () => TicketKeyRing.fromFile(path, { format: 'ats' });
    expect(attempt).toThrow(expect.objectContaining({ code: 'ERR_KEY_FILE' }));
    const many = Array.from({ length: 513 }, () => randomBytes(48));
    writeFileSync(path, formatTicketKeys(many, 'ats'));
    expect(attempt).toThrow(
      expect.objectContaining({ code: 'ERR_KEY_FILE', message: expect.stringContaining('1 to 512 keys') }),
    );
    writeFileSync(path, formatTicketKeys(many.slice(1), 'ats'));
    using ring = attempt();
    expect(ring.keys).toHaveLength(512);
  });

  /** A ring whose looks and times a test makes pass. */
  function follow(format: TicketKeyFormat, options: Partial<KeyFileOptions> = {}) {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 0 });
    const poll = vi.spyOn(TicketKeyFile.prototype, 'poll');
    const ring = TicketKeyRing.fromFile(path, { format, lifetime: 100, skew: 10, ...options });
    const told: string[] = [];
    const faults: ResumptionError[] = [];
    ring.on('rotate', ({ previous, current, reason }) => told.push(...names([previous, current]), reason));
    ring.on('fault', (error) => faults.push(error));
    const pass = async (seconds: number): Promise<void> => {
      for (let i = 0; i < seconds; i++) {
        vi.advanceTimersByTime(1000);
        await Promise.all(poll.mock.results.splice(0).map(({ value }) => value));
        await turn();
      }
    };
    return { ring, told, faults, pass, poll };
  }

  it('opens the keys of a new file at once, and seals with its first after the skew', async () => {
    writeFileSync(path, content('nginx', 1));
    const { ring, told, faults, pass } = follow('nginx');
    using _ = ring;
    const first = sealingKeyOf(ring);
    expect(names([first])).toEqual(named(1));
    await pass(5);
    replace(content('nginx', 2));
    await pass(2);
    expect(names(ring.keys)).toEqual(named(1, 2));
    expect([names([sealingKeyOf(ring)]), ring.next && names([ring.next])]).toEqual([named(1), named(2)]);
    expect(ring.find(numberedKey(2).name)).toBe(ring.next);
    await pass(9);
    expect(told).toEqual([]);
    await pass(1);
    expect(told).toEqual([...named(1, 2), 'file']);
    expect([names([sealingKeyOf(ring)]), ring.next]).toEqual([named(2), undefined]);
    // The skew and the lifetime after that.
    await pass(110);
    expect(ring.previous).toEqual([first]);
    await pass(1);
    expect([names(ring.keys), isOverwritten(first)]).toEqual([named(2), true]);
    expect(faults).toEqual([]);
  });

  it('answers as of now when no timer fired', async () => {
    writeFileSync(path, content('nginx', 1));
    const { ring, told, pass } = follow('nginx');
    using _ = ring;
    await pass(1);
    replace(content('nginx', 2));
    await pass(2);
    const [first] = ring.keys;
    vi.setSystemTime(Date.now() + 9_999);
    expect(names([sealingKeyOf(ring)])).toEqual(named(1));
    vi.setSystemTime(Date.now() + 1);
    expect(names([sealingKeyOf(ring)])).toEqual(named(2));
    vi.setSystemTime(Date.now() + 110_000);
    expect(names(ring.keys)).toEqual(named(2, 1));
    vi.setSystemTime(Date.now() + 1);
    expect(names(ring.keys)).toEqual(named(2));
    expect([first?.destroyed, told.length]).toEqual([true, 3]);
  });

  it('seals at once with a key that was in the file for the skew', async () => {
    writeFileSync(path, content('ats', 1, 2));
    const { ring, told, pass } = follow('ats');
    using _ = ring;
    await pass(12);
    replace(content('ats', 2, 3));
    await pass(2);
    expect(told).toEqual([...named(1, 2), 'file']);
    replace(content('ats', 3, 4));
    await pass(2);
    expect(told.splice(0)).toHaveLength(3);
    expect(names([ring.next as TicketKey])).toEqual(named(3));
    // Opening for 2 seconds at the second file, it needs 8 more.
    await pass(7);
    expect(told).toEqual([]);
    await pass(1);
    expect(told).toEqual([...named(2, 3), 'file']);
    expect(names(ring.keys)).toEqual(named(3, 4, 2, 1));
  });

  it('knows what HAProxy announces', async () => {
    writeFileSync(path, content('haproxy', 2, 3, 1));
    const { ring, told, pass } = follow('haproxy');
    using _ = ring;
    expect([names([ring.current]), names([ring.next as TicketKey])]).toEqual([named(2), named(3)]);
    expect(names(ring.previous)).toEqual(named(1));
    await pass(11);
    replace(content('haproxy', 3, 4, 2));
    await pass(2);
    expect(told).toEqual([...named(2, 3), 'file']);
    expect([names([ring.next as TicketKey]), names(ring.keys)]).toEqual([named(4), named(3, 4, 2, 1)]);
    // It left the file 1 second ago: it opens for twice the skew and the lifetime.
    await pass(120);
    expect(names(ring.previous)).toEqual(named(2, 1));
    await pass(1);
    expect(names(ring.previous)).toEqual(named(2));
    await pass(1000);
    expect(names(ring.keys)).toEqual(named(3, 4, 2));
  });

  it('takes back a key that was announced and is in the file no more', async () => {
    writeFileSync(path, content('nginx', 1));
    const { ring, told, pass } = follow('nginx');
    using _ = ring;
    await pass(1);
    replace(content('nginx', 2));
    await pass(5);
    replace(content('nginx', 1));
    await pass(20);
    expect([names([ring.current]), ring.next, names(ring.previous)]).toEqual([named(1), undefined, named(2)]);
    replace(content('nginx', 2));
    await pass(10);
    // It is announced anew.
    expect(names([ring.next as TicketKey])).toEqual(named(2));
    await pass(3);
    expect(told).toEqual([...named(1, 2), 'file']);
    expect(names(ring.previous)).toEqual(named(1));
  });

  it('tells nothing when the file is other and the keys are the same', async () => {
    writeFileSync(path, content('haproxy', 1, 2, 3));
    const { ring, told, faults, pass } = follow('haproxy');
    using _ = ring;
    const before = ring.keys;
    replace(Buffer.from(content('haproxy', 1, 2, 3).toString().replaceAll('\n', '\r\n')));
    await pass(30);
    expect([ring.keys, told, faults]).toEqual([before, [], []]);
  });

  const faulty: [string, () => void, string][] = [
    ['missing', () => rmSync(path), 'ENOENT'],
    ['no key file', () => replace(randomBytes(47)), "the format 'ats'"],
    ['of longer keys', () => replace(randomBytes(80)), "the format 'ats'"],
    [
      'with one name and other secrets',
      () => replace(Buffer.concat([content('ats', 3), numberedKey(1).name, randomBytes(32)])),
      '"key" expected a name that no other key has',
    ],
    [
      'with one secret under another name',
      () => replace(Buffer.concat([content('ats', 3), randomBytes(16), content('ats', 1).subarray(16)])),
      '"key" expected secrets that no other key has',
    ],
  ];
  it.each(faulty)('goes on with the keys before while the file is %s', async (_title, spoil, message) => {
    writeFileSync(path, content('ats', 1, 2));
    const { ring, told, faults, pass } = follow('ats');
    using _ = ring;
    await pass(5);
    const before = ring.keys;
    spoil();
    await pass(300);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatchObject({ name: 'ResumptionError', code: 'ERR_KEY_FILE' });
    expect(faults[0]?.message).toContain(message);
    expect([ring.keys, told, sealingKeyOf(ring)]).toEqual([before, [], before[0]]);
    replace(content('ats', 4));
    await pass(20);
    expect([names([ring.current]), faults.length]).toEqual([named(4), 1]);
  });

  it('refuses keys of another length: whoever uses the ring counts on it', async () => {
    writeFileSync(path, content('nginx', 1));
    const { ring, faults, pass } = follow('nginx');
    using _ = ring;
    replace(randomBytes(80));
    await pass(30);
    expect(faults.map(({ message }) => message)).toEqual([expect.stringContaining('a key of 48 bytes')]);
    expect([names(ring.keys), ring.keyLength]).toEqual([named(1), 48]);
  });

  it('cannot be rotated by hand, and says where to', () => {
    writeFileSync(path, content('nginx', 1));
    const { ring } = follow('nginx', { maxSeals: 2 });
    using _ = ring;
    const shared = expect.objectContaining({
      code: 'ERR_KEYS_SHARED',
      message: expect.stringContaining('put another key into the file of each'),
    });
    expect(() => ring.rotate()).toThrow(shared);
    expect(() => ring.rotate(numberedKey(2), { overlap: false })).toThrow(shared);
    const fault = vi.fn();
    ring.on('fault', fault);
    for (let i = 0; i < 9; i++) sealingKeyOf(ring);
    expect(fault.mock.calls).toEqual([[expect.objectContaining({ code: 'ERR_KEY_OVERUSED' })]]);
  });

  it('keeps at most 1024 keys however often the file changes', async () => {
    const lists = Array.from({ length: 6 }, () => Array.from({ length: 400 }, () => randomBytes(48)));
    writeFileSync(path, formatTicketKeys(lists[0] as Buffer[], 'ats'));
    const { ring, faults, pass } = follow('ats', { skew: 0, lifetime: 604_800 });
    using _ = ring;
    for (const list of lists) {
      replace(formatTicketKeys(list, 'ats'));
      await pass(3);
      expect(ring.keys.length).toBeLessThanOrEqual(1024);
      expect(ring.keys.slice(0, 400).map(({ name }) => name)).toEqual(list.map((bytes) => bytes.subarray(0, 16)));
    }
    expect([ring.keys.length, faults]).toEqual([1024, []]);
  });

  it('has no timer after it was disposed of', async () => {
    writeFileSync(path, content('ats', 1));
    const { ring, pass } = follow('ats');
    await pass(2);
    expect(vi.getTimerCount()).toBe(1);
    ring[Symbol.dispose]();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('stops looking when it is disposed of, in a listener too', async () => {
    writeFileSync(path, content('ats', 1, 2));
    const { ring, pass, poll } = follow('ats');
    await pass(12);
    const held = ring.keys;
    ring.on('rotate', () => ring[Symbol.dispose]());
    replace(content('ats', 2));
    await pass(2);
    expect(held.every(isOverwritten)).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
    const { length } = poll.mock.calls;
    await pass(5);
    expect(poll.mock.calls).toHaveLength(length);
  });

  it('does not keep the process alive', async () => {
    writeFileSync(path, content('ats', 1));
    const { code, stdout, stderr } = await runModule(`
      import { TicketKeyRing } from './src/tickets/ticket-key-ring.ts';
      const ring = TicketKeyRing.fromFile(${JSON.stringify(path)}, { format: 'ats', pollInterval: 0.01 });
      setTimeout(() => console.log(ring.keys.length), 100);
    `);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '1\n', stderr: '' });
  });
});
