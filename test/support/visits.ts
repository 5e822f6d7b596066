/** Real clients and servers on loopback for the tests. */

import { once } from 'node:events';
import type { AddressInfo, Server as NetServer } from 'node:net';
import * as tls from 'node:tls';

export type Version = 'TLSv1.2' | 'TLSv1.3';
export const VERSIONS: readonly Version[] = ['TLSv1.2', 'TLSv1.3'];

export interface Visit {
  readonly resumed: boolean;
  readonly protocol: string | null;
  readonly session: Buffer | undefined;
  /** Everything that the server sent before it closed. */
  readonly received: string;
}

/** @param port any unless told */
export async function listen(server: NetServer, port = 0): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

export async function close(server: NetServer): Promise<void> {
  server.close();
  (server as { closeAllConnections?: () => void }).closeAllConnections?.();
  if (server.listening) await once(server, 'close');
}

/**
 * Connects, waits for the session and the server's first bytes (TLS 1.3 sends sessions with or before them), and leaves.
 */
export function visit(
  port: number,
  options: tls.ConnectionOptions & { send?: string | Uint8Array } = {},
): Promise<Visit> {
  return new Promise((resolve, reject) => {
    const { send = '', ...rest } = options;
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...rest });
    let session: Buffer | undefined;
    let result: Omit<Visit, 'session' | 'received'> | undefined;
    let received = '';
    socket.on('session', (bytes: Buffer) => {
      session = Buffer.from(bytes);
    });
    socket.on('secureConnect', () => {
      result = { resumed: socket.isSessionReused(), protocol: socket.getProtocol() };
      if (send.length > 0) socket.write(send);
    });
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
    });
    socket.on('end', () => socket.end());
    socket.on('error', reject);
    socket.on('close', () => {
      if (result === undefined) reject(new Error('closed before the handshake was complete'));
      else resolve({ ...result, session, received });
    });
  });
}

/** Options of a client that speaks one version only. */
export function only(version: Version): tls.ConnectionOptions {
  return { minVersion: version, maxVersion: version };
}

/** Two visits of one client, the second with the session of the first. */
export async function comeBack(port: number, options: Parameters<typeof visit>[1] = {}): Promise<[Visit, Visit]> {
  const first = await visit(port, options);
  return [first, await visit(port, { ...options, session: first.session })];
}

/** What newer versions of Node put before a session: their client shows it under this name only. */
const NODE_PREFIX = Buffer.from('\0nodejs:tls:session:1\0');

/** The session as a client has it that shows it under another name. */
export function underName(session: Buffer | undefined, servername: string): Buffer | undefined {
  if (session === undefined || !session.subarray(0, NODE_PREFIX.length).equals(NODE_PREFIX)) return session;
  const name = Buffer.from(servername);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(name.length);
  const bare = session.subarray(NODE_PREFIX.length + 2 + session.readUInt16BE(NODE_PREFIX.length));
  return Buffer.concat([NODE_PREFIX, length, name, bare]);
}
