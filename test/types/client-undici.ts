/** What users may write against `tls-resumption/client/undici`. Compiled by scripts/typecheck-dist, never run. */

import { type ClientReloadReport, ClientResumption } from 'tls-resumption';
import {
  type UndiciConnected,
  type UndiciConnectOptions,
  type UndiciConnector,
  type UndiciConnectorOptions,
  undiciConnector,
} from 'tls-resumption/client/undici';

const resumption = new ClientResumption();
const options: UndiciConnectorOptions = {
  ca: 'PEM',
  allowH2: true,
  timeout: 1000,
  keepAlive: true,
  servername: 'a.test',
};
const connect: UndiciConnector = undiciConnector(resumption, options);

const wish: UndiciConnectOptions = { hostname: 'a.test', protocol: 'https:', port: 443 };
const connected: UndiciConnected = (error, socket) => void (error === null ? socket.destroy() : error.message);
connect(wish, connected);
export const report: ClientReloadReport = resumption.reload(connect, { ca: 'PEM' });

// @ts-expect-error: whose sessions they are is never left out
undiciConnector();
// @ts-expect-error: milliseconds
undiciConnector(resumption, { timeout: '10s' });
