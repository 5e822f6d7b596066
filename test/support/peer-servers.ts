/**
 * Other programs as servers: HAProxy, nginx, Apache httpd and openssl s_server on free ports of loopback, each with a
 * configuration of its own in a temporary folder. To every request they answer whether the session was resumed.
 */

import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import * as net from 'node:net';
import { join } from 'node:path';
import { type Peer, peer, type Running, temporaryFolder } from './peers.js';
import { freePort } from './ports.js';

/** Milliseconds until a program must accept connections, and between two looks whether it does. */
const START_TIMEOUT = 30_000;
const START_POLL = 10;
/** Another process can take a port between its choice and its use. */
const ATTEMPTS = 3;

/** What a server is set up with. */
export interface Site {
  /** PEM text. */
  readonly key: string;
  readonly cert: string;
  /** What the program's ticket key file holds; s_server reads none. */
  readonly ticketKeys?: Uint8Array | string;
  /** Directives to put into the virtual host, or into what the program has in its place. */
  readonly more?: string;
}

/** Where it stands. */
interface Place {
  readonly folder: string;
  readonly port: number;
  /** PEM: certificate and key together, and each alone. */
  readonly bundleFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly ticketKeyFile: string;
}

/** A program that serves. */
export interface ServerProgram extends Pick<Peer, 'name' | 'describe'> {
  readonly peer: Peer;
  /** The text of its configuration. */
  configure(place: Place, more: string): string;
  /** The arguments that make it stay in the foreground with that configuration. */
  args(configFile: string, place: Place): readonly string[];
}

export interface RunningServer {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

/** The servers of a test file, and the folder where they live. */
export interface PeerServers {
  readonly folder: string;
  start(program: ServerProgram, site: Site): Promise<RunningServer>;
  stopAll(): Promise<void>;
  /** Stops all and removes the folder. */
  remove(): Promise<void>;
}

/** What a server said of a connection in its answer; `undefined` when it did not answer. */
export function saidResumed(answer: string): boolean | undefined {
  const [, header, text] = /^Resumed: (true|false)\r?$|^(New|Reused), TLS/im.exec(answer) ?? [];
  if (header === undefined && text === undefined) return undefined;
  return header === 'true' || text === 'Reused';
}

function serverProgram(found: Peer, how: Pick<ServerProgram, 'configure' | 'args'>): ServerProgram {
  return { name: found.name, peer: found, describe: (title, tests) => found.describe(title, tests), ...how };
}

export const haproxy = serverProgram(peer('haproxy'), {
  configure: ({ port, bundleFile, ticketKeyFile }, more) => `
    defaults
      mode http
      timeout client 10s
      timeout http-request 10s
    frontend tickets
      bind 127.0.0.1:${port} ssl crt ${bundleFile} tls-ticket-keys ${ticketKeyFile} ${more}
      http-request return status 200 hdr Resumed %[ssl_fc_is_resumed,iif(true,false)] hdr Connection close
  `,
  args: (configFile) => ['-db', '-f', configFile],
});

export const nginx = serverProgram(peer('nginx'), {
  configure: ({ folder, port, certFile, keyFile, ticketKeyFile }, more) => `
    daemon off;
    master_process off;
    pid ${folder}/nginx.pid;
    error_log stderr;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((use) => `${use}_temp_path ${folder}/${use};`).join(' ')}
      map $ssl_session_reused $resumed { r true; default false; }
      server {
        listen 127.0.0.1:${port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate ${certFile};
        ssl_certificate_key ${keyFile};
        ssl_session_ticket_key ${ticketKeyFile};
        keepalive_timeout 0;
        add_header Resumed $resumed;
        ${more}
        location / { return 200; }
      }
    }
  `,
  args: (configFile, { folder }) => ['-e', 'stderr', '-p', folder, '-c', configFile],
});

export const opensslServer = serverProgram(peer('openssl'), {
  configure: () => '',
  args: (_configFile, { port, certFile, keyFile }) => [
    's_server',
    '-accept',
    `127.0.0.1:${port}`,
    '-cert',
    certFile,
    '-key',
    keyFile,
    '-www',
    '-quiet',
  ],
});

/** Started by root, it refuses to serve as root. */
const APACHE_USER = process.getuid?.() === 0 ? 'User www-data\nGroup www-data' : '';
const APACHE_MODULES = ['mpm_event', 'authz_core', 'socache_shmcb', 'headers', 'ssl']
  .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`)
  .join('\n');

export const apache = serverProgram(peer('apache2', 'httpd'), {
  configure: ({ folder, port, certFile, keyFile, ticketKeyFile }, more) => `
    ServerRoot ${folder}
    DefaultRuntimeDir ${folder}
    PidFile ${folder}/apache.pid
    ErrorLog ${folder}/error.log
    Mutex posixsem
    ${APACHE_MODULES}
    ${APACHE_USER}
    Listen 127.0.0.1:${port}
    ServerName localhost
    DocumentRoot ${folder}
    StartServers 1
    KeepAlive off
    SSLSessionTicketKeyFile ${ticketKeyFile}
    <VirtualHost 127.0.0.1:${port}>
      SSLEngine on
      SSLProtocol -all +TLSv1.2 +TLSv1.3
      SSLCertificateFile ${certFile}
      SSLCertificateKeyFile ${keyFile}
      Header always set Resumed false
      Header always set Resumed true "expr=%{SSL:SSL_SESSION_RESUMED} == 'Resumed'"
      ${more}
    </VirtualHost>
  `,
  args: (configFile) => ['-DFOREGROUND', '-f', configFile],
});

export async function peerServers(): Promise<PeerServers> {
  const { path: folder, remove } = await temporaryFolder();
  const running = new Set<RunningServer>();
  let started = 0;

  async function attempt(program: ServerProgram, { more = '', ...site }: Site): Promise<RunningServer | string> {
    const place = await settle(join(folder, `${program.name}-${started++}`), site);
    const configFile = join(place.folder, 'configuration');
    await writeFile(configFile, `${program.configure(place, more)}\n`);
    const process = program.peer.start(program.args(configFile, place));
    const server = {
      port: place.port,
      pid: process.pid as number,
      async stop() {
        running.delete(server);
        process.end();
        await process.ended;
      },
    };
    running.add(server);
    if (await accepts(place.port, process)) return server;
    await server.stop();
    return process.said.output;
  }

  const stopAll = async (): Promise<void> => {
    await Promise.all([...running].map((server) => server.stop()));
  };
  return {
    folder,
    async start(program, site) {
      const failures: string[] = [];
      while (failures.length < ATTEMPTS) {
        const server = await attempt(program, site);
        if (typeof server !== 'string') return server;
        failures.push(server);
      }
      throw new Error(`${program.name} did not start:\n${failures.join('\n')}`);
    },
    stopAll,
    async remove() {
      await stopAll();
      await remove();
    },
  };
}

/** A folder, with the files of a site in it, and a port. */
async function settle(folder: string, { key, cert, ticketKeys = '' }: Omit<Site, 'more'>): Promise<Place> {
  await mkdir(folder);
  const files = { bundleFile: `${cert}\n${key}\n`, certFile: cert, keyFile: key, ticketKeyFile: ticketKeys };
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return {
    folder,
    port: await freePort(),
    bundleFile: join(folder, 'bundleFile'),
    certFile: join(folder, 'certFile'),
    keyFile: join(folder, 'keyFile'),
    ticketKeyFile: join(folder, 'ticketKeyFile'),
  };
}

/** Waits until connections are accepted; `false` when the program ends before. */
async function accepts(port: number, { ended }: Running): Promise<boolean> {
  const over = new AbortController();
  const { signal } = over;
  const end = () => over.abort();
  ended.then(end, end);
  const timer = setTimeout(end, START_TIMEOUT);
  try {
    while (!signal.aborted) {
      if (await connects(port)) return true;
      await new Promise((resolve) => setTimeout(resolve, START_POLL));
    }
    return false;
  } finally {
    clearTimeout(timer);
  }
}

async function connects(port: number): Promise<boolean> {
  const socket = net.connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
