import { describe, expect, it } from 'vitest';
import { explain, isUnreachable, speaksNoTls } from '../../src/cli/connect-errors.js';

const failure = (code: string, message = 'as OpenSSL or the system says') =>
  Object.assign(new Error(message), { code });

describe('what a failed connection is said to mean', () => {
  it.each([
    ['ECONNREFUSED', /connection refused/],
    ['ENOTFOUND', /no such name/],
    ['EAI_AGAIN', /name server/],
    ['ETIMEDOUT', /--timeout/],
    ['ENETUNREACH', /no way to that network/],
  ])('%s, which no other client would get past', (code, meaning) => {
    expect(explain(failure(code))).toMatch(meaning);
    expect(isUnreachable(failure(code))).toBe(true);
  });

  it.each([
    ['ERR_SSL_WRONG_VERSION_NUMBER', /does not speak TLS/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', /--cert and --key/],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', /does not speak this version/],
    ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', /--servername/],
    ['ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', /--alpn/],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', /in common/],
    ['ECONNRESET', /closed the connection/],
  ])('%s, which another version may not meet', (code, meaning) => {
    expect(explain(failure(code))).toMatch(meaning);
    expect(isUnreachable(failure(code))).toBe(false);
    expect(speaksNoTls(failure(code))).toBe(code === 'ERR_SSL_WRONG_VERSION_NUMBER');
  });

  it('what is not known is told as it was, in one line', () => {
    expect(explain(failure('ERR_SSL_OTHER', '80AB:error:0A0:other thing\nmore'))).toBe('ERR_SSL_OTHER: other thing');
    expect(explain(new Error('plain'))).toBe('plain');
    expect(isUnreachable(undefined)).toBe(false);
  });
});
