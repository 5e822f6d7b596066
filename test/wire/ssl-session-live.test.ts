import { execFileSync } from 'node:child_process';
import { constants, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { decodeSslSession } from '../../src/wire/ssl-session.js';

const NOW = Math.floor(Date.now() / 1000);
const { key, cert } = await makeCertificate();

interface Made {
  readonly issued: readonly { id: Buffer; data: Buffer }[];
  readonly client: Buffer;
  readonly cipher: string;
}

/** One full handshake with client certificate, and all the sessions it made. */
async function makeSessions(version: tls.SecureVersion, stateful: boolean): Promise<Made> {
  const issued: { id: Buffer; data: Buffer }[] = [];
  const server = tls.createServer({
    key,
    cert,
    ca: cert,
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: version,
    maxVersion: version,
    sessionTimeout: 300,
    sessionIdContext: 'service',
    secureOptions: stateful ? constants.SSL_OP_NO_TICKET : 0,
  });
  server.on('newSession', (id: Buffer, data: Buffer, done: () => void) => {
    issued.push({ id, data });
    done();
  });
  server.on('secureConnection', (socket) => socket.end('x'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = tls.connect({ port, host: '127.0.0.1', servername: 'a.test', key, cert, rejectUnauthorized: false });
  let client = Buffer.alloc(0);
  socket.on('session', (session) => {
    client = session;
  });
  await once(socket, 'secureConnect');
  const cipher = socket.getCipher().name;
  socket.resume();
  await once(socket, 'close');
  server.close();
  return { issued, client, cipher };
}

function opensslText(der: Buffer): string | undefined {
  try {
    return execFileSync('openssl', ['sess_id', '-inform', 'DER', '-text', '-noout'], {
      input: der,
      stdio: ['pipe', 'pipe', 'ignore'],
    }).toString();
  } catch {
    return undefined;
  }
}

describe('sessions of this very Node', () => {
  it.each([
    ['TLSv1.2', true],
    ['TLSv1.2', false],
    ['TLSv1.3', true],
    ['TLSv1.3', false],
  ] as const)('%s, stateful: %s', async (version, stateful) => {
    const { issued, client, cipher } = await makeSessions(version, stateful);
    expect(issued.length > 0).toBe(stateful || version === 'TLSv1.3');
    for (const { id, data } of issued) {
      const session = decodeSslSession(data, { masterSecret: true })!;
      expect(session.sessionId).toEqual(id);
      expect(session.protocolVersion).toBe(version === 'TLSv1.3' ? 0x0304 : 0x0303);
      expect(session.sessionIdContext.toString()).toBe('service');
      expect(session.timeout).toBe(300);
      expect(Math.abs(session.time - NOW)).toBeLessThan(300);
      expect(session.extendedMasterSecret).toBe(version === 'TLSv1.2');
      expect(session.peerCertificate).toEqual(new X509Certificate(cert).raw);
      expect(session.checkedServername).toBeUndefined();
      const text = opensslText(data);
      if (text === undefined) continue;
      expect(text).toContain(session.masterSecret!.toString('hex').toUpperCase());
      expect(text).toContain(`Start Time: ${session.time}`);
      expect(text).toContain(`Verify return code: ${session.verifyResult} `);
      expect(text).toContain(cipher);
    }
    const session = decodeSslSession(client)!;
    expect(session.peerCertificate).toEqual(new X509Certificate(cert).raw);
    expect(session.checkedServername).toBe(client[0] === 0 ? 'a.test' : undefined);
    expect(session.ticket !== undefined).toBe(version === 'TLSv1.3' || !stateful);
    if (version === 'TLSv1.3') expect(session.ticket!.length === 32).toBe(stateful);
  });
});
