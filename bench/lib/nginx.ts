/** nginx as a server to compare with, when it is installed and the system tells what it takes. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setApart } from './children.js';
import type { BenchServer, Site } from './handshake-servers.js';

export type NginxKind = 'cache' | 'tickets';

const KINDS: Readonly<Record<NginxKind, string>> = {
  cache: 'ssl_session_tickets off; ssl_session_cache shared:sessions:10m;',
  tickets: 'ssl_session_tickets on; ssl_session_cache off;',
};

/** An HTTP/0.9 request: the least that makes nginx answer, with a body and nothing else. */
const REQUEST = 'GET /\r\n';

/** Its version, or `undefined` where it cannot be compared with. */
export function nginxVersion(): string | undefined {
  const { error, stderr } = spawnSync('nginx', ['-v'], { encoding: 'utf8' });
  if (error !== undefined || cpuOf(process.pid) === undefined) return undefined;
  return /nginx\/(\S+)/.exec(stderr)?.[1];
}

/**
 * Microseconds of processor time that a process of one thread has had. Linux counts them in `schedstat`, and in `stat`
 * in ticks of 10 ms, which are too coarse for a batch.
 */
function cpuOf(pid: number): number | undefined {
  try {
    const [nanoseconds] = readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ');
    if (Number(nanoseconds) > 0) return Number(nanoseconds) / 1000;
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return undefined;
  }
}

function configuration(folder: string, port: number, kind: NginxKind, { ca }: Site): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
    daemon off;
    master_process off;
    pid ${folder}/nginx.pid;
    error_log stderr crit;
    events {}
    http {
      access_log off;
      ${temporary.map((use) => `${use}_temp_path ${folder}/${use};`).join(' ')}
      server {
        listen 127.0.0.1:${port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate ${folder}/cert.pem;
        ssl_certificate_key ${folder}/key.pem;
        ssl_session_timeout 1d;
        ${KINDS[kind]}
        ${ca === undefined ? '' : `ssl_client_certificate ${folder}/ca.pem; ssl_verify_client on;`}
        keepalive_timeout 0;
        location / { return 200 $ssl_session_reused; }
      }
    }
  `;
}

/** Until it takes connections. */
async function listening(child: ChildProcess, port: number): Promise<void> {
  while (child.exitCode === null) {
    const socket = net.connect(port, '127.0.0.1');
    const connected = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (connected) return;
  }
  throw new Error('nginx has ended');
}

/** One process, which is the worker; the way of resumption is the only one that it has. */
export async function startNginx(kind: NginxKind, site: Site): Promise<BenchServer> {
  const folder = mkdtempSync(join(tmpdir(), 'tls-resumption-nginx-'));
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  writeFileSync(join(folder, 'cert.pem'), site.cert);
  writeFileSync(join(folder, 'key.pem'), site.key, { mode: 0o600 });
  if (site.ca !== undefined) writeFileSync(join(folder, 'ca.pem'), site.ca);
  const file = join(folder, 'nginx.conf');
  writeFileSync(file, configuration(folder, port, kind, site));
  const child = spawn('nginx', ['-e', 'stderr', '-p', folder, '-c', file], { stdio: ['ignore', 'ignore', 'inherit'] });
  await once(child, 'spawn');
  await listening(child, port);
  setApart(child);
  return {
    port,
    request: REQUEST,
    cpu: async () => cpuOf(child.pid as number) ?? Number.NaN,
    async end() {
      child.kill();
      if (child.exitCode === null) await once(child, 'exit');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
