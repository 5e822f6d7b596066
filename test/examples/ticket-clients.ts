/** Clients of the playground that come back with tickets, and what it says of its keys. */

import { decodeSslSession } from 'tls-resumption';
import { expect } from 'vitest';
import { only, VERSIONS, type Version, type Visit, visit } from '../support/visits.js';
import { get, jsonOf } from './http.js';

/** The name of the key that a session's ticket is sealed with. */
export function keyNameOf(session: Buffer | undefined): string | undefined {
  return session && decodeSslSession(session)?.ticket?.toString('hex', 0, 16);
}

/** A client that keeps the latest session it was given. */
export class Client {
  readonly #version: Version;
  session: Buffer | undefined;

  constructor(version: Version) {
    this.#version = version;
  }

  async visit(port: number): Promise<Visit> {
    const visited = await visit(port, { ...only(this.#version), session: this.session, send: get('/connection') });
    this.session = visited.session ?? this.session;
    return visited;
  }

  /** How it came to the server, as the server says, with which the client must agree. */
  async come(port: number): Promise<string | null> {
    const visited = await this.visit(port);
    const { resumed, way } = jsonOf(visited);
    expect(resumed).toBe(visited.resumed);
    return way;
  }

  /** The name of the key that its ticket is sealed with. */
  get keyName(): string | undefined {
    return keyNameOf(this.session);
  }
}

export const clients = (): Client[] => VERSIONS.map((version) => new Client(version));

export const keysOf = async (port: number) => jsonOf(await visit(port, { send: get('/statistics') })).ticketKeys;

/** Asks again and again until the keys are as they should be. */
export async function untilKeys(
  port: number,
  are: (keys: Awaited<ReturnType<typeof keysOf>>) => boolean,
): Promise<void> {
  while (!are(await keysOf(port)));
}
