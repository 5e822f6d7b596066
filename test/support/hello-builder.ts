/** Builds ClientHellos, byte by byte, from what should be in them. */

export interface HelloSpec {
  legacyVersion?: number;
  random?: Uint8Array;
  sessionId?: Uint8Array;
  cipherSuites?: readonly number[];
  compressionMethods?: readonly number[];
  servername?: string;
  alpnProtocols?: readonly string[];
  /** Empty: the client takes tickets and has none. */
  sessionTicket?: Uint8Array;
  extendedMasterSecret?: boolean;
  earlyData?: boolean;
  supportedVersions?: readonly number[];
  supportedGroups?: readonly number[];
  keyShareGroups?: readonly number[];
  pskKeyExchangeModes?: readonly number[];
  pskIdentities?: readonly { identity: Uint8Array; obfuscatedTicketAge?: number }[];
  /** Any extensions, put before all others. */
  extraExtensions?: readonly { type: number; data: Uint8Array }[];
  /** Leaves the extensions' length field out too. */
  noExtensions?: boolean;
}

export const TLS12 = 0x0303;
export const TLS13 = 0x0304;

export function uint(width: number, value: number): Buffer {
  const bytes = Buffer.alloc(width);
  bytes.writeUIntBE(value, 0, width);
  return bytes;
}

/** A vector: a length of `width` bytes, then the bytes. */
export function vector(width: number, ...parts: Uint8Array[]): Buffer {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([uint(width, bytes.length), bytes]);
}

export function numbers16(numbers: readonly number[]): Buffer {
  return Buffer.concat(numbers.map((number) => uint(2, number)));
}

export function extension(type: number, ...parts: Uint8Array[]): Buffer {
  return Buffer.concat([uint(2, type), vector(2, ...parts)]);
}

export function serverNameExtension(servername: string): Buffer {
  return extension(0, vector(2, uint(1, 0), vector(2, Buffer.from(servername, 'latin1'))));
}

function extensions(spec: HelloSpec): Buffer[] {
  const all = (spec.extraExtensions ?? []).map(({ type, data }) => extension(type, data));
  if (spec.servername !== undefined) all.push(serverNameExtension(spec.servername));
  if (spec.extendedMasterSecret) all.push(extension(23));
  if (spec.supportedGroups) all.push(extension(10, vector(2, numbers16(spec.supportedGroups))));
  if (spec.sessionTicket) all.push(extension(35, spec.sessionTicket));
  if (spec.alpnProtocols) {
    const protocols = spec.alpnProtocols.map((protocol) => vector(1, Buffer.from(protocol, 'latin1')));
    all.push(extension(16, vector(2, ...protocols)));
  }
  if (spec.supportedVersions) all.push(extension(43, vector(1, numbers16(spec.supportedVersions))));
  if (spec.pskKeyExchangeModes) all.push(extension(45, vector(1, Uint8Array.from(spec.pskKeyExchangeModes))));
  if (spec.keyShareGroups) {
    const shares = spec.keyShareGroups.map((group) => Buffer.concat([uint(2, group), vector(2, Buffer.alloc(32, 7))]));
    all.push(extension(51, vector(2, ...shares)));
  }
  if (spec.earlyData) all.push(extension(42));
  if (spec.pskIdentities) {
    const identities = spec.pskIdentities.map(({ identity, obfuscatedTicketAge = 0 }) =>
      Buffer.concat([vector(2, identity), uint(4, obfuscatedTicketAge)]),
    );
    const binders = spec.pskIdentities.map(() => vector(1, Buffer.alloc(32, 9)));
    all.push(extension(41, vector(2, ...identities), vector(2, ...binders)));
  }
  return all;
}

/** The handshake message, with its 4-byte header. Binders and key shares are dummies: it parses, nothing negotiates it. */
export function buildHello(spec: HelloSpec = {}): Buffer {
  const body = Buffer.concat([
    uint(2, spec.legacyVersion ?? TLS12),
    spec.random ?? Buffer.alloc(32, 0x52),
    vector(1, spec.sessionId ?? Buffer.alloc(0)),
    vector(2, numbers16(spec.cipherSuites ?? [0x1301, 0xc02b])),
    vector(1, Uint8Array.from(spec.compressionMethods ?? [0])),
    spec.noExtensions ? Buffer.alloc(0) : vector(2, ...extensions(spec)),
  ]);
  return Buffer.concat([uint(1, 1), vector(3, body)]);
}

/** What a TLS 1.3 client that comes back shows: the session ID as its PSK identity, and a random legacy session ID. */
export function returningHello13(pskIdentity: Uint8Array, spec: HelloSpec = {}): Buffer {
  return buildHello({
    sessionId: Buffer.alloc(32, 0x1e),
    servername: 'a.test',
    supportedVersions: [TLS13],
    supportedGroups: [29],
    keyShareGroups: [29],
    pskKeyExchangeModes: [1],
    pskIdentities: [{ identity: pskIdentity }],
    ...spec,
  });
}

/** What a TLS 1.2 client that comes back by session ID shows. */
export function returningHello12(sessionId: Uint8Array, spec: HelloSpec = {}): Buffer {
  return buildHello({ sessionId, servername: 'a.test', extendedMasterSecret: true, supportedGroups: [29], ...spec });
}

/** A handshake record. */
export function record(payload: Uint8Array, version = 0x0301): Buffer {
  return Buffer.concat([uint(1, 0x16), uint(2, version), vector(2, payload)]);
}

/** Cuts bytes at these offsets; those at an end or beyond, and repeated ones, do not count. */
export function cutAt(bytes: Buffer, offsets: readonly number[]): Buffer[] {
  const cuts = [...new Set(offsets)].filter((at) => at > 0 && at < bytes.length).sort((a, b) => a - b);
  return [...cuts, bytes.length].map((end, i) => bytes.subarray(cuts[i - 1] ?? 0, end));
}

/** The message in records, cut at these offsets of the message. */
export function toRecords(message: Buffer, offsets: readonly number[] = []): Buffer {
  return Buffer.concat(cutAt(message, offsets).map((part) => record(part)));
}
