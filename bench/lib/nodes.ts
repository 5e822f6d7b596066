/** The Nodes that a part is measured on. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The one that runs, and those of `PEER_NODES`: by the name of their group, such as `Node v20.20.2`, their programs. */
export async function nodesAtHand(): Promise<Map<string, string>> {
  const programs = new Set([process.execPath, ...(process.env['PEER_NODES']?.split(',') ?? [])]);
  const nodes = new Map<string, string>();
  for (const node of programs) nodes.set(`Node ${(await run(node, ['--version'])).stdout.trim()}`, node);
  return nodes;
}
