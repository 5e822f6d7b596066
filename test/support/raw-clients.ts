/** Clients that misbehave on purpose, byte by byte, and a proxy that edits what real ones send. */

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import { parseClientHello } from '../../src/wire/client-hello.js';
import { decodeSslSession, type SslSession } from '../../src/wire/ssl-session.js';
import { buildHello, cutAt, type HelloSpec, numbers16, record, TLS13, uint, vector } from './hello-builder.js';

const CHANGE_CIPHER_SPEC = 20;
const ALERT = 21;
const HANDSHAKE = 22;
const APPLICATION_DATA = 23;
const SERVER_HELLO = 2;
const FINISHED = 20;
const PRE_SHARED_KEY = 41;
const KEY_SHARE = 51;
const X25519 = 29;
export const P256 = 23;
const HASH_LENGTH = 32;
/** RFC 8446 §4.1.3: a ServerHello with this random is a HelloRetryRequest. */
const RETRY_RANDOM = createHash('sha256').update('HelloRetryRequest').digest();
const ZEROS = Buffer.alloc(HASH_LENGTH);

/** ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256, rsa_pkcs1_sha256: whatever certificate the server has. */
export const SIGNATURE_ALGORITHMS = { type: 13, data: vector(2, numbers16([0x0403, 0x0804, 0x0401])) };
/** TLS_AES_128_GCM_SHA256: the one suite of {@link RawClient13}. */
export const RAW_CIPHER = 'TLS_AES_128_GCM_SHA256';

/** A session with its secret, as a client keeps it. */
export function decode(session: Buffer | undefined): SslSession & { readonly masterSecret: Buffer } {
  const decoded = session && decodeSslSession(session, { masterSecret: true });
  if (decoded?.masterSecret === undefined) throw new Error('no session that can be decoded');
  return decoded as SslSession & { readonly masterSecret: Buffer };
}

/** The session with some of its bytes changed in place: what a client shows that lies about what it has. */
export function forge(session: Buffer | undefined, change: (view: ReturnType<typeof decode>) => void): Buffer {
  const copy = Buffer.from(session ?? []);
  change(decode(copy));
  return copy;
}

/** What the client will show of this session: its TLS 1.2 session ID, or its ticket. */
export function shownId(session: Buffer | undefined): Buffer {
  const decoded = decode(session);
  return Buffer.from(decoded.ticket ?? decoded.sessionId);
}

/** Connects, and sends these bytes. */
export async function dial(port: number, bytes?: Uint8Array): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  if (bytes !== undefined && bytes.length > 0) await new Promise<void>((sent) => socket.write(bytes, () => sent()));
  return socket;
}

/** Resolves when a socket is closed, however that came. */
export function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

/** Reads TLS records off a socket. */
class RecordReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #buffer = Buffer.alloc(0);

  constructor(socket: net.Socket) {
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  /** The next record with its 5-byte header; `undefined` once the connection is over. */
  async next(): Promise<Buffer | undefined> {
    while (this.#buffer.length < 5 || this.#buffer.length < 5 + this.#buffer.readUInt16BE(3)) {
      const chunk = await this.#chunks.next().catch(() => ({ done: true, value: undefined }));
      if (chunk.done) return undefined;
      this.#buffer = Buffer.concat([this.#buffer, chunk.value as Buffer]);
    }
    const end = 5 + this.#buffer.readUInt16BE(3);
    const bytes = this.#buffer.subarray(0, end);
    this.#buffer = this.#buffer.subarray(end);
    return bytes;
  }
}

/** How a server answered a hello. */
export type Answer =
  | { readonly kind: 'alert'; readonly alert: number }
  | { readonly kind: 'closed' }
  | { readonly kind: 'retry' | 'full' | 'resumed'; readonly sessionId: string };

/** The first server message, with everything that follows in its record. */
function readServerHello(message: Buffer): { random: Buffer; sessionId: Buffer; extensions: Map<number, Buffer> } {
  const idEnd = 39 + (message[38] as number);
  const extensions = new Map<number, Buffer>();
  const end = 4 + message.readUIntBE(1, 3);
  for (let at = idEnd + 5; at < end; ) {
    const next = at + 4 + message.readUInt16BE(at + 2);
    extensions.set(message.readUInt16BE(at), message.subarray(at + 4, next));
    at = next;
  }
  return { random: message.subarray(6, 38), sessionId: message.subarray(39, idEnd), extensions };
}

/**
 * Sends these bytes and tells how the server answered. In TLS 1.2 a server resumes by repeating the session ID; in 1.3
 * by the pre_shared_key extension. Both are in the clear.
 */
export async function answerTo(port: number, bytes: Uint8Array): Promise<Answer> {
  const socket = await dial(port, bytes);
  const answer = await readAnswer(new RecordReader(socket), offeredId(bytes));
  socket.destroy();
  return answer.answer;
}

function offeredId(bytes: Uint8Array): Buffer {
  return parseClientHello(bytes)?.sessionId ?? Buffer.alloc(0);
}

async function readAnswer(
  reader: RecordReader,
  offered: Buffer,
): Promise<{ answer: Answer; message?: Buffer; hello?: ReturnType<typeof readServerHello> }> {
  let bytes = await reader.next();
  // After a HelloRetryRequest there is one, for middleboxes.
  while (bytes?.[0] === CHANGE_CIPHER_SPEC) bytes = await reader.next();
  if (bytes === undefined) return { answer: { kind: 'closed' } };
  if (bytes[0] === ALERT) return { answer: { kind: 'alert', alert: bytes[6] as number } };
  const length = 4 + bytes.readUIntBE(6, 3);
  const message = bytes.subarray(5, 5 + length);
  if (bytes[0] !== HANDSHAKE || message[0] !== SERVER_HELLO) throw new Error('neither a ServerHello nor an alert');
  const hello = readServerHello(message);
  const sessionId = hello.sessionId.toString('hex');
  if (hello.random.equals(RETRY_RANDOM)) return { answer: { kind: 'retry', sessionId }, message, hello };
  const resumed = hello.extensions.has(43)
    ? hello.extensions.has(PRE_SHARED_KEY)
    : offered.length > 0 && hello.sessionId.equals(offered);
  return { answer: { kind: resumed ? 'resumed' : 'full', sessionId }, message, hello };
}

function hmac(key: Uint8Array, ...parts: Uint8Array[]): Buffer {
  const digest = createHmac('sha256', key);
  for (const part of parts) digest.update(part);
  return digest.digest();
}

function sha256(...parts: Uint8Array[]): Buffer {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part);
  return digest.digest();
}

/** HKDF-Expand-Label of RFC 8446 §7.1; no output here is longer than one block. */
function expandLabel(secret: Uint8Array, label: string, context: Uint8Array, length = HASH_LENGTH): Buffer {
  const info = Buffer.concat([uint(2, length), vector(1, Buffer.from(`tls13 ${label}`)), vector(1, context)]);
  return hmac(secret, info, Uint8Array.of(1)).subarray(0, length);
}

/** One direction under one traffic secret: AES-128-GCM, RFC 8446 §5.2. */
class Protection {
  readonly #key: Buffer;
  readonly #iv: Buffer;
  #sequence = 0n;

  constructor(secret: Uint8Array) {
    this.#key = expandLabel(secret, 'key', Buffer.alloc(0), 16);
    this.#iv = expandLabel(secret, 'iv', Buffer.alloc(0), 12);
  }

  #nonce(): Buffer {
    const nonce = Buffer.from(this.#iv);
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ this.#sequence++, 4);
    return nonce;
  }

  seal(type: number, payload: Uint8Array): Buffer {
    const header = Buffer.concat([Uint8Array.of(APPLICATION_DATA, 3, 3), uint(2, payload.length + 17)]);
    const cipher = createCipheriv('aes-128-gcm', this.#key, this.#nonce()).setAAD(header);
    const body = [cipher.update(payload), cipher.update(Uint8Array.of(type)), cipher.final()];
    return Buffer.concat([header, ...body, cipher.getAuthTag()]);
  }

  open(bytes: Buffer): { type: number; payload: Buffer } {
    const decipher = createDecipheriv('aes-128-gcm', this.#key, this.#nonce()).setAAD(bytes.subarray(0, 5));
    decipher.setAuthTag(bytes.subarray(-16));
    const plain = Buffer.concat([decipher.update(bytes.subarray(5, -16)), decipher.final()]);
    let end = plain.length;
    while (end > 1 && plain[end - 1] === 0) end--;
    return { type: plain[end - 1] as number, payload: plain.subarray(0, end - 1) };
  }
}

/** A PSK to offer: with its secret, so that the binder is right; without, and the binder is wrong. */
export interface Psk {
  readonly identity: Uint8Array;
  readonly secret?: Uint8Array | undefined;
}

/** The PSK that a session of a real client holds. */
export function pskOf(session: Buffer | undefined): Psk {
  return { identity: shownId(session), secret: decode(session).masterSecret };
}

export interface Hello13 extends Omit<HelloSpec, 'pskIdentities'> {
  readonly psks?: readonly Psk[];
  /** Changes the message before its binders are computed. */
  readonly edit?: (message: Buffer) => Buffer;
}

/** A TLS 1.3 client small enough to lie in any part of its hello, and yet complete the handshake. */
export class RawClient13 {
  readonly #socket: net.Socket;
  readonly #reader: RecordReader;
  readonly #keys: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync('x25519');
  readonly #p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  #transcript = Buffer.alloc(0);
  #psks: readonly Psk[] = [];
  #sessionId: Uint8Array = Buffer.alloc(0);
  #serverHello: ReturnType<typeof readServerHello> | undefined;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    this.#reader = new RecordReader(socket);
  }

  static async connect(port: number): Promise<RawClient13> {
    return new RawClient13(await dial(port));
  }

  /** A first hello, for whoever sends it; nobody can go on with it. */
  static firstHello(spec: Hello13 = {}): Buffer {
    return new RawClient13(new net.Socket()).hello(spec);
  }

  /** The bytes of a hello whose binders are right for the transcript so far. */
  hello(spec: Hello13 = {}): Buffer {
    const { psks = [], edit = (message) => message, extraExtensions = [], keyShareGroups = [X25519], ...rest } = spec;
    const shares = keyShareGroups.map((group) => Buffer.concat([uint(2, group), vector(2, this.#share(group))]));
    this.#psks = psks;
    this.#sessionId = rest.sessionId ?? Buffer.alloc(32, 0x1e);
    const message = edit(
      buildHello({
        sessionId: this.#sessionId,
        cipherSuites: [0x1301],
        supportedVersions: [TLS13],
        supportedGroups: [X25519, P256],
        pskKeyExchangeModes: [1],
        ...rest,
        extraExtensions: [SIGNATURE_ALGORITHMS, { type: KEY_SHARE, data: vector(2, ...shares) }, ...extraExtensions],
        ...(psks.length > 0 && { pskIdentities: psks.map(({ identity }) => ({ identity })) }),
      }),
    );
    const bindersStart = message.length - psks.length * (1 + HASH_LENGTH);
    const transcript = sha256(this.#transcript, message.subarray(0, bindersStart - (psks.length > 0 ? 2 : 0)));
    psks.forEach(({ secret }, i) => {
      if (secret === undefined) return;
      const binderKey = expandLabel(hmac(ZEROS, secret), 'res binder', sha256());
      const binder = hmac(expandLabel(binderKey, 'finished', Buffer.alloc(0)), transcript);
      message.set(binder, bindersStart + i * (1 + HASH_LENGTH) + 1);
    });
    return message;
  }

  /** Sends a hello, the first or the one after a retry, and tells the server's answer to it. */
  async ask(spec: Hello13 = {}): Promise<Answer> {
    const message = this.hello(spec);
    this.#transcript = Buffer.concat([this.#transcript, message]);
    this.#socket.write(record(message));
    const { answer, message: reply, hello } = await this.#readAnswer();
    if (reply === undefined) return answer;
    this.#serverHello = hello;
    if (answer.kind === 'retry') {
      // RFC 8446 §4.4.1: the first hello counts as its hash.
      this.#transcript = Buffer.concat([Uint8Array.of(254, 0, 0, HASH_LENGTH), sha256(this.#transcript)]);
    }
    this.#transcript = Buffer.concat([this.#transcript, reply]);
    return answer;
  }

  async #readAnswer(): ReturnType<typeof readAnswer> {
    return readAnswer(this.#reader, Buffer.from(this.#sessionId));
  }

  /** Completes the handshake and returns all that the server's application sent. */
  async finish(): Promise<string> {
    const hello = this.#serverHello as ReturnType<typeof readServerHello>;
    const psk = hello.extensions.has(PRE_SHARED_KEY)
      ? this.#psks[(hello.extensions.get(PRE_SHARED_KEY) as Buffer).readUInt16BE(0)]?.secret
      : undefined;
    const early = hmac(ZEROS, psk ?? ZEROS);
    const handshake = hmac(expandLabel(early, 'derived', sha256()), this.#agreed(hello));
    const master = hmac(expandLabel(handshake, 'derived', sha256()), ZEROS);
    const hellos = sha256(this.#transcript);
    const clientSecret = expandLabel(handshake, 'c hs traffic', hellos);
    await this.#readServerFlight(new Protection(expandLabel(handshake, 's hs traffic', hellos)));
    const transcript = sha256(this.#transcript);
    const verify = hmac(expandLabel(clientSecret, 'finished', Buffer.alloc(0)), transcript);
    const finished = Buffer.concat([uint(1, FINISHED), vector(3, verify)]);
    this.#socket.write(new Protection(clientSecret).seal(HANDSHAKE, finished));
    return this.#readApplication(new Protection(expandLabel(master, 's ap traffic', transcript)));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #share(group: number): Buffer {
    if (group === X25519) return this.#keys.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
    if (group === P256) return this.#p256.publicKey.export({ type: 'spki', format: 'der' }).subarray(-65);
    return Buffer.alloc(32, 7);
  }

  #agreed(hello: ReturnType<typeof readServerHello>): Buffer {
    const share = hello.extensions.get(KEY_SHARE) as Buffer;
    const { publicKey, privateKey } = share.readUInt16BE(0) === X25519 ? this.#keys : this.#p256;
    const ours = publicKey.export({ type: 'spki', format: 'der' });
    const prefix = ours.subarray(0, ours.length - (share.length - 4));
    const theirs = createPublicKey({ key: Buffer.concat([prefix, share.subarray(4)]), type: 'spki', format: 'der' });
    return diffieHellman({ privateKey, publicKey: theirs });
  }

  /** Every message up to the server's Finished goes into the transcript; none is verified. */
  async #readServerFlight(protection: Protection): Promise<void> {
    let messages = Buffer.alloc(0);
    for (;;) {
      const bytes = await this.#reader.next();
      if (bytes === undefined) throw new Error('closed before the server had finished');
      if (bytes[0] !== APPLICATION_DATA) continue;
      messages = Buffer.concat([messages, protection.open(bytes).payload]);
      for (let at = 0; at + 4 <= messages.length; ) {
        const end = at + 4 + messages.readUIntBE(at + 1, 3);
        if (messages[at] === FINISHED && end <= messages.length) {
          this.#transcript = Buffer.concat([this.#transcript, messages.subarray(0, end)]);
          return;
        }
        at = end;
      }
    }
  }

  async #readApplication(protection: Protection): Promise<string> {
    let text = '';
    for (let bytes = await this.#reader.next(); bytes !== undefined; bytes = await this.#reader.next()) {
      const { type, payload } = protection.open(bytes);
      if (type === APPLICATION_DATA) text += payload.toString('latin1');
      if (type === ALERT) break;
    }
    this.#socket.destroy();
    return text;
  }
}

/** How a proxy sends on what it edited: every part in a segment of its own. */
export type FlightEditor = (flight: Buffer) => readonly Buffer[];

/** The records of bytes that are whole records. */
export function recordsOf(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes.readUInt16BE(at + 3);
    records.push(bytes.subarray(at, end));
    at = end;
  }
  return records;
}

/** The first record's payload, cut into records of `size` bytes at most, the whole in one segment. */
export function intoRecords(size: number): FlightEditor {
  return (flight) => {
    const [first, ...rest] = recordsOf(flight) as [Buffer, ...Buffer[]];
    const payload = first.subarray(5);
    const offsets = Array.from({ length: Math.floor(payload.length / size) }, (_, i) => (i + 1) * size);
    return [Buffer.concat([...cutAt(payload, offsets).map((part) => record(part)), ...rest])];
  };
}

/** The same, and the segments cut at every `step` bytes, without regard to records. */
export function intoSegments(step: number, editor: FlightEditor = (flight) => [flight]): FlightEditor {
  return (flight) =>
    editor(flight).flatMap((part) =>
      cutAt(
        part,
        Array.from({ length: Math.floor(part.length / step) }, (_, i) => (i + 1) * step),
      ),
    );
}

/**
 * A TCP proxy that edits what clients send: whole ClientHello flights, the nth of a connection by the nth editor, as
 * long as records are in the clear and there are editors left.
 */
export async function editingProxy(port: number, ...editors: FlightEditor[]): Promise<net.Server & { port: number }> {
  const proxy = net.createServer({ noDelay: true }, (near) => {
    const far = net.connect({ port, host: '127.0.0.1', noDelay: true });
    const left = [...editors];
    let held = Buffer.alloc(0);
    let sending = Promise.resolve();
    const send = (parts: readonly Buffer[]): void => {
      for (const part of parts) {
        sending = sending.then(() => new Promise((sent) => far.write(part, () => setImmediate(sent))));
      }
    };
    near.on('data', (chunk) => {
      if (left.length === 0) {
        send([chunk]);
        return;
      }
      held = Buffer.concat([held, chunk]);
      if (!endsAHello(held)) return;
      send((left.shift() as FlightEditor)(held));
      held = Buffer.alloc(0);
    });
    near.on('end', () => void sending.then(() => far.end()));
    far.on('data', (chunk) => near.write(chunk));
    far.on('end', () => near.end());
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroySoon());
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return Object.assign(proxy, { port: (proxy.address() as net.AddressInfo).port });
}

/** Whether these whole records end with a ClientHello, which a ChangeCipherSpec may come before. */
function endsAHello(bytes: Buffer): boolean {
  let last = -1;
  let at = 0;
  while (at + 5 <= bytes.length) {
    last = at;
    at += 5 + bytes.readUInt16BE(at + 3);
  }
  return last >= 0 && at === bytes.length && bytes[last] === HANDSHAKE;
}
