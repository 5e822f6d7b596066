/** The PROXY protocol, versions 1 and 2, for TCP: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. */

import { isIPv4, isIPv6, type Socket } from 'node:net';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export interface ProxyHeader {
  /** `undefined` when the proxy speaks for itself (LOCAL), or does not say (UNKNOWN, UNSPEC, what is not TCP). */
  readonly source: Endpoint | undefined;
  readonly destination: Endpoint | undefined;
  /** Bytes of the header: what follows them is the connection itself. */
  readonly length: number;
}

const V1_MAX = 107;
const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V2_FIXED = 16;
/** Addresses take 36 bytes, and extensions (TLVs) the rest. */
const V2_MAX = V2_FIXED + 1024;
const PORT = /^(?:0|[1-9]\d{0,4})$/;

/** `undefined`: this is no PROXY header. `incomplete`: it may become one; at most 1040 bytes are ever asked for. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | 'incomplete' | undefined {
  return bytes[0] === 0x50 ? parseV1(bytes) : parseV2(bytes);
}

function parseV1(bytes: Buffer): ProxyHeader | 'incomplete' | undefined {
  const end = bytes.subarray(0, V1_MAX).indexOf('\r\n');
  if (!'PROXY '.startsWith(bytes.toString('latin1', 0, Math.min(6, bytes.length)))) return undefined;
  if (end < 0) return bytes.length < V1_MAX ? 'incomplete' : undefined;
  const length = end + 2;
  const line = bytes.toString('latin1', 6, end);
  if (line === 'UNKNOWN' || line.startsWith('UNKNOWN ')) return { source: undefined, destination: undefined, length };
  const [family, source, destination, ...ports] = line.split(' ') as [string, string, string, ...string[]];
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined;
  const [sourcePort, destinationPort] = ports.map((port) => (PORT.test(port) ? Number(port) : 65_536));
  if (!isAddress?.(source) || !isAddress(destination) || ports.length !== 2) return undefined;
  if (Math.max(sourcePort as number, destinationPort as number) > 65_535) return undefined;
  return {
    source: { address: source, port: sourcePort as number },
    destination: { address: destination, port: destinationPort as number },
    length,
  };
}

function parseV2(bytes: Buffer): ProxyHeader | 'incomplete' | undefined {
  const signed = Math.min(V2_SIGNATURE.length, bytes.length);
  if (V2_SIGNATURE.compare(bytes, 0, signed, 0, signed) !== 0) return undefined;
  if (bytes.length < V2_FIXED) return 'incomplete';
  const command = bytes.readUInt8(12);
  const family = bytes.readUInt8(13);
  const length = V2_FIXED + bytes.readUInt16BE(14);
  if ((command !== 0x20 && command !== 0x21) || length > V2_MAX) return undefined;
  if (bytes.length < length) return 'incomplete';
  const addressBytes = { 17: 4, 33: 16 }[family];
  if (command === 0x20 || addressBytes === undefined) return { source: undefined, destination: undefined, length };
  const ports = V2_FIXED + 2 * addressBytes;
  if (ports + 4 > length) return undefined;
  const address = (from: number): string => addressText(bytes.subarray(from, from + addressBytes));
  return {
    source: { address: address(V2_FIXED), port: bytes.readUInt16BE(ports) },
    destination: { address: address(V2_FIXED + addressBytes), port: bytes.readUInt16BE(ports + 2) },
    length,
  };
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(':');
}

/** A header of version 2 for IPv4; LOCAL, which tells no addresses, for everything else. */
export function proxyHeader(source: Endpoint | undefined, destination: Endpoint | undefined): Buffer {
  if (source === undefined || destination === undefined || !isIPv4(source.address) || !isIPv4(destination.address)) {
    return Buffer.concat([V2_SIGNATURE, Buffer.from('20000000', 'hex')]);
  }
  const header = Buffer.alloc(V2_FIXED + 12);
  V2_SIGNATURE.copy(header);
  header.writeUInt32BE(0x2111_000c, 12);
  [...source.address.split('.'), ...destination.address.split('.')].forEach((byte, i) => {
    header[V2_FIXED + i] = Number(byte);
  });
  header.writeUInt16BE(source.port, V2_FIXED + 8);
  header.writeUInt16BE(destination.port, V2_FIXED + 10);
  return header;
}

/**
 * Takes the header off a new connection, and puts back what comes after it: the hello, for whoever reads next. Where a
 * header is expected there must be one, or anybody could say where they come from: without it this rejects.
 */
export function takeProxyHeader(socket: Socket, timeout = 5000): Promise<ProxyHeader> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const settle = (header: ProxyHeader | undefined): void => {
      clearTimeout(timer);
      socket.off('readable', read).off('end', fail).off('close', fail).off('error', fail);
      if (header === undefined) {
        reject(new Error('the connection does not begin with a PROXY header'));
        return;
      }
      if (received.length > header.length) socket.unshift(received.subarray(header.length));
      resolve(header);
    };
    const fail = (): void => settle(undefined);
    const read = (): void => {
      for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) {
        received = Buffer.concat([received, chunk]);
        const header = parseProxyHeader(received);
        if (header !== 'incomplete') {
          settle(header);
          return;
        }
      }
    };
    const timer = setTimeout(fail, timeout);
    socket.on('end', fail).on('close', fail).on('error', fail).on('readable', read);
  });
}
