/** A SecureContext shows nobody its options: what each was made of is remembered here. */

import { createHash, randomBytes } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { digestParameters, type PolicyParameters } from '../guard/parameters-digest.js';
import { type ContextFacts, factsOf } from './context-facts.js';
import { type EndpointSettings, nativeContextOf, sameEndpoint } from './node-tls-server.js';
import { COMMON_SETTINGS, digestSettings, type SecureSettings, settingsOf } from './secure-options.js';

interface Known {
  readonly settings: SecureSettings;
  readonly facts: ContextFacts;
}

interface Digested {
  readonly endpoint: EndpointSettings;
  readonly common: Buffer | undefined;
  readonly digest: Buffer;
}

export class ContextRegistry {
  readonly #made = new WeakMap<object, Known>();
  readonly #digests = new WeakMap<object, Digested>();
  readonly #common = new WeakMap<object, Buffer>();
  readonly #strangers = new WeakMap<object, Buffer>();

  create(options: SecureContextOptions): SecureContext {
    const context = createSecureContext(options);
    this.remember(nativeContextOf(context), options);
    return context;
  }

  /** A context as it is; options become one that is known. */
  ensure(context: SecureContext | SecureContextOptions): SecureContext {
    return nativeContextOf(context) === context
      ? this.create(context as SecureContextOptions)
      : (context as SecureContext);
  }

  /** @throws TypeError for a certificate, CA, CRL, PFX or DH parameters that are neither text nor bytes */
  remember(nativeContext: object, options: object): void {
    this.#made.set(nativeContext, { settings: settingsOf(options), facts: factsOf(options) });
    this.#digests.delete(nativeContext);
    this.#common.delete(nativeContext);
  }

  /** `undefined` for a context that was made elsewhere. */
  settingsOf(nativeContext: object): SecureSettings | undefined {
    return this.#made.get(nativeContext)?.settings;
  }

  /** `undefined` for a context that was made elsewhere. */
  factsOf(nativeContext: object): ContextFacts | undefined {
    return this.#made.get(nativeContext)?.facts;
  }

  /**
   * 32 bytes for a context behind an endpoint: equal for equal settings, and random per process for a context that
   * was made elsewhere, whose settings nobody knows.
   *
   * @param own the server's own context
   */
  digest(nativeContext: object, endpoint: EndpointSettings, own: object | undefined): Buffer {
    const common = own === undefined || own === nativeContext ? undefined : this.#commonOf(own);
    const known = this.#digests.get(nativeContext);
    if (known !== undefined && known.common === common && sameEndpoint(known.endpoint, endpoint)) return known.digest;
    const settings = this.settingsOf(nativeContext);
    const alone =
      settings === undefined ? this.#digestOfStranger(nativeContext, endpoint) : digestSettings(settings, endpoint);
    const digest = common === undefined ? alone : createHash('sha256').update(alone).update(common).digest();
    this.#digests.set(nativeContext, { endpoint, common, digest });
    return digest;
  }

  /** What the server's own context decides for all names. */
  #commonOf(own: object): Buffer {
    let digest = this.#common.get(own);
    if (digest === undefined) {
      const parameters = this.settingsOf(own)?.parameters;
      const common = COMMON_SETTINGS.map((name) => [name, parameters?.[name]]);
      digest = parameters ? digestParameters(Object.fromEntries(common)) : this.#digestOfStranger(own, {});
      this.#common.set(own, digest);
    }
    return digest;
  }

  /** A context that was made elsewhere gets another digest. */
  disown(nativeContext: object): void {
    this.#strangers.delete(nativeContext);
    this.#digests.delete(nativeContext);
    this.#common.delete(nativeContext);
  }

  #digestOfStranger(nativeContext: object, endpoint: PolicyParameters): Buffer {
    let secret = this.#strangers.get(nativeContext);
    if (secret === undefined) {
      secret = randomBytes(32);
      this.#strangers.set(nativeContext, secret);
    }
    return createHash('sha256').update(secret).update(digestParameters(endpoint)).digest();
  }
}
