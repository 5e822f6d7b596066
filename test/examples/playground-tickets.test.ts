/** The playground with stateless tickets under keys of its own. */

import { once } from 'node:events';
import * as tls from 'node:tls';
import { decodeSslSession } from 'tls-resumption';
import { describe, expect, test } from 'vitest';
import { VERSIONS, visit } from '../support/visits.js';
import { get, jsonOf } from './http.js';
import { playground } from './processes.js';
import { Client, clients, keyNameOf, keysOf } from './ticket-clients.js';

const serve = (...args: string[]) => playground('--serve', '--mode', 'tickets', ...args);

describe('--mode tickets', () => {
  test.each(VERSIONS)('resumes by tickets over %s, and GET /connection says so', async (version) => {
    const port = await serve().port();
    const client = new Client(version);
    expect(jsonOf(await client.visit(port))).toMatchObject({ protocol: version, resumed: false, way: null });
    for (let i = 0; i < 3; i++) {
      expect(jsonOf(await client.visit(port))).toMatchObject({ protocol: version, resumed: true, way: 'ticket' });
    }
    const { ticketKeys, ...statistics } = jsonOf(await visit(port, { send: get('/statistics') }));
    expect(statistics).toMatchObject({ acceptGood: 5, hits: 3, number: 0 });
    expect(ticketKeys).toEqual({
      current: client.keyName,
      next: [],
      previous: [],
      lifetime: 300,
      rotations: 0,
      rotatedAt: null,
    });
  });

  test('prints a table in which every client that came back resumed by its ticket', async () => {
    const { code, stdout, stderr } = await playground('--mode', 'tickets', '--rotate', '1', '--exit').ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^(measuring \S+ \.\.\.\n)+$/) });
    const rows = stdout.split('\n').map((line) => line.split(/ {2,}/));
    for (const version of VERSIONS) {
      const resumed = rows.find(([, protocol, kind]) => protocol === version && kind === 'resumed');
      expect(resumed?.slice(0, 5)).toEqual([
        'ticket',
        version,
        'resumed',
        expect.stringMatching(/^[1-9]\d+$/),
        '100 %',
      ]);
    }
  });

  test('--timeout is how long a ticket lives', async () => {
    const client = new Client('TLSv1.3');
    await client.visit(await serve('--timeout', '604800').port());
    expect(decodeSslSession(client.session as Buffer)?.ticketLifetimeHint).toBe(604_800);
  });

  test('--rotate makes new keys, and clients come back across them', async () => {
    const port = await serve('--rotate', '0.5').port();
    const [old, current] = [clients(), clients()];
    for (const client of [...old, ...current]) await client.visit(port);
    const first = old.map(({ session }) => session);
    const names = new Set<string | undefined>();
    for (let rotations = 0; rotations < 4; { rotations } = await keysOf(port)) {
      for (const [i, client] of old.entries()) {
        client.session = first[i];
        expect(await client.come(port)).toBe('ticket');
      }
      for (const client of current) expect(await client.come(port)).toBe('ticket');
      names.add(current.at(-1)?.keyName);
    }
    expect(names.size).toBeGreaterThan(3);
    const { previous, rotatedAt } = await keysOf(port);
    expect(previous).toContain(keyNameOf(first[0]));
    expect(Date.now() - rotatedAt).toBeLessThan(60_000);
  });

  test('GET /events tells of a new key when nobody connects', async () => {
    const port = await serve('--rotate', '0.5').port();
    const events = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    events.on('error', () => {});
    let received = '';
    events.setEncoding('utf8').on('data', (text) => {
      received += text;
    });
    events.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    while (!received.includes('"rotations":2')) await once(events, 'data');
    events.destroy();
  });
});
