/** `npm start`: a server, clients that come back to it, what that saved, and then your own browser. */

import { isIPv6 } from 'node:net';
import { HELP, type PlaygroundOptions, parseArguments, UsageError, versionsOf } from './arguments.js';
import { measure } from './measure.js';
import { Progress } from './progress.js';
import { PlaygroundServer } from './server.js';
import { formatTable, LEGEND } from './table.js';

const stopping = new AbortController();
// More than once: npm hands on a signal that the terminal has sent to everyone already.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopping.abort());

function warn(message: string): void {
  process.stderr.write(`playground: ${message}\n`);
}

function readArguments(): PlaygroundOptions | undefined {
  try {
    const options = parseArguments(process.argv.slice(2));
    if (options === undefined) process.stdout.write(HELP);
    return options;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    warn(error.message);
    process.exitCode = 2;
    return undefined;
  }
}

const ANY_ADDRESS = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

async function showTable(server: PlaygroundServer, options: PlaygroundOptions, port: number): Promise<void> {
  const measurements = await measure({
    server,
    port,
    host: ANY_ADDRESS.get(options.host) ?? options.host,
    versions: versionsOf(options),
    progress: new Progress(process.stderr),
    signal: stopping.signal,
  });
  if (measurements !== undefined) process.stdout.write(`\n${formatTable(measurements)}\n${LEGEND}`);
}

function invitation(url: string): string {
  return `
See your own browser resume: open ${url}/ and accept the certificate, which was made just now;
then press "Visit again", or reload. Without a browser: curl -k ${url}/connection
Ctrl-C stops the server.
`;
}

async function run(options: PlaygroundOptions): Promise<void> {
  const { host, serve, exit } = options;
  const server = await PlaygroundServer.create(options, warn);
  try {
    const port = await server.listen(options.port, host);
    const url = `https://${isIPv6(host) ? `[${host}]` : host}:${port}`;
    process.stdout.write(`listening on ${url}\n`);
    if (!serve) await showTable(server, options, port);
    if (exit || stopping.signal.aborted) return;
    process.stdout.write(invitation(url));
    await new Promise((resolve) => stopping.signal.addEventListener('abort', resolve));
  } finally {
    await server.close();
  }
}

const options = readArguments();
if (options !== undefined) {
  await run(options).catch((error: Error) => {
    warn(error.message);
    process.exitCode = 1;
  });
}
