/**
 * A server that takes new certificates when their files change, as certbot and Kubernetes leave them:
 * `CERT=cert.pem KEY=key.pem node --import tsx examples/reload-on-change.ts`. Without these it makes some, in a new folder.
 *
 * What connections there are go on; sessions of the certificate before are not resumed. Files that do not fit yet, as
 * one of them is still to be written, change nothing.
 */

import { type FSWatcher, watch } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createServer } from 'node:tls';
import { ServerResumption } from 'tls-resumption';
import { makeCertificate } from './support/certificates.js';

async function newFiles(): Promise<{ cert: string; key: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'certificates-'));
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const made = await makeCertificate({ names: ['localhost'] });
  await Promise.all([writeFile(files.cert, made.cert), writeFile(files.key, made.key, { mode: 0o600 })]);
  return files;
}

const { CERT, KEY } = process.env as { CERT?: string; KEY?: string };
const files = CERT && KEY ? { cert: CERT, key: KEY } : await newFiles();
const read = async () => ({ cert: await readFile(files.cert), key: await readFile(files.key) });

const resumption = new ServerResumption();
const server = createServer(resumption.secure(await read()), (socket) => {
  socket.on('error', (error) => console.error(error.message));
  socket.end(resumption.connection(socket)?.way ?? 'full handshake');
});
const attachment = resumption.attach(server);

async function reload(): Promise<void> {
  try {
    const { changed, sessions, handshakes } = await resumption.reload(server, { options: await read() });
    for (const { changes } of changed) {
      const what = changes.map(({ setting, change }) => `${setting} ${change}`).join(', ');
      console.log(`${what}: ${sessions} sessions forgotten, ${handshakes.ended} handshakes ended`);
    }
  } catch (error) {
    console.log(`not reloaded: ${(error as Error).message}`);
  }
}

// Of the folders, as files are often put in place by a rename; once for all that happens within 100 ms.
let soon: NodeJS.Timeout | undefined;
const watchers: FSWatcher[] = [...new Set([dirname(files.cert), dirname(files.key)])].map((folder) =>
  watch(folder, () => {
    clearTimeout(soon);
    soon = setTimeout(() => void reload(), 100);
  }),
);

server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
  console.log(`watching ${files.cert} and ${files.key}`);
  console.log(`listening on 127.0.0.1:${(server.address() as AddressInfo).port}`);
});

process.once('SIGTERM', () => {
  clearTimeout(soon);
  for (const watcher of watchers) watcher.close();
  server.close(() => attachment[Symbol.dispose]());
});
