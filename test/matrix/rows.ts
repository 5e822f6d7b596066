/** The rows of the matrix: what changes between the making of a session and its return, and what must come of it. */

import { X509Certificate } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type * as tls from 'node:tls';
import { type IssuedCertificate, makeCertificate } from '../../examples/support/certificates.js';
import type { SessionIdContextGuard } from '../../src/guard/session-id-context-guard.js';
import { P256, pskOf, RAW_CIPHER, RawClient13, shownId } from '../support/raw-clients.js';
import { type Beginning, type Client, type Outcome, type Scene, SSL_OP_NO_TICKET, type Story } from './cells.js';
import type { Materials } from './materials.js';
import type { Kind, Setup } from './worlds.js';

/** An outcome on every version of Node, or one before a major version and another since. */
export type Expected = Outcome | { readonly until: number; readonly was: Outcome; readonly is: Outcome };

/** By column: TLS 1.2 session ID, TLS 1.2 ticket, TLS 1.3 stateful, TLS 1.3 ticket; `undefined` where there is no such case. */
type Outcomes = readonly [Expected | undefined, Expected | undefined, Expected | undefined, Expected | undefined];

export interface Row extends Story {
  readonly title: string;
  readonly library: Outcomes;
  readonly plain: Outcomes;
  /** Why the library says that it did not resume. */
  readonly reason?: string;
  /** Whether OpenSSL itself may refuse what the library let through; otherwise the library must have refused before. */
  readonly opensslRefuses?: true;
}

export interface Group {
  readonly title: string;
  readonly rows: readonly Row[];
}

/** OpenSSL's SSL_OP_NO_EXTENDED_MASTER_SECRET. */
const NO_EXTENDED_MASTER_SECRET = 1;
const AES = 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256';
const CHACHA = 'TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-CHACHA20-POLY1305';

const all = (outcome: Expected): Outcomes => [outcome, outcome, outcome, outcome];
/** Plain Node finds no stateful session of TLS 1.3: there every row is a full handshake, or what the policy says. */
const plain = (id: Expected, ticket12: Expected, ticket13: Expected, never: Outcome = 'full'): Outcomes => [
  id,
  ticket12,
  never,
  ticket13,
];
const until = (version: number, was: Outcome, is: Outcome): Expected => ({ until: version, was, is });
const resumedAll = plain('resumed', 'resumed', 'resumed');
const resumedAnyway = plain('resumed as authorized', 'resumed as authorized', 'resumed as authorized', 'rejected');
const NOWHERE: Outcomes = [undefined, undefined, undefined, undefined];

/** Another server of the same process with other options, over what the first one kept. */
const restarted =
  (more: tls.TlsOptions, other: Partial<Setup> = {}) =>
  async ({ world, setup }: Scene) => ({
    at: await world.serve({ ...setup, ...other, options: { ...setup.options, ...more } }),
  });

/** The same server, told to go on with other options. */
const reconfigured =
  (more: tls.SecureContextOptions) =>
  ({ served }: Scene): undefined =>
    served.reconfigure(more) as undefined;

function both(title: string, more: tls.SecureContextOptions, story: Omit<Row, 'title' | 'change'>): [Row, Row] {
  return [
    { ...story, title: `${title}, at another server object`, change: restarted(more) },
    { ...story, title: `${title}, by \`setSecureContext\``, change: reconfigured(more) },
  ];
}

export function groupsOf(m: Materials): Group[] {
  const own = pair(m.own);
  const simple = (): Beginning => ({ setup: { options: own } });
  return [
    { title: 'Nothing changed', rows: unchanged(m, simple) },
    { title: 'The server name', rows: names(m, simple) },
    { title: 'The client certificate', rows: clients(m) },
    { title: 'Parameters', rows: parameters(m, simple) },
    { title: 'Servers and time', rows: servers(simple) },
    { title: 'Forgetting on purpose', rows: forgetting(m, simple) },
  ];
}

function pair({ key, cert }: IssuedCertificate): { key: string; cert: string } {
  return { key, cert };
}

function unchanged(m: Materials, begin: Story['begin']): Row[] {
  return [
    {
      title: 'the client comes back',
      begin,
      change: () => undefined,
      library: all('resumed'),
      plain: resumedAll,
    },
    {
      title: 'equal options, by `setSecureContext`',
      begin,
      change: reconfigured(pair(m.own)),
      library: all('resumed'),
      plain: resumedAll,
    },
    {
      title: 'a verified client certificate',
      begin: asking(m, {}, m.client),
      change: () => undefined,
      library: all('resumed'),
      plain: resumedAll,
    },
  ];
}

function names(m: Materials, simple: Story['begin']): Row[] {
  const contexts = { 'a.test': pair(m.hostA), 'b.test': pair(m.hostB) };
  const hosts = (): Beginning => ({ setup: { options: pair(m.own), contexts } });
  const byCallback = (): Beginning => ({ setup: { options: pair(m.own), contexts, byCallback: true } });
  const named = (servername: string) => () => ({ options: { servername } });
  const ca = (authority: IssuedCertificate, host: IssuedCertificate) => ({ ...pair(host), ca: authority.cert });
  return [
    {
      title: 'other SNI',
      begin: hosts,
      change: named('b.test'),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'other SNI, contexts from an `SNICallback`',
      begin: byCallback,
      change: named('b.test'),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'other SNI, whose context asks for certificates of another CA',
      begin: () => ({
        setup: {
          options: { ...pair(m.own), requestCert: true, ca: m.authority.cert },
          contexts: { 'a.test': ca(m.authority, m.hostA), 'b.test': ca(m.otherAuthority, m.hostB) },
        },
        options: pair(m.client),
      }),
      change: named('b.test'),
      library: ['rejected', 'none', 'rejected', 'none'],
      plain: resumedAnyway,
    },
    {
      title: 'other SNI, one context for all names',
      begin: simple,
      change: named('b.test'),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'other SNI, both listed in `shareAcross`',
      begin: () => ({ setup: { options: pair(m.own), shareAcross: ['a.test', 'b.test'] } }),
      change: named('b.test'),
      library: all('resumed'),
      plain: NOWHERE,
    },
    {
      title: 'no SNI',
      begin: simple,
      change: named(''),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'SNI where there was none',
      begin: () => ({ setup: { options: pair(m.own) }, options: { servername: '' } }),
      change: named('a.test'),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'SNI in other case',
      begin: simple,
      change: named('A.TEST'),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'SNI with a trailing dot',
      begin: simple,
      change: named('a.test.'),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: "the name's context replaced by `addContext`",
      begin: hosts,
      change: ({ served }) => served.server.addContext('a.test', pair(m.renewed)) as undefined,
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'contexts from `tls.createSecureContext`, at another server object',
      begin: () => ({ setup: { ...hosts().setup, unseen: true } }),
      change: restarted({}),
      // A first client may be refused a ticket of TLS 1.2 there.
      library: ['full', undefined, 'full', 'full'],
      plain: resumedAll,
    },
    {
      title: 'the same name again at HelloRetryRequest',
      begin: retrying(m),
      opensslRefuses: true,
      change: () => ({ client: renaming('a.test', 'a.test') }),
      library: [undefined, undefined, 'full', 'full'],
      plain: [undefined, undefined, 'full', 'resumed'],
    },
    {
      title: 'name changed at HelloRetryRequest',
      begin: retrying(m),
      opensslRefuses: true,
      change: () => ({ client: renaming('a.test', 'b.test') }),
      library: [undefined, undefined, 'full', 'full'],
      plain: [undefined, undefined, 'full', 'resumed'],
    },
    {
      title: 'name changed at HelloRetryRequest to that of the session',
      begin: retrying(m),
      opensslRefuses: true,
      change: () => ({ client: renaming('b.test', 'a.test') }),
      library: [undefined, undefined, 'full', 'full'],
      plain: [undefined, undefined, 'full', 'resumed'],
    },
  ];
}

function retrying(m: Materials): Story['begin'] {
  return () => ({
    setup: {
      options: { ...pair(m.own), ecdhCurve: 'P-256' },
      contexts: { 'a.test': pair(m.hostA), 'b.test': pair(m.hostB) },
    },
    options: { ecdhCurve: 'P-256', ciphers: RAW_CIPHER },
  });
}

/** Shows its session in both hellos: the first asks for one name with no share that the server takes, then for another. */
function renaming(first: string, second: string): Client {
  return async ({ port }, session) => {
    const raw = await RawClient13.connect(port);
    const psks = session === undefined ? [] : [pskOf(session)];
    try {
      const retry = await raw.ask({ servername: first, keyShareGroups: [29], psks });
      if (retry.kind !== 'retry') throw new Error(`a HelloRetryRequest was expected, not ${retry.kind}`);
      const answer = await raw.ask({ servername: second, keyShareGroups: [P256], psks });
      const served = (answer.kind === 'full' || answer.kind === 'resumed') && (await raw.finish()) === 'hello';
      return { served, resumed: answer.kind === 'resumed', agreed: [], session: undefined };
    } finally {
      raw.destroy();
    }
  };
}

/** A server that asks for certificates of the first authority, and a client. */
function asking(m: Materials, more: tls.TlsOptions, client: IssuedCertificate | undefined): Story['begin'] {
  return () => ({
    setup: { options: { ...pair(m.own), requestCert: true, ca: m.authority.cert, ...more } },
    ...(client && { options: pair(client) }),
  });
}

const VALIDITY = 3_000;

function clients(m: Materials): Row[] {
  const lenient = { rejectUnauthorized: false };
  let expires = 0;
  return [
    {
      title: 'no client certificate, `rejectUnauthorized: false`',
      begin: asking(m, lenient, undefined),
      change: () => undefined,
      control: false,
      library: ['full', until(24, 'none', 'full'), 'full', until(24, 'none', 'full')],
      plain: plain('resumed', 'resumed', until(24, 'resumed as authorized', 'resumed')),
    },
    {
      title: 'certificate of another CA, `rejectUnauthorized: false`',
      begin: asking(m, lenient, m.stranger),
      change: () => undefined,
      control: false,
      library: ['full', until(24, 'none', 'full'), 'full', until(24, 'none', 'full')],
      plain: resumedAll,
    },
    ...both(
      'other CA',
      { ca: m.otherAuthority.cert },
      { begin: asking(m, {}, m.client), library: all('rejected'), plain: resumedAnyway },
    ),
    {
      title: '`requestCert` newly on',
      begin: () => ({ setup: { options: { ...pair(m.own), ca: m.authority.cert } } }),
      change: restarted({ requestCert: true }),
      library: all('rejected'),
      plain: plain('rejected', 'rejected', until(24, 'resumed as authorized', 'rejected'), 'rejected'),
    },
    {
      title: '`requestCert` newly on, `rejectUnauthorized: false`',
      begin: () => ({ setup: { options: { ...pair(m.own), ca: m.authority.cert, ...lenient } } }),
      change: restarted({ requestCert: true }),
      library: ['full', until(24, 'none', 'full'), 'full', until(24, 'none', 'full')],
      plain: plain('resumed', 'resumed', until(24, 'resumed as authorized', 'resumed')),
    },
    {
      title: '`rejectUnauthorized` newly on, certificate of another CA',
      begin: asking(m, lenient, m.stranger),
      change: restarted({ rejectUnauthorized: true }),
      control: false,
      library: ['rejected', until(24, 'none', 'rejected'), 'rejected', until(24, 'none', 'rejected')],
      plain: plain('rejected', 'rejected', 'rejected', 'rejected'),
    },
    {
      title: '`rejectUnauthorized` newly on, no client certificate',
      begin: asking(m, lenient, undefined),
      change: restarted({ rejectUnauthorized: true }),
      control: false,
      library: ['rejected', until(24, 'none', 'rejected'), 'rejected', until(24, 'none', 'rejected')],
      plain: plain('rejected', 'rejected', until(24, 'resumed as authorized', 'rejected'), 'rejected'),
    },
    {
      title: '`rejectUnauthorized` newly on, verified certificate',
      begin: asking(m, lenient, m.client),
      change: restarted({ rejectUnauthorized: true }),
      library: ['full', until(24, 'none', 'full'), 'full', until(24, 'none', 'full')],
      plain: resumedAll,
    },
    ...both(
      'the CRL now lists the client',
      { crl: m.crl },
      {
        begin: asking(m, { crl: m.emptyCrl }, m.client),
        library: all('rejected'),
        plain: resumedAnyway,
      },
    ),
    {
      title: 'the client certificate has expired since',
      waits: true,
      async begin(kind, attempt) {
        const notAfter = new Date(Math.ceil((Date.now() + VALIDITY * attempt) / 1000) * 1000);
        expires = Math.max(expires, notAfter.getTime());
        const client = await makeCertificate({ commonName: 'client', issuer: m.authority, notAfter });
        return asking(m, {}, client)(kind, attempt);
      },
      async change() {
        await wait(expires + 1_100 - Date.now());
        return undefined;
      },
      library: all('rejected'),
      plain: resumedAnyway,
    },
  ];
}

function parameters(m: Materials, simple: Story['begin']): Row[] {
  const protocols = (...names: string[]): Pick<tls.TlsOptions, 'ALPNProtocols'> => ({ ALPNProtocols: names });
  const withoutMasterSecret = ({ ticketless }: Kind) => ({
    secureOptions: NO_EXTENDED_MASTER_SECRET | (ticketless ? SSL_OP_NO_TICKET : 0),
  });
  const raised = both(
    'version raised',
    { minVersion: 'TLSv1.3' },
    {
      begin: () => ({ setup: { options: { ...pair(m.own), minVersion: 'TLSv1.2' } } }),
      library: all('full'),
      plain: plain('full', 'full', 'resumed'),
    },
  );
  return [
    ...both(
      "the session's cipher removed",
      { ciphers: CHACHA },
      {
        begin: () => ({ setup: { options: { ...pair(m.own), ciphers: `${AES}:${CHACHA}` } } }),
        library: all('full'),
        plain: resumedAll,
      },
    ),
    // Node takes the ciphers from the server's own context, whichever context a name chooses.
    ...both(
      "the session's cipher removed, under the context of a name",
      { ciphers: CHACHA },
      {
        begin: () => ({
          setup: {
            options: { ...pair(m.own), ciphers: `${AES}:${CHACHA}` },
            contexts: { 'a.test': pair(m.hostA) },
          },
        }),
        library: all('full'),
        plain: resumedAll,
      },
    ),
    ...raised.map((row) => ({
      ...row,
      change: async (scene: Scene) => ({
        ...(await row.change(scene)),
        options: { maxVersion: 'TLSv1.3' as const },
      }),
    })),
    ...both('certificate replaced', pair(m.renewed), {
      begin: simple,
      library: all('full'),
      plain: resumedAll,
    }),
    {
      title: 'certificate chain longer',
      begin: simple,
      change: restarted({ cert: `${m.own.cert}\n${m.authority.cert}` }),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'a curve removed',
      begin: () => ({ setup: { options: { ...pair(m.own), ecdhCurve: 'X25519:P-256:P-384' } } }),
      change: restarted({ ecdhCurve: 'X25519:P-256' }),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'a signature algorithm removed',
      begin: () => ({ setup: { options: { ...pair(m.own), sigalgs: 'ECDSA+SHA256:ECDSA+SHA384' } } }),
      change: restarted({ sigalgs: 'ECDSA+SHA256' }),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'ALPN changed',
      begin: () => ({
        setup: { options: { ...pair(m.own), ...protocols('h2', 'http/1.1') } },
        options: protocols('h2', 'http/1.1') as tls.ConnectionOptions,
      }),
      change: restarted(protocols('http/1.1')),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'extended master secret dropped',
      begin: simple,
      change: ({ kind }) => ({ options: withoutMasterSecret(kind) }),
      library: ['full', 'full', 'resumed', 'resumed'],
      plain: plain('broken', 'broken', 'resumed'),
    },
    {
      title: 'extended master secret newly offered',
      opensslRefuses: true,
      begin: (kind) => ({ setup: { options: pair(m.own) }, options: withoutMasterSecret(kind) }),
      change: ({ kind }) => ({ options: { secureOptions: kind.ticketless ? SSL_OP_NO_TICKET : 0 } }),
      library: ['full', 'full', 'resumed', 'resumed'],
      plain: plain('full', 'full', 'resumed'),
    },
  ];
}

function servers(begin: Story['begin']): Row[] {
  return [
    {
      title: 'other server object',
      begin,
      change: restarted({}),
      library: all('resumed'),
      plain: resumedAll,
    },
    {
      title: 'other service on the same store or keys',
      begin,
      change: (scene) => restarted({}, scene.kind.engine === 'library' ? { service: 'other' } : {})(scene),
      library: all('full'),
      plain: resumedAll,
    },
    {
      title: 'single use: shown again after it resumed',
      begin: (kind, attempt) => {
        const beginning = begin(kind, attempt) as Beginning;
        return { ...beginning, setup: { ...beginning.setup, setting: { singleUse: true } } };
      },
      change: () => undefined,
      library: ['full', 'none', 'full', 'none'],
      plain: resumedAll,
    },
    {
      title: 'chain of resumptions older than `maxChainAge`',
      begin: (kind, attempt) => {
        const beginning = begin(kind, attempt) as Beginning;
        return { ...beginning, setup: { ...beginning.setup, maxChainAge: 100 } };
      },
      async change({ world, visit }) {
        world.pass(60_000);
        const { arrival } = await visit();
        if (!arrival?.resumed) throw new Error('the chain broke before its time');
        world.pass(60_000);
        return undefined;
      },
      reason: 'chain-too-old',
      library: all('full'),
      plain: NOWHERE,
    },
  ];
}

function forgetting(m: Materials, begin: Story['begin']): Row[] {
  const forgets = (title: string, act: (scene: Scene) => unknown, more: Partial<Row> = {}): Row => ({
    title,
    begin,
    async change(scene) {
      await act(scene);
      return undefined;
    },
    library: all('full'),
    plain: NOWHERE,
    ...more,
  });
  const sharing: Story['begin'] = () => ({ setup: { options: pair(m.own), sharedState: true } });
  const revoked = { reason: 'revoked' };
  return [
    forgets('after `guard.rotate`', ({ served }) => served.guard?.rotate('tested')),
    forgets(
      'after `guard.revoke({ id })`',
      ({ served, session }) => served.guard?.revoke({ id: shownId(session) }),
      revoked,
    ),
    forgets(
      'after `guard.revoke({ peerFingerprint })`',
      ({ served }) => served.guard?.revoke({ peerFingerprint: new X509Certificate(m.client.cert).fingerprint256 }),
      { ...revoked, begin: asking(m, {}, m.client) },
    ),
    forgets(
      'after `guard.revoke({ servername })`',
      ({ served }) => served.guard?.revoke({ servername: 'a.test' }),
      revoked,
    ),
    forgets(
      'after `guard.rotate` at another host',
      elsewhere((guard) => guard.rotate('tested')),
      { begin: sharing },
    ),
    forgets(
      'after `guard.revoke({ servername })` at another host',
      elsewhere((guard) => guard.revoke({ servername: 'a.test' })),
      { ...revoked, begin: sharing },
    ),
  ];
}

/** What another host does, which has only the shared state in common, and a moment in which it becomes known. */
function elsewhere(act: (guard: SessionIdContextGuard) => unknown) {
  return async ({ world, setup }: Scene): Promise<void> => {
    const { guard } = await world.serve(setup);
    await act(guard as SessionIdContextGuard);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
}
