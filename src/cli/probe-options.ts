/** What `probe` is told. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { numberOf, readArguments, wholeNumberOf, wrongOption } from './arguments.js';
import { readInput } from './files.js';
import { CommandError, type Io, UsageError } from './io.js';

export interface ProbeOptions {
  /** Without brackets, and as DNS has it. */
  readonly host: string;
  readonly port: number;
  /** The name asked for in the handshake; `undefined`: none. */
  readonly servername: string | undefined;
  /** The other name to come back under, and whether it was typed: then it is one that matters. */
  readonly otherName: string;
  readonly otherNameGiven: boolean;
  /** Addresses to go to, instead of those of the name. */
  readonly addresses: readonly string[];
  /** How often to come back, in each way. */
  readonly returns: number;
  /** Seconds to watch the key names of tickets for, and between two looks. */
  readonly watch: number;
  readonly every: number;
  /** Milliseconds for a connection, and to wait for tickets before leaving: those on their way then are taken still. */
  readonly timeout: number;
  readonly patience: number;
  readonly alpn: readonly string[] | undefined;
  /** PEM. */
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly json: boolean;
}

const HTTPS = 443;
const MAX_WATCH = 604_800;
/** Of a domain that is nobody's (RFC 2606 §2). */
const NOBODY = 'another-name.invalid';

const OPTIONS = {
  servername: { type: 'string' },
  'other-name': { type: 'string' },
  address: { type: 'string', multiple: true },
  returns: { type: 'string' },
  watch: { type: 'string' },
  every: { type: 'string' },
  timeout: { type: 'string' },
  patience: { type: 'string' },
  alpn: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  json: { type: 'boolean' },
} as const;

/** @throws UsageError, and CommandError for files that cannot be read */
export async function readProbeOptions(args: readonly string[], io: Io): Promise<ProbeOptions> {
  const { values, positionals } = readArguments(args, OPTIONS);
  const [target, ...more] = positionals;
  if (target === undefined || more.length > 0) {
    throw new UsageError(`probe expected one HOST[:PORT], got ${positionals.length || 'nothing'}`);
  }
  const { host, port } = readTarget(target);
  const { address: addresses = [], alpn } = values;
  for (const address of addresses) {
    if (isIP(address) === 0) throw wrongOption('address', 'an IP address', address);
  }
  const watch = numberOf('watch', values.watch, 0, MAX_WATCH, 0);
  return {
    host,
    port,
    // RFC 6066 §3: no addresses, and no dot at the end.
    servername: readName('servername', values.servername) ?? (isIP(host) === 0 ? host.replace(/\.$/, '') : undefined),
    otherName: readName('other-name', values['other-name']) ?? NOBODY,
    otherNameGiven: values['other-name'] !== undefined,
    addresses,
    returns: wholeNumberOf('returns', values.returns, 1, 100, 3),
    watch,
    every: numberOf('every', values.every, 0.1, MAX_WATCH, Math.max(1, watch / 20)),
    timeout: 1000 * numberOf('timeout', values.timeout, 0.1, 600, 10),
    patience: 1000 * numberOf('patience', values.patience, 0, 60, 0.2),
    alpn: alpn === undefined ? undefined : readProtocols(alpn),
    ...(await readCertificate(values, io)),
    json: values.json === true,
  };
}

/** `host`, `host:port`, an IPv4 or IPv6 address, or `[address]:port`; also what a browser shows. */
function readTarget(target: string): { host: string; port: number } {
  const bare = target.replace(/^https:\/\//, '').replace(/\/.*$/, '');
  const wrong = new UsageError(`probe expected HOST[:PORT], got ${JSON.stringify(target)}`);
  if (isIP(bare) !== 0) return { host: bare, port: HTTPS };
  const [, bracketed, name = '', port] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(bare) ?? [];
  const host = bracketed ?? asciiName(name);
  const number = port === undefined ? HTTPS : Number(port);
  if (host === undefined || (bracketed && isIP(bracketed) !== 6) || number < 1 || number > 65_535) throw wrong;
  return { host, port: number };
}

function readName(option: string, name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const ascii = isIP(name) === 0 ? asciiName(name) : undefined;
  if (ascii === undefined) throw wrongOption(option, 'a host name', name);
  return ascii;
}

/** As DNS has it (RFC 5891). What is ASCII already stays as it was typed: servers may tell B.TEST from b.test. */
function asciiName(name: string): string | undefined {
  const ascii = /^[ -~]*$/.test(name) ? name : domainToASCII(name);
  return /^[\w.-]{1,255}$/.test(ascii) ? ascii : undefined;
}

/** RFC 7301 §3.1: 1 to 255 bytes each. Node ends the process for others. */
function readProtocols(list: string): string[] {
  const protocols = list.split(',');
  if (protocols.every((each) => /^[!-~]{1,255}$/.test(each)) && list.length < 4096) return protocols;
  throw wrongOption('alpn', 'protocols with commas between them', list);
}

async function readCertificate(files: { cert?: string | undefined; key?: string | undefined }, io: Io) {
  if (files.cert === undefined && files.key === undefined) return { cert: undefined, key: undefined };
  if (files.cert === undefined || files.key === undefined) throw new UsageError('--cert and --key go together');
  const cert = await readInput(files.cert, io);
  const key = await readInput(files.key, io);
  if (!belongTogether(cert, key)) {
    throw new CommandError('--cert and --key expected a certificate and its private key, in PEM without passphrase');
  }
  return { cert, key };
}

function belongTogether(cert: Buffer, key: Buffer): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}
