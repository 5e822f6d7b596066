/** Sessions in a folder, sealed: what lies there, and what becomes of it when somebody writes to it. */

import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeSslSession, SealedStore, type SessionStore, TicketCodec, TicketKeyRing } from 'tls-resumption';
import { sessionStoreConformance } from 'tls-resumption/testing';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import { FolderStore } from '../../examples/support/folder-store.js';
import { only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { bodyOf, get } from './http.js';
import { type Program, runTypeScript } from './processes.js';

const WAYS: Record<Version, string> = { 'TLSv1.2': 'session-id\n', 'TLSv1.3': 'stateful-ticket\n' };

let certificate: IssuedCertificate;
let folder: string;
let secret: Buffer;
beforeAll(async () => {
  certificate = await makeCertificate({ names: ['localhost'] });
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealed-'));
  secret = randomBytes(32);
});
afterEach(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }));

function start(): Program {
  const { key: KEY, cert: CERT } = certificate;
  return runTypeScript('examples/sealed-sessions.ts', {
    env: { SECRET: secret.toString('base64'), KEY, CERT, SESSIONS: folder },
  });
}

const come = (port: number, version: Version, session?: Buffer): Promise<Visit> =>
  visit(port, { ...only(version), servername: 'localhost', session, send: get('/') });

/** Everything in the folder, by name. */
async function dump(): Promise<Map<string, Buffer>> {
  const names = await readdir(folder);
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)));
}

/** Writes to the folder as somebody who knows how the store does it. */
async function put(name: string, value: Buffer): Promise<void> {
  const path = join(folder, name);
  const { mtime } = await stat(path);
  await writeFile(path, value);
  await utimes(path, mtime, mtime);
}

/** What a holder of the secret reads where others read noise. */
async function opened(name: string, value: Buffer): Promise<Buffer | undefined> {
  const store: SessionStore = { get: () => value, set() {}, delete() {} };
  const sealed = new SealedStore(store, new TicketCodec(TicketKeyRing.fromSecret(secret)));
  return (await sealed.get(Buffer.from(name, 'hex'))) as Buffer | undefined;
}

describe('sealed-sessions', () => {
  test.each(VERSIONS)('resumes over %s from what it sealed, after a restart too', async (version) => {
    const program = start();
    const { session } = await come(await program.port(), version);
    expect(bodyOf(await come(await program.port(), version, session))).toBe(WAYS[version]);
    expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
    expect(bodyOf(await come(await start().port(), version, session))).toBe(WAYS[version]);
  });

  test.each(VERSIONS)('leaves no byte of a session over %s that can be read', async (version) => {
    const { session } = await come(await start().port(), version);
    const known = decodeSslSession(session as Buffer, { masterSecret: true });
    const secrets = [known?.masterSecret, known?.sessionId].filter((bytes) => bytes !== undefined && bytes.length > 0);
    expect(secrets.length).toBeGreaterThan(0);
    const files = await dump();
    expect(files.size).toBe(version === 'TLSv1.3' ? 2 : 1);
    let found = 0;
    for (const [name, value] of files) {
      expect(Buffer.from(name, 'hex')).toHaveLength(32);
      const envelope = await opened(name, value);
      for (const bytes of secrets as Buffer[]) {
        if (envelope?.includes(bytes)) found++;
        for (let at = 0; at + 8 <= bytes.length; at++) expect(value.includes(bytes.subarray(at, at + 8))).toBe(false);
      }
      expect(value.includes('localhost')).toBe(false);
    }
    // What was looked for is in what is sealed.
    expect(found).toBeGreaterThan(0);
  });

  test.each(VERSIONS)('takes what was altered or cut short for a full handshake over %s', async (version) => {
    const port = await start().port();
    const { session } = await come(port, version);
    for (const [name, value] of await dump()) await put(name, value);
    expect(bodyOf(await come(port, version, session))).toBe(WAYS[version]);
    const changes: ((value: Buffer) => Buffer)[] = [
      (value) => value.subarray(0, -1),
      (value) => Buffer.concat([value, Buffer.alloc(1)]),
      ...[0, 1, 20, 50, 70, -1].map((at) => (value: Buffer) => {
        const copy = Buffer.from(value);
        copy.writeUInt8((copy.at(at) as number) ^ 1, at < 0 ? copy.length + at : at);
        return copy;
      }),
      () => Buffer.alloc(0),
      () => randomBytes(300),
    ];
    for (const change of changes) {
      const { session } = await come(port, version);
      for (const [name, value] of await dump()) await put(name, change(value));
      expect(bodyOf(await come(port, version, session))).toBe('full handshake\n');
    }
  });

  test.each(VERSIONS)('takes what was moved for a full handshake over %s', async (version) => {
    const port = await start().port();
    const mine = (await come(port, version)).session;
    const before = await dump();
    const theirs = (await come(port, version)).session;
    const added = [...(await dump())].filter(([name]) => !before.has(name));
    // Each session of one client is put where the other's were, and the reverse.
    const exchanged = [...before.keys()].flatMap((name, i) => {
      const [other, value] = added[i] as [string, Buffer];
      return [
        [name, value],
        [other, before.get(name) as Buffer],
      ] as const;
    });
    for (const [name, value] of exchanged) await put(name, value);
    for (const session of [mine, theirs]) {
      expect(bodyOf(await come(port, version, session))).toBe('full handshake\n');
    }
  });
});

describe('the folder store', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'] });
    return () => vi.useRealTimers();
  });
  const advance = (seconds: number): void => {
    vi.setSystemTime(Date.now() + seconds * 1000);
  };
  for (const { name, run } of sessionStoreConformance(() => new FolderStore(folder), {
    advance,
    peer: () => new FolderStore(folder),
  })) {
    test(name, run);
  }
});
