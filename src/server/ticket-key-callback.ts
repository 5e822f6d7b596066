/**
 * Node's undocumented ticket-key callback, and nothing else of it: OpenSSL's SSL_CTX_set_tlsext_ticket_key_cb(3) through
 * the native context of a SecureContext.
 *
 * Measured on Node 20 to 26: a throw, an answer that is no array, or one without both keys aborts the process, and a
 * client can cause the call. So every answer is complete, whatever happens.
 */

import { randomBytes } from 'node:crypto';

/** What one ticket is sealed or opened with, all of 16 bytes. */
interface TicketKeyMaterial {
  readonly name: Buffer;
  readonly hmacKey: Buffer;
  readonly aesKey: Buffer;
}

/** Answers for the tickets of one context. May throw: then a ticket is refused, or made that nobody can open. */
export interface TicketKeySource {
  /** For a ticket that is about to be made: its key, and its initialization vector of 16 bytes. */
  seal(): { readonly key: TicketKeyMaterial; readonly vector: Buffer } | undefined;
  /** For a ticket that a client shows; `undefined` refuses it. */
  open(name: Buffer, vector: Buffer): { readonly key: TicketKeyMaterial; readonly renew: boolean } | undefined;
}

interface NativeContext {
  enableTicketKeyCallback?: unknown;
  onticketkeycallback?: unknown;
}

/** The callback's first answer: what SSL_CTX_set_tlsext_ticket_key_cb(3) has the application return. */
const UNKNOWN = 0;
const GOOD = 1;
const RENEW = 2;

/** Bytes of a key's name, of each of its keys, and of an initialization vector. */
export const PART_BYTES = 16;

/** Of the keys that the callback takes: AES-128 and an HMAC key of 16 bytes, with their name. */
export const NODE_KEY_BYTES = 3 * PART_BYTES;

/** @throws RangeError for keys of another length */
export function requireNodeKeys(name: string, { current }: { readonly current: { readonly length: number } }): void {
  if (current.length === NODE_KEY_BYTES) return;
  throw new RangeError(
    `"${name}" expected keys of ${NODE_KEY_BYTES} bytes, which is what Node takes, got ${current.length}`,
  );
}

type Answer = [result: number, hmacKey: Buffer, aesKey: Buffer, name: Buffer, vector: Buffer];

let nobody: TicketKeyMaterial | undefined;

/** Complete, and good for nothing: keys that were never anywhere else. */
function nobodysKey(): TicketKeyMaterial {
  nobody ??= { name: randomBytes(PART_BYTES), hmacKey: randomBytes(PART_BYTES), aesKey: randomBytes(PART_BYTES) };
  return nobody;
}

/** Whether this Node has the callback. */
export function hasTicketKeyCallback(nativeContext: object): boolean {
  return typeof (nativeContext as NativeContext).enableTicketKeyCallback === 'function';
}

/** From now on OpenSSL asks `source` for the key of every ticket of the context. */
export function setTicketKeyCallback(nativeContext: object, source: TicketKeySource): void {
  answerTicketKeys(nativeContext, source);
  (nativeContext as { enableTicketKeyCallback(): void }).enableTicketKeyCallback();
}

/**
 * The same for a context that a name chooses. OpenSSL asks on behalf of the server's own context; but after a
 * HelloRetryRequest Node looks for the answer at the one that the name chose, and breaks the connection where it finds
 * none (measured, Node 20 to 26).
 */
export function answerTicketKeys(nativeContext: object, source: TicketKeySource): void {
  (nativeContext as NativeContext).onticketkeycallback = (name: unknown, vector: unknown, sealing: unknown): Answer =>
    sealing ? sealingAnswer(source) : openingAnswer(source, name, vector);
}

/** An answer of "unknown" would be an empty ticket, which TLS 1.3 clients take for a fault: the ticket is nobody's. */
function sealingAnswer(source: TicketKeySource): Answer {
  try {
    const sealed = source.seal();
    if (sealed !== undefined && isComplete(sealed.key) && isPart(sealed.vector)) {
      const { key, vector } = sealed;
      return [GOOD, key.hmacKey, key.aesKey, key.name, vector];
    }
  } catch {
    // Nothing may leave this function but an answer.
  }
  const nobodys = nobodysKey();
  return [GOOD, nobodys.hmacKey, nobodys.aesKey, nobodys.name, randomBytes(PART_BYTES)];
}

function openingAnswer(source: TicketKeySource, name: unknown, vector: unknown): Answer {
  try {
    if (isPart(name) && isPart(vector)) {
      const opened = source.open(name, vector);
      if (opened !== undefined && isComplete(opened.key)) {
        const { key, renew } = opened;
        return [renew ? RENEW : GOOD, key.hmacKey, key.aesKey, key.name, vector];
      }
    }
  } catch {
    // As above.
  }
  const nobodys = nobodysKey();
  return [UNKNOWN, nobodys.hmacKey, nobodys.aesKey, nobodys.name, nobodys.name];
}

function isComplete(key: TicketKeyMaterial): boolean {
  return isPart(key.name) && isPart(key.hmacKey) && isPart(key.aesKey);
}

function isPart(value: unknown): value is Buffer {
  return Buffer.isBuffer(value) && value.length === PART_BYTES;
}
