/** Clients that go on coming at a rate while something happens, and what became of each of them. */

import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { VERSIONS, type Version } from '../support/visits.js';

/** What became of a connection. */
export interface Coming {
  /** Milliseconds since 1970. */
  readonly began: number;
  readonly how: 'resumed' | 'full' | 'failed';
  /** Milliseconds of the TLS handshake. */
  readonly handshake: number;
}

interface Client {
  readonly version: Version;
  session: Buffer | undefined;
}

/** Milliseconds after which a handshake has failed. */
const PATIENCE = 20_000;
const TICK = 5;

const contexts = Object.fromEntries(
  VERSIONS.map((version) => [version, tls.createSecureContext({ minVersion: version, maxVersion: version })]),
) as Record<Version, tls.SecureContext>;

export class Traffic {
  readonly comings: Coming[] = [];
  readonly #port: number;
  readonly #rate: number;
  /** Those that are not under way. */
  readonly #clients: Client[];
  #underWay = 0;

  /**
   * @param rate connections a second: begun whether or not those before have ended, as long as clients are left
   * @param crowd how many clients there are, of both versions in turn
   */
  constructor(port: number, rate: number, crowd: number) {
    this.#port = port;
    this.#rate = rate;
    this.#clients = Array.from({ length: crowd }, (_, n) => ({
      version: VERSIONS[n % VERSIONS.length] as Version,
      session: undefined,
    }));
  }

  /** Whether all of the last connections resumed, so many that each client has come twice. */
  get allResume(): boolean {
    const last = this.comings.slice(-2 * (this.#clients.length + this.#underWay));
    return last.length > 0 && last.every(({ how }) => how === 'resumed');
  }

  /** Lets all come once, one after the other. */
  async comeOnce(): Promise<void> {
    for (const client of [...this.#clients]) await this.#come(client);
  }

  /** Lets clients come until this is over; then waits for those under way. */
  async run(whileThis: Promise<unknown>): Promise<void> {
    const began = performance.now();
    let begun = 0;
    const coming = new Set<Promise<void>>();
    const timer = setInterval(() => {
      const due = Math.floor(((performance.now() - began) * this.#rate) / 1000);
      for (; begun < due; begun++) {
        const client = this.#clients.shift();
        if (client === undefined) break;
        this.#underWay++;
        const over = this.#come(client).then(() => {
          coming.delete(over);
          this.#underWay--;
          this.#clients.push(client);
        });
        coming.add(over);
      }
    }, TICK);
    try {
      await whileThis;
    } finally {
      clearInterval(timer);
      await Promise.all(coming);
    }
  }

  async #come(client: Client): Promise<void> {
    const began = performance.timeOrigin + performance.now();
    try {
      const { resumed, session, handshake } = await connect(this.#port, client);
      client.session = session ?? client.session;
      this.comings.push({ began, how: resumed ? 'resumed' : 'full', handshake });
    } catch {
      this.comings.push({ began, how: 'failed', handshake: performance.timeOrigin + performance.now() - began });
    }
  }
}

async function connect(port: number, { version, session }: Client) {
  const raw = net.connect({ port, host: '127.0.0.1', noDelay: true });
  await once(raw, 'connect');
  const began = performance.now();
  const socket = tls.connect({
    socket: raw,
    secureContext: contexts[version],
    rejectUnauthorized: false,
    ...(session && { session }),
  });
  let next: Buffer | undefined;
  let done: { resumed: boolean; handshake: number } | undefined;
  socket.on('session', (bytes) => {
    next = bytes;
  });
  socket.on('secureConnect', () => {
    done = { resumed: socket.isSessionReused(), handshake: performance.now() - began };
  });
  socket.setTimeout(PATIENCE, () => socket.destroy(new Error('no answer')));
  socket.on('end', () => socket.end());
  socket.resume();
  await new Promise((resolve, reject) => socket.once('error', reject).once('close', resolve));
  if (done === undefined) throw new Error('closed before the handshake was complete');
  return { ...done, session: next };
}

export interface Summary {
  readonly connections: number;
  readonly resumed: number;
  readonly full: number;
  readonly failed: number;
  /** Milliseconds of the handshakes: half took less; 99 of 100 did; all did. */
  readonly times: readonly [median: number, most: number, longest: number];
}

/** Of those that began from one moment on, and whose handshake was over by another. */
export function summary(comings: readonly Coming[], from: number, to = Number.POSITIVE_INFINITY): Summary {
  const among = comings.filter(({ began, handshake }) => began >= from && began + handshake < to);
  const times = among.map(({ handshake }) => handshake).sort((a, b) => a - b);
  const part = (share: number): number => times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? 0;
  const count = (kind: Coming['how']): number => among.filter(({ how }) => how === kind).length;
  return {
    connections: among.length,
    resumed: count('resumed'),
    full: count('full'),
    failed: count('failed'),
    times: [part(0.5), part(0.99), part(1)],
  };
}
