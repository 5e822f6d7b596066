/** Why a connection did not resume, for people. */

import type { NotResumedReason } from 'tls-resumption';

export const REASONS: Readonly<Record<NotResumedReason, string>> = {
  'not-offered': 'the client offered no session',
  'no-legacy-session-id': 'a TLS 1.3 client without a legacy session ID',
  'unreadable-hello': 'its ClientHello could not be read',
  unknown: 'no session here has the ID shown: it is gone, or there never was one',
  expired: 'the session had expired',
  'chain-too-old': 'its full handshake was too long ago',
  'unreadable-session': 'the session could not be read',
  'protocol-version': 'the session was of another TLS version',
  'cipher-suite': 'the cipher suite of the session is not offered now',
  'extended-master-secret': 'extended master secret then and not now, or the reverse',
  'no-psk-dhe-ke': 'the client offers no key exchange beside the session',
  'client-certificate': 'the session has no good client certificate',
  'ticket-key-unknown': 'the key of the ticket is not known here, or its time is over',
  'other-context': 'the ticket is forgotten, or was made under other settings or another name',
  revoked: 'the session was revoked',
  'state-unavailable': 'the state shared with other hosts did not answer',
  'hello-retry-request': 'the server had to ask for another key share',
  'servername-changed': 'the client changed the server name during the handshake',
  'not-taken': 'OpenSSL did not take the session',
  'store-timeout': 'the store did not answer in time',
  'lookup-failed': 'the session could not be looked up',
};
