/** What a connection that failed means, in words that help. */

/** What goes wrong below TLS, or before it: no other client would get further. */
const UNREACHABLE: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there (connection refused)',
  ENOTFOUND: 'there is no such name',
  EAI_AGAIN: 'the name could not be looked up: no answer from the name server',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH: 'there is no way to that network',
  EADDRNOTAVAIL: 'there is no way to that address from here',
  ETIMEDOUT: 'no answer in time; --timeout gives it more seconds',
  EACCES: 'not permitted to connect there',
};

/** A server that closes or answers so does not want this client: another version may be welcome. */
const UNWELCOME: readonly (readonly [pattern: RegExp, meaning: string])[] = [
  [
    /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|BAD_RECORD_TYPE|INVALID_RECORD/,
    'what answers there does not speak TLS (or only after a STARTTLS)',
  ],
  [
    /CERTIFICATE_REQUIRED|BAD_CERTIFICATE|SSLV3_ALERT_CERTIFICATE|UNKNOWN_CA|ALERT_ACCESS_DENIED/,
    'it refuses the client certificate, or wants one: --cert and --key',
  ],
  [/PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_PROTOCOLS_AVAILABLE/, 'it does not speak this version'],
  [/UNRECOGNIZED_NAME/, 'it has no site of that name: --servername'],
  [/NO_APPLICATION_PROTOCOL/, 'it wants another application protocol: --alpn'],
  [/HANDSHAKE_FAILURE|INSUFFICIENT_SECURITY|NO_SHARED/, 'no cipher or parameter in common'],
  [/ECONNRESET|EPIPE|UNEXPECTED_EOF/, 'it closed the connection before the handshake was complete'],
];

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code ?? '');
}

/** Whether trying once more with other options of TLS is in vain. */
export function isUnreachable(error: unknown): boolean {
  return Object.hasOwn(UNREACHABLE, codeOf(error));
}

export function speaksNoTls(error: unknown): boolean {
  return (UNWELCOME[0] as readonly [RegExp, string])[0].test(codeOf(error));
}

/** In one line. */
export function explain(error: unknown): string {
  const code = codeOf(error);
  if (isUnreachable(error)) return UNREACHABLE[code] as string;
  const known = UNWELCOME.find(([pattern]) => pattern.test(code));
  if (known !== undefined) return known[1];
  const message = (error as Error).message?.split('\n')[0] ?? '';
  return code === '' ? message : `${code}: ${message.replace(/^[\dA-F]+:error:\w*:/, '')}`;
}
