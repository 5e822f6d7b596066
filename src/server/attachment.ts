/** The library's side of one server, from `attach` to its disposal. */

import { triggerAsyncId } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContext, SecureContextOptions, Server, TLSSocket } from 'node:tls';
import { channels } from '../diagnostics.js';
import { ResumptionError } from '../errors.js';
import { type ClientHelloView, viewClientHello } from '../wire/client-hello-view.js';
import { AsyncIdTable } from './async-id-table.js';
import { type ContextChange, ContextLedger, OWN_CONTEXT } from './context-ledger.js';
import type { ContextRegistry } from './context-registry.js';
import {
  ContextMemory,
  Handshake,
  type HandshakePolicy,
  type HandshakeSetting,
  type ServerNameAnswer,
} from './handshake.js';
import { HeldConnection, HelloGate } from './hello-gate.js';
import * as node from './node-tls-server.js';
import { overrideMethod } from './override-method.js';
import { type CheckedReload, closeAffected, planReload, type ReloadReport } from './reload.js';
import { type SecuredOptions, type ServerNameCallback, settingsOf } from './secure-options.js';

/** What an attachment needs of its ServerResumption. */
export interface AttachmentSetting extends HandshakeSetting {
  readonly secured: SecuredOptions;
  readonly contexts: ContextRegistry;
  readonly maxHelloBytes: number;
  readonly maxWaitingHellos: number;
  readonly prepare: (options: object) => object;
}

type ResumeCallback = (error: null, session: Buffer | null) => void;

export class Attachment {
  readonly #server: Server;
  readonly #setting: AttachmentSetting;
  readonly #gate: HelloGate;
  readonly #handshakes = new AsyncIdTable<Handshake>();
  readonly #unclosed = new FinalizationRegistry((id: number) => this.#forget(id));
  readonly #undo: (() => void)[] = [];
  readonly #accept: (socket: unknown) => void;
  #generation = 0;
  #tls13 = false;
  #endpoint: node.EndpointSettings | undefined;
  #policies = new WeakMap<object, HandshakePolicy>();
  #addContext: Server['addContext'] = () => {};
  #setSecureContext: Server['setSecureContext'] = () => {};
  readonly #ledger: ContextLedger;

  constructor(server: Server, setting: AttachmentSetting) {
    this.#server = server;
    this.#setting = setting;
    this.#ledger = new ContextLedger(server, setting.contexts, setting.guard);
    const limits = { maxBytes: setting.maxHelloBytes, timeout: setting.secured.handshakeTimeout };
    this.#gate = new HelloGate(limits, {
      hello: this.#onHello,
      accept: (socket) => this.#accept(socket),
      closed: (id) => this.#forget(id),
    });
    const moved = node.moveConnectionListener(server, this.#onConnection);
    if (moved === undefined) {
      throw new ResumptionError(
        'ERR_UNSUPPORTED_SERVER',
        'the server does not have the connection listener of node:tls',
      );
    }
    this.#accept = moved.accept;
    server.on('newSession', this.#onNewSession);
    server.on('resumeSession', this.#onResumeSession);
    server.prependListener('secureConnection', this.#onSecureConnection);
    this.#undo.push(
      () => {
        moved.restore();
        server.removeListener('newSession', this.#onNewSession);
        server.removeListener('resumeSession', this.#onResumeSession);
        server.removeListener('secureConnection', this.#onSecureConnection);
      },
      overrideMethod(server, 'addContext', (original) => {
        this.#addContext = (name, context) => original.call(server, name, context);
        return (name: string, context: SecureContext | SecureContextOptions) => {
          const pattern = node.patternOfName(name);
          const added = setting.contexts.ensure(context);
          const before = this.#ledger.contextOf(pattern);
          setting.tickets?.requireSafe(settingsOf(server), [node.nativeContextOf(added)], before ? [before] : []);
          this.#changeBehind(pattern, 'addContext', () => {
            original.call(server, name, added);
            node.dropShadowed(server, 'last');
            this.#contextsChanged();
          });
        };
      }),
      overrideMethod(server, 'setSecureContext', (original) => {
        this.#setSecureContext = (options) => original.call(server, options);
        return (options: SecureContextOptions) => {
          const prepared = setting.prepare(options) as SecureContextOptions;
          setting.tickets?.requireSafe(settingsOf(prepared));
          this.#changeBehind(OWN_CONTEXT, 'setSecureContext', () => {
            original.call(server, prepared);
            this.#learnDefaultContext();
          });
        };
      }),
    );
    this.#learnDefaultContext();
  }

  /** Connections, handshakes and hellos that are in our hands at this moment. */
  get pending(): number {
    return this.#handshakes.size + this.#gate.size;
  }

  detach(): void {
    for (const undo of this.#undo.splice(0)) undo();
    this.#gate.open();
    this.#setting.tickets?.detach();
    for (const handshake of this.#handshakes.values()) handshake.abandon();
    this.#handshakes.clear();
  }

  /** What the application's SNICallback said for the handshake in whose callback we are, if it was asked for it. */
  answerInProgress(servername: string): ServerNameAnswer | undefined {
    const handshake = this.#handshakes.get(triggerAsyncId());
    return handshake?.servername === servername ? handshake.policy.answer : undefined;
  }

  /** The callback of an SNICallback that was asked while Node reads a hello, and not in the gate. */
  observing(callback: Parameters<ServerNameCallback>[1]): Parameters<ServerNameCallback>[1] {
    return (error, context) => {
      if (context) this.#setting.tickets?.chosen(node.nativeContextOf(context));
      callback(error, context);
    };
  }

  #contextsChanged(): void {
    this.#generation++;
    this.#policies = new WeakMap();
    this.#setting.tickets?.contextsChanged();
  }

  #learnDefaultContext(): void {
    const context = node.defaultContextOf(this.#server);
    const settings = settingsOf(this.#server);
    // OpenSSL keeps the versions of the server's own context whichever context the name chooses.
    this.#tls13 = settings.tls13;
    if (context !== undefined) this.#setting.contexts.remember(context, this.#server);
    this.#contextsChanged();
  }

  #change(patterns: readonly string[], differ: boolean, reason: string, change: () => void): ContextChange {
    const changed = this.#ledger.change(patterns, differ, reason, change);
    if (changed.over.size > 0) {
      // What was disowned is digested in another way from now on.
      this.#policies = new WeakMap();
      this.#generation++;
      this.#setting.tickets?.forget();
    }
    return changed;
  }

  /** The application changes a context by itself: nobody waits for the guard. */
  #changeBehind(pattern: string, reason: string, change: () => void): void {
    for (const each of this.#change([pattern], false, reason, change).told) this.#setting.written(each);
  }

  /** All but waiting for others to know happens at once. */
  async reload(request: CheckedReload): Promise<ReloadReport> {
    const { guard, tickets } = this.#setting;
    const plan = planReload(this.#server, this.#setting, request);
    const underCurrent = this.#handshakes.values().filter((each) => each.underCurrentPolicy);
    const patterns = plan.changed.map(({ name }) => (name === null ? OWN_CONTEXT : node.patternOfName(name)));
    const { over, sessions, told } = this.#change(patterns, true, 'reload', () => {
      if (plan.own !== undefined) this.#setSecureContext(plan.own);
      for (const [name, context] of plan.named) {
        this.#addContext(name, context);
        node.dropShadowed(this.#server, 'before');
      }
      if (plan.own !== undefined) this.#learnDefaultContext();
      else if (plan.named.size > 0) this.#contextsChanged();
    });
    const affected = underCurrent.filter(
      (each) => !each.underCurrentPolicy || over.has(each.policy.parameters.toString('hex')),
    );
    const report: ReloadReport = {
      guard: guard.name,
      changed: plan.changed,
      unchanged: plan.unchanged,
      sessions: tickets === undefined ? sessions : undefined,
      ...closeAffected(affected, request),
    };
    await Promise.all(told);
    if (channels.reloaded.hasSubscribers) channels.reloaded.publish(report);
    return report;
  }

  readonly #onConnection = (socket: Duplex): void => {
    const bytes = !socket.readableObjectMode && socket.readableEncoding === null;
    const room = this.#gate.size < this.#setting.maxWaitingHellos;
    if (bytes && room && !HeldConnection.has(socket)) this.#gate.hold(socket, this.#isShared(socket));
    else if (this.#setting.tickets === undefined) this.#accept(socket);
    else this.#acceptUnread(socket);
  };

  /** Whether the application may have the socket too: it handed it over, or hears of connections. */
  #isShared(socket: Duplex): boolean {
    const { server } = socket as { server?: unknown };
    return server !== this.#server || this.#server.listenerCount('connection') > 1 || socket.listenerCount('data') > 0;
  }

  /** Tickets are made and opened without our being asked who for: not here. */
  #acceptUnread(socket: Duplex): void {
    const id = this.#handshake(socket, undefined, this.#policyOf(undefined));
    socket.once('close', () => this.#forget(id));
  }

  readonly #onHello = (held: HeldConnection, message: Buffer | undefined): void => {
    const hello = message === undefined ? undefined : viewClientHello(message);
    const ask = this.#setting.secured.serverNameCallback;
    if (ask === undefined || hello?.servername === undefined) {
      this.#begin(held, hello, this.#policyOf(this.#contextFor(hello?.servername)));
      return;
    }
    let answered = false;
    const settle = (error: Error | null | undefined, context?: SecureContext): void => {
      if (answered) return;
      answered = true;
      this.#begin(held, hello, this.#answeredPolicy({ error, context }));
    };
    try {
      ask.call(this.#server, hello.servername, settle as never);
    } catch (error) {
      settle(error as Error);
    }
  };

  #begin(held: HeldConnection, hello: ClientHelloView | undefined, policy: HandshakePolicy): void {
    if (!held.release()) return;
    held.handshake = this.#handshake(held.socket, hello, policy);
  }

  #handshake(socket: Duplex, hello: ClientHelloView | undefined, policy: HandshakePolicy): number {
    const handshake = new Handshake(this.#setting, hello, policy);
    handshake.carrier = socket instanceof Socket ? socket : new WeakRef(socket);
    const id = handshake.asyncId();
    this.#handshakes.add(handshake);
    // A stream of the application may never say that it is closed.
    if (!(socket instanceof Socket)) this.#unclosed.register(socket, id);
    this.#setting.cache.count('accept');
    handshake.begin(socket, this.#accept);
    return id;
  }

  #forget(id: number): void {
    this.#handshakes.delete(id)?.abandon();
  }

  #contextFor(servername: string | undefined): object | undefined {
    return servername === undefined
      ? node.defaultContextOf(this.#server)
      : node.contextForName(this.#server, servername);
  }

  #answeredPolicy(answer: ServerNameAnswer): HandshakePolicy {
    const { error, context } = answer;
    if (error) return { ...this.#policyOf(undefined), answer };
    if (!context) return { ...this.#policyOf(node.defaultContextOf(this.#server)), answer };
    // What is no context at all is for Node to refuse.
    const native = typeof context === 'object' ? node.nativeContextOf(context) : undefined;
    const policy = this.#policyOf(native);
    const generation = this.#generation;
    const current = (): boolean =>
      generation === this.#generation || this.#ledger.isDigestOf(policy.parameters, native);
    return { ...policy, answer, current };
  }

  /** Without a context to bind to, a policy under which nothing was stored or will be found again. */
  #policyOf(context: object | undefined): HandshakePolicy {
    const endpoint = node.endpointSettingsOf(this.#server);
    if (!node.sameEndpoint(endpoint, this.#endpoint)) {
      this.#endpoint = endpoint;
      this.#contextsChanged();
    }
    const known = context && this.#policies.get(context);
    if (known) return known;
    const generation = this.#generation;
    const own = node.defaultContextOf(this.#server);
    const parameters = context ? this.#setting.contexts.digest(context, endpoint, own) : randomBytes(32);
    const policy: HandshakePolicy = {
      parameters,
      tls13: this.#tls13,
      requestCert: endpoint.requestCert,
      nativeContext: context,
      contexts: new ContextMemory(),
      current: (servername) =>
        generation === this.#generation
          ? context !== undefined
          : this.#ledger.isDigestOf(parameters, this.#contextFor(this.#choosesByName ? servername : undefined)),
      tally: this.#ledger.tallyOf(context, parameters),
      answer: undefined,
    };
    if (context) this.#policies.set(context, policy);
    return policy;
  }

  /** Whether a name chooses among the contexts that were added. */
  get #choosesByName(): boolean {
    return this.#setting.secured.serverNameCallback === undefined;
  }

  readonly #onNewSession = (id: Buffer, session: Buffer, done: () => void): void => {
    try {
      this.#handshakes.get(triggerAsyncId())?.made(id, session);
    } catch {
      // A clock or a store of the application: the session is not kept, the connection goes on.
    }
    done();
  };

  readonly #onResumeSession = (_id: Buffer, callback: ResumeCallback): void => {
    const handshake = this.#handshakes.get(triggerAsyncId());
    if (handshake === undefined) callback(null, null);
    else handshake.resume(callback);
  };

  readonly #onSecureConnection = (socket: TLSSocket): void => {
    const handshake = this.#handshakes.get(triggerAsyncId());
    let good = true;
    try {
      good = handshake?.complete(socket) ?? true;
    } catch {
      // As above; but what was resumed could not be checked.
      good = !socket.isSessionReused();
    }
    if (!good) socket.destroy();
  };
}
