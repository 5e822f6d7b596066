/** What the playground answers over HTTP. */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { CONTENT_SECURITY_POLICY, PAGE } from './page.js';
import type { PlaygroundServer } from './server.js';

type Route = (playground: PlaygroundServer, request: IncomingMessage, response: ServerResponse) => void;

/** Milliseconds; several handshakes in a row make one event. */
const EVENT_INTERVAL = 100;

const COMMON_HEADERS = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' };

function send(response: ServerResponse, status: number, type: string, body: string, headers = {}): void {
  const length = Buffer.byteLength(body);
  response.writeHead(status, { ...COMMON_HEADERS, 'Content-Type': type, 'Content-Length': length, ...headers });
  response.end(body);
}

function sendJson(response: ServerResponse, value: unknown): void {
  send(response, 200, 'application/json', `${JSON.stringify(value)}\n`);
}

function sendText(response: ServerResponse, status: number, text: string, headers = {}): void {
  send(response, status, 'text/plain; charset=utf-8', `${text}\n`, headers);
}

/** Server-sent events for the page: statistics and the last handshakes, now and after each handshake. */
function sendEvents(playground: PlaygroundServer, response: ServerResponse): void {
  response.writeHead(200, { ...COMMON_HEADERS, 'Content-Type': 'text/event-stream' });
  let waiting: NodeJS.Timeout | undefined;
  const write = (): void => {
    waiting = undefined;
    const { statistics, handshakes } = playground;
    response.write(`data: ${JSON.stringify({ statistics, handshakes: handshakes.last })}\n\n`);
  };
  const unsubscribe = playground.handshakes.subscribe({
    changed: () => {
      waiting ??= setTimeout(write, EVENT_INTERVAL);
    },
    closed: () => response.end(),
  });
  response.on('close', () => {
    clearTimeout(waiting);
    unsubscribe();
  });
  write();
}

const ROUTES = new Map<string, Route>([
  [
    '/',
    (_playground, _request, response) =>
      send(response, 200, 'text/html; charset=utf-8', PAGE, {
        'Content-Security-Policy': CONTENT_SECURITY_POLICY,
        // So that a reload is a new connection, and shows whether it resumes.
        Connection: 'close',
      }),
  ],
  [
    '/connection',
    (playground, request, response) => {
      if (request.url?.endsWith('?close')) response.setHeader('Connection', 'close');
      sendJson(response, playground.report(request.socket as TLSSocket));
    },
  ],
  ['/statistics', (playground, _request, response) => sendJson(response, playground.statistics)],
  [
    '/events',
    (playground, request, response) => {
      if (request.method === 'HEAD') sendText(response, 200, '');
      else sendEvents(playground, response);
    },
  ],
]);

export function answerRequests(server: Server, playground: PlaygroundServer): void {
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const route = ROUTES.get((request.url ?? '').replace(/\?.*$/s, ''));
    if (route === undefined) sendText(response, 404, 'not found');
    else if (request.method === 'GET' || request.method === 'HEAD') route(playground, request, response);
    else sendText(response, 405, 'only GET', { Allow: 'GET, HEAD' });
  });
}
