/** Sealing and opening a session: the codecs beside bare AES-256-GCM of node:crypto, jose and @hapi/iron. */

import { createCipheriv, createDecipheriv, createSecretKey, randomBytes, randomFillSync, webcrypto } from 'node:crypto';
import * as iron from '@hapi/iron';
import { CompactEncrypt, compactDecrypt } from 'jose';
import { Rfc5077Codec } from '../src/tickets/rfc5077-codec.js';
import { TicketCodec } from '../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../src/tickets/ticket-key-ring.js';
import { type Against, type Effort, type Figure, figure, type Part } from './lib/figures.js';
import { progress, prove, time, timeAsync } from './lib/harness.js';

const SESSION_BYTES = 160;

/** Short rounds in turns: what slows the machine down for a while slows all that is compared. */
const TIMING = { calls: 400, rounds: 301, warmUp: 20 };
/** The others take so long that fewer calls say as much. */
const ASYNC_TIMING = { calls: 40, rounds: 51, warmUp: 20 };
const QUICK = { calls: 20, rounds: 5 };

interface Sealer {
  seal(state: Buffer): Buffer;
  open(sealed: Buffer): Buffer | undefined;
}

interface AsyncSealer {
  seal(state: Buffer): Promise<string>;
  open(sealed: string): Promise<Buffer>;
}

/**
 * What one would write for one key that never changes: nothing but nonce, ciphertext and tag. The key is a key object,
 * which is as fast as bytes on most versions of Node, and four times as fast on 24.
 */
function bare(): Sealer {
  const key = createSecretKey(randomBytes(32));
  const pool = Buffer.allocUnsafe(12 * 1024);
  let used = pool.length;
  return {
    seal(state) {
      if (used === pool.length) {
        randomFillSync(pool);
        used = 0;
      }
      const nonce = pool.subarray(used, used + 12);
      used += 12;
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      const ciphertext = cipher.update(state);
      cipher.final();
      const sealed = Buffer.allocUnsafe(28 + ciphertext.length);
      sealed.set(nonce);
      sealed.set(ciphertext, 12);
      sealed.set(cipher.getAuthTag(), 12 + ciphertext.length);
      return sealed;
    },
    open(sealed) {
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
      decipher.setAuthTag(sealed.subarray(-16));
      const state = decipher.update(sealed.subarray(12, -16));
      try {
        decipher.final();
      } catch {
        return undefined;
      }
      return state;
    },
  };
}

/** With bytes, as its documentation has it for keys that are used directly, each call imports the key. */
function jose(key: Uint8Array | webcrypto.CryptoKey): AsyncSealer {
  return {
    seal: (state) => new CompactEncrypt(state).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(key),
    open: async (sealed) => Buffer.from((await compactDecrypt(sealed, key)).plaintext),
  };
}

/** It seals what JSON can hold. With a password, as its documentation has it, each seal derives two keys. */
function hapiIron(password: string | { encryption: Buffer; integrity: Buffer }): AsyncSealer {
  return {
    seal: (state) => iron.seal(state.toString('base64'), password, iron.defaults),
    async open(sealed) {
      return Buffer.from((await iron.unseal(sealed, { default: password }, iron.defaults)) as string, 'base64');
    },
  };
}

function flipLast(sealed: Buffer): Buffer {
  const flipped = Buffer.from(sealed);
  flipped[flipped.length - 1] = (flipped.at(-1) as number) ^ 1;
  return flipped;
}

function proveSealer(name: string, { seal, open }: Sealer): void {
  for (let length = 0; length < 512; length++) {
    const state = randomBytes(length);
    const sealed = seal(state);
    prove(open(sealed)?.equals(state) === true, `${name} opens what it sealed, ${length} bytes`);
    prove(open(flipLast(sealed)) === undefined, `${name} opens nothing that was changed`);
    prove(!seal(state).equals(sealed), `${name} never seals twice the same`);
  }
}

async function proveAsyncSealer(name: string, { seal, open }: AsyncSealer): Promise<void> {
  for (let length = 1; length < 512; length += 7) {
    const state = randomBytes(length);
    const sealed = await seal(state);
    prove((await open(sealed)).equals(state), `${name} opens what it sealed, ${length} bytes`);
    const changed = sealed.slice(0, -3) + (sealed.at(-3) === 'A' ? 'B' : 'A') + sealed.slice(-2);
    const refused = await open(changed).then(
      () => false,
      () => true,
    );
    prove(refused, `${name} opens nothing that was changed`);
  }
}

const BARE = 'node:crypto AES-256-GCM';
const OURS = 'TicketCodec';
const BOUND = 'TicketCodec, with a context';

interface Candidates {
  readonly sync: Readonly<Record<string, Sealer>>;
  readonly others: Readonly<Record<string, AsyncSealer>>;
}

async function proven(): Promise<Candidates> {
  const ring = TicketKeyRing.generate();
  const [codec, rfc5077] = [new TicketCodec(ring), new Rfc5077Codec(ring)];
  const context = randomBytes(32);
  const bound = {
    seal: (state: Buffer) => codec.seal(state, context),
    open: (sealed: Buffer) => codec.open(sealed, context),
  };
  const sync: Candidates['sync'] = {
    [BARE]: bare(),
    [OURS]: { seal: (state) => codec.seal(state), open: (sealed) => codec.open(sealed) },
    [BOUND]: bound,
    Rfc5077Codec: { seal: (state) => rfc5077.seal(state), open: (sealed) => rfc5077.open(sealed) },
  };
  const imported = await webcrypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
  const others = {
    'jose A256GCM': jose(randomBytes(32)),
    'jose A256GCM, imported key': jose(imported),
    '@hapi/iron': hapiIron(randomBytes(32).toString('base64')),
    '@hapi/iron, keys for a password': hapiIron({ encryption: randomBytes(32), integrity: randomBytes(32) }),
  };
  for (const [name, sealer] of Object.entries(sync)) proveSealer(name, sealer);
  for (const [name, sealer] of Object.entries(others)) await proveAsyncSealer(name, sealer);
  prove(codec.open(bound.seal(context)) === undefined, 'ours opens nothing under another context');
  return { sync, others };
}

const microseconds = (times: readonly number[]): number[] => times.map((ns) => ns / 1000);

async function measure(what: 'seal' | 'open', { sync, others }: Candidates, quick: boolean): Promise<Figure[]> {
  const state = randomBytes(SESSION_BYTES);
  const calls: Record<string, () => unknown> = {};
  for (const [name, { seal, open }] of Object.entries(sync)) {
    const sealed = seal(state);
    calls[name] = what === 'seal' ? () => seal(state) : () => open(sealed);
  }
  const fast = time(calls, quick ? QUICK : TIMING);
  const slowCalls: Record<string, () => unknown> = { [OURS]: calls[OURS] as () => unknown };
  for (const [name, { seal, open }] of Object.entries(others)) {
    const sealed = await seal(state);
    slowCalls[name] = what === 'seal' ? () => seal(state) : () => open(sealed);
  }
  const slow = await timeAsync(slowCalls, quick ? QUICK : ASYNC_TIMING);
  const of = (name: string, times: readonly number[], against: readonly Against[]): Figure =>
    figure({ group: what, quantity: 'time', name, unit: 'µs' }, microseconds(times), against);
  const [toBare, toOurs] = [microseconds(fast[BARE] as number[]), microseconds(slow[OURS] as number[])];
  return [
    ...Object.entries(fast).map(([name, times]) => {
      return of(name, times, [{ to: BARE, samples: toBare, ...(name === OURS && { atMost: 1.25 }) }]);
    }),
    ...Object.keys(others).map((name) => {
      // The two that are said to be slow as their documentation has them.
      const limit = name.includes(',') ? {} : { atLeast: 15 };
      return of(name, slow[name] as number[], [{ to: OURS, samples: toOurs, ...limit }]);
    }),
  ];
}

const ABOUT = `
Sealing and opening ${SESSION_BYTES} bytes, the size of a session. Every candidate first opens what it sealed, for all
lengths, and refuses what was changed.

- *node:crypto AES-256-GCM*: what one would write for one key that never changes: nonce, ciphertext and tag, the nonces
  from pooled random bytes.
- *TicketCodec*: with the name of the key, a key derived for each process, rotation, and a context where one is given;
  *Rfc5077Codec* makes OpenSSL's own tickets.
- *jose* and *@hapi/iron* as their documentation has them: with the bytes of a key, with a password; and faster, with an
  imported key, with keys.
`;

export async function codec({ quick }: Effort): Promise<Part> {
  progress('codec: proofs');
  const candidates = await proven();
  const figures: Figure[] = [];
  for (const what of ['seal', 'open'] as const) {
    progress(`codec: ${what}`);
    figures.push(...(await measure(what, candidates, quick)));
  }
  return { title: 'Tickets and sealed sessions', about: ABOUT, figures };
}
