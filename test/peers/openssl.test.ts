import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { peer, type Run } from '../support/peers.js';
import { VERSIONS, type Version } from '../support/visits.js';
import { HOST, type PeerServer, REQUEST, type Seen, type Town, town, WAYS } from './peer-server.js';

const FLAGS: Record<Version, string> = { 'TLSv1.2': '-tls1_2', 'TLSv1.3': '-tls1_3' };

const openssl = peer('openssl');
let place: Town;
let sessions = 0;

beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(() => place.remove());

/** A client that keeps its session in a file of its own. */
function client(port: number, ...settings: string[]) {
  const file = join(place.folder, `session-${sessions++}.pem`);
  const visit = (...args: string[]): Promise<Run> =>
    openssl.run(
      ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', HOST, '-ign_eof']
        .concat(['-CAfile', place.caFile, '-verify_return_error'])
        .concat(settings, args),
      { input: REQUEST },
    );
  return {
    first: (...args: string[]) => visit('-sess_out', file, ...args),
    /** Leaves the file as it is. */
    again: (...args: string[]) => visit('-sess_in', file, ...args),
    hasSession: () => existsSync(file),
  };
}

/** The arguments that show a client certificate. */
async function filesOf(name: string, { key, cert }: { key: string; cert: string }): Promise<string[]> {
  const [certFile, keyFile] = [join(place.folder, `${name}.pem`), join(place.folder, `${name}.key`)];
  await writeFile(certFile, cert);
  await writeFile(keyFile, key);
  return ['-cert', certFile, '-key', keyFile];
}

/** What s_client says of a visit that succeeded. */
function said({ code, output }: Run) {
  const [, kind, protocol] = /^(New|Reused), (TLSv[\d.]+), Cipher is/m.exec(output) ?? [];
  return { code, kind, protocol, answered: output.includes('HTTP/1.1 200 OK') };
}

const visited = (kind: 'New' | 'Reused', protocol: Version) => ({ code: 0, kind, protocol, answered: true });

openssl.describe('openssl s_client', () => {
  it.each(VERSIONS)('comes back over %s with the session of its file, twice', async (version) => {
    const { port, seen, errors } = await place.start();
    const { first, again } = client(port, FLAGS[version]);
    expect(said(await first())).toEqual(visited('New', version));
    expect(said(await again())).toEqual(visited('Reused', version));
    expect(said(await again())).toEqual(visited('Reused', version));
    const way = WAYS[version];
    expect(seen).toMatchObject([
      { protocol: version, resumed: false, way: null, reason: 'not-offered' },
      { protocol: version, resumed: true, way, reason: null },
      { protocol: version, resumed: true, way, reason: null },
    ]);
    expect(errors).toEqual([]);
  });

  it.each(VERSIONS)('is not resumed over %s once the cache forgot, and is served', async (version) => {
    const { port, seen, errors, resumption } = await place.start();
    const { first, again } = client(port, FLAGS[version]);
    expect(said(await first())).toEqual(visited('New', version));
    resumption.cache.clear();
    expect(said(await again())).toEqual(visited('New', version));
    expect(seen[1]).toMatchObject({ resumed: false, reason: 'unknown' });
    expect(errors).toEqual([]);
  });

  it('does not bring a session of one version back over the other', async () => {
    const { port, seen, errors } = await place.start();
    const { first, again } = client(port);
    expect(said(await first('-tls1_3'))).toEqual(visited('New', 'TLSv1.3'));
    expect(said(await again('-no_tls1_3'))).toEqual(visited('New', 'TLSv1.2'));
    expect(seen.map((each) => each.resumed)).toEqual([false, false]);
    expect(errors).toEqual([]);
  });

  it.each([false, true])('without a legacy session ID is served in full (single use: %s)', async (singleUse) => {
    const { port, seen, errors } = await place.start({ resumption: { singleUse } });
    const { first, again } = client(port, '-tls1_3');
    expect(said(await first('-no_middlebox'))).toEqual(visited('New', 'TLSv1.3'));
    expect(said(await again('-no_middlebox'))).toEqual(visited('New', 'TLSv1.3'));
    expect(seen[1]?.connection.hello?.sessionId).toHaveLength(0);
    expect(seen[1]?.connection.hello?.pskIdentities[0]?.identity).toHaveLength(32);
    expect(seen[1]).toMatchObject({ resumed: false, way: null, reason: 'no-legacy-session-id' });
    expect(said(await again())).toEqual(visited('Reused', 'TLSv1.3'));
    expect(seen[2]).toMatchObject({ resumed: true, way: 'stateful-ticket' });
    expect(errors).toEqual([]);
  });

  describe.each([false, true])('with a HelloRetryRequest (single use: %s)', (singleUse) => {
    const RETRY = ['-groups', 'X25519:P-256', '-msg'];
    const NO_RETRY = ['-groups', 'P-256', '-msg'];
    const hellos = ({ output }: Run) => output.match(/^>>> .*, ClientHello$/gm)?.length;
    const start = () => place.start({ tls: { ecdhCurve: 'prime256v1' }, resumption: { singleUse } });

    /** The session that a connection offered, as the cache has it. */
    function offered({ resumption }: PeerServer, { connection }: Seen): Buffer | undefined {
      const id = connection.hello?.pskIdentities[0]?.identity;
      expect(id).toHaveLength(32);
      return resumption.cache.get(
        resumption.guard.keyFor(resumption.guard.contextFor(connection.policy), id as Buffer),
      );
    }

    it('serves the first visit and the return, which loses no session', async () => {
      const server = await start();
      const { first, again } = client(server.port, '-tls1_3');

      const new1 = await first(...RETRY);
      expect({ ...said(new1), hellos: hellos(new1) }).toEqual({ ...visited('New', 'TLSv1.3'), hellos: 2 });

      const return1 = await again(...RETRY);
      expect(said(return1)).toMatchObject({ code: 0, answered: true, protocol: 'TLSv1.3' });
      expect(hellos(return1)).toBe(2);
      const { resumed, connection } = server.seen[1] as Seen;
      expect(said(return1).kind).toBe(resumed ? 'Reused' : 'New');
      if (!resumed) expect(offered(server, server.seen[1] as Seen)).toBeDefined();
      expect(connection.hello?.keyShareGroups).toEqual([0x1d]);

      const return2 = await again(...NO_RETRY);
      expect(hellos(return2)).toBe(1);
      if (!(singleUse && resumed)) {
        expect(said(return2)).toEqual(visited('Reused', 'TLSv1.3'));
        expect(server.seen[2]).toMatchObject({ resumed: true, way: 'stateful-ticket' });
      }
      if (singleUse) {
        expect(offered(server, server.seen[2] as Seen)).toBeUndefined();
        expect(said(await again(...NO_RETRY))).toEqual(visited('New', 'TLSv1.3'));
        expect(server.seen[3]).toMatchObject({ resumed: false, reason: 'unknown' });
      }
      expect(server.errors).toEqual([]);
    });
  });

  it.each(VERSIONS)('comes back once over %s where sessions are for single use', async (version) => {
    const { port, seen, errors } = await place.start({ resumption: { singleUse: true } });
    const { first, again } = client(port, FLAGS[version]);
    expect(said(await first())).toEqual(visited('New', version));
    expect(said(await again())).toEqual(visited('Reused', version));
    expect(said(await again())).toEqual(visited('New', version));
    expect(seen.map((each) => each.way)).toEqual([null, WAYS[version], null]);
    expect(errors).toEqual([]);
  });

  describe.each(VERSIONS)('with client certificates over %s', (version) => {
    let certificate: string[];
    const start = () => place.start({ tls: { requestCert: true, ca: place.authority.cert } });

    beforeAll(async () => {
      certificate = await filesOf('client', await makeCertificate({ commonName: 'client', issuer: place.authority }));
    });

    it('comes back, authorized both times', async () => {
      const { port, seen, errors } = await start();
      const { first, again } = client(port, FLAGS[version], ...certificate);
      expect(said(await first())).toEqual(visited('New', version));
      expect(said(await again())).toEqual(visited('Reused', version));
      expect(seen).toMatchObject([
        { authorized: true, resumed: false, way: null },
        { authorized: true, resumed: true, way: WAYS[version] },
      ]);
      expect(errors).toEqual([]);
    });

    it('is rejected without one', async () => {
      const { port, seen, errors, resumption } = await start();
      const run = await client(port, FLAGS[version]).first();
      expect(run.code).not.toBe(0);
      expect(said(run).answered).toBe(false);
      expect(run.output).toMatch(/alert (certificate required|handshake failure)/);
      expect(errors).toHaveLength(1);
      expect(seen).toEqual([]);
      expect(resumption.cache.size).toBe(0);
    });

    it('is rejected with one of another authority, and with any session that it was given', async () => {
      const { port, seen, resumption } = await start();
      const { key, cert } = await makeCertificate({ commonName: 'client' });
      const { first, again, hasSession } = client(port, FLAGS[version], ...(await filesOf('stranger', { key, cert })));
      expect(said(await first()).answered).toBe(false);
      expect(resumption.cache.size).toBe(0);
      if (hasSession()) expect(said(await again()).answered).toBe(false);
      expect(seen).toEqual([]);
      expect(resumption.cache.size).toBe(0);
    });
  });
});
