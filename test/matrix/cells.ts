/** One cell of the matrix: a session is made and shown to resume, something changes, the client comes back. */

import * as tls from 'node:tls';
import type { MaybePromise } from '../../src/stores/session-store.js';
import { only, underName } from '../support/visits.js';
import {
  type Arrival,
  type Engine,
  type Kind,
  NotPossible,
  type Place,
  type Served,
  type Setup,
  World,
} from './worlds.js';

/**
 * How it went when the client came back, judged beside what a client without a session gets at the same moment: of a
 * full handshake all that was checked and agreed is the same.
 */
export type Outcome =
  | 'resumed'
  /** And is authorized, which a client without a session would not be. */
  | 'resumed as authorized'
  | 'full'
  /** So is the client without a session: by the policy. */
  | 'rejected'
  /** The client without a session would have been served. */
  | 'broken'
  /** The library refuses to be set up in this way. */
  | 'none';

/** What the client saw. */
export interface Experience {
  readonly served: boolean;
  readonly resumed: boolean;
  readonly agreed: readonly (string | false | null | undefined)[];
  readonly session: Buffer | undefined;
}

/** A visit: what the client saw, and the server where it served. */
export interface Visited extends Experience {
  readonly arrival: Arrival | undefined;
}

export type Client = (at: Served, session: Buffer | undefined) => Promise<Experience>;

export interface Scene {
  readonly world: World;
  readonly kind: Kind;
  readonly setup: Setup;
  readonly served: Served;
  /** What the client will show: from the last visit that brought one. */
  session: Buffer | undefined;
  /** Another visit of the same client with its session. */
  visit(): Promise<Visited>;
}

/** Where and how the client comes back; what is absent is as before. */
export interface Return {
  readonly at?: Served;
  readonly options?: tls.ConnectionOptions;
  readonly client?: Client;
}

export interface Beginning {
  readonly setup: Setup;
  /** The client's. */
  readonly options?: tls.ConnectionOptions;
}

export interface Story {
  /** @param attempt from 1: of what depends on time, and may have to be tried again with more of it */
  begin(kind: Kind, attempt: number): MaybePromise<Beginning>;
  change(scene: Scene): MaybePromise<Return | undefined>;
  /** `false` where it is not tried whether the session resumes before anything has changed. */
  readonly control?: false;
  /** Whether it waits for time to pass. */
  readonly waits?: boolean;
}

export interface Measured {
  readonly outcome: Outcome;
  /** Why the library did not resume it. */
  readonly reason: string | null | undefined;
  readonly control: boolean | undefined;
  readonly back: Visited | undefined;
  readonly fresh: Visited | undefined;
}

/** Connects, waits for the session and the server's greeting, and leaves. */
export function come(port: number, options: tls.ConnectionOptions): Promise<Experience> {
  return new Promise((resolve) => {
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
    let session: Buffer | undefined;
    let agreed: Experience['agreed'] = [];
    let resumed = false;
    let received = '';
    socket.on('session', (bytes: Buffer) => {
      session = Buffer.from(bytes);
    });
    socket.on('secureConnect', () => {
      resumed = socket.isSessionReused();
      const { fingerprint256 } = socket.getPeerCertificate();
      agreed = [socket.getProtocol(), socket.getCipher().name, socket.alpnProtocol, fingerprint256];
    });
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
    });
    socket.on('end', () => socket.end());
    socket.on('error', () => {});
    socket.on('close', () => resolve({ served: received === 'hello', resumed, agreed, session }));
  });
}

/** Node's own client, which shows the session under whatever name it asks for. */
function nodeClient(options: tls.ConnectionOptions): Client {
  return ({ port }, session) => {
    // Without a name, newer versions of Node bind a session to the host.
    const shown = underName(session, options.servername || '127.0.0.1');
    return come(port, { ...options, ...(shown && { session: shown }) });
  };
}

async function visitAs(client: Client, at: Served, session: Buffer | undefined): Promise<Visited> {
  const before = at.seen.length;
  const experience = await client(at, session);
  await at.settled();
  return { ...experience, arrival: at.seen[before] };
}

function outcomeOf(back: Visited, fresh: Visited): Outcome {
  const { arrival } = back;
  if (!back.served || arrival === undefined) return fresh.served ? 'broken' : 'rejected';
  if (!arrival.resumed) return 'full';
  return arrival.authorized && !fresh.arrival?.authorized ? 'resumed as authorized' : 'resumed';
}

/** No session was made: no outcome stands for that. */
class NoSession extends Error {}

/** Times that a cell begins, each time less hurried: {@link Story.begin}. */
const ATTEMPTS = 4;

export async function measure(kind: Kind, story: Story, attempt = 1): Promise<Measured> {
  const world = new World(kind);
  try {
    return await play(world, kind, story, attempt);
  } catch (error) {
    if (error instanceof NoSession && attempt < ATTEMPTS) return await measure(kind, story, attempt + 1);
    if (!(error instanceof NotPossible)) throw error;
    return { outcome: 'none', reason: undefined, control: undefined, back: undefined, fresh: undefined };
  } finally {
    await world.end();
  }
}

async function play(world: World, kind: Kind, story: Story, attempt: number): Promise<Measured> {
  const { setup, options: given = {} } = await story.begin(kind, attempt);
  const options: tls.ConnectionOptions = {
    ...only(kind.version),
    servername: 'a.test',
    ...(kind.ticketless && { secureOptions: SSL_OP_NO_TICKET }),
    ...given,
  };
  const served = await world.serve(setup);
  const client = nodeClient(options);
  const scene: Scene = {
    world,
    kind,
    setup,
    served,
    session: undefined,
    async visit() {
      const visited = await visitAs(client, served, scene.session);
      scene.session = visited.session ?? scene.session;
      return visited;
    },
  };
  const first = await scene.visit();
  if (!first.served || scene.session === undefined) throw new NoSession('the first visit brought no session');
  const control = story.control === false ? undefined : await visitAs(client, served, scene.session);
  if (story.waits && control?.served === false) throw new NoSession('it was too late for it before it came back');
  const { at = served, options: more, client: other } = (await story.change(scene)) ?? {};
  const returning = other ?? (more === undefined ? client : nodeClient({ ...options, ...more }));
  const back = await visitAs(returning, at, scene.session);
  const fresh = await visitAs(returning, at, undefined);
  return {
    outcome: outcomeOf(back, fresh),
    reason: back.arrival?.reason,
    control: control?.arrival?.resumed,
    back,
    fresh,
  };
}

/** OpenSSL's; in a client: take no tickets. */
export const SSL_OP_NO_TICKET = 0x4000;

/** Columns of the tables, each measured in every place. */
export interface Column {
  readonly title: string;
  readonly kinds: readonly Kind[];
}

export function columnsOf(engine: Engine): Column[] {
  // A map is a map, and equal keys are equal keys: to plain Node memory is no other place than what is external.
  const places: readonly Place[] = engine === 'plain' ? ['memory'] : ['memory', 'external'];
  const stateful = (version: Kind['version']): Kind[] =>
    [...places, 'external, asynchronous' as const].map((place) => ({ engine, version, way: 'stateful', place }));
  const tickets = (version: Kind['version']): Kind[] =>
    places.map((place) => ({ engine, version, way: 'tickets', place }));
  const beside = tickets('TLSv1.2').map((kind) => ({ ...kind, ticketless: true }));
  return [
    { title: 'TLS 1.2 session ID', kinds: [...stateful('TLSv1.2'), ...beside] },
    { title: 'TLS 1.2 ticket', kinds: tickets('TLSv1.2') },
    { title: 'TLS 1.3 stateful', kinds: stateful('TLSv1.3') },
    { title: 'TLS 1.3 ticket', kinds: tickets('TLSv1.3') },
  ];
}
