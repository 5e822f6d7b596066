/** What changes is forgotten, and nothing else: by real handshakes. */

import * as tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ReloadChange } from '../../src/server/context-facts.js';
import type { ServerTlsOptions } from '../../src/server/secure-options.js';
import { close, listen, only, VERSIONS, type Visit, visit } from '../support/visits.js';
import { type Certificates, certificates, echo, MODES, startReloadable, stopAll } from './fixtures/reloading.js';

afterEach(stopAll);

let all: Certificates;
beforeAll(async () => {
  all = await certificates();
});

interface Trigger {
  readonly title: string;
  readonly before: (all: Certificates) => ServerTlsOptions;
  readonly after: (all: Certificates) => ServerTlsOptions;
  readonly changes: readonly ReloadChange[];
  /** Whether it is in force under the contexts of names, too. */
  readonly common?: true;
}

const SUITES = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384';
const AES_128 = 'ECDHE-ECDSA-AES128-GCM-SHA256';
const AES_256 = 'ECDHE-ECDSA-AES256-GCM-SHA384';
const own = ({ a }: Certificates): ServerTlsOptions => ({ key: a.key, cert: a.cert });
const linked = ({ a, intermediate }: Certificates): ServerTlsOptions => ({
  key: a.key,
  cert: `${a.cert}\n${intermediate.cert}`,
});

const constant =
  (options: ServerTlsOptions): (() => ServerTlsOptions) =>
  () =>
    options;

const TRIGGERS: readonly Trigger[] = [
  {
    title: 'the certificate and its key are replaced',
    before: own,
    after: ({ renewed }) => ({ key: renewed.key, cert: renewed.cert }),
    changes: [
      { setting: 'certificate', change: 'replaced' },
      { setting: 'key', change: 'replaced' },
    ],
  },
  {
    title: 'an intermediate is linked',
    before: own,
    after: linked,
    changes: [{ setting: 'chain', change: 'added' }],
  },
  {
    title: 'an intermediate is removed',
    before: linked,
    after: own,
    changes: [{ setting: 'chain', change: 'removed' }],
  },
  {
    title: 'a certificate is inserted in the chain',
    before: linked,
    after: ({ a, intermediate, authority }) => ({
      key: a.key,
      cert: `${a.cert}\n${intermediate.cert}\n${authority.cert}`,
    }),
    changes: [{ setting: 'chain', change: 'added' }],
  },
  {
    title: 'a cipher is bound',
    before: constant({ ciphers: `${SUITES}:${AES_128}` }),
    after: constant({ ciphers: `${SUITES}:${AES_128}:${AES_256}` }),
    changes: [{ setting: 'ciphers', change: 'added' }],
    common: true,
  },
  {
    title: 'a cipher is unbound',
    before: constant({ ciphers: `${SUITES}:${AES_128}:${AES_256}` }),
    after: constant({ ciphers: `${SUITES}:${AES_128}` }),
    changes: [{ setting: 'ciphers', change: 'removed' }],
    common: true,
  },
  {
    title: 'the ciphers are reordered',
    before: constant({ ciphers: `${SUITES}:${AES_128}:${AES_256}` }),
    after: constant({ ciphers: `${SUITES}:${AES_256}:${AES_128}` }),
    changes: [{ setting: 'ciphers', change: 'reordered' }],
    common: true,
  },
  {
    title: 'a curve is bound',
    before: constant({ ecdhCurve: 'X25519:P-256' }),
    after: constant({ ecdhCurve: 'X25519:P-256:P-384' }),
    changes: [{ setting: 'ecdhCurve', change: 'added' }],
    common: true,
  },
  {
    title: 'a curve is unbound',
    before: constant({ ecdhCurve: 'X25519:P-256' }),
    after: constant({ ecdhCurve: 'X25519' }),
    changes: [{ setting: 'ecdhCurve', change: 'removed' }],
    common: true,
  },
  {
    title: 'the lowest version is raised',
    before: constant({ minVersion: 'TLSv1.1' }),
    after: constant({ minVersion: 'TLSv1.2' }),
    changes: [{ setting: 'minVersion', change: 'replaced' }],
    common: true,
  },
  {
    title: 'the authorities are others',
    before: ({ authority }) => ({ ca: authority.cert }),
    after: ({ otherAuthority }) => ({ ca: otherAuthority.cert }),
    changes: [{ setting: 'ca', change: 'replaced' }],
  },
  {
    title: 'there is a certificate revocation list',
    before: ({ authority }) => ({ ca: authority.cert, crl: undefined }),
    after: ({ crl }) => ({ crl }),
    changes: [{ setting: 'crl', change: 'added' }],
  },
  {
    title: 'there are Diffie-Hellman parameters',
    before: constant({ dhparam: undefined }),
    after: constant({ dhparam: 'auto' }),
    changes: [{ setting: 'dhparam', change: 'added' }],
    common: true,
  },
  {
    title: 'the signature algorithms are reordered',
    before: constant({ sigalgs: 'ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256' }),
    after: constant({ sigalgs: 'rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256' }),
    changes: [{ setting: 'sigalgs', change: 'reordered' }],
    common: true,
  },
  {
    title: "the client's order of ciphers decides",
    before: constant({ honorCipherOrder: true }),
    after: constant({ honorCipherOrder: false }),
    changes: [{ setting: 'honorCipherOrder', change: 'replaced' }],
    common: true,
  },
  {
    title: 'sessions are to live less long',
    before: constant({ sessionTimeout: 300 }),
    after: constant({ sessionTimeout: 200 }),
    changes: [{ setting: 'sessionTimeout', change: 'replaced' }],
  },
];

describe.each(MODES)('%s', (mode) => {
  describe.each(VERSIONS)('over %s', (version) => {
    it.each(TRIGGERS)(
      'forgets for good what was made before $title, and of other contexts only where it is in force there',
      async (trigger) => {
        const before = trigger.before(all);
        const { resumption, server, come } = await startReloadable(before, { mode });
        const [{ session: old }, { session: other }] = [await come(version, 'a.test'), await come(version, 'b.test')];
        expect((await come(version, 'a.test', old)).resumed).toBe(true);

        const report = await resumption.reload(server, { options: trigger.after(all) });
        expect(report).toMatchObject({ changed: [{ name: null, changes: trigger.changes }], unchanged: [] });
        const afterwards = await come(version, 'a.test', old);
        expect(afterwards.resumed).toBe(false);
        expect((await come(version, 'a.test', afterwards.session)).resumed).toBe(true);
        expect((await come(version, 'b.test', other)).resumed).toBe(!trigger.common);

        const back = await resumption.reload(server, { options: before });
        expect(back.changed).toHaveLength(1);
        expect((await come(version, 'a.test', old)).resumed).toBe(false);
        expect((await come(version, 'a.test', afterwards.session)).resumed).toBe(false);
        expect((await come(version, 'b.test', other)).resumed).toBe(!trigger.common);
      },
    );

    it('keeps everything when nothing differs', async () => {
      const { resumption, server, come } = await startReloadable({}, { mode });
      const names = ['a.test', 'b.test', 'other.test'];
      const sessions = await Promise.all(names.map(async (name) => (await come(version, name)).session));
      const { a, b } = all;
      const report = await resumption.reload(server, {
        options: { key: a.key.replaceAll('\n', '\r\n'), cert: Buffer.from(a.cert) },
        contexts: { 'b.test': { key: b.key, cert: b.cert } },
        hard: true,
      });
      expect(report).toMatchObject({ changed: [], unchanged: [null, 'b.test'], connections: { closed: 0, goOn: 0 } });
      for (const [i, name] of names.entries()) expect((await come(version, name, sessions[i])).resumed).toBe(true);
    });
  });
});

describe('setSecureContext of Node alone', () => {
  it.each(VERSIONS)('loses the tickets that a reload with equal options keeps (%s)', async (version) => {
    const options = own(all);
    const plain = tls.createServer(options, echo);
    const port = await listen(plain);
    const come = (session?: Buffer): Promise<Visit> => visit(port, { ...only(version), session, send: 'bye' });
    const { session } = await come();
    expect((await come(session)).resumed).toBe(true);
    plain.setSecureContext(options);
    expect((await come(session)).resumed).toBe(false);
    await close(plain);

    const ours = await startReloadable(options, { mode: 'tickets' });
    const kept = (await ours.come(version, 'a.test')).session;
    await ours.resumption.reload(ours.server, { options });
    ours.server.setSecureContext(options);
    expect((await ours.come(version, 'a.test', kept)).resumed).toBe(true);
  });
});
