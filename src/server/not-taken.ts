/** Why OpenSSL went on in full although it was given a session: nothing says it, so it is what is left. */

import type { TLSSocket } from 'node:tls';
import type { NotResumedReason } from '../guard/resumption-rules.js';
import { decodeSslSession } from '../wire/ssl-session.js';

const TLS_AES_256_GCM_SHA384 = 0x1302;

/** @param answered the session that was given */
export function whyNotTaken(socket: TLSSocket, tls13: boolean, answered: Buffer): NotResumedReason {
  const session = decodeSslSession(answered);
  if (session === undefined) return 'unreadable-session';
  // OpenSSL judges by the time inside the session, and by its own clock.
  if (Date.now() / 1000 - session.time > session.timeout) return 'expired';
  if (!tls13) return 'not-taken';
  // RFC 8446 §4.2.11: a PSK goes with suites of its hash only.
  const long = socket.getCipher().standardName.endsWith('SHA384');
  return long === (session.cipherSuite === TLS_AES_256_GCM_SHA384) ? 'hello-retry-request' : 'cipher-suite';
}
