import { execFile } from 'node:child_process';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { peerAt } from '../support/peers.js';
import { VERSIONS } from '../support/visits.js';
import { type Town, town, WAYS } from './peer-server.js';

const CLIENT = fileURLToPath(new URL('./clients/node-client.mjs', import.meta.url));
const MAJORS = ['20', '22', '24', '26'];

/** PEER_NODES names the binaries of other Nodes, separated as PATH is, or by commas. */
const candidates = [
  process.execPath,
  ...(process.env['PEER_NODES'] ?? '').split(new RegExp(`[${delimiter},]`)).filter((path) => path !== ''),
];

/** By major version. */
const nodes = new Map<string, string>();
for (const path of candidates) {
  const major = await majorOf(path);
  if (major !== undefined && !nodes.has(major)) nodes.set(major, path);
}

async function majorOf(path: string): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(path, ['-p', 'process.versions.node'], { timeout: 30_000 });
    return stdout.split('.')[0];
  } catch {
    return undefined;
  }
}

let place: Town;
beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(() => place.remove());

for (const major of new Set([...MAJORS, ...nodes.keys()])) {
  const node = peerAt(`Node ${major} in PEER_NODES`, nodes.get(major));
  const told = (stdout: string) =>
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));

  node.describe(`the client of Node ${major}`, () => {
    it.each(VERSIONS)('comes back twice over %s', async (version) => {
      const way = WAYS[version];
      const { port, seen, errors, resumption } = await place.start();
      const { code, stdout, stderr } = await node.run([CLIENT, `${port}`, version, place.caFile, '3', 'http/1.1']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const visit = { protocol: version, authorized: true };
      expect(told(stdout)).toMatchObject([
        { ...visit, reused: false, told: { resumed: false, way: null } },
        { ...visit, reused: true, told: { resumed: true, way } },
        { ...visit, reused: true, told: { resumed: true, way } },
      ]);
      expect(seen).toMatchObject([
        { protocol: version, resumed: false, way: null, reason: 'not-offered' },
        { protocol: version, resumed: true, way, reason: null },
        { protocol: version, resumed: true, way, reason: null },
      ]);
      expect(resumption.cache.statistics).toMatchObject({ accept: 3, acceptGood: 3, hits: 2 });
      expect(errors).toEqual([]);
    });

    it.each(VERSIONS)('comes back to an http2 server over %s', async (version) => {
      const { port, seen, errors } = await place.start({ http2: true });
      const { code, stdout, stderr } = await node.run([CLIENT, `${port}`, version, place.caFile, '2', 'h2']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const way = WAYS[version];
      expect(told(stdout)).toMatchObject([
        { protocol: version, alpn: 'h2', reused: false, told: { resumed: false } },
        { protocol: version, alpn: 'h2', reused: true, told: { resumed: true, way } },
      ]);
      expect(seen.map((each) => each.way)).toEqual([null, way]);
      expect(errors).toEqual([]);
    });
  });
}
