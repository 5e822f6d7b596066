/** The servers whose handshakes are measured, each in a process of its own: its garbage and compiled code are its own. */

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ask, BUSY, leave, reply, setApart } from './children.js';

/** PEM texts. With `ca` the server asks for client certificates. */
export interface Site {
  readonly key: string;
  readonly cert: string;
  readonly ca?: string;
}

export interface BenchServer {
  readonly port: number;
  /** What it must be asked before it answers; nothing when it speaks first. */
  readonly request?: string;
  /** Microseconds of processor time that it has had. */
  cpu(): Promise<number>;
  end(): Promise<void>;
}

/** The variants of `handshake-server.js`. */
export type NodeKind = 'library' | 'bare' | 'tickets' | 'keys' | 'node';

export async function startNode(kind: NodeKind, site: Site): Promise<BenchServer> {
  const child = fork(fileURLToPath(new URL('handshake-server.js', import.meta.url)), {
    env: { ...process.env, BENCH_SETUP: JSON.stringify({ ...site, variant: kind }) },
    execArgv: BUSY,
  });
  const { port } = await reply<{ port: number }>(child);
  setApart(child);
  return {
    port,
    cpu: async () => (await ask<{ cpu: number }>(child, 'read')).cpu,
    end: () => leave(child),
  };
}
