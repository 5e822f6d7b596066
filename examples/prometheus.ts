/**
 * What the library tells on its diagnostics channels, as metrics for Prometheus: `node --import tsx examples/prometheus.ts`,
 * then `curl http://127.0.0.1:…/metrics`. Names that clients send are no labels: each would be a time series.
 */

import { subscribe } from 'node:diagnostics_channel';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { Counter, Gauge, Registry } from 'prom-client';
import {
  DiagnosticsChannels,
  type FlushedMessage,
  type RefusedMessage,
  type ResumedMessage,
  type RotatedMessage,
  ServerResumption,
  SessionIdContextGuard,
  type StoredMessage,
  type StoreErrorMessage,
} from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

const registry = new Registry();

function counter(name: string, help: string, ...labelNames: string[]): Counter {
  return new Counter({ name: `tls_resumption_${name}_total`, help, labelNames, registers: [registry] });
}

function on<Message>(channel: string, count: (message: Message) => void): void {
  subscribe(channel, (message) => count(message as Message));
}

const resumed = counter('resumed', 'Connections that resumed, by way', 'guard', 'way');
on<ResumedMessage>(DiagnosticsChannels.Resumed, ({ guard, way }) => resumed.inc({ guard, way }));

const refused = counter('refused', 'Connections that offered to resume and did not, by reason', 'guard', 'reason');
on<RefusedMessage>(DiagnosticsChannels.Refused, ({ guard, reason }) => refused.inc({ guard, reason }));

const stored = counter('stored', 'Sessions that a cache kept', 'side');
on<StoredMessage>(DiagnosticsChannels.Stored, ({ side }) => stored.inc({ side }));

const flushed = counter('flushed', 'Sessions that left a cache, expired or cleared', 'cause');
on<FlushedMessage>(DiagnosticsChannels.Flushed, ({ cause, removed }) => flushed.inc({ cause }, removed));

const rotated = counter(
  'rotated',
  'Times that a guard forgot all sessions, or those of some settings',
  'guard',
  'scope',
);
on<RotatedMessage>(DiagnosticsChannels.Rotated, ({ guard, parameters }) =>
  rotated.inc({ guard, scope: parameters ? 'settings' : 'all' }),
);

const storeErrors = counter('store_errors', 'Calls of stores that failed', 'store', 'operation');
on<StoreErrorMessage>(DiagnosticsChannels.StoreError, ({ store, operation }) => storeErrors.inc({ store, operation }));

const guard = new SessionIdContextGuard({ name: 'shop' });
const resumption = new ServerResumption({ guard });

// What is counted already is read when Prometheus asks.
const { cache } = resumption;
new Gauge({
  name: 'tls_resumption_sessions',
  help: 'Sessions in the cache',
  registers: [registry],
  collect() {
    this.set(cache.size);
  },
});

const { key, cert } = await makeCertificate({ names: ['localhost', '127.0.0.1'] });
const server = createServer(resumption.secure({ key, cert }), (request, response) => {
  response.end(`${resumption.connection(request.socket)?.way ?? 'full handshake'}\n`);
});
resumption.attach(server);

/** For Prometheus alone: on loopback, and not on the server that the world sees. */
const metrics = createHttpServer(async (_request, response) => {
  response.writeHead(200, { 'Content-Type': registry.contentType });
  response.end(await registry.metrics());
});

const listen = (each: Server, port = '0'): Promise<number> =>
  new Promise((resolve) => {
    each.listen(Number(port), '127.0.0.1', () => resolve((each.address() as AddressInfo).port));
  });

console.log(`metrics are on http://127.0.0.1:${await listen(metrics, process.env['METRICS_PORT'])}/metrics`);
console.log(`listening on https://127.0.0.1:${await listen(server, process.env['PORT'])}`);

// `kill -HUP` forgets all sessions.
process.on('SIGHUP', () => guard.rotate('SIGHUP'));
process.once('SIGTERM', () => {
  for (const each of [server, metrics]) {
    each.close();
    each.closeAllConnections();
  }
});
