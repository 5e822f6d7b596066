/** Processes without affinity over one store, and clients that come back to any of them. */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from '../../examples/support/certificates.js';
import { only, type Version, visit } from '../support/visits.js';
import type { FleetSetup, Order, Report, Service } from './fleet-process.js';

const FILE = fileURLToPath(new URL('./fleet-process.ts', import.meta.url));

/** Clients that are under way at once. */
const IN_PARALLEL = 8;

export interface FleetOptions {
  readonly services: readonly Service[];
  readonly processes: number;
  /** A program that runs the fleet's, with the arguments before its. */
  readonly wrapper?: readonly string[];
}

export class Fleet {
  readonly #setup: FleetSetup;
  readonly #wrapper: readonly string[];
  #child: ChildProcess | undefined;
  #ports: readonly number[] = [];

  private constructor(setup: FleetSetup, wrapper: readonly string[]) {
    this.#setup = setup;
    this.#wrapper = wrapper;
  }

  static async start({ services, processes, wrapper = [] }: FleetOptions): Promise<Fleet> {
    const { key, cert } = await makeCertificate({ names: ['localhost'] });
    const secret = randomBytes(32).toString('base64');
    const fleet = new Fleet({ key, cert, secret, processes, services }, wrapper);
    await fleet.start();
    return fleet;
  }

  /** Of the services, in their order. */
  get ports(): readonly number[] {
    return this.#ports;
  }

  async start(): Promise<void> {
    const [command = process.execPath, ...args] = [...this.#wrapper, process.execPath, '--import', 'tsx', FILE];
    this.#child = spawn(command, args, {
      env: { ...process.env, FLEET_SETUP: JSON.stringify(this.#setup) },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#ports = (await this.#hear()) as number[];
  }

  /** Waits until all sessions made so far are stored. */
  async idle(): Promise<void> {
    await this.ask('idle');
  }

  /** @returns for each process, what it says of each service */
  async ask(order: Order): Promise<readonly (readonly Report[])[]> {
    this.#child?.send(order);
    return (await this.#hear()) as Report[][];
  }

  /** Ends all processes at once. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async #hear(): Promise<unknown> {
    const child = this.#child as ChildProcess;
    const over = new AbortController();
    const { signal } = over;
    try {
      const ended = once(child, 'exit', { signal }).then(() => Promise.reject(new Error('the fleet has ended')));
      return ((await Promise.race([once(child, 'message', { signal }), ended])) as [unknown])[0];
    } finally {
      over.abort();
    }
  }
}

export interface Returns {
  readonly returned: number;
  readonly resumed: number;
  /** Those that came to another process than the one that made their session. */
  readonly elsewhere: number;
}

interface Client {
  session: Buffer | undefined;
  /** The process that it was at last. */
  process: string;
}

/** Clients of one version that come back to one port with what they were given last, each time in another order. */
export class Crowd {
  readonly #fleet: Fleet;
  readonly #service: number;
  readonly #version: Version;
  readonly #clients: readonly Client[];

  constructor(fleet: Fleet, service: number, version: Version, size: number) {
    this.#fleet = fleet;
    this.#service = service;
    this.#version = version;
    this.#clients = Array.from({ length: size }, () => ({ session: undefined, process: '' }));
  }

  /** All come once; none of them, nor of those that come later, before the sessions of this time are stored. */
  async come(): Promise<Returns> {
    const counts = { returned: 0, resumed: 0, elsewhere: 0 };
    const waiting = [...this.#clients];
    const [port] = [this.#fleet.ports[this.#service] as number];
    const next = (): Client | undefined => {
      const at = Math.floor(Math.random() * waiting.length);
      const [client] = waiting.splice(at, 1);
      return client;
    };
    const lane = async (): Promise<void> => {
      for (let client = next(); client !== undefined; client = next()) {
        const { session } = client;
        const back = await visit(port, { ...only(this.#version), session });
        counts.returned++;
        if (back.resumed) counts.resumed++;
        if (back.received !== client.process) counts.elsewhere++;
        client.session = back.session ?? session;
        client.process = back.received;
      }
    };
    await Promise.all(Array.from({ length: IN_PARALLEL }, lane));
    await this.#fleet.idle();
    return counts;
  }

  /** All come once to be given sessions, and then again and again until so many have come back. */
  async comeBack(connections: number): Promise<Returns> {
    const first = await this.come();
    if (first.resumed > 0) throw new Error(`${first.resumed} resumed that had no session`);
    const all = { returned: 0, resumed: 0, elsewhere: 0 };
    while (all.returned < connections) {
      const { returned, resumed, elsewhere } = await this.come();
      all.returned += returned;
      all.resumed += resumed;
      all.elsewhere += elsewhere;
    }
    return all;
  }
}
