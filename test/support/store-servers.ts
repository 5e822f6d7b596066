/**
 * Engines that stores are over: Redis, a cluster of three, memcached, and nginx with WebDAV, from the programs of this
 * machine, on free ports of loopback and in a temporary folder of their own.
 */

import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import * as net from 'node:net';
import { join } from 'node:path';
import { type Peer, peer, type Running, temporaryFolder } from './peers.js';
import { freePort } from './ports.js';

/** Milliseconds until a program must answer, and between two looks whether it does. */
const START_TIMEOUT = 30_000;
const START_POLL = 10;
/** Another process can take a port between its choice and its use. */
const ATTEMPTS = 3;

const redisServer = peer('redis-server', 'valkey-server');
const memcachedServer = peer('memcached');
const nginxServer = peer('nginx');

/** Vitest's `describe`, or what stands for it where the program is missing. */
export const describeRedis = redisServer.describe;
export const describeMemcached = memcachedServer.describe;
export const describeNginx = nginxServer.describe;

/** A server that can be mistreated. */
export interface StoreServer {
  readonly port: number;
  /** Where it keeps its files. */
  readonly folder: string;
  /** Holds it: connections stay, and nothing is answered (SIGSTOP). */
  freeze(): void;
  /** Lets it go on. */
  thaw(): void;
  /** Ends it at once (SIGKILL). */
  kill(): Promise<void>;
  /** Starts it again on the same port; what it held in memory is gone. */
  restart(): Promise<void>;
}

export interface RedisServer extends StoreServer {
  /** Asks it something over a connection of its own, without any client: text answers only. */
  ask(...command: string[]): Promise<string>;
}

export interface RedisCluster {
  readonly nodes: readonly RedisServer[];
  readonly ports: readonly number[];
}

/** The servers of a test file. */
export interface StoreServers {
  /** @param more arguments of redis-server, such as `--maxmemory 2mb` */
  redis(...more: string[]): Promise<RedisServer>;
  /** Three masters, and a replica of each if asked for. */
  redisCluster(options?: { replicas?: boolean }): Promise<RedisCluster>;
  memcached(...more: string[]): Promise<StoreServer>;
  /** Takes GET, PUT and DELETE of files under `/sessions/`, and whatever `more` says in its `server` block. */
  nginx(more?: string): Promise<StoreServer>;
  /** Ends all, and removes their folders. */
  remove(): Promise<void>;
}

interface Place {
  readonly folder: string;
  readonly port: number;
  /** For those that need a second one. */
  readonly otherPort: number;
}

/** A program, and how it is started at a place. */
interface Engine {
  readonly program: Peer;
  prepare?(place: Place): Promise<void>;
  args(place: Place): readonly string[];
  /** Whether it does what it is for; a failure means not yet. */
  ready(place: Place): Promise<unknown>;
}

export async function storeServers(): Promise<StoreServers> {
  const { path, remove } = await temporaryFolder();
  const servers = new Set<Server>();
  let count = 0;

  async function start(engine: Engine): Promise<Server> {
    const failures: string[] = [];
    while (failures.length < ATTEMPTS) {
      const folder = join(path, `${engine.program.name}-${count++}`);
      await mkdir(folder);
      const server = new Server(engine, { folder, port: await freePort(), otherPort: await freePort() });
      servers.add(server);
      const failure = await server.start();
      if (failure === undefined) return server;
      failures.push(failure);
    }
    throw new Error(`${engine.program.name} did not start:\n${failures.join('\n')}`);
  }

  return {
    redis: (...more) => start(redisEngine(() => more)),
    async redisCluster({ replicas = false } = {}) {
      const nodes = await Promise.all(
        Array.from({ length: replicas ? 6 : 3 }, () =>
          start(redisEngine(({ otherPort }) => clusterArguments(otherPort))),
        ),
      );
      await joinNodes(nodes);
      return { nodes, ports: nodes.map(({ port }) => port) };
    },
    memcached: (...more) => start(memcachedEngine(more)),
    nginx: (more = '') => start(nginxEngine(more)),
    async remove() {
      await Promise.all([...servers].map((server) => server.kill()));
      await remove();
    },
  };
}

class Server implements RedisServer {
  readonly #engine: Engine;
  readonly #place: Place;
  #running: Running | undefined;

  constructor(engine: Engine, place: Place) {
    this.#engine = engine;
    this.#place = place;
  }

  get port(): number {
    return this.#place.port;
  }

  get folder(): string {
    return this.#place.folder;
  }

  /** @returns what it said, if it ended instead */
  async start(): Promise<string | undefined> {
    await this.#engine.prepare?.(this.#place);
    const running = this.#engine.program.start(this.#engine.args(this.#place));
    this.#running = running;
    if (await becomes(() => this.#engine.ready(this.#place), running)) return undefined;
    await this.kill();
    return running.said.output;
  }

  freeze(): void {
    this.#signal('SIGSTOP');
  }

  thaw(): void {
    this.#signal('SIGCONT');
  }

  async kill(): Promise<void> {
    this.#running?.end();
    await this.#running?.ended;
  }

  async restart(): Promise<void> {
    await this.kill();
    const failure = await this.start();
    if (failure !== undefined) throw new Error(`did not start again:\n${failure}`);
  }

  async ask(...command: string[]): Promise<string> {
    return askRedis(this.port, command);
  }

  #signal(signal: NodeJS.Signals): void {
    const pid = this.#running?.pid;
    if (pid !== undefined) process.kill(pid, signal);
  }
}

function redisEngine(more: (place: Place) => readonly string[]): Engine {
  return {
    program: redisServer,
    args: (place) => [
      ...['--bind', '127.0.0.1', '--port', String(place.port), '--dir', place.folder],
      ...['--save', '', '--appendonly', 'no', '--daemonize', 'no', '--loglevel', 'warning'],
      ...['--repl-diskless-sync-delay', '0', ...more(place)],
    ],
    async ready({ port }) {
      const answer = await askRedis(port, ['PING']);
      if (answer !== '+PONG') throw new Error(answer);
    },
  };
}

function clusterArguments(busPort: number): string[] {
  return [
    ...['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-port', String(busPort)],
    ...['--cluster-node-timeout', '2000', '--cluster-replica-validity-factor', '0'],
  ];
}

const SLOTS = 16_384;

/** Makes a cluster of nodes: the first three share the slots, the others are replicas of one each. */
async function joinNodes(nodes: readonly RedisServer[]): Promise<void> {
  const masters = nodes.slice(0, 3);
  const bound = (n: number): number => Math.floor((n * SLOTS) / masters.length);
  for (const [n, node] of nodes.entries()) {
    await node.ask('CLUSTER', 'SET-CONFIG-EPOCH', String(n + 1));
    if (n < 3) await node.ask('CLUSTER', 'ADDSLOTSRANGE', String(bound(n)), String(bound(n + 1) - 1));
  }
  const [first] = masters as [RedisServer];
  for (const node of nodes.slice(1)) {
    const busPort = /@(\d+)/.exec(await node.ask('CLUSTER', 'NODES'))?.[1] as string;
    await first.ask('CLUSTER', 'MEET', '127.0.0.1', String(node.port), busPort);
  }
  const see = (text: RegExp, times: number) => async (): Promise<void> => {
    for (const node of nodes) {
      const seen = (await node.ask('CLUSTER', 'NODES')).match(text)?.length ?? 0;
      if (seen !== times) throw new Error(`${seen} of ${times}`);
    }
  };
  await until('the nodes to know each other', see(/ connected/g, nodes.length));
  for (const [n, node] of nodes.slice(3).entries()) {
    const id = await (masters[n] as RedisServer).ask('CLUSTER', 'MYID');
    await node.ask('CLUSTER', 'REPLICATE', id.split('\n').at(-1) as string);
  }
  await until('the cluster', async () => {
    await see(/slave /g, nodes.length - 3)();
    for (const node of nodes) {
      const state = await node.ask('CLUSTER', 'INFO');
      if (!state.includes('cluster_state:ok')) throw new Error(state);
    }
    for (const node of nodes.slice(3)) {
      const replication = await node.ask('INFO', 'replication');
      if (!replication.includes('master_link_status:up')) throw new Error(replication);
    }
  });
}

function memcachedEngine(more: readonly string[]): Engine {
  const user = process.getuid?.() === 0 ? ['-u', 'root'] : [];
  return {
    program: memcachedServer,
    args: ({ port }) => ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-t', '1', ...user, ...more],
    ready: ({ port }) => talk(port, 'version\r\n', (said) => /^VERSION .*\r\n/.test(said)),
  };
}

function nginxEngine(more: string): Engine {
  return {
    program: nginxServer,
    async prepare({ folder, port }) {
      await mkdir(join(folder, 'root', 'sessions'), { recursive: true });
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((use) => `${use}_temp_path ${folder}/${use};`)
        .join(' ');
      await writeFile(
        join(folder, 'configuration'),
        `daemon off;
        master_process off;
        pid ${folder}/nginx.pid;
        error_log stderr;
        events {}
        http {
          access_log off;
          ${temporary}
          server {
            listen 127.0.0.1:${port};
            root ${folder}/root;
            default_type application/octet-stream;
            location /sessions/ { dav_methods PUT DELETE; }
            ${more}
          }
        }
        `,
      );
    },
    args: ({ folder }) => ['-e', 'stderr', '-p', folder, '-c', join(folder, 'configuration')],
    ready: ({ port }) => talk(port, 'GET / HTTP/1.0\r\n\r\n', (said) => said.startsWith('HTTP/1.1 ')),
  };
}

/** The answer of a Redis server, as it is on the wire but for the length before a text. */
async function askRedis(port: number, command: readonly string[]): Promise<string> {
  const request = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join('');
  const said = await talk(port, `*${command.length}\r\n${request}`, isWholeAnswer);
  return said.replace(/^\$\d+\r\n/, '').trimEnd();
}

function isWholeAnswer(said: string): boolean {
  const end = said.indexOf('\r\n');
  if (end < 0) return false;
  const length = /^\$(\d+)\r\n/.exec(said)?.[1];
  return length === undefined || Buffer.byteLength(said) >= end + 2 + Number(length) + 2;
}

/** Sends, and hears until what was said is enough. */
export async function talk(port: number, words: string, enough: (said: string) => boolean): Promise<string> {
  const socket = net.connect({ host: '127.0.0.1', port });
  try {
    socket.setTimeout(5000, () => socket.destroy(new Error('no answer')));
    socket.write(words);
    let said = '';
    for await (const chunk of socket.setEncoding('latin1')) {
      said += chunk;
      if (enough(said)) return said;
    }
    throw new Error(`closed after ${said}`);
  } finally {
    socket.destroy();
  }
}

/** Looks again and again until `look` does not fail. */
export async function until(what: string, look: () => Promise<unknown>, timeout = START_TIMEOUT): Promise<void> {
  const end = performance.now() + timeout;
  for (;;) {
    try {
      await look();
      return;
    } catch (cause) {
      if (performance.now() > end) throw new Error(`waited for ${what} in vain`, { cause });
    }
    await new Promise((resolve) => setTimeout(resolve, START_POLL));
  }
}

/** `false` when the program ends before it is ready, or is not in time. */
async function becomes(ready: () => Promise<unknown>, { ended }: Running): Promise<boolean> {
  let over = false;
  const end = (): void => {
    over = true;
  };
  ended.then(end, end);
  try {
    await until('a program', async () => over || ready());
  } catch {
    return false;
  }
  return !over;
}

/** A server of any behaviour on loopback, on a free port unless told: what it holds is closed with it. */
export async function listening(
  talks: (socket: net.Socket) => void,
  at = 0,
): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    talks(socket);
  });
  server.listen(at, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  return {
    port,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
