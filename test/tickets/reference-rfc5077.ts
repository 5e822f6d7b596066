/** Tickets of RFC 5077 §4 as OpenSSL makes them, written for reading: padding by hand, no cipher mode but the block. */

import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import type { ReferenceKey } from './reference-ticket-codec.js';

const BLOCK = 16;

function xor(one: Uint8Array, other: Uint8Array): Buffer {
  return Buffer.from(one.map((byte, i) => byte ^ (other[i] as number)));
}

function encryptBlock(aesKey: Uint8Array, block: Uint8Array): Buffer {
  const cipher = createCipheriv(`aes-${aesKey.length * 8}-ecb`, aesKey, null).setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

function decryptBlock(aesKey: Uint8Array, block: Uint8Array): Buffer {
  const decipher = createDecipheriv(`aes-${aesKey.length * 8}-ecb`, aesKey, null).setAutoPadding(false);
  return Buffer.concat([decipher.update(block), decipher.final()]);
}

function blocksOf(bytes: Buffer): Buffer[] {
  return Array.from({ length: bytes.length / BLOCK }, (_, i) => bytes.subarray(i * BLOCK, (i + 1) * BLOCK));
}

function hmac(key: ReferenceKey, bytes: Uint8Array): Buffer {
  return createHmac('sha256', key.hmacKey).update(bytes).digest();
}

export function referenceSeal(key: ReferenceKey, iv: Uint8Array, state: Uint8Array): Buffer {
  // PKCS #7 (RFC 5652 §6.3): as many bytes as there are to add, each of that value.
  const padding = BLOCK - (state.length % BLOCK);
  const encrypted: Buffer[] = [Buffer.from(iv)];
  for (const block of blocksOf(Buffer.concat([state, Buffer.alloc(padding, padding)]))) {
    encrypted.push(encryptBlock(key.aesKey, xor(block, encrypted.at(-1) as Buffer)));
  }
  const authenticated = Buffer.concat([key.name, ...encrypted]);
  return Buffer.concat([authenticated, hmac(key, authenticated)]);
}

export function referenceOpen(keys: readonly ReferenceKey[], ticket: Uint8Array): Buffer | undefined {
  const bytes = Buffer.from(ticket);
  if (bytes.length < 16 + BLOCK + BLOCK + 32 || bytes.length % BLOCK !== 0) return undefined;
  const [authenticated, mac] = [bytes.subarray(0, -32), bytes.subarray(-32)];
  const key = keys.find((candidate) => bytes.subarray(0, 16).equals(candidate.name));
  if (key === undefined || !hmac(key, authenticated).equals(mac)) return undefined;
  const [iv, ...encrypted] = blocksOf(authenticated.subarray(16)) as [Buffer, ...Buffer[]];
  const padded = Buffer.concat(
    encrypted.map((block, i) => xor(decryptBlock(key.aesKey, block), encrypted[i - 1] ?? iv)),
  );
  const padding = padded.at(-1) as number;
  if (padding < 1 || padding > BLOCK) return undefined;
  if (!padded.subarray(-padding).every((byte) => byte === padding)) return undefined;
  return padded.subarray(0, -padding);
}
