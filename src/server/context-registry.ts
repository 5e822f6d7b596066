/** A SecureContext shows nobody its options: what each was made of is remembered here. */

import { createHash, randomBytes } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { digestParameters, type PolicyParameters } from '../guard/parameters-digest.js';
import { nativeContextOf } from './node-tls-server.js';
import { digestSettings, type SecureSettings, settingsOf } from './secure-options.js';

export class ContextRegistry {
  readonly #made = new WeakMap<object, SecureSettings>();
  readonly #strangers = new WeakMap<object, Buffer>();

  create(options: SecureContextOptions): SecureContext {
    const context = createSecureContext(options);
    const settings = settingsOf(options);
    digestSettings(settings, {});
    this.remember(nativeContextOf(context), settings);
    return context;
  }

  /** A context as it is; options become one that is known. */
  ensure(context: SecureContext | SecureContextOptions): SecureContext {
    return nativeContextOf(context) === context
      ? this.create(context as SecureContextOptions)
      : (context as SecureContext);
  }

  remember(nativeContext: object, settings: SecureSettings): void {
    this.#made.set(nativeContext, settings);
  }

  /** `undefined` for a context that was made elsewhere. */
  settingsOf(nativeContext: object): SecureSettings | undefined {
    return this.#made.get(nativeContext);
  }

  /**
   * 32 bytes for a context behind an endpoint: equal for equal settings, and random per process for a context that
   * was made elsewhere, whose settings nobody knows.
   */
  digest(nativeContext: object, endpoint: PolicyParameters): Buffer {
    const settings = this.#made.get(nativeContext);
    if (settings !== undefined) return digestSettings(settings, endpoint);
    let secret = this.#strangers.get(nativeContext);
    if (secret === undefined) {
      secret = randomBytes(32);
      this.#strangers.set(nativeContext, secret);
    }
    return createHash('sha256').update(secret).update(digestParameters(endpoint)).digest();
  }
}
