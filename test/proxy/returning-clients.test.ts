/** Whether clients whose address changes come back to their session, and how many would without affinity. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SessionAffinity } from '../../src/index.js';
import { nginx, type PeerServers, peerServers } from '../support/peer-servers.js';
import { only } from '../support/visits.js';
import {
  addressBalancer,
  type Backend,
  balancer,
  closeAll,
  comeBackFromElsewhere,
  nginxBackend,
  nodeBackend,
  travel,
} from './balancing.js';

/** How many clients, each of which comes twice; and how many of them to the balancer that goes by address. */
const CLIENTS = Number(process.env['AFFINITY_CLIENTS'] ?? 300);
const BY_ADDRESS = process.env['AFFINITY_CLIENTS'] ? CLIENTS : 150;
const LONG = 120_000 + CLIENTS * 100;

afterEach(closeAll);

/** All come back with affinity, to all back ends alike; by address, as many as chance wants. */
async function compare(backends: readonly Backend[]): Promise<void> {
  const affinity = new SessionAffinity({ backends });
  const options = only('TLSv1.2');
  const withAffinity = await comeBackFromElsewhere(await balancer(affinity), CLIENTS, options);
  const byAddress = await comeBackFromElsewhere(await addressBalancer(backends), BY_ADDRESS, options);
  if (process.env['AFFINITY_CLIENTS']) console.log({ withAffinity, byAddress, statistics: affinity.statistics });

  expect(withAffinity).toMatchObject({ sameBackend: CLIENTS, resumed: CLIENTS });
  expect(affinity.statistics).toMatchObject({ memory: CLIENTS, key: CLIENTS, storeErrors: 0, evicted: 0 });
  expect(withAffinity.first.size).toBe(backends.length);
  for (const count of withAffinity.first.values()) expect(count).toBeLessThan((3 * CLIENTS) / backends.length);
  expect(byAddress.resumed).toBe(byAddress.sameBackend);
  expect(byAddress.resumed).toBeLessThan((BY_ADDRESS / backends.length) * (backends.length > 2 ? 3 : 1.5));
}

describe('returning TLS 1.2 clients from changing addresses', () => {
  it(
    'all resume at Node back ends with tickets, and by address as good as none where there are twenty',
    async () => {
      await compare(await Promise.all(Array.from({ length: 20 }, (_, i) => nodeBackend(`${i}`))));
    },
    LONG,
  );

  it(
    'all resume at Node back ends with session IDs',
    async () => {
      await compare([await nodeBackend('a', 'session IDs'), await nodeBackend('b', 'session IDs')]);
    },
    LONG,
  );

  it(
    'all resume at back ends with ServerResumption',
    async () => {
      await compare([await nodeBackend('a', 'ServerResumption'), await nodeBackend('b', 'ServerResumption')]);
    },
    LONG,
  );

  nginx.describe('at nginx', () => {
    let servers: PeerServers;
    beforeAll(async () => {
      servers = await peerServers();
    });
    afterAll(() => servers?.remove());

    it.each([
      ['tickets', ''],
      ['session IDs', 'ssl_session_tickets off; ssl_session_cache shared:sessions:8m;'],
    ])(
      'all resume by %s',
      async (_, how) => {
        await compare([await nginxBackend(servers, 'a', how), await nginxBackend(servers, 'b', how)]);
      },
      LONG,
    );
  });
});

describe('returning TLS 1.3 clients', () => {
  it('are known by an identity that a back end has accepted once, and not before', async () => {
    const backends = [await nodeBackend('a'), await nodeBackend('b')];
    const affinity = new SessionAffinity({ backends });
    const port = await balancer(affinity);
    const options = only('TLSv1.3');
    const { name: home, session } = await travel(port, options);
    expect(affinity.statistics).toMatchObject({ entries: 0, learned: 0 });

    // Chance decides until the client meets the server again that knows its ticket.
    for (let back = await travel(port, { ...options, session }); !back.resumed; ) {
      expect(back.name).not.toBe(home);
      expect(affinity.statistics.entries).toBe(0);
      back = await travel(port, { ...options, session });
    }
    expect(affinity.statistics).toMatchObject({ entries: 1, learned: 1 });
    for (let again = 0; again < 20; again++) {
      expect(await travel(port, { ...options, session })).toMatchObject({ name: home, resumed: true });
    }
  });
});
