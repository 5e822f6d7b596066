import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { peer } from '../support/peers.js';
import { VERSIONS } from '../support/visits.js';
import { type Town, town, WAYS } from './peer-server.js';

const CLIENT = fileURLToPath(new URL('./clients/python-client.py', import.meta.url));

const python = peer('python3');
let place: Town;
beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(() => place.remove());

python.describe("Python's ssl", () => {
  it.each(VERSIONS)('comes back twice over %s', async (version) => {
    const { port, seen, errors } = await place.start();
    const { code, stdout, stderr } = await python.run([CLIENT, `${port}`, version.replace('.', '_'), place.caFile]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const way = WAYS[version];
    const visits = stdout.trim().split('\n');
    expect(visits.map((line) => JSON.parse(line))).toEqual([
      { protocol: version, reused: false, told: { resumed: false, way: null } },
      { protocol: version, reused: true, told: { resumed: true, way } },
      { protocol: version, reused: true, told: { resumed: true, way } },
    ]);
    expect(seen.map((each) => each.way)).toEqual([null, way, way]);
    expect(errors).toEqual([]);
  });
});
