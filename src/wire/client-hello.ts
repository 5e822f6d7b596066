/**
 * The ClientHello, from bytes to values.
 *
 * @module
 */

import { wrongType } from '../arguments.js';
import { asBuffer } from './bytes.js';
import { type ClientHello, type ClientHelloView, type PskIdentity, viewClientHello } from './client-hello-view.js';
import { CLIENT_HELLO, findMessage } from './handshake-records.js';

export { ClientHelloAssembler, type ClientHelloState } from './client-hello-assembler.js';
export type { ClientHello, PskIdentity };

class ParsedClientHello implements ClientHello {
  readonly legacyVersion: number;
  readonly random: Buffer;
  readonly sessionId: Buffer;
  readonly cipherSuites: readonly number[];
  readonly servername: string | undefined;
  readonly alpnProtocols: readonly string[];
  readonly sessionTicket: Buffer | undefined;
  readonly pskIdentities: readonly PskIdentity[];
  readonly pskKeyExchangeModes: readonly number[];
  readonly supportedVersions: readonly number[];
  readonly supportedGroups: readonly number[];
  readonly keyShareGroups: readonly number[];
  readonly extendedMasterSecret: boolean;
  readonly earlyData: boolean;

  constructor(hello: ClientHelloView) {
    this.legacyVersion = hello.legacyVersion;
    this.random = hello.random;
    this.sessionId = hello.sessionId;
    this.cipherSuites = hello.cipherSuites;
    this.servername = hello.servername;
    this.alpnProtocols = hello.alpnProtocols;
    this.sessionTicket = hello.sessionTicket;
    this.pskIdentities = hello.pskIdentities;
    this.pskKeyExchangeModes = hello.pskKeyExchangeModes;
    this.supportedVersions = hello.supportedVersions;
    this.supportedGroups = hello.supportedGroups;
    this.keyShareGroups = hello.keyShareGroups;
    this.extendedMasterSecret = hello.extendedMasterSecret;
    this.earlyData = hello.earlyData;
  }

  toJSON(): object {
    return {
      ...this,
      random: this.random.toString('hex'),
      sessionId: lengthOf(this.sessionId),
      sessionTicket: this.sessionTicket && lengthOf(this.sessionTicket),
      pskIdentities: this.pskIdentities.map((psk) => ({ ...psk, identity: lengthOf(psk.identity) })),
    };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return this.toJSON();
  }
}

function lengthOf(bytes: Uint8Array): string {
  return `<${bytes.length} bytes>`;
}

/**
 * Parses a ClientHello.
 *
 * @param bytes TLS records (the hello may span several of them) or a bare handshake message, from the first byte on.
 * What follows the hello is not looked at.
 * @returns `undefined` for what is no ClientHello, not all of it, or malformed: a length that does not fit exactly, an
 * extension sent twice, a `pre_shared_key` that is not the last one (RFC 8446 §4.2, §4.2.11), a host name that is empty,
 * longer than 255 bytes or holds a NUL.
 * @throws {TypeError} when `bytes` is no `Uint8Array`; on bytes, never.
 */
export function parseClientHello(bytes: Uint8Array): ClientHello | undefined {
  if (!(bytes instanceof Uint8Array)) throw wrongType('bytes', 'a Uint8Array', bytes);
  const message = findMessage(bytes, CLIENT_HELLO);
  return message && parseOwnMessage(copy(asBuffer(message.bytes), message.start, message.end));
}

/**
 * Parses the bytes of one ClientHello message, of which the hello becomes the owner: its byte fields are views.
 *
 * @internal
 */
export function parseOwnMessage(message: Buffer): ClientHello | undefined {
  const hello = viewClientHello(message);
  return hello && new ParsedClientHello(hello);
}

/** An exact copy, which shares its memory with nothing (Buffer.from's would keep a whole pool alive). */
function copy(b: Buffer, from: number, to: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(to - from);
  b.copy(bytes, 0, from, to);
  return bytes;
}
