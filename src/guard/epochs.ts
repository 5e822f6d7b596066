/** What must be equal beside the settings for a session to come back: random, so that what is forgotten stays so. */

import { createHash, randomBytes } from 'node:crypto';
import { latin1 } from '../wire/bytes.js';

const EPOCH_BYTES = 32;
const FIRST_EPOCH = Buffer.alloc(EPOCH_BYTES);
const VERSION = 1;
const HEADER_BYTES = 1 + EPOCH_BYTES + 8;
/** Of a reason, in a fact. */
const MAX_REASON_BYTES = 256;
/** Milliseconds since 1970 that a date can be, at most. */
const LAST_TIME = 8_640_000_000_000_000;
/** Settings that are forgotten at once. Beyond, all are: see {@link Epochs.full}. */
const MAX_RETIRED = 4096;

/** The name of the epoch of all settings. */
export const WHOLE = 'epoch';
const RETIRED = 'retired/';

/** An epoch as hosts tell each other. */
interface EpochFact {
  readonly value: Buffer;
  /** Milliseconds since 1970, and later than that of the epoch which it took the place of. */
  readonly since: number;
  readonly reason: string;
}

class Epoch {
  value: Buffer;
  since: number;
  serial: number;
  reason = '';
  /** Together with the epoch of all settings, and that one. */
  mixed: Buffer | undefined;
  mixedWith: Buffer | undefined;

  constructor(value: Buffer, since: number, serial: number) {
    this.value = value;
    this.since = since;
    this.serial = serial;
  }

  move(value: Buffer, since: number, serial: number, reason: string): void {
    this.value = value;
    this.since = since;
    this.serial = serial;
    this.reason = reason;
    this.mixed = undefined;
  }
}

/** What {@link Epochs.adopt} did with a fact. */
export type Adoption = 'known' | 'moved' | 'stale';

/** The epoch of all settings, and those of settings that were retired. */
export class Epochs {
  readonly #whole: Epoch;
  /** By the bytes of the settings' digest, one character each: asked for at every handshake. */
  readonly #retired = new Map<string, Epoch>();
  #serial = 0;
  #known: boolean;

  /** @param proposedAt when the first epoch is one that hosts have to agree on, the time of what is proposed here */
  constructor(proposedAt: number | undefined) {
    this.#known = proposedAt === undefined;
    const first = this.#known ? FIRST_EPOCH : randomBytes(EPOCH_BYTES);
    this.#whole = new Epoch(first, proposedAt ?? Number.NEGATIVE_INFINITY, 0);
  }

  /** Whether the epoch of all settings is agreed on. */
  get known(): boolean {
    return this.#known;
  }

  /** Whether no more settings can be retired one by one. */
  get full(): boolean {
    return this.#retired.size >= MAX_RETIRED;
  }

  /** 32 bytes. */
  of(parameters: Uint8Array): Buffer {
    const whole = this.#whole.value;
    const retired = this.#retiredOf(parameters);
    if (retired === undefined) return whole;
    if (retired.mixed === undefined || retired.mixedWith !== whole) {
      retired.mixed = createHash('sha256').update(whole).update(retired.value).digest();
      retired.mixedWith = whole;
    }
    return retired.mixed;
  }

  /** Another number whenever {@link of} is another. */
  generationOf(parameters: Uint8Array): number {
    return Math.max(this.#whole.serial, this.#retiredOf(parameters)?.serial ?? 0);
  }

  /** Milliseconds since 1970: what was made by then is forgotten. */
  forgottenAt(parameters: Uint8Array): number {
    return Math.max(this.#whole.since, this.#retiredOf(parameters)?.since ?? Number.NEGATIVE_INFINITY);
  }

  #retiredOf(parameters: Uint8Array): Epoch | undefined {
    return this.#retired.size === 0 ? undefined : this.#retired.get(latin1(parameters));
  }

  /** Leaves the present epoch for a new one. @returns the fact to tell others */
  renew(name: string, now: number, reason: string): Buffer {
    const since = Math.max(now, (this.#epochOf(name)?.since ?? 0) + 1);
    this.#move(name, { value: randomBytes(EPOCH_BYTES), since, reason });
    return this.factOf(name) as Buffer;
  }

  /** The fact of an epoch as it is here. */
  factOf(name: string): Buffer | undefined {
    const epoch = this.#epochOf(name);
    return epoch && encode(epoch);
  }

  /** What was given to the last {@link renew}, here or elsewhere. */
  reasonOf(name: string): string {
    return this.#epochOf(name)?.reason ?? '';
  }

  /** Takes up an epoch that others told, unless it is no later one: nobody may go back. */
  adopt(name: string, fact: Uint8Array): Adoption {
    const told = decode(fact);
    const epoch = this.#epochOf(name);
    if (told === undefined) return 'stale';
    const known = epoch?.value.equals(told.value) === true;
    const first = name === WHOLE && !this.#known;
    if (!known && !first && epoch !== undefined && told.since <= epoch.since) return 'stale';
    if (!known) this.#move(name, told);
    if (first) this.#known = true;
    return known ? 'known' : 'moved';
  }

  /** The names of settings that are retired, each with the moment of it. */
  *retired(): Iterable<[name: string, since: number]> {
    for (const [text, { since }] of this.#retired) yield [nameOf(Buffer.from(text, 'latin1')), since];
  }

  /** The settings are as if they had never been retired. */
  forget(name: string): void {
    this.#retired.delete(keyOf(name));
  }

  #epochOf(name: string): Epoch | undefined {
    return name === WHOLE ? this.#whole : this.#retired.get(keyOf(name));
  }

  #move(name: string, { value, since, reason }: EpochFact): void {
    const epoch = this.#epochOf(name);
    const serial = ++this.#serial;
    if (epoch !== undefined) epoch.move(value, since, serial, reason);
    else {
      const first = new Epoch(value, since, serial);
      first.reason = reason;
      this.#retired.set(keyOf(name), first);
    }
  }
}

function keyOf(name: string): string {
  return Buffer.from(name.slice(RETIRED.length), 'hex').toString('latin1');
}

/** The name of the epoch of settings. */
export function nameOf(parameters: Uint8Array): string {
  return RETIRED + Buffer.from(parameters).toString('hex');
}

/** The settings whose epoch has this name; `undefined` for that of all. */
export function parametersOf(name: string): Buffer | undefined {
  return name === WHOLE ? undefined : Buffer.from(name.slice(RETIRED.length), 'hex');
}

/** Whether a name is one of an epoch. */
export function isEpochName(name: string): boolean {
  return name === WHOLE || /^retired\/[\da-f]{64}$/.test(name);
}

/** version 1 | epoch 32 | milliseconds since 1970, a double of 8 | reason in UTF-8 */
function encode({ value, since, reason }: EpochFact): Buffer {
  const text = Buffer.from(reason).subarray(0, MAX_REASON_BYTES);
  const fact = Buffer.alloc(HEADER_BYTES + text.length);
  fact[0] = VERSION;
  fact.set(value, 1);
  fact.writeDoubleBE(since, 1 + EPOCH_BYTES);
  fact.set(text, HEADER_BYTES);
  return fact;
}

function decode(fact: Uint8Array): EpochFact | undefined {
  if (!(fact instanceof Uint8Array) || fact.length < HEADER_BYTES || fact[0] !== VERSION) return undefined;
  const bytes = Buffer.from(fact);
  const since = bytes.readDoubleBE(1 + EPOCH_BYTES);
  if (!(since <= LAST_TIME)) return undefined;
  const value = Buffer.from(bytes.subarray(1, 1 + EPOCH_BYTES));
  return { value, since, reason: bytes.subarray(HEADER_BYTES).toString() };
}
