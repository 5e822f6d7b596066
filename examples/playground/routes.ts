/** What the playground answers over HTTP. */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { isFromOurPage } from './actions.js';
import { EventStream } from './event-stream.js';
import { CONTENT_SECURITY_POLICY, pageFor } from './page.js';
import type { PlaygroundServer } from './server.js';

interface Exchange {
  readonly playground: PlaygroundServer;
  readonly events: EventStream;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

type Route = (exchange: Exchange) => void;

const COMMON_HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'same-origin',
};
/** So that the next request of the page comes over a new connection, which shows whether it resumes. */
const LAST = { Connection: 'close' };

function send(response: ServerResponse, status: number, type: string, body: string, headers = {}): void {
  const length = Buffer.byteLength(body);
  response.writeHead(status, { ...COMMON_HEADERS, 'Content-Type': type, 'Content-Length': length, ...headers });
  response.end(body);
}

function sendJson(response: ServerResponse, value: unknown, status = 200, headers = {}): void {
  send(response, status, 'application/json', `${JSON.stringify(value)}\n`, headers);
}

function sendText(response: ServerResponse, status: number, text: string, headers = {}): void {
  send(response, status, 'text/plain; charset=utf-8', `${text}\n`, headers);
}

const ROUTES = new Map<string, Route>([
  [
    '/',
    ({ playground, request, response }) =>
      send(response, 200, 'text/html; charset=utf-8', pageFor(playground.handshakes.of(request.socket)?.number), {
        'Content-Security-Policy': CONTENT_SECURITY_POLICY,
        'Cross-Origin-Opener-Policy': 'same-origin',
        'Referrer-Policy': 'no-referrer',
        ...LAST,
      }),
  ],
  [
    '/connection',
    ({ playground, request, response }) => {
      if (request.url?.endsWith('?close')) response.setHeader('Connection', 'close');
      sendJson(response, playground.report(request.socket as TLSSocket));
    },
  ],
  [
    // A browser may take a connection that it opened earlier: by its age, in milliseconds, the page knows.
    '/visit',
    ({ playground, request, response }) => {
      const handshake = playground.handshakes.of(request.socket);
      if (handshake === undefined) sendText(response, 404, 'not known', LAST);
      else sendJson(response, { ...handshake, age: Date.now() - handshake.time }, 200, LAST);
    },
  ],
  ['/statistics', ({ playground, response }) => sendJson(response, playground.statistics)],
  [
    '/events',
    ({ playground, events, request, response }) => {
      if (request.method === 'HEAD') sendText(response, 200, '');
      else if (
        !events.open(response, COMMON_HEADERS, playground.dashboard.news(request.socket, playground.actions.names))
      )
        sendText(response, 503, 'too many pages are open', LAST);
    },
  ],
]);

async function act(name: string, { playground, request, response }: Exchange): Promise<void> {
  request.resume();
  if (!playground.actions.has(name)) sendText(response, 404, 'not found');
  else if (request.method !== 'POST') sendText(response, 405, 'only POST', { Allow: 'POST' });
  else if (!isFromOurPage(request)) sendText(response, 403, 'only for the page of this server', LAST);
  else {
    const answer = await playground.actions.run(name);
    playground.handshakes.tell();
    const { number } = playground.handshakes.of(request.socket) ?? {};
    sendJson(response, { ...answer, number }, answer.done ? 200 : 409, LAST);
  }
}

export function answerRequests(server: Server, playground: PlaygroundServer): void {
  const events = new EventStream(playground.handshakes);
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const exchange = { playground, events, request, response };
    const path = (request.url ?? '').replace(/\?.*$/s, '');
    const route = ROUTES.get(path);
    const action = /^\/actions\/(\w+)$/.exec(path)?.[1];
    if (action !== undefined) void act(action, exchange);
    else if (route === undefined) sendText(response, 404, 'not found');
    else if (request.method === 'GET' || request.method === 'HEAD') route(exchange);
    else sendText(response, 405, 'only GET', { Allow: 'GET, HEAD' });
  });
}
