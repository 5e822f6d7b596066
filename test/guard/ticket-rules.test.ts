import { createCipheriv, createHmac, randomBytes, X509Certificate } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import { judgeTicket, type TicketCircumstances } from '../../src/guard/ticket-rules.js';
import { sequence } from '../../src/testing/der-writer.js';
import { makeCertificate } from '../../src/testing/make-certificate.js';
import { TicketKey } from '../../src/tickets/ticket-key.js';
import { sealStamp } from '../../src/tickets/ticket-stamp.js';
import { buildSession, type SessionSpec } from './built-session.js';

const NOW = Date.UTC(2030, 0, 2);
const MADE = NOW - 60_000;
const MAX_CHAIN_AGE = 3600;
const CONTEXT = randomBytes(32);
const key = TicketKey.from(Uint8Array.from({ length: 48 }, (_, i) => i + 1));

const certificateUntil = (notAfter: number): Buffer =>
  new X509Certificate(makeCertificate({ notBefore: new Date(0), notAfter: new Date(notAfter) }).cert).raw;
const VALID = certificateUntil(NOW + 1000);

/** A ticket as OpenSSL makes it with this vector, RFC 5077 §4. */
function sealed(vector: Uint8Array, state: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-128-cbc', key.aesKey, vector);
  const authenticated = Buffer.concat([key.name, vector, cipher.update(state), cipher.final()]);
  return Buffer.concat([authenticated, createHmac('sha256', key.hmacKey).update(authenticated).digest()]);
}

/** Made by a server with stamps. */
const stamped = (spec?: SessionSpec, fullHandshakeTime = MADE): Buffer =>
  sealed(sealStamp(key, CONTEXT, fullHandshakeTime), buildSession(spec));

/** Made by another server that has the key. */
const stranger = (spec?: SessionSpec): Buffer =>
  sealed(Buffer.alloc(16, 0x55), buildSession({ time: MADE / 1000, ...spec }));

function circumstances(given: Partial<TicketCircumstances> = {}): TicketCircumstances {
  return {
    context: CONTEXT,
    strangers: true,
    requestCert: false,
    extendedMasterSecret: true,
    now: NOW,
    servername: 'a.test',
    forgottenAt: Number.NEGATIVE_INFINITY,
    guard: new SessionIdContextGuard({ name: 'shop', maxChainAge: MAX_CHAIN_AGE }),
    ...given,
  };
}

const judge = (ticket: Buffer, given?: Partial<TicketCircumstances>) => judgeTicket(key, ticket, circumstances(given));

describe('a ticket that says where it belongs', () => {
  it('is opened there, and says when its full handshake was', () => {
    expect(judge(stamped(), { strangers: false })).toBe(MADE);
  });

  it('is not decrypted where nothing in it decides, as OpenSSL will check and decrypt it', () => {
    expect(judge(stamped().subarray(0, 48))).toBe(MADE);
    expect(judge(stamped().subarray(0, 48), { requestCert: true })).toBe('unreadable-session');
  });

  it('is not opened anywhere else, also where tickets of others are', () => {
    for (const strangers of [true, false]) {
      expect(judge(stamped(), { strangers, context: randomBytes(32) })).toBe('other-context');
    }
  });

  it('is opened until its chain is too old, whenever its own session was made', () => {
    const spec = { time: NOW / 1000 };
    const limit = NOW - MAX_CHAIN_AGE * 1000;
    for (const requestCert of [false, true]) {
      const ticket = (time: number) => stamped({ ...spec, peerCertificate: VALID }, time);
      expect(judge(ticket(limit), { requestCert })).toBe(limit);
      expect(judge(ticket(limit - 1000), { requestCert })).toBe('chain-too-old');
    }
  });

  it('is not forgotten by its time: a rotation gives it another context', () => {
    for (const extendedMasterSecret of [true, false]) {
      expect(judge(stamped(), { forgottenAt: NOW, extendedMasterSecret })).toBe(MADE);
    }
  });
});

describe('a ticket of another server that has the key', () => {
  it('is opened where such tickets are, and says when its session was made', () => {
    expect(judge(stranger())).toBe(MADE);
    expect(judge(stranger(), { strangers: false })).toBe('other-context');
  });

  it('is opened only when it was made after the last rotation', () => {
    expect(judge(stranger(), { forgottenAt: MADE - 1 })).toBe(MADE);
    expect(judge(stranger(), { forgottenAt: MADE })).toBe('other-context');
  });

  it('is opened until it is as old as a chain may be', () => {
    const limit = NOW - MAX_CHAIN_AGE * 1000;
    expect(judge(stranger({ time: limit / 1000 }))).toBe(limit);
    expect(judge(stranger({ time: limit / 1000 - 1 }))).toBe('chain-too-old');
    // It does not say when it was made.
    expect(judge(stranger({ time: 0 }))).toBe('chain-too-old');
  });
});

describe.each([
  ['with a stamp', stamped],
  ['without', stranger],
] as const)('a ticket %s', (_, make) => {
  /** Where a ticket has to be opened to be judged. */
  const opened = { extendedMasterSecret: false };

  it('is not opened once it is revoked, by itself, by its name or by its full handshake', () => {
    const ticket = make();
    const revocations = [
      { id: ticket },
      { servername: 'a.test' },
      { connection: { servername: 'a.test', fullHandshakeTime: MADE } },
    ];
    for (const revocation of revocations) {
      const guard = new SessionIdContextGuard({ name: 'shop', clock: () => NOW });
      guard.revoke(revocation);
      expect(judge(ticket, { guard })).toBe('revoked');
      expect(judge(ticket, { guard, ...opened })).toBe('revoked');
    }
    const guard = new SessionIdContextGuard({ name: 'shop', clock: () => NOW });
    guard.revoke({ id: make({ cipherSuite: 0x1302 }) });
    guard.revoke({ servername: 'b.test' });
    guard.revoke({ connection: { servername: 'a.test', fullHandshakeTime: MADE - 5000 } });
    expect(judge(ticket, { guard })).toBe(MADE);
  });

  it('is not opened once the certificate of its client is revoked', () => {
    const guard = new SessionIdContextGuard({ name: 'shop', clock: () => NOW });
    guard.revoke({ peerFingerprint: new X509Certificate(VALID).fingerprint256 });
    const given = { guard, requestCert: true };
    expect(judge(make({ peerCertificate: VALID }), given)).toBe('revoked');
    expect(judge(make({ peerCertificate: certificateUntil(NOW + 2000) }), given)).toBe(MADE);
  });

  it('is not opened where certificates are asked for, unless its client had one that verified and is still good', () => {
    const outcome = (spec: SessionSpec) => judge(make(spec), { requestCert: true });
    expect(outcome({ peerCertificate: VALID })).toBe(MADE);
    expect(outcome({})).toBe('client-certificate');
    expect(outcome({ peerCertificate: VALID, verifyResult: 10 })).toBe('client-certificate');
    expect(outcome({ peerCertificate: certificateUntil(NOW) })).toBe('client-certificate');
    expect(outcome({ peerCertificate: sequence(Buffer.alloc(40)) })).toBe('client-certificate');
  });

  it('is opened without a certificate, or with a bad one, where none is asked for', () => {
    for (const spec of [{}, { peerCertificate: VALID, verifyResult: 10 }]) {
      expect(judge(make(spec), opened)).toBe(MADE);
    }
  });

  it('of a session with extended master secret is not opened for a hello without', () => {
    expect(judge(make({ extendedMasterSecret: true }), opened)).toBe('extended-master-secret');
    expect(judge(make({ extendedMasterSecret: true }))).toBe(MADE);
    expect(judge(make({ extendedMasterSecret: false }), opened)).toBe(MADE);
    expect(judge(make({ extendedMasterSecret: false }))).toBe(MADE);
  });

  it('is not opened when it was changed, or holds no session, where its session is asked about', () => {
    const changed = make();
    changed[40] = (changed[40] as number) ^ 1;
    expect(judge(changed, opened)).toBe('unreadable-session');
    const vector = make().subarray(16, 32);
    expect(judge(sealed(vector, Buffer.from('no session')), opened)).toBe('unreadable-session');
  });

  it('leaves nothing of its secret in memory that was read to judge it', () => {
    const ticket = make();
    const concat = vi.spyOn(Buffer, 'concat');
    try {
      expect(judge(ticket, opened)).toBe(MADE);
      const read = concat.mock.results.map(({ value }) => value as Buffer);
      expect(read).toHaveLength(1);
      expect(read[0]?.every((byte) => byte === 0)).toBe(true);
    } finally {
      concat.mockRestore();
    }
  });
});

describe('a ticket that is only begun', () => {
  it('is not opened and raises nothing', () => {
    for (const ticket of [stamped(), stranger()]) {
      for (const length of [0, 16, 31, 32, 79, ticket.length - 1]) {
        const given = { requestCert: true };
        expect(['unreadable-session', 'other-context']).toContain(judge(ticket.subarray(0, length), given));
      }
    }
  });
});
