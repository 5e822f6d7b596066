/** What a context is made of, in a form that can be compared and holds no secret. */

import { createHmac, randomBytes } from 'node:crypto';
import { digestsOf } from '../guard/parameters-digest.js';
import { COMMON_SETTINGS, settingsOf } from './secure-options.js';

/** A setting of a context that a reload can find changed; `context` stands for the whole of one. */
export type ReloadedSetting =
  | 'certificate'
  | 'chain'
  | 'key'
  | 'pfx'
  | 'ca'
  | 'crl'
  | 'allowPartialTrustChain'
  | 'minVersion'
  | 'maxVersion'
  | 'secureProtocol'
  | 'secureOptions'
  | 'ciphers'
  | 'honorCipherOrder'
  | 'ecdhCurve'
  | 'sigalgs'
  | 'dhparam'
  | 'sessionTimeout'
  | 'certificateCompression'
  | 'engine'
  | 'context';

/** What became of a setting: of a list, whether something was only added (bound, inserted, linked) or only removed. */
export type SettingChange = 'added' | 'removed' | 'replaced' | 'reordered';

/** One difference between a context before and after. */
export interface ReloadChange {
  /** Named as in Node's options; `certificate` is that of the server itself and `chain` the others in `cert`. */
  readonly setting: ReloadedSetting;
  /** How it differs. */
  readonly change: SettingChange;
}

/** Each setting as a list, in order where the order counts. */
export type ContextFacts = ReadonlyMap<ReloadedSetting, readonly string[]>;

/** Keys are compared by what this makes of them, which says nothing outside of the process. */
let comparisonKey: Buffer | undefined;

interface GivenKey {
  readonly pem?: string | Buffer;
}

function keyDigests(key: unknown): string[] {
  const keys = Array.isArray(key) ? key : key ? [key] : [];
  comparisonKey ??= randomBytes(32);
  const secret = comparisonKey;
  return keys.map((each: string | Buffer | GivenKey) => {
    const pem = (each as GivenKey).pem ?? (each as string | Buffer);
    return createHmac('sha256', secret).update(pem).digest('hex');
  });
}

const words = (list: unknown): string[] => (typeof list === 'string' ? list.split(/[:, ]+/).filter(Boolean) : []);

const whole = (...values: unknown[]): string[] =>
  values.filter((value) => value !== undefined).map((value) => JSON.stringify(value));

/** The facts of what a server or a context is made with. */
export function factsOf(options: object): ContextFacts {
  const { parameters } = settingsOf(options);
  const given = options as Record<string, unknown>;
  const chains = (Array.isArray(parameters.cert) ? parameters.cert : [parameters.cert]).map(
    (each) => digestsOf('cert', [each]) ?? [],
  );
  return new Map<ReloadedSetting, readonly string[]>([
    ['certificate', chains.flatMap((chain) => chain.slice(0, 1))],
    ['chain', chains.flatMap((chain) => chain.slice(1))],
    ['key', keyDigests(given['key'])],
    ['pfx', digestsOf('pfx', parameters.pfx) ?? []],
    ['ca', digestsOf('ca', parameters.ca)?.sort() ?? []],
    ['crl', digestsOf('crl', parameters.crl)?.sort() ?? []],
    ['allowPartialTrustChain', whole(parameters.allowPartialTrustChain)],
    ['minVersion', whole(parameters.minVersion)],
    ['maxVersion', whole(parameters.maxVersion)],
    ['secureProtocol', whole(parameters.secureProtocol)],
    ['secureOptions', whole(parameters.secureOptions ?? 0)],
    ['ciphers', words(parameters.ciphers)],
    ['honorCipherOrder', whole(parameters.honorCipherOrder)],
    ['ecdhCurve', words(parameters.ecdhCurve)],
    ['sigalgs', words(parameters.sigalgs)],
    ['dhparam', digestsOf('dhparam', parameters.dhparam) ?? []],
    ['sessionTimeout', whole(given['sessionTimeout'])],
    ['certificateCompression', whole(given['certificateCompression'])],
    ['engine', whole(given['clientCertEngine'], given['privateKeyEngine'], given['privateKeyIdentifier'])],
  ]);
}

/** Whether the keys are the same and written in the same way. */
export function sameKey(before: ContextFacts, after: ContextFacts): boolean {
  return changeOf(before.get('key') ?? [], after.get('key') ?? []) === undefined;
}

/** Every setting in which the two differ. */
export function differencesOf(before: ContextFacts, after: ContextFacts): ReloadChange[] {
  const changes: ReloadChange[] = [];
  const certificates = before.get('certificate') ?? [];
  // OpenSSL takes only the key that a certificate is for: with the same certificates it is written in another way.
  const sameKeys = certificates.length > 0 && changeOf(certificates, after.get('certificate') ?? []) === undefined;
  for (const [setting, now] of after) {
    const change = changeOf(before.get(setting) ?? [], now);
    if (change !== undefined && !(setting === 'key' && sameKeys)) changes.push({ setting, change });
  }
  return changes;
}

function changeOf(before: readonly string[], after: readonly string[]): SettingChange | undefined {
  const added = after.some((each) => !before.includes(each));
  const removed = before.some((each) => !after.includes(each));
  if (added) return removed ? 'replaced' : 'added';
  if (removed) return 'removed';
  return before.length === after.length && before.every((each, i) => each === after[i]) ? undefined : 'reordered';
}

/** Those of the changes of the server's own context that are in force under all names. */
export function commonOf(changes: readonly ReloadChange[]): ReloadChange[] {
  return changes.filter(({ setting }) => (COMMON_SETTINGS as readonly string[]).includes(setting));
}
