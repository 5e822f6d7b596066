import { Duplex } from 'node:stream';
import tls from 'node:tls';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildHello, record } from '../support/hello-builder.js';
import { answerTo, editingProxy, pskOf, RAW_CIPHER, RawClient13, shownId } from '../support/raw-clients.js';
import { close, only, type Version } from '../support/visits.js';
import { come } from './cells.js';
import { cutUp, edited, HELLO_12, type Mutation, mutations } from './hello-edits.js';
import { type Materials, makeMaterials } from './materials.js';
import { type Served, type Way, World } from './worlds.js';

const RUNS = 400;
/** Of the event loop. Measured on Node 20 to 26: OpenSSL is done with what a stream has before the first. */
const TURNS = 5;
const NAME = 'a.test';

let materials: Materials;
const worlds: World[] = [];

beforeAll(async () => {
  materials = await makeMaterials();
});

afterAll(async () => {
  for (const world of worlds) await world.end();
});

/** The server name that OpenSSL alone reads in these bytes; `undefined` when it comes to none. */
function opensslServername(segments: readonly Buffer[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const finish = (servername?: string): void => {
      resolve(servername);
      socket.destroy();
    };
    const transport = new Duplex({ read() {}, write: () => finish() });
    const socket = new tls.TLSSocket(transport, { isServer: true, SNICallback: (servername) => finish(servername) });
    socket.on('error', () => finish());
    transport.on('error', () => finish());
    for (const segment of segments) transport.push(segment);
    // It may wait for more than there is: all that it does with what there is, it does within a few turns.
    const wait = (turns: number): unknown => setImmediate(() => (turns > 0 ? wait(turns - 1) : finish()));
    wait(TURNS);
  });
}

async function serve(way: Way, version: Version): Promise<Served> {
  const { own, hostA, hostB } = materials;
  const world = new World({ engine: 'library', version, way, place: 'memory' });
  worlds.push(world);
  const pair = ({ key, cert }: { key: string; cert: string }) => ({ key, cert });
  return world.serve({ options: pair(own), contexts: { 'a.test': pair(hostA), 'b.test': pair(hostB) } });
}

async function sessionOf({ port }: Served, version: Version, servername: string | undefined): Promise<Buffer> {
  const cipher = version === 'TLSv1.3' ? RAW_CIPHER : 'ECDHE-ECDSA-AES128-GCM-SHA256';
  const { session } = await come(port, { ...only(version), servername: servername ?? '', ciphers: cipher });
  return session as Buffer;
}

/** What is shown before it is mutated: with a name or without, the session of the name or of no name. */
interface Shown {
  readonly named: boolean;
  readonly nameless: boolean;
}

const shown: fc.Arbitrary<Shown> = fc.constantFrom(
  { named: true, nameless: false },
  { named: true, nameless: true },
  { named: false, nameless: true },
);

const UNCHANGED: Mutation = { lists: [], flips: [], records: [], segments: [], between: Buffer.alloc(0) };
/** Where every run begins, so that each of its counts has something to count. */
const BEGINNINGS: readonly [Mutation, Shown][] = [
  [UNCHANGED, { named: true, nameless: false }],
  [UNCHANGED, { named: false, nameless: true }],
  [UNCHANGED, { named: true, nameless: true }],
  [
    { ...UNCHANGED, records: [0.3], segments: [0.2, 0.6] },
    { named: true, nameless: false },
  ],
];

/** How far a hello got: the server went on in the abbreviated way, and then the handshake was completed. */
type Progress = 'not resumed' | 'resumed' | 'completed';

type Show = (port: number, mutation: Mutation, named: boolean) => Promise<Progress>;

function show12(session: Buffer, way: Way): Show {
  const id = shownId(session);
  const offer = way === 'tickets' ? { sessionId: Buffer.alloc(32, 0x1e), sessionTicket: id } : { sessionId: id };
  return async (port, mutation, named) => {
    const hello = buildHello({ ...(named && { servername: NAME }), extendedMasterSecret: true, ...offer, ...HELLO_12 });
    const { kind } = await answerTo(port, record(edited(hello, mutation)));
    return kind === 'resumed' ? 'resumed' : 'not resumed';
  };
}

function show13(session: Buffer): Show {
  return async (port, mutation, named) => {
    const raw = await RawClient13.connect(port);
    try {
      const edit = (message: Buffer): Buffer => edited(message, mutation);
      const { kind } = await raw.ask({ ...(named && { servername: NAME }), psks: [pskOf(session)], edit });
      if (kind !== 'resumed') return 'not resumed';
      // Its key share may be one of the bytes that were changed.
      const received = await raw.finish().catch(() => undefined);
      return received === 'hello' ? 'completed' : 'resumed';
    } finally {
      raw.destroy();
    }
  };
}

describe.each<[Version, Way]>([
  ['TLSv1.2', 'stateful'],
  ['TLSv1.2', 'tickets'],
  ['TLSv1.3', 'stateful'],
  ['TLSv1.3', 'tickets'],
])('a session of %s (%s) shown in a hello that is malformed or cut up', (version, way) => {
  it('resumes only where OpenSSL reads the name that it was made under', async () => {
    const served = await serve(way, version);
    const showing = async (name: string | undefined): Promise<Show> => {
      const session = await sessionOf(served, version, name);
      return version === 'TLSv1.3' ? show13(session) : show12(session, way);
    };
    const showOwn = await showing(NAME);
    const showNameless = await showing(undefined);
    let cut: (message: Buffer) => readonly Buffer[] = () => [];
    let sent: readonly Buffer[] = [];
    const proxy = await editingProxy(served.port, (flight) => {
      sent = cut(flight.subarray(5));
      return sent;
    });
    const counts = { own: 0, nameless: 0, completed: 0, named: 0, renamed: 0 };
    const count = (what: keyof typeof counts, when = true): void => void (when && counts[what]++);
    const property = async (mutation: Mutation, { named, nameless }: Shown): Promise<void> => {
      const own = nameless ? undefined : NAME;
      cut = (message) => cutUp(message, mutation);
      const before = served.seen.length;
      const progress = await (nameless ? showNameless : showOwn)(proxy.port, mutation, named);
      const name = await opensslServername(sent);
      count('named', name !== undefined);
      count('renamed', name !== undefined && name !== own);
      if (progress === 'not resumed') return;
      count(nameless ? 'nameless' : 'own');
      // Without the session OpenSSL may find a fault before it comes to the name.
      if (name !== undefined) expect(name).toBe(own);
      if (progress === 'resumed') return;
      count('completed');
      expect(served.seen).toHaveLength(before + 1);
      expect(served.seen.at(-1)).toMatchObject({ resumed: true, servername: own, nodeServername: own });
    };
    try {
      const examples = [...BEGINNINGS];
      await fc.assert(fc.asyncProperty(mutations, shown, property), { numRuns: RUNS, examples });
    } finally {
      await close(proxy);
    }
    // What the run begins with is counted, if nothing else.
    expect(counts.own).toBeGreaterThanOrEqual(2);
    expect(counts.nameless).toBeGreaterThanOrEqual(1);
    expect(counts.completed).toBeGreaterThanOrEqual(version === 'TLSv1.3' ? 3 : 0);
    expect(counts.named).toBeGreaterThanOrEqual(3);
    expect(counts.renamed).toBeGreaterThanOrEqual(1);
  });
});
