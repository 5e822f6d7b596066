/** The library's own ticket format, written for reading: one step a line, every part an array of its own. */

import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';

/** What the format takes of a key. */
export interface ReferenceKey {
  readonly name: Uint8Array;
  readonly hmacKey: Uint8Array;
  readonly aesKey: Uint8Array;
}

/** RFC 5869 §2.2 and §2.3, for the 32 bytes that are one block of SHA-256. */
export function referenceHkdf(secret: Uint8Array, salt: Uint8Array, info: Uint8Array | string): Buffer {
  const pseudorandomKey = createHmac('sha256', salt).update(secret).digest();
  return createHmac('sha256', pseudorandomKey).update(info).update(Uint8Array.of(1)).digest();
}

function deriveKey(key: ReferenceKey, salt: Uint8Array): Buffer {
  return referenceHkdf(Buffer.concat([key.hmacKey, key.aesKey]), salt, 'tls-resumption ticket v1');
}

export function referenceSeal(
  key: ReferenceKey,
  salt: Uint8Array,
  nonce: Uint8Array,
  state: Uint8Array,
  context: Uint8Array = Buffer.alloc(0),
  version = 1,
): Buffer {
  const header = Buffer.concat([Uint8Array.of(version), key.name, salt, nonce]);
  const cipher = createCipheriv('aes-256-gcm', deriveKey(key, salt), nonce);
  cipher.setAAD(Buffer.concat([header, context]));
  const ciphertext = Buffer.concat([cipher.update(state), cipher.final()]);
  return Buffer.concat([header, ciphertext, cipher.getAuthTag()]);
}

export function referenceOpen(
  keys: readonly ReferenceKey[],
  ticket: Uint8Array,
  context: Uint8Array = Buffer.alloc(0),
): Buffer | undefined {
  const bytes = Buffer.from(ticket);
  if (bytes.length < 1 + 16 + 32 + 12 + 16) return undefined;
  const [version, name] = [bytes[0], bytes.subarray(1, 17)];
  const [salt, nonce] = [bytes.subarray(17, 49), bytes.subarray(49, 61)];
  const [ciphertext, tag] = [bytes.subarray(61, -16), bytes.subarray(-16)];
  const key = keys.find((candidate) => name.equals(candidate.name));
  if (version !== 1 || key === undefined) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', deriveKey(key, salt), nonce);
  decipher.setAAD(Buffer.concat([bytes.subarray(0, 61), context]));
  decipher.setAuthTag(tag);
  try {
    return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  } catch {
    return undefined;
  }
}
