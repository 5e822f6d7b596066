/** `inspect FILE`: what is in a session or, with its key, in a ticket. */

import { openTicketWith } from '../tickets/rfc5077-codec.js';
import { KEY_NAME_BYTES, type TicketKey } from '../tickets/ticket-key.js';
import { decodeSslSession, type SslSession } from '../wire/ssl-session.js';
import { readArguments } from './arguments.js';
import { readInput } from './files.js';
import { describeSession, sessionJson } from './inspect-session.js';
import { CommandError, type ExitCode, type Io, json, UsageError } from './io.js';
import { keysForInspection } from './keys.js';

const OPTIONS = {
  keys: { type: 'string' },
  format: { type: 'string' },
  'show-secrets': { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

const PEM = /-----BEGIN SSL SESSION PARAMETERS-----([A-Za-z0-9+/=\s]+)-----END SSL SESSION PARAMETERS-----/;
/** Key name, IV, a block, MAC: RFC 5077 §4. */
const MIN_TICKET_BYTES = 80;

/** A ticket that was opened, or why it was not. */
interface Ticket {
  readonly keyName: string;
  readonly bytes: number;
  readonly state: SslSession | undefined;
  readonly fault: string | undefined;
}

export async function runInspect(args: readonly string[], io: Io): Promise<ExitCode> {
  const { values, positionals } = readArguments(args, OPTIONS);
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) {
    throw new UsageError(`inspect expected one file, got ${positionals.length || 'nothing'}`);
  }
  if (values.format !== undefined && values.keys === undefined) {
    throw new UsageError('--format is of use with --keys FILE only');
  }
  const secrets = values['show-secrets'] === true;
  const content = await readInput(file, io);
  const keys = values.keys === undefined ? undefined : await keysForInspection(values.keys, values.format, io);
  const session = decodeSslSession(sessionBytes(content), { masterSecret: secrets });
  if (session === undefined && keys === undefined) throw notASession(file, content);
  const given = session === undefined ? ticketBytes(content) : session.ticket;
  const ticket = keys && given && openTicket(given, keys, secrets);
  for (const key of keys ?? []) key.destroy();
  io.out(values.json ? inJson(session, ticket) : inWords(session, ticket, secrets));
  return ticket?.fault === undefined ? 0 : 1;
}

function inJson(session: SslSession | undefined, ticket: Ticket | undefined): string {
  const parts = { session: session && sessionJson(session), ticket: ticket && ticketJson(ticket) };
  return json(parts);
}

function inWords(session: SslSession | undefined, ticket: Ticket | undefined, secrets: boolean): string {
  return [session && describeSession(session, secrets), ticket && describeTicket(ticket, secrets)]
    .filter((part) => part !== undefined)
    .join('\n');
}

/** PEM or DER, as `openssl s_client -sess_out` and `openssl sess_id` write it. */
function sessionBytes(content: Buffer): Buffer {
  const [, base64] = PEM.exec(content.toString('latin1')) ?? [];
  return base64 === undefined ? content : Buffer.from(base64, 'base64');
}

/** Bytes, or their hexadecimal or base64. */
function ticketBytes(content: Buffer): Buffer {
  const text = content.toString('latin1').replace(/\s+/g, '');
  if (text.length % 2 === 0 && /^[\dA-Fa-f]+$/.test(text)) return Buffer.from(text, 'hex');
  return /^[\w+/-]+=*$/.test(text) ? Buffer.from(text, 'base64') : content;
}

function notASession(file: string, content: Buffer): CommandError {
  const name = JSON.stringify(file);
  if (content.includes('-----BEGIN')) {
    const [, label = 'something else'] = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(content.toString('latin1')) ?? [];
    return new CommandError(`${name} holds no session: it is PEM of ${label}`);
  }
  return new CommandError(`${name} holds no session in PEM or DER; to open a ticket, give --keys FILE --format FORMAT`);
}

function openTicket(bytes: Buffer, keys: readonly TicketKey[], masterSecret: boolean): Ticket {
  const keyName = bytes.subarray(0, KEY_NAME_BYTES).toString('hex');
  const closed = (fault: string): Ticket => ({ keyName, bytes: bytes.length, state: undefined, fault });
  if (bytes.length < MIN_TICKET_BYTES) return closed(`its ${bytes.length} bytes are too few for a sealed session`);
  const key = keys.find(({ name }) => name.equals(bytes.subarray(0, KEY_NAME_BYTES)));
  if (key === undefined) return closed('none of the keys has its key name');
  const opened = openTicketWith(key, bytes);
  if (opened === undefined)
    return closed('the key of its name does not open it: changed, or the file is of another format');
  const state = decodeSslSession(opened, { masterSecret });
  return state === undefined
    ? closed('what is in it is no session of OpenSSL')
    : { keyName, bytes: bytes.length, state, fault: undefined };
}

function ticketJson({ state, ...rest }: Ticket): object {
  return { ...rest, session: state && sessionJson(state) };
}

function describeTicket({ keyName, bytes, state, fault }: Ticket, secrets: boolean): string {
  const head = `Ticket:\n    Length    : ${bytes} (bytes)\n    Key name  : ${keyName}\n`;
  return state === undefined ? `${head}    Not opened: ${fault}\n` : `${head}${describeSession(state, secrets)}`;
}
