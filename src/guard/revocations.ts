/** Sessions that may not come back, by what they are known by. */

import { hash as hashOnce } from 'node:crypto';
import { requireBytes, requireNumber, requireObject, requireString, wrongType } from '../arguments.js';

/** Revocations held at most. Beyond, the guard forgets all sessions instead. */
const MAX_REVOCATIONS = 10_000;
const MAX_SESSION_ID = 65_535;
const PREFIX = 'revoked/';
const FACT_BYTES = 8;
const SECOND = 1000;

/** What `ServerResumption.connection(socket)` gives, or as much of it as tells whose sessions it made. */
export interface RevocableConnection {
  /** The name asked for, exactly as sent. */
  readonly servername: string | undefined;
  /** Milliseconds since 1970; `null` when no session of it was kept. */
  readonly fullHandshakeTime: number | null;
}

/** What is revoked: exactly one of these. */
export type Revocation =
  | {
      /**
       * A TLS 1.2 session ID, or what a client showed in TLS 1.3 as its PSK identity, or a whole ticket: 1 to 65 535
       * bytes. Only this one: what was made beside it or renewed from it has another.
       */
      readonly id: Uint8Array;
    }
  | {
      /** Sessions of a client certificate: `X509Certificate.fingerprint256`, with or without colons, in any case. */
      readonly peerFingerprint: string;
    }
  | {
      /**
       * All sessions that descend from the same full handshake as those of this connection: who made it is logged out.
       * Those of other clients that made theirs under the name in the same millisecond, with tickets within a second, go
       * with it.
       */
      readonly connection: RevocableConnection;
    }
  | {
      /** Sessions that a client shows under this name, exactly as sent, and under all names that share sessions with it. */
      readonly servername: string;
    };

/** A session that a client shows. */
export interface ShownSession {
  readonly id: Uint8Array;
  /** Where sessions of its name are: the name, or what stands for those that share. */
  readonly place: string | Buffer | undefined;
  /** Milliseconds since 1970. */
  readonly fullHandshakeTime: number;
  /** DER of the client's certificate. */
  readonly peerCertificate: Uint8Array | undefined;
}

const ID_PREFIX = Buffer.from('tls-resumption revoked id v1\0');

const sha256 = (bytes: string | Uint8Array): string => hashOnce('sha256', bytes, 'hex');
const idKey = (id: Uint8Array): string => `id/${sha256(Buffer.concat([ID_PREFIX, id]))}`;
const peerKey = (fingerprint: string): string => `peer/${fingerprint}`;
const nameKey = (place: string | Buffer): string => `name/${sha256(textOfPlace(place))}`;
const chainKey = (place: ShownSession['place'], time: number): string =>
  `chain/${sha256(`${Math.floor(time)}\0${textOfPlace(place)}`)}`;

function textOfPlace(place: ShownSession['place']): string {
  if (place === undefined) return 'none';
  return typeof place === 'string' ? `name\0${place}` : `group\0${place.toString('hex')}`;
}

/**
 * @param placeOf where sessions of a name are
 * @returns what stands for it in the names of facts; `undefined` when there is nothing to revoke
 * @throws TypeError | RangeError when it is none
 */
export function keyOfRevocation(
  revocation: Revocation,
  placeOf: (servername: string) => string | Buffer,
): string | undefined {
  requireObject('revocation', revocation);
  const { id, peerFingerprint, servername, connection } = revocation as Partial<Record<string, unknown>>;
  const given = [id, peerFingerprint, servername, connection].filter((each) => each !== undefined);
  const forms = '"id", "connection", "peerFingerprint" or "servername"';
  if (given.length === 0) throw wrongType('revocation', `one of ${forms}`, revocation);
  if (given.length > 1) throw new RangeError(`"revocation" expected one of ${forms}, got several: revoke each`);
  if (connection !== undefined) return keyOfConnection(connection as RevocableConnection, placeOf);
  if (id !== undefined) return idKey(requireBytes('id', id, 1, MAX_SESSION_ID));
  if (peerFingerprint !== undefined) {
    const digits = requireString('peerFingerprint', peerFingerprint).replaceAll(':', '').toLowerCase();
    if (!/^[\da-f]{64}$/.test(digits)) {
      throw new RangeError('"peerFingerprint" expected 32 bytes in hexadecimal (SHA-256), with or without colons');
    }
    return peerKey(digits);
  }
  const name = requireString('servername', servername);
  if (name.length === 0) throw new RangeError('"servername" expected a name, got an empty string');
  return nameKey(placeOf(name));
}

function keyOfConnection(
  connection: RevocableConnection,
  placeOf: (servername: string) => string | Buffer,
): string | undefined {
  requireObject('connection', connection);
  const { servername, fullHandshakeTime } = connection;
  if (servername !== undefined) requireString('servername', servername);
  if (fullHandshakeTime === null) return undefined;
  requireNumber('fullHandshakeTime', fullHandshakeTime, 0, Number.MAX_SAFE_INTEGER, 'ms');
  return chainKey(servername === undefined ? undefined : placeOf(servername), fullHandshakeTime);
}

/** The name of the fact of a revocation. */
export function factNameOf(key: string): string {
  return PREFIX + key;
}

/** What stands for the revocation whose fact has this name. */
export function keyOfFactName(name: string): string | undefined {
  return /^revoked\/(id|chain|peer|name)\/[\da-f]{64}$/.test(name) ? name.slice(PREFIX.length) : undefined;
}

/** Milliseconds since 1970, as a double. */
export function encodeRevocation(at: number): Buffer {
  const fact = Buffer.alloc(FACT_BYTES);
  fact.writeDoubleBE(at);
  return fact;
}

/** @returns `undefined` for what is no fact of a revocation */
export function decodeRevocation(fact: Uint8Array): number | undefined {
  if (!(fact instanceof Uint8Array) || fact.length !== FACT_BYTES) return undefined;
  const at = Buffer.from(fact).readDoubleBE();
  return Number.isFinite(at) ? at : undefined;
}

/** What is revoked, and when it was: milliseconds since 1970. */
export class Revocations {
  readonly #at = new Map<string, number>();
  #ids = 0;
  #chains = 0;
  #peers = 0;
  #names = 0;

  get size(): number {
    return this.#at.size;
  }

  get full(): boolean {
    return this.#at.size >= MAX_REVOCATIONS;
  }

  at(key: string): number | undefined {
    return this.#at.get(key);
  }

  /** The later of two moments stands. */
  add(key: string, at: number): void {
    const before = this.#at.get(key);
    if (before === undefined) this.#count(key, 1);
    else if (before >= at) return;
    this.#at.set(key, at);
  }

  /** Forgets what was revoked before a moment. */
  prune(before: number): void {
    for (const [key, at] of this.#at) {
      if (at >= before) continue;
      this.#at.delete(key);
      this.#count(key, -1);
    }
  }

  entries(): Iterable<[key: string, at: number]> {
    return this.#at;
  }

  /** @param margin milliseconds that the clocks of two hosts may differ by */
  holds({ id, place, fullHandshakeTime, peerCertificate }: ShownSession, margin: number): boolean {
    if (this.#ids > 0 && this.#at.has(idKey(id))) return true;
    if (this.#chains > 0 && this.#endsChain(place, fullHandshakeTime)) return true;
    if (this.#names > 0 && place !== undefined && this.#covers(nameKey(place), fullHandshakeTime - margin)) return true;
    if (this.#peers === 0 || peerCertificate === undefined) return false;
    return this.#covers(peerKey(sha256(peerCertificate)), fullHandshakeTime - margin);
  }

  /** A whole second is what a ticket says, whose time may be taken a little before its connection's. */
  #endsChain(place: ShownSession['place'], time: number): boolean {
    if (this.#at.has(chainKey(place, time))) return true;
    if (time % SECOND !== 0) return false;
    return this.#at.has(chainKey(place, time - SECOND)) || this.#at.has(chainKey(place, time + SECOND));
  }

  #covers(key: string, time: number): boolean {
    return time <= (this.#at.get(key) ?? Number.NEGATIVE_INFINITY);
  }

  #count(key: string, change: number): void {
    if (key.startsWith('id/')) this.#ids += change;
    else if (key.startsWith('chain/')) this.#chains += change;
    else if (key.startsWith('peer/')) this.#peers += change;
    else this.#names += change;
  }
}
