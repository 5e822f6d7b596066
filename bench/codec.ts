/** Sealing and opening a session: the codec beside bare AES-256-GCM of node:crypto, jose and @hapi/iron. */

import { createCipheriv, createDecipheriv, createSecretKey, randomBytes, randomFillSync, webcrypto } from 'node:crypto';
import * as iron from '@hapi/iron';
import { CompactEncrypt, compactDecrypt } from 'jose';
import { Rfc5077Codec } from '../src/tickets/rfc5077-codec.js';
import { TicketCodec } from '../src/tickets/ticket-codec.js';
import { TicketKeyRing } from '../src/tickets/ticket-key-ring.js';
import { median, prove, type Row, table } from './lib/harness.js';

const SESSION_BYTES = 160;
/** Short rounds in turns: what slows the machine down for a while slows all that is compared. */
const ROUNDS = 301;
const CALLS = 400;
/** The others take so long that fewer calls say as much. */
const ASYNC_ROUNDS = 51;
const ASYNC_CALLS = 40;

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

/** Times of each candidate, nanoseconds a call, round by round. */
type Times<Name extends string> = Record<Name, number[]>;

/** Rounds before these are for the compiler. */
const WARM_UP = 20;

function timeSync<Name extends string>(candidates: Readonly<Record<Name, () => unknown>>): Times<Name> {
  const entries = Object.entries(candidates) as [Name, () => unknown][];
  const times = Object.fromEntries(entries.map(([name]) => [name, [] as number[]])) as Times<Name>;
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const [name, call] of entries) {
      const start = performance.now();
      for (let i = 0; i < CALLS; i++) call();
      if (round >= 0) times[name].push(((performance.now() - start) * 1e6) / CALLS);
    }
  }
  return times;
}

async function timeAsync<Name extends string>(candidates: Readonly<Record<Name, () => unknown>>): Promise<Times<Name>> {
  const entries = Object.entries(candidates) as [Name, () => unknown][];
  const times = Object.fromEntries(entries.map(([name]) => [name, [] as number[]])) as Times<Name>;
  for (let round = -WARM_UP; round < ASYNC_ROUNDS; round++) {
    for (const [name, call] of entries) {
      const start = performance.now();
      for (let i = 0; i < ASYNC_CALLS; i++) {
        const answer = call();
        if (answer instanceof Promise) await answer;
      }
      if (round >= 0) times[name].push(((performance.now() - start) * 1e6) / ASYNC_CALLS);
    }
  }
  return times;
}

/** The median of what each round says. */
function ratio(one: readonly number[], other: readonly number[]): number {
  return median(one.map((time, round) => time / (other[round] as number)));
}

const us = (times: readonly number[]): string => (median(times) / 1000).toFixed(1);

async function codecs(): Promise<Row[]> {
  const ring = TicketKeyRing.generate();
  const [codec, rfc5077, plain] = [new TicketCodec(ring), new Rfc5077Codec(ring), bare()];
  const context = randomBytes(32);
  const sync: Record<'ours' | 'bare' | 'bound' | 'rfc5077', Sealer> = {
    ours: { seal: (state) => codec.seal(state), open: (sealed) => codec.open(sealed) },
    bare: plain,
    bound: { seal: (state) => codec.seal(state, context), open: (sealed) => codec.open(sealed, context) },
    rfc5077: { seal: (state) => rfc5077.seal(state), open: (sealed) => rfc5077.open(sealed) },
  };
  const others = {
    jose: jose(randomBytes(32)),
    joseImported: jose(
      await webcrypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']),
    ),
    iron: hapiIron(randomBytes(32).toString('base64')),
    ironWithKeys: hapiIron({ encryption: randomBytes(32), integrity: randomBytes(32) }),
  };
  for (const [name, sealer] of Object.entries(sync)) proveSealer(name, sealer);
  for (const [name, sealer] of Object.entries(others)) await proveAsyncSealer(name, sealer);
  prove(codec.open(sync.bound.seal(context)) === undefined, 'ours opens nothing under another context');

  const state = randomBytes(SESSION_BYTES);
  const rows: Row[] = [];
  for (const what of ['seal', 'open'] as const) {
    const call = ({ seal, open }: Sealer): (() => unknown) => {
      const sealed = seal(state);
      return what === 'seal' ? () => seal(state) : () => open(sealed);
    };
    const taken = timeSync({
      ours: call(sync.ours),
      bare: call(sync.bare),
      bound: call(sync.bound),
      rfc5077: call(sync.rfc5077),
    });
    const toBare = ratio(taken.ours, taken.bare);
    rows.push({
      what: `${what} ${SESSION_BYTES} bytes, to bare AES-256-GCM of node:crypto`,
      figure: `${toBare.toFixed(2)} × (${us(taken.ours)} µs to ${us(taken.bare)} µs; with a context ${us(taken.bound)}; RFC 5077 ${us(taken.rfc5077)})`,
      target: '1.25 ×',
      met: toBare <= 1.25,
    });
    const callAsync = async ({ seal, open }: AsyncSealer): Promise<() => Promise<unknown>> => {
      const sealed = await seal(state);
      return what === 'seal' ? () => seal(state) : () => open(sealed);
    };
    const ours = call(sync.ours);
    const slow = await timeAsync({
      ours,
      jose: await callAsync(others.jose),
      joseImported: await callAsync(others.joseImported),
      iron: await callAsync(others.iron),
      ironWithKeys: await callAsync(others.ironWithKeys),
    });
    for (const [name, times, more] of [
      ['jose (A256GCM)', slow.jose, `; with an imported key ${us(slow.joseImported)}`],
      ['@hapi/iron', slow.iron, `; with keys instead of a password ${us(slow.ironWithKeys)}`],
    ] as const) {
      const toOurs = ratio(times, slow.ours);
      rows.push({
        what: `${what}, ${name} to ours`,
        figure: `${toOurs.toFixed(0)} × (${us(times)} µs to ${us(slow.ours)} µs${more})`,
        target: 'at least 15 ×',
        met: toOurs >= 15,
      });
    }
  }
  return rows;
}

console.log(table(`Ticket codecs, Node ${process.version}`, await codecs()));
