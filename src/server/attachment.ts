/** The library's side of one server, from `attach` to its disposal. */

import { triggerAsyncId } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContext, SecureContextOptions, Server, TLSSocket } from 'node:tls';
import { ResumptionError } from '../errors.js';
import { type ClientHelloView, viewClientHello } from '../wire/client-hello-view.js';
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
import { type SecuredOptions, settingsOf } from './secure-options.js';

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
  readonly #handshakes = new Map<number, Handshake>();
  readonly #unclosed = new FinalizationRegistry((id: number) => this.#forget(id));
  readonly #undo: (() => void)[] = [];
  readonly #accept: (socket: unknown) => void;
  #generation = 0;
  #tls13 = false;
  #endpoint: node.EndpointSettings | undefined;
  #policies = new WeakMap<object, HandshakePolicy>();

  constructor(server: Server, setting: AttachmentSetting) {
    this.#server = server;
    this.#setting = setting;
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
      overrideMethod(
        server,
        'addContext',
        (original) => (name: string, context: SecureContext | SecureContextOptions) => {
          const added = setting.contexts.ensure(context);
          setting.tickets?.requireSafe(settingsOf(server), [node.nativeContextOf(added)]);
          original.call(server, name, added);
          this.#contextsChanged();
        },
      ),
      overrideMethod(server, 'setSecureContext', (original) => (options: SecureContextOptions) => {
        const prepared = setting.prepare(options) as SecureContextOptions;
        setting.tickets?.requireSafe(settingsOf(prepared));
        original.call(server, prepared);
        this.#learnDefaultContext();
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
    return handshake?.hello?.servername === servername ? handshake.policy.answer : undefined;
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
    if (context !== undefined) this.#setting.contexts.remember(context, settings);
    this.#contextsChanged();
  }

  readonly #onConnection = (socket: Duplex): void => {
    const bytes = !socket.readableObjectMode && socket.readableEncoding === null;
    const room = this.#gate.size < this.#setting.maxWaitingHellos;
    if (bytes && room && !HeldConnection.has(socket)) this.#gate.hold(socket);
    else if (this.#setting.tickets === undefined) this.#accept(socket);
    else this.#acceptUnread(socket);
  };

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
    const id = handshake.asyncId();
    this.#handshakes.set(id, handshake);
    // A stream of the application may never say that it is closed.
    if (!(socket instanceof Socket)) this.#unclosed.register(socket, id);
    this.#setting.cache.count('accept');
    handshake.begin(socket, this.#accept);
    return id;
  }

  #forget(id: number): void {
    this.#handshakes.get(id)?.abandon();
    this.#handshakes.delete(id);
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
    return { ...this.#policyOf(native), answer };
  }

  /** Without a context to bind to, a policy under which nothing was stored or will be found again. */
  #policyOf(context: object | undefined): HandshakePolicy {
    const endpoint = node.endpointSettingsOf(this.#server);
    if (!sameEndpoint(endpoint, this.#endpoint)) {
      this.#endpoint = endpoint;
      this.#contextsChanged();
    }
    const known = context && this.#policies.get(context);
    if (known) return known;
    const generation = this.#generation;
    const policy: HandshakePolicy = {
      parameters: context ? this.#setting.contexts.digest(context, endpoint) : randomBytes(32),
      tls13: this.#tls13,
      requestCert: endpoint.requestCert,
      nativeContext: context,
      contexts: new ContextMemory(),
      current: () => context !== undefined && generation === this.#generation,
      answer: undefined,
    };
    if (context) this.#policies.set(context, policy);
    return policy;
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

function sameEndpoint(a: node.EndpointSettings, b: node.EndpointSettings | undefined): boolean {
  return (
    a.requestCert === b?.requestCert &&
    a.rejectUnauthorized === b.rejectUnauthorized &&
    a.ALPNProtocols === b.ALPNProtocols
  );
}
