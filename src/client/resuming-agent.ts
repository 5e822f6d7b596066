/** An `https.Agent` whose connections resume. */

import type { Agent, AgentOptions, RequestOptions } from 'node:https';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { requireObject } from '../arguments.js';
import { type ClientTlsOptions, poolIngredients, withChanges } from './client-policy.js';
import { type ClientReloadReport, PoolPolicies, RELOAD, type Reloadable } from './client-reload.js';
import type { PoolConnections } from './dial.js';

/** Milliseconds after which a request gets a connection that is not secure yet, so that its own timeout counts. */
const PATIENCE = 3000;

/** Stands for the policy of a connection that has no part in resumption. */
const UNKNOWN = '';

/** What Node's agent has, and its types leave out. */
interface AgentInternals {
  readonly sockets: NodeJS.Dict<Socket[]>;
  readonly freeSockets: NodeJS.Dict<Socket[]>;
  totalSocketCount: number;
  getName(options: object): string;
  removeSocket(socket: Socket, options: object): void;
}

/** Made by {@link ClientResumption.agent}. */
export interface ResumingAgent extends Agent, Reloadable {
  /** Node's, and different wherever sessions are kept apart: so are connections. */
  getName(options?: RequestOptions): string;

  /**
   * Called by Node for a request that needs a new connection. Without a callback the connection is returned at once, as
   * by {@link ClientResumption.connect}.
   */
  createConnection(
    options: RequestOptions,
    callback?: (error: Error | null, socket: Duplex) => void,
  ): Duplex | null | undefined;
}

type ResumingAgentClass = new (connections: PoolConnections, options: AgentOptions) => ResumingAgent;

let agentClass: ResumingAgentClass | undefined;

/** Throws what the constructor of `https.Agent` throws, and for `proxyEnv` a RangeError. */
export function resumingAgent(connections: PoolConnections, options: AgentOptions): ResumingAgent {
  agentClass ??= defineResumingAgent();
  return new agentClass(connections, options);
}

/** Not at once, because a program without such agents need not load `node:https`. */
function defineResumingAgent(): ResumingAgentClass {
  const { Agent } = process.getBuiltinModule('node:https');

  return class ResumingAgent extends Agent {
    readonly #connections: PoolConnections;
    readonly #policies = new PoolPolicies();
    /** The policies of open connections, in hexadecimal. */
    readonly #madeUnder = new WeakMap<Socket, string>();
    /** Connections under settings that are no more: they are not used again. */
    readonly #retired = new WeakSet<Socket>();
    /** What was reloaded: not put into Node's options, which name the pool that requests wait for. */
    #changes: ClientTlsOptions = {};
    #reloads = 0;

    /** @internal */
    constructor(connections: PoolConnections, options: AgentOptions) {
      requireObject('options', options);
      if ((options as { proxyEnv?: unknown }).proxyEnv !== undefined) {
        throw new RangeError('"proxyEnv" expected to be absent: this agent connects by itself');
      }
      super({ ...options, maxCachedSessions: 0 });
      this.#connections = connections;
      // Before Node's own listener, which takes a destroyed connection out of the pool.
      (this as unknown as NodeJS.EventEmitter).prependListener('free', (socket: Socket) => {
        if (this.#retired.has(socket)) socket.destroy();
      });
    }

    /** Node's, and different wherever sessions are kept apart: so are connections. */
    override getName(options: RequestOptions = {}): string {
      return `${super.getName(options)}:${poolIngredients(options as ClientTlsOptions)}`;
    }

    /**
     * Called by Node for a request that needs a new connection. Without a callback the connection is returned at once, as
     * by {@link ClientResumption.connect}.
     */
    override createConnection(
      options: RequestOptions,
      callback?: (error: Error | null, socket: Duplex) => void,
    ): Duplex | null | undefined {
      const settings = withChanges(options as ClientTlsOptions, this.#changes);
      if (callback === undefined) return this.#connections.connect(settings);
      const policy = this.#policies.note(settings);
      const reloads = this.#reloads;
      let made: Socket | undefined;
      let reservation: Reservation | undefined;
      const dialing = this.#connections.open(settings, policy, PATIENCE, (error, socket) => {
        if (socket !== undefined) {
          this.#madeUnder.set(socket, policy?.toString('hex') ?? UNKNOWN);
          if (reloads !== this.#reloads) this.#retired.add(socket);
        }
        if (reservation === undefined) made = socket;
        else if (error === null) {
          reservation.release();
          callback(null, socket as Duplex);
        } else {
          callback(error, undefined as never);
          reservation.fail();
        }
      });
      if (made !== undefined) return made;
      reservation = new Reservation(this as unknown as AgentInternals, options, () => dialing.abort());
      return undefined;
    }

    /** @internal */
    [RELOAD](options: ClientTlsOptions): ClientReloadReport {
      const { changed, stale } = this.#policies.change(options);
      this.#changes = { ...this.#changes, ...options };
      if (changed.length === 0) return { changed, sessions: 0, closed: 0, inUse: 0 };
      this.#reloads++;
      let sessions = 0;
      for (const policy of stale) sessions += this.#connections.forgetPolicy(Buffer.from(policy, 'hex'));
      const { sockets, freeSockets } = this as unknown as AgentInternals;
      const isStale = (socket: Socket): boolean => {
        const policy = this.#madeUnder.get(socket);
        return policy !== undefined && (policy === UNKNOWN || stale.has(policy));
      };
      const ofStale = (pool: NodeJS.Dict<Socket[]>): Socket[] =>
        Object.values(pool).flatMap((all = []) => all.filter(isStale));
      const [inUse, idle] = [ofStale(sockets), ofStale(freeSockets)];
      for (const socket of inUse) this.#retired.add(socket);
      for (const socket of idle) {
        this.#retired.add(socket);
        socket.destroy();
      }
      return { changed, sessions, closed: idle.length, inUse: inUse.length };
    }
  };
}

/** Counts a connection that Node has not got yet, as it counts those that it has: against `maxSockets`. */
class Reservation {
  readonly #agent: AgentInternals;
  readonly #options: object;
  readonly #name: string;
  /** agent.destroy() ends whatever is in the pool, and so what this stands for. */
  readonly #place = new Socket();

  constructor(agent: AgentInternals, options: object, abort: () => void) {
    this.#agent = agent;
    this.#options = options;
    this.#name = agent.getName(options);
    agent.sockets[this.#name] ??= [];
    agent.sockets[this.#name]?.push(this.#place);
    agent.totalSocketCount++;
    this.#place.once('close', abort);
  }

  release(): void {
    const pool = this.#agent.sockets[this.#name];
    const index = pool?.indexOf(this.#place) ?? -1;
    if (index >= 0) pool?.splice(index, 1);
    if (pool?.length === 0) delete this.#agent.sockets[this.#name];
    this.#agent.totalSocketCount--;
  }

  /** Lets the next request that waits have the place. */
  fail(): void {
    this.#agent.totalSocketCount--;
    this.#agent.removeSocket(this.#place, this.#options);
  }
}
