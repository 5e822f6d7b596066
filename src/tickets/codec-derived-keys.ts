/** The AES keys that a ticket key seals and opens with, each derived from it and a salt; and the headers they go with. */

import { createSecretKey, hkdfSync, type KeyObject, randomFillSync } from 'node:crypto';
import { requireSecrets, view } from './codec-arguments.js';
import { writeRandom } from './codec-random.js';
import { isBuildingSnapshot } from './startup-snapshot.js';
import { KEY_NAME_BYTES, type TicketKey } from './ticket-key.js';

/** A header is: version 1 | key name 16 | salt 32 | nonce 12. */
export const VERSION = 1;
export const NAME_AT = 1;
export const SALT_AT = NAME_AT + KEY_NAME_BYTES;
export const NONCE_AT = SALT_AT + 32;
export const HEADER_BYTES = NONCE_AT + 12;
const COUNTER_BYTES = 4;

const DERIVED_KEY_BYTES = 32;
const INFO = 'tls-resumption ticket v1';

/**
 * Seals under one salt, far below what AES-256-GCM bears: tickets of 16 KiB are 2³⁰ blocks, which tell AES from a random
 * function with a chance of 2⁻⁶⁹. Renewing also ends what copies of a process share.
 */
export const SEALS_PER_SALT = 2 ** 20;

/** Salts whose keys are remembered for opening: processes of a fleet that seal under one key, or times they renewed. */
export const MAX_OPENING_KEYS = 1024;

/** What one ticket is sealed with. */
export interface Sealing {
  /** The ticket's first bytes: valid until the next seal. */
  readonly header: Buffer;
  /** The nonce in it. */
  readonly nonce: Buffer;
  readonly aesKey: KeyObject;
}

interface Opening {
  readonly salt: Uint8Array;
  readonly aesKey: KeyObject;
}

const derivedKeys = new WeakMap<TicketKey, DerivedKeys>();

/**
 * What one process derived from one ticket key; all codecs share it. Two hosts, two workers, or two lives of a process
 * have different salts of 256 random bits, so their AES keys differ, and each may count its nonces: no number is used
 * twice under a salt. Deriving costs more than encrypting: a salt serves many tickets.
 *
 * Derived keys are key objects, since ciphers of Node 24 take four times as long with bytes. They are let go with the
 * ticket key; Node overwrites them, like the key schedule of every cipher, when it collects the object.
 */
export class DerivedKeys {
  readonly #key: TicketKey;
  /** By the first 4 bytes of the salt. Should two salts have the same, the later one is remembered. */
  readonly #opening = new Map<number, Opening>();
  #sealing: Sealing | undefined;
  #seals = 0;

  private constructor(key: TicketKey) {
    this.#key = key;
  }

  static of(key: TicketKey): DerivedKeys {
    let keys = derivedKeys.get(key);
    if (keys === undefined) {
      keys = new DerivedKeys(key);
      derivedKeys.set(key, keys);
      const made = keys;
      key.onDestroy(() => made.#clear());
    }
    return keys;
  }

  /** How many keys for opening are held. */
  get size(): number {
    return this.#opening.size;
  }

  /** A header whose salt and nonce were never used together, and the AES key for it. */
  nextSeal(): Sealing {
    let sealing = this.#sealing;
    if (sealing === undefined || this.#seals === SEALS_PER_SALT) sealing = this.#renew();
    const { nonce } = sealing;
    nonce.writeUInt32BE(this.#seals++, 0);
    // The counter alone is enough, except in a process that is a copy of another one (a cloned virtual machine).
    writeRandom(nonce, COUNTER_BYTES, nonce.length);
    return sealing;
  }

  /** The AES key of this ticket's salt, if it is remembered. */
  get(ticket: Uint8Array): KeyObject | undefined {
    const opening = this.#opening.get(saltStart(ticket));
    return opening !== undefined && hasSalt(ticket, opening.salt) ? opening.aesKey : undefined;
  }

  /** Remembers the AES key of this ticket's salt, once the ticket has proved that a holder of the ticket key chose it. */
  remember(ticket: Uint8Array, aesKey: KeyObject): void {
    if (isBuildingSnapshot()) return;
    this.#opening.set(saltStart(ticket), { salt: new Uint8Array(view(ticket, SALT_AT, NONCE_AT)), aesKey });
    if (this.#opening.size > MAX_OPENING_KEYS) this.#opening.delete(this.#opening.keys().next().value as number);
  }

  /** HKDF of RFC 5869 with SHA-256. */
  derive(salt: Uint8Array): KeyObject {
    requireSecrets(this.#key);
    const secret = Buffer.concat([this.#key.hmacKey, this.#key.aesKey]);
    const bytes = Buffer.from(hkdfSync('sha256', secret, salt, INFO, DERIVED_KEY_BYTES));
    const aesKey = createSecretKey(bytes);
    secret.fill(0);
    bytes.fill(0);
    return aesKey;
  }

  #renew(): Sealing {
    const header = Buffer.alloc(HEADER_BYTES);
    header[0] = VERSION;
    this.#key.name.copy(header, NAME_AT);
    const salt = randomFillSync(header.subarray(SALT_AT, NONCE_AT));
    const sealing = { header, nonce: header.subarray(NONCE_AT), aesKey: this.derive(salt) };
    this.#seals = 0;
    // What a startup snapshot holds, every process that starts from it has: there each seal gets a salt of its own. (And
    // a snapshot cannot hold key objects.)
    if (!isBuildingSnapshot()) this.#sealing = sealing;
    return sealing;
  }

  #clear(): void {
    this.#sealing = undefined;
    this.#opening.clear();
  }
}

function saltStart(ticket: Uint8Array): number {
  return (
    ((ticket[SALT_AT] as number) << 24) |
    ((ticket[SALT_AT + 1] as number) << 16) |
    ((ticket[SALT_AT + 2] as number) << 8) |
    (ticket[SALT_AT + 3] as number)
  );
}

/** Salts travel in clear: nothing to hide in how long this takes. */
function hasSalt(ticket: Uint8Array, salt: Uint8Array): boolean {
  for (let i = 0; i < salt.length; i++) if (ticket[SALT_AT + i] !== salt[i]) return false;
  return true;
}
