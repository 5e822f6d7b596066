/** Where the parts of a ticket key lie in the files of servers. A wrong order loads, and never works. */

import { KEY_NAME_BYTES, TicketKey } from './ticket-key.js';

/**
 * Whose files: `node` is Node's `ticketKeys`, `apache` httpd's SSLSessionTicketKeyFile, `ats` Apache Traffic Server's
 * `ssl_ticket.key`, `nginx` its ssl_session_ticket_key, `haproxy` its tls-ticket-keys.
 */
export type TicketKeyFormat = 'node' | 'nginx' | 'haproxy' | 'apache' | 'ats';

type KeyBytes = 48 | 80;

export interface KeyLayout {
  /** What a key may be long. */
  readonly sizes: readonly KeyBytes[];
  /** Whether the AES key comes before the HMAC key in keys of this size. */
  aesFirst(size: KeyBytes): boolean;
  /** How many keys a file has. */
  readonly minKeys: number;
  readonly maxKeys: number;
  /** Whether a key is a line of base64; otherwise keys are bytes, one after the other. */
  readonly isText: boolean;
  /** What a file is, for error messages. */
  readonly description: string;
}

const ONE_AES_128_KEY: KeyLayout = {
  sizes: [48],
  aesFirst: () => false,
  minKeys: 1,
  maxKeys: 1,
  isText: false,
  description: '48 bytes',
};

export const LAYOUTS: Readonly<Record<TicketKeyFormat, KeyLayout>> = {
  // tls.Server.setTicketKeys(): SSL_CTX_set_tlsext_ticket_keys(), whose order is tlsext_tick_key_name, HMAC, AES.
  node: ONE_AES_128_KEY,
  apache: ONE_AES_128_KEY,
  ats: { ...ONE_AES_128_KEY, maxKeys: Number.POSITIVE_INFINITY, description: '48 bytes a key' },
  nginx: {
    ...ONE_AES_128_KEY,
    sizes: [48, 80],
    aesFirst: (size) => size === 48,
    description: '48 or 80 bytes',
  },
  haproxy: {
    sizes: [48, 80],
    aesFirst: () => true,
    minKeys: 3,
    maxKeys: Number.POSITIVE_INFINITY,
    isText: true,
    description: '3 lines or more, each the base64 of 48 bytes, or each of 80',
  },
};

/** The key that these bytes are; throws what {@link TicketKey} throws. */
export function readKey(bytes: Buffer, layout: KeyLayout): TicketKey {
  const middle = (bytes.length + KEY_NAME_BYTES) / 2;
  const [first, second] = [bytes.subarray(KEY_NAME_BYTES, middle), bytes.subarray(middle)];
  const name = bytes.subarray(0, KEY_NAME_BYTES);
  return layout.aesFirst(bytes.length as KeyBytes)
    ? new TicketKey({ name, aesKey: first, hmacKey: second })
    : new TicketKey({ name, hmacKey: first, aesKey: second });
}

export function writeKey(key: TicketKey, layout: KeyLayout): Buffer {
  const [first, second] = layout.aesFirst(key.length) ? [key.aesKey, key.hmacKey] : [key.hmacKey, key.aesKey];
  return Buffer.concat([key.name, first, second]);
}
