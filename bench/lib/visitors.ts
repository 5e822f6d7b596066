/** Clients that come back again and again, each with the session of its last visit. */

import * as tls from 'node:tls';

export type Version = 'TLSv1.2' | 'TLSv1.3';

export interface Visit {
  /** What the server says: `r` when it resumed, `.` when not. */
  readonly answer: string;
  /** Milliseconds from the connect to the end of the handshake, as the client saw them. */
  readonly handshake: number;
  /** What to come back with: Node's own TLS 1.3 tickets are not renewed when used. */
  readonly session: Buffer | undefined;
}

function visit(options: tls.ConnectionOptions, request: string | undefined): Promise<Visit> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const socket = tls.connect(options);
    let { session } = options;
    let answer = '';
    let handshake = Number.NaN;
    socket.on('secureConnect', () => {
      handshake = performance.now() - start;
      if (request !== undefined) socket.write(request);
    });
    socket.on('session', (bytes) => {
      session = bytes;
    });
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve({ answer: answer.trim(), handshake, session }));
  });
}

export interface Batch {
  readonly resumed: number;
  /** Milliseconds of each handshake. */
  readonly handshakes: number[];
}

export interface VisitorOptions {
  readonly port: number;
  readonly version: Version;
  /** A client certificate, PEM. */
  readonly key?: string;
  readonly cert?: string;
  /** What the server must be asked before it answers; nothing when it speaks first. */
  readonly request?: string | undefined;
  /** How many there are, and how many of them come at once. */
  readonly count: number;
  readonly parallel: number;
}

export class Visitors {
  readonly #options: tls.ConnectionOptions;
  readonly #request: string | undefined;
  readonly #sessions: (Buffer | undefined)[];
  readonly #parallel: number;

  constructor({ port, version, request, count, parallel, ...identity }: VisitorOptions) {
    const secureContext = tls.createSecureContext({ minVersion: version, maxVersion: version, ...identity });
    this.#options = { host: '127.0.0.1', port, secureContext, rejectUnauthorized: false };
    this.#request = request;
    this.#parallel = parallel;
    this.#sessions = Array.from({ length: count }, () => undefined);
  }

  /** So many visits by all in turn, some at once or one after the other; each with its last session, or none. */
  async come(visits: number, { resume, inTurn = false }: { resume: boolean; inTurn?: boolean }): Promise<Batch> {
    const batch = { resumed: 0, handshakes: [] as number[] };
    const parallel = inTurn ? 1 : this.#parallel;
    const go = async (first: number): Promise<void> => {
      for (let number = first; number < visits; number += parallel) {
        const visitor = number % this.#sessions.length;
        const session = resume ? this.#sessions[visitor] : undefined;
        const seen = await visit({ ...this.#options, ...(session && { session }) }, this.#request);
        if (seen.answer !== 'r' && seen.answer !== '.') throw new Error(`a server says ${JSON.stringify(seen.answer)}`);
        if (seen.answer === 'r') batch.resumed++;
        batch.handshakes.push(seen.handshake);
        this.#sessions[visitor] = seen.session;
      }
    };
    await Promise.all(Array.from({ length: parallel }, (_, first) => go(first)));
    return batch;
  }
}
