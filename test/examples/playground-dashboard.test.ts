/** What stands behind the playground's page: events, actions, and what is kept of the past. */

import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Actions, isFromOurPage } from '../../examples/playground/actions.js';
import { EventStream } from '../../examples/playground/event-stream.js';
import { HandshakeLog } from '../../examples/playground/handshake-log.js';
import { COLUMNS, History, STEP } from '../../examples/playground/history.js';
import { temporaryFolder } from '../support/peers.js';
import { visit } from '../support/visits.js';
import { get, jsonOf, statusOf } from './http.js';
import { playground } from './processes.js';

const post = (path: string, ...headers: string[]): string =>
  [`POST ${path} HTTP/1.1`, 'Host: localhost:1', 'Connection: close', 'Content-Length: 0', ...headers, '', ''].join(
    '\r\n',
  );

const OURS = 'Sec-Fetch-Site: same-origin';

/** The first event of a page that is opened, and its connection. */
async function listenTo(port: number): Promise<{ first: { settings: { actions: string[] } }; socket: tls.TLSSocket }> {
  const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  socket.on('error', () => {});
  socket.setEncoding('utf8').write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
  let received = '';
  while (!/^data: .*\n\n/m.test(received)) {
    const [text] = await once(socket, 'data');
    received += text;
    if (received.startsWith('HTTP/1.1 503')) throw new Error('no room');
  }
  return { first: JSON.parse(/^data: (.*)$/m.exec(received)?.[1] as string), socket };
}

describe('POST /actions', () => {
  test('is for the page of this server alone', async () => {
    const port = await playground('--serve').port();
    const answers = async (...headers: string[]) =>
      statusOf(await visit(port, { send: post('/actions/forget', ...headers) }));
    for (const site of ['cross-site', 'same-site', 'none', 'nonsense']) {
      expect(await answers(`Sec-Fetch-Site: ${site}`, 'Origin: https://localhost:1')).toBe(403);
    }
    expect(await answers()).toBe(403);
    expect(await answers('Origin: null')).toBe(403);
    expect(await answers('Origin: https://elsewhere.example')).toBe(403);
    expect(await answers('Origin: http://localhost:1')).toBe(403);
    expect(await answers('Origin: https://localhost:1')).toBe(200);
    expect(await answers(OURS)).toBe(200);
  });

  test('says what was done; other methods are 405, other names 404', async () => {
    const port = await playground('--serve').port();
    const forget = await visit(port, { send: post('/actions/forget', OURS) });
    expect(jsonOf(forget)).toEqual({ done: true, text: expect.stringMatching(/^Forgotten/), number: 1 });
    const asked = await visit(port, { send: get('/actions/forget') });
    expect(statusOf(asked)).toBe(405);
    expect(asked.received).toMatch(/^allow: POST\r$/im);
    for (const name of ['rotate', 'constructor', '', 'forget/']) {
      expect(statusOf(await visit(port, { send: post(`/actions/${name}`, OURS) }))).toBe(404);
    }
  });

  test('while clients are measured nothing disturbs them', async () => {
    const program = playground();
    await program.printed(/measuring TLSv1\.2/);
    const answer = await visit(await program.port(), { send: post('/actions/reload', OURS) });
    expect(statusOf(answer)).toBe(409);
    expect(jsonOf(answer)).toMatchObject({ done: false, text: expect.stringMatching(/^Not while/) });
  });
});

describe('GET /events', () => {
  test.each([
    ['flush, forget, reload', []],
    ['forget, reload', ['--store', 'lmdb:']],
    ['rotate, forget, reload', ['--mode', 'tickets']],
    ['forget, reload', ['--mode', 'tickets', '--ticket-key-format', 'node', '--ticket-keys']],
    ['reload', ['--mode', 'none']],
  ])('begins with what there is to do: %s with %j', async (actions, args) => {
    const folder = await temporaryFolder();
    const file = join(folder.path, 'keys');
    await writeFile(file, randomBytes(48));
    const last = args.at(-1);
    const given = last?.startsWith('lmdb:') ? [...args.slice(0, -1), `lmdb:${folder.path}`] : args;
    const port = await playground('--serve', ...given, ...(last === '--ticket-keys' ? [file] : [])).port();
    const { first, socket } = await listenTo(port);
    expect(first.settings.actions.join(', ')).toBe(actions);
    socket.destroy();
    await folder.remove();
  });

  test('has room for 32 pages at once, and again when one has gone', async () => {
    const port = await playground('--serve').port();
    const open: tls.TLSSocket[] = [];
    for (let n = 0; n < 32; n++) open.push((await listenTo(port)).socket);
    expect(statusOf(await visit(port, { send: get('/events') }))).toBe(503);
    open.pop()?.destroy();
    const { socket } = await vi.waitFor(() => listenTo(port), { timeout: 10_000 });
    for (const each of [...open, socket]) each.destroy();
  });
});

class FakeResponse extends EventEmitter {
  writableNeedDrain = false;
  ended = false;
  destroyed = false;
  readonly written: string[] = [];
  writeHead(): void {}
  write(text: string): void {
    this.written.push(text);
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

const REPORT = { protocol: 'TLSv1.3', cipher: 'c', resumed: true, way: null, servername: null, alpn: null } as const;

describe('EventStream', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function opened() {
    const log = new HandshakeLog();
    const response = new FakeResponse();
    let calls = 0;
    const stream = new EventStream(log);
    stream.open(response as unknown as ServerResponse, {}, () => ({ call: ++calls }));
    return { log, response, stream };
  }

  test('tells at once, then once for all that happens in a tenth of a second', () => {
    const { log, response } = opened();
    for (let n = 0; n < 5; n++) log.add({}, REPORT, null);
    expect(response.written).toEqual(['data: {"call":1}\n\n']);
    vi.advanceTimersByTime(100);
    expect(response.written).toEqual(['data: {"call":1}\n\n', 'data: {"call":2}\n\n']);
  });

  test('gives signs of life, and nothing more once it is closed', () => {
    const { log, response } = opened();
    vi.advanceTimersByTime(30_000);
    expect(response.written.slice(1)).toEqual([':\n\n', ':\n\n']);
    log.tell();
    log.close();
    vi.advanceTimersByTime(60_000);
    expect(response.ended).toBe(true);
    expect(response.written).toHaveLength(3);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('holds nothing back for a reader that is behind, and lets go of one that stays behind', () => {
    const { log, response } = opened();
    response.writableNeedDrain = true;
    for (let n = 0; n < 50; n++) {
      log.add({}, REPORT, null);
      vi.advanceTimersByTime(100);
    }
    expect(response.written).toHaveLength(1);
    expect(response.listenerCount('drain')).toBe(1);
    response.writableNeedDrain = false;
    response.emit('drain');
    expect(response.written).toEqual(['data: {"call":1}\n\n', 'data: {"call":2}\n\n']);
    response.writableNeedDrain = true;
    vi.advanceTimersByTime(45_000);
    expect(response.destroyed).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });
});

test('of two actions at once the second is told to wait, and a failure is an answer', async () => {
  let finish = (): void => {};
  const actions = new Actions({
    slow: () => new Promise((resolve) => (finish = () => resolve('slowly'))),
    bad: () => {
      throw new Error('no paper');
    },
  });
  const slow = actions.run('slow');
  expect(await actions.run('bad')).toEqual({ done: false, text: 'Another action is under way.' });
  finish();
  expect(await slow).toEqual({ done: true, text: 'slowly' });
  expect(await actions.run('bad')).toEqual({ done: false, text: 'Not done: no paper.' });
});

test('a request without a host is from nobody', () => {
  expect(isFromOurPage({ headers: { origin: 'https://undefined' } })).toBe(false);
});

test('the log keeps 50 handshakes, and counts all', () => {
  const log = new HandshakeLog();
  const sockets = Array.from({ length: 60 }, () => ({}));
  for (const [i, socket] of sockets.entries()) {
    log.add(socket, { ...REPORT, resumed: i % 3 === 0 }, i % 3 === 0 ? null : 'unknown');
  }
  expect(log.last.map(({ number }) => number)).toEqual(Array.from({ length: 50 }, (_, i) => 60 - i));
  expect(log.totals).toEqual({ handshakes: 60, resumed: 20, reasons: { unknown: 40 } });
  expect(log.of(sockets[0] as object)?.number).toBe(1);
});

describe('History', () => {
  test('counts in columns, and says the share of the last 20', () => {
    let now = 1000 * STEP * 1000;
    const history = new History(() => now);
    for (let n = 0; n < 30; n++) history.handshake(n >= 15);
    expect(history.columns).toEqual([{ at: 1000, full: 15, resumed: 15, share: 0.75, sessions: 0, bytes: 0 }]);
    now += 3 * STEP * 1000;
    history.cache(7, 900);
    history.cache(7, 900);
    expect(history.columns[1]).toEqual({ at: 1003, full: 0, resumed: 0, share: 0.75, sessions: 7, bytes: 900 });
    now -= 2 * STEP * 1000;
    history.handshake(true);
    expect(history.columns[1]).toEqual({ at: 1003, full: 0, resumed: 1, share: 0.8, sessions: 7, bytes: 900 });
  });

  test('keeps what a chart shows, and the column before', () => {
    let now = 0;
    const history = new History(() => now);
    for (let n = 0; n < 5 * COLUMNS; n++) {
      now += STEP * 1000;
      history.handshake(true);
    }
    expect(history.columns).toHaveLength(COLUMNS + 1);
    now += 10 * COLUMNS * STEP * 1000;
    history.handshake(false);
    expect(history.columns.map(({ at }) => at)).toEqual([5 * COLUMNS, 15 * COLUMNS]);
  });
});
