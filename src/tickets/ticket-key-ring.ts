/**
 * The keys of session tickets (RFC 5077 §4): one seals, several open, and they change without losing a client.
 *
 * @module
 */

import { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import { outOfRange, requireBoolean, requireBytes, requireFunction, requireObject, wrongType } from '../arguments.js';
import type { ResumptionError } from '../errors.js';
import { KeyClockwork, type MakeKeyPlan } from './key-clockwork.js';
import type { RotationReason } from './key-plan.js';
import { FilePlan } from './key-plan-file.js';
import { GeneratedPlan } from './key-plan-generated.js';
import { SecretPlan } from './key-plan-secret.js';
import { type KeySet, MAX_KEYS, type OpenKey } from './key-set.js';
import { TicketKey, type TicketKeyInput } from './ticket-key.js';
import { TicketKeyFile } from './ticket-key-file.js';
import {
  type GeneratedKeysOptions,
  type KeyFileOptions,
  type RingSettings,
  requireFormat,
  requireInterval,
  requireKeyLength,
  requirePeriod,
  requirePollInterval,
  requireRingOptions,
  requireSkew,
  type SecretKeysOptions,
  type TicketKeyRingOptions,
} from './ticket-key-ring-options.js';

export type { RotationReason } from './key-plan.js';
export type {
  GeneratedKeysOptions,
  KeyFileOptions,
  SecretKeysOptions,
  TicketKeyRingOptions,
} from './ticket-key-ring-options.js';

const MIN_SECRET_BYTES = 32;
const MAX_SECRET_BYTES = 65_536;

/** What a rotation was. */
export interface TicketKeyRotation {
  /** What seals now. */
  readonly current: TicketKey;
  /** What sealed before. It may be overwritten already. */
  readonly previous: TicketKey;
  /** What made it. */
  readonly reason: RotationReason;
}

/** The events of a {@link TicketKeyRing}. */
export interface TicketKeyRingEvents {
  /** Another key seals. */
  rotate: [rotation: TicketKeyRotation];
  /** A key source or a file failed, or a key sealed too often. The ring goes on with the keys it has. */
  fault: [error: ResumptionError];
  /** The keys were overwritten. */
  dispose: [];
}

/** What `JSON.stringify` shows of a ring: names in hexadecimal, and no secret. */
export interface TicketKeyRingJson {
  /** What seals; `undefined` after disposal. */
  readonly current: string | undefined;
  /** What will seal. */
  readonly next: readonly string[];
  /** What else opens, newest first. */
  readonly previous: readonly string[];
  /** Seconds that a key opens after it stopped sealing. */
  readonly lifetime: number;
}

/** Options of {@link TicketKeyRing.rotate}. */
export interface RotateOptions {
  /** Whether older keys open on until their lifetime ends; `false` overwrites them at once. Default: true. */
  readonly overlap?: boolean | undefined;
}

let clockworkOf: (ring: TicketKeyRing) => KeyClockwork;

/**
 * Holds the keys that tickets are sealed and opened with. There is a key to seal with from the beginning. When it
 * changes, the one before opens until its lifetime ends, and is then overwritten.
 *
 * Four kinds differ in where keys come from:
 *
 * - {@link TicketKeyRing.generate}: random keys of this process, which nobody else ever knows. When a key is
 *   overwritten, recorded TLS 1.2 connections of its tickets are safe from whoever takes the machine later.
 * - {@link TicketKeyRing.fromSecret}: hosts that hold one secret have the same key at the same time, with no traffic
 *   between them. The price: who gets the secret, at any time, can compute the keys of all times.
 * - {@link TicketKeyRing.fromFile}: random keys that something else hands to all hosts, and takes away again.
 * - {@link TicketKeyRing.fromKeys}: keys that are at hand.
 *
 * Rotation needs no timer to fire: whatever is asked of a ring is answered as of now. Timers only make sure that events
 * are told and keys are overwritten while nobody asks, and do not keep the process alive. When the clock is put back,
 * a ring from a secret goes by the new time, and others as if it had stood still.
 *
 * Listeners are called when the ring is done with what they are told of. What one throws is an uncaught exception, as
 * from a timer, and not the failure of the call or of the handshake that it came in. A fault needs no listener.
 *
 * @example
 * ```ts
 * using ring = TicketKeyRing.generate({ interval: 3600, lifetime: 7200 });
 * ring.on('fault', (error) => console.warn(error.message));
 * ```
 */
export class TicketKeyRing extends EventEmitter<TicketKeyRingEvents> {
  readonly #lifetime: number;
  readonly #clockwork: KeyClockwork;
  #file: TicketKeyFile | undefined;

  static {
    clockworkOf = (ring) => ring.#clockwork;
  }

  private constructor(settings: RingSettings, keyLength: 48 | 80, makePlan: MakeKeyPlan) {
    super();
    // One for each server that has no ticket-key callback.
    this.setMaxListeners(0);
    this.#lifetime = settings.lifetime;
    this.#clockwork = new KeyClockwork(settings, keyLength, makePlan, {
      rotated: (current, previous, reason) => this.#tell('rotate', { current, previous, reason }),
      fault: (error) => this.#tell('fault', error),
    });
  }

  /**
   * A ring of random keys, rotated by time, or of keys that a source gives.
   *
   * A source that answers at once is asked before this returns; until an asynchronous one has answered, a random key
   * stands in.
   *
   * @throws TypeError or RangeError for an option of the wrong type or out of range
   * @throws ResumptionError ERR_KEY_SOURCE when `generateKey` throws, or gives no good key at once
   */
  static generate(options: GeneratedKeysOptions = {}): TicketKeyRing {
    const settings = requireRingOptions(options);
    const { interval = 3600, keyLength, generateKey } = options;
    if (generateKey !== undefined) requireFunction('generateKey', generateKey);
    const { lifetime } = settings;
    const every = interval === false ? Number.POSITIVE_INFINITY : requireInterval(interval, lifetime);
    return new TicketKeyRing(settings, requireKeyLength(keyLength), (host, now) => {
      return new GeneratedPlan(host, now, { lifetime, interval: every, generateKey });
    });
  }

  /**
   * A ring of keys that every holder of the secret computes from the time: all hosts turn over together. The key of the
   * next period opens `skew` before it begins, and each opens `lifetime + skew` after its period, so that hosts whose
   * clocks differ by at most `skew` open what any of them seals. A host that starts in the middle opens what the others
   * sealed before.
   *
   * There is no forward secrecy between the periods: whoever gets the secret can compute the keys of all of them, past
   * ones included, and open every ticket that was recorded. Take {@link TicketKeyRing.generate} where hosts need not
   * share, {@link TicketKeyRing.fromFile} where keys can be distributed and destroyed, and change the secret from time
   * to time where neither is possible.
   *
   * Period `p` is the time from `p × interval` to `(p + 1) × interval` since 1970. Its key, in Node's order, is the
   * first 48 or 80 bytes of HKDF-SHA256 (RFC 5869) of the secret with the salt `tls-resumption ticket keys` and the
   * info `tls-resumption ticket key v1`, a zero byte, `interval` in milliseconds (8 bytes), `keyLength` (1 byte), `p`
   * (8 bytes); numbers are big-endian.
   *
   * @param secret 32 to 65 536 bytes of a random generator. It is not kept: overwrite it when it is needed no more.
   *   A string is refused, because hosts could read it in different ways: `Buffer.from(text, 'base64')` says which.
   * @throws TypeError or RangeError for an argument of the wrong type or out of range, and for a secret that is one
   *   byte repeated
   */
  static fromSecret(secret: Uint8Array, options: SecretKeysOptions = {}): TicketKeyRing {
    if (typeof secret === 'string') {
      throw wrongType('secret', "a Uint8Array, such as Buffer.from(text, 'base64')", secret);
    }
    requireBytes('secret', secret, MIN_SECRET_BYTES, MAX_SECRET_BYTES);
    if (secret.every((byte) => byte === secret[0]))
      throw outOfRange('secret', 'random bytes, not one repeated', secret);
    const settings = requireRingOptions(options);
    const { interval = 3600, keyLength } = options;
    const { lifetime } = settings;
    const skew = requireSkew(options.skew);
    const period = requirePeriod(interval, lifetime + 2 * skew);
    return new TicketKeyRing(settings, requireKeyLength(keyLength), (host, now) => {
      return new SecretPlan(host, now, { secret, interval: period, lifetime, skew });
    });
  }

  /**
   * A ring of keys that are at hand: the first seals, all open. Time does nothing to them, as other hosts may seal with
   * any: only {@link rotate} gives them an end, `lifetime` after it.
   *
   * @param keys 1 to 1024 keys of one length. Copies are kept: destroying one does not destroy the other.
   * @throws TypeError or RangeError for a key that is none, names or secrets that repeat, or keys of different lengths
   */
  static fromKeys(keys: readonly TicketKeyInput[], options: TicketKeyRingOptions = {}): TicketKeyRing {
    if (!Array.isArray(keys)) throw wrongType('keys', 'an array of keys', keys);
    if (keys.length < 1 || keys.length > MAX_KEYS) throw outOfRange('keys', `1 to ${MAX_KEYS} keys`, keys.length);
    const settings = requireRingOptions(options);
    const first = TicketKey.from(keys[0] as TicketKeyInput);
    const { length } = first;
    if (first !== keys[0]) first.destroy();
    return new TicketKeyRing(settings, length, (host, now) => {
      return new GeneratedPlan(host, now, {
        lifetime: settings.lifetime,
        interval: Number.POSITIVE_INFINITY,
        given: keys,
      });
    });
  }

  /**
   * A ring of the keys in a file, which it follows as it is replaced: renamed over, behind a symbolic link that is
   * switched, or written in place. Content counts once two looks in a row found it the same. While the file is missing,
   * too long, or not good, the keys before go on working, and the fault is told once.
   *
   * All keys of a new file open at once. Its sealing key seals when it was in the file for `skew`; until then it is
   * {@link next}, and the one before seals on. Keys that left the file open for `lifetime` and twice `skew` longer. So no
   * host seals with a key that another cannot open, if a new file is at all hosts within `skew` and stays for more than
   * twice that time. A ring that starts has no other choice than to seal at once with what it finds: formats of several
   * keys (HAProxy's does by itself) can list a key before it seals, and then hosts may be started at any time.
   *
   * @param path a path or a `file:` URL of a regular file, up to 1 MiB and 512 keys
   * @throws TypeError or RangeError for an argument of the wrong type or out of range
   * @throws ResumptionError ERR_KEY_FILE when the file cannot be read now, or its keys cannot be used
   */
  static fromFile(path: string | URL, options: KeyFileOptions): TicketKeyRing {
    const settings = requireRingOptions(options);
    const format = requireFormat(options.format);
    const skew = requireSkew(options.skew);
    const pollInterval = requirePollInterval(options.pollInterval);
    const file = new TicketKeyFile(path, format, settings.clock);
    return file.read((list) => {
      let plan: FilePlan | undefined;
      const ring = new TicketKeyRing(settings, (list[0] as TicketKey).length, (host, now) => {
        plan = new FilePlan(host, now, { lifetime: settings.lifetime, skew, announces: format === 'haproxy' }, list);
        return plan;
      });
      ring.#follow(file, plan as unknown as FilePlan, pollInterval);
      return ring;
    });
  }

  /** Seconds that a key still opens after it stopped sealing. */
  get lifetime(): number {
    return this.#lifetime / 1000;
  }

  /** Bytes of each key: 48 or 80. */
  get keyLength(): 48 | 80 {
    return this.#clockwork.keys.keyLength;
  }

  /**
   * What seals now.
   *
   * @throws ResumptionError ERR_KEY_RING_DISPOSED
   */
  get current(): TicketKey {
    this.#clockwork.turn();
    return this.#clockwork.current.key;
  }

  /** What opens and will seal: announced early, so that all hosts of a fleet can open before one seals. */
  get next(): TicketKey | undefined {
    return this.#present().ahead[0]?.key;
  }

  /** What else opens: keys that sealed, newest first, or that were given for opening only. */
  get previous(): readonly TicketKey[] {
    return this.#present().previous.map(({ key }) => key);
  }

  /** All that open: the current one first, what comes next, and previous ones. */
  get keys(): readonly TicketKey[] {
    return this.#present().inOrder.map(({ key }) => key);
  }

  /**
   * What opens tickets of this key name now.
   *
   * @param name 16 bytes
   * @returns `undefined` for a name that no key has, whose key's time is over, or of another length, and after disposal
   * @throws TypeError when it is no Uint8Array
   */
  find(name: Uint8Array): TicketKey | undefined {
    if (!(name instanceof Uint8Array)) throw wrongType('name', 'a Uint8Array', name);
    return this.#present().find(name);
  }

  /**
   * Seals with another key from now on; the next rotation by time is an interval away. Beyond 1024 keys the oldest go
   * before their time.
   *
   * @param key a key to copy. Default: one of `generateKey`, or a random one where there is no such source, or until it
   *   answers
   * @returns what seals now
   * @throws TypeError or RangeError when it is no good key, has another length than the others, or repeats one
   * @throws ResumptionError ERR_KEYS_SHARED for keys from a secret or a file: other hosts would not know the new one.
   *   ERR_KEY_RING_DISPOSED
   */
  rotate(key?: TicketKeyInput, options: RotateOptions = {}): TicketKey {
    requireObject('options', options);
    const { overlap = true } = options;
    return this.#clockwork.rotate(key, requireBoolean('overlap', overlap));
  }

  /** Overwrites all keys. Then nothing opens, and what would seal throws `ERR_KEY_RING_DISPOSED`. */
  [Symbol.dispose](): void {
    this.#file?.stop();
    if (this.#clockwork.dispose()) this.#tell('dispose');
  }

  /** The names of the keys, in hexadecimal, and no secret. */
  toJSON(): TicketKeyRingJson {
    const { current, ahead, previous } = this.#clockwork.keys;
    return {
      current: current && nameOf(current),
      next: ahead.map(nameOf),
      previous: previous.map(nameOf),
      lifetime: this.lifetime,
    };
  }

  /** What `util.inspect` shows: no secret. */
  [inspect.custom](): string {
    return `TicketKeyRing ${inspect(this.toJSON())}`;
  }

  #present(): KeySet {
    this.#clockwork.turn();
    return this.#clockwork.keys;
  }

  /** Calls each listener, whatever the others throw. */
  #tell<K extends keyof TicketKeyRingEvents>(event: K, ...about: TicketKeyRingEvents[K]): void {
    for (const listener of this.rawListeners(event)) {
      try {
        Reflect.apply(listener, this, about);
      } catch (error) {
        process.nextTick(() => {
          throw error;
        });
      }
    }
  }

  #follow(file: TicketKeyFile, plan: FilePlan, pollInterval: number): void {
    this.#file = file;
    file.follow(pollInterval, {
      replaced: (keys) => this.#clockwork.act((now) => plan.replace(keys, now)),
      failed: (error) => this.#clockwork.fault(error),
    });
  }
}

function nameOf({ key }: OpenKey): string {
  return key.name.toString('hex');
}

/**
 * The key to seal with now, which counts as a seal: rotated first when the time or the count says so.
 *
 * @throws ResumptionError ERR_KEY_RING_DISPOSED
 * @internal
 */
export function sealingKeyOf(ring: TicketKeyRing): TicketKey {
  return clockworkOf(ring).seal();
}

/**
 * The key of the ticket that OpenSSL is about to make. Neither listeners nor a key source are called within: what they
 * do to connections would be done to OpenSSL in the middle of its work.
 *
 * @returns `undefined` after disposal
 * @internal
 */
export function keyOfNextTicket(ring: TicketKeyRing): TicketKey | undefined {
  return clockworkOf(ring).sealAlone();
}

/**
 * The key of a ticket that OpenSSL is about to open, which was asked for by `find` before.
 *
 * @internal
 */
export function keyOfTicket(ring: TicketKeyRing, name: Uint8Array): TicketKey | undefined {
  return clockworkOf(ring).findAlone(name);
}

/**
 * Whether new tickets are sealed with this key.
 *
 * @internal
 */
export function isSealingKey(ring: TicketKeyRing, key: TicketKey): boolean {
  return clockworkOf(ring).keys.current?.key === key;
}
