import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { peer, type Run } from '../support/peers.js';
import { VERSIONS, type Version } from '../support/visits.js';
import { HOST, REQUEST, type Town, town, WAYS } from './peer-server.js';

const PRIORITIES: Record<Version, string> = {
  'TLSv1.2': 'NORMAL:-VERS-ALL:+VERS-TLS1.2',
  'TLSv1.3': 'NORMAL:-VERS-ALL:+VERS-TLS1.3',
};

const gnutls = peer('gnutls-cli');
let place: Town;
beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(() => place.remove());

/** Connects, waits for the session, connects again with it, and asks. */
function comeBack(port: number, priority: string, ...args: string[]): Promise<Run> {
  return gnutls.run(
    ['--resume', '--waitresumption', '--priority', priority, '--x509cafile', place.caFile]
      .concat(['--sni-hostname', HOST, '--verify-hostname', HOST, '--port', `${port}`])
      .concat(args, '127.0.0.1'),
    { input: REQUEST },
  );
}

/** What gnutls-cli says of both visits. */
function said({ code, output }: Run) {
  return {
    code,
    handshakes: output.match(/^- (Resume )?Handshake was completed$/gm)?.length,
    resumed: /^\*\*\* This is a resumed session$/m.test(output),
    answered: /^HTTP\/1\.1 200 OK/m.test(output),
  };
}

gnutls.describe('gnutls-cli', () => {
  it.each(VERSIONS)('comes back over %s', async (version) => {
    const { port, seen, errors } = await place.start();
    const run = await comeBack(port, PRIORITIES[version]);
    expect(said(run)).toEqual({ code: 0, handshakes: 2, resumed: true, answered: true });
    expect(seen).toMatchObject([
      { protocol: version, resumed: false, way: null, reason: 'not-offered' },
      { protocol: version, resumed: true, way: WAYS[version], reason: null },
    ]);
    expect(errors).toEqual([]);
  });

  it.each([false, true])(
    'with PSK modes that leave Diffie-Hellman out fares as with plain tls (single use: %s)',
    async (singleUse) => {
      // A pre-shared key that the server does not know makes it offer psk_ke, and only that.
      const pskOnly = [
        `${PRIORITIES['TLSv1.3']}:+PSK`,
        '--pskusername',
        'nobody',
        '--pskkey',
        '00112233445566',
      ] as const;
      const { port, seen, errors, resumption } = await place.start({ resumption: { singleUse } });
      const plain = await place.startPlain();
      const withLibrary = said(await comeBack(port, ...pskOnly));
      const without = said(await comeBack(plain.port, ...pskOnly));
      expect(without).toMatchObject({ code: 0, handshakes: 2, answered: true });
      expect(withLibrary).toEqual(without);

      expect(seen).toMatchObject([
        { resumed: false, reason: 'not-offered' },
        { resumed: false, reason: 'no-psk-dhe-ke' },
      ]);
      const hello = seen[1]?.connection.hello;
      expect(hello?.pskKeyExchangeModes).toEqual([0]);
      const id = hello?.pskIdentities.find(({ identity }) => identity.length === 32)?.identity;
      const { guard, cache } = resumption;
      const context = guard.contextFor(seen[1]?.connection.policy as never);
      expect(cache.get(guard.keyFor(context, id as Buffer))).toBeDefined();
      expect([...errors, ...plain.errors]).toEqual([]);
    },
  );
});
