/** A client that goes from one server to another, and back. */

import type * as tls from 'node:tls';
import { expect } from 'vitest';
import { type RunningServer, saidResumed } from '../support/peer-servers.js';
import { only, type Version, type Visit, visit } from '../support/visits.js';
import { HOST, type PeerServer, REQUEST } from './peer-server.js';

/** A client of one version, which keeps the latest session that any server gave it; `first` is one it has already. */
export function traveller(version: Version, ca: string, first?: Buffer): (port: number) => Promise<Visit> {
  let session = first;
  return async (port) => {
    const options: tls.ConnectionOptions = { ...only(version), servername: HOST, ca, rejectUnauthorized: true };
    const visited = await visit(port, { ...options, session, send: REQUEST });
    session = visited.session ?? session;
    return { ...visited, session };
  };
}

/** Who is visited, and by whom. */
export interface Journey {
  readonly version: Version;
  readonly ca: string;
  /** N in a route. */
  readonly node: PeerServer;
  /** Any other letter of a route. */
  readonly other: RunningServer;
}

/** At each stop of a route whether the connection was resumed, in which client and server must agree. */
export async function travel(route: string, { version, ca, node, other }: Journey): Promise<boolean[]> {
  const visitNext = traveller(version, ca);
  const resumed: boolean[] = [];
  for (const stop of route) {
    const visited = await visitNext(stop === 'N' ? node.port : other.port);
    const said = stop === 'N' ? node.seen.at(-1)?.resumed : saidResumed(visited.received);
    expect({ stop, resumed: said }).toEqual({ stop, resumed: visited.resumed });
    resumed.push(visited.resumed);
  }
  expect(node.errors).toEqual([]);
  return resumed;
}

/** All but the first. */
export function allResumed(route: string): boolean[] {
  return [...route].map((_, i) => i > 0);
}
