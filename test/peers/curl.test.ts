import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { peer, type Run } from '../support/peers.js';
import { VERSIONS, type Version } from '../support/visits.js';
import { HOST, type Town, town, WAYS } from './peer-server.js';

const VERSION_FLAGS: Record<Version, string[]> = {
  'TLSv1.2': ['--tlsv1.2', '--tls-max', '1.2'],
  'TLSv1.3': ['--tlsv1.3', '--tls-max', '1.3'],
};

const curl = peer('curl');
let place: Town;
beforeAll(async () => {
  place = await town();
});
afterEach(() => place.closeServers());
afterAll(() => place.remove());

/** Asks these URLs in one invocation; `more` says what one of them is asked with. */
async function ask(place: Town, port: number, version: Version, more: readonly (readonly string[])[]): Promise<Run> {
  const each = [
    ...['--verbose', '--silent', '--show-error', '--noproxy', '*', '--max-time', '15', '--cacert', place.caFile],
    ...['--resolve', `${HOST}:${port}:127.0.0.1`, '--write-out', ' %{http_version} %{num_connects}\n'],
    ...VERSION_FLAGS[version],
  ];
  const requests = more.map((args) => [...each, ...args, `https://${HOST}:${port}/`]);
  return curl.run(['--disable', ...requests.flatMap((args, i) => (i === 0 ? args : ['--next', ...args]))]);
}

function answers({ code, stdout }: Run) {
  return { code, answers: stdout.trim().split('\n') };
}

/** It says that it re-uses a session when that is refused, too; but then a certificate comes. */
function said({ stderr }: Run) {
  return {
    reuses: stderr.match(/re-?using session/gi)?.length,
    certificates: stderr.match(/TLS handshake, Certificate \(11\)/g)?.length,
  };
}

curl.describe('curl', () => {
  it.each(VERSIONS)('comes back over %s for its second and third URL', async (version) => {
    const { port, seen, errors } = await place.start();
    const run = await ask(place, port, version, [['--http1.1'], ['--http1.1'], ['--http1.1']]);
    const way = WAYS[version];
    expect(answers(run)).toEqual({
      code: 0,
      answers: [
        '{"resumed":false,"way":null} 1.1 1',
        `{"resumed":true,"way":"${way}"} 1.1 1`,
        `{"resumed":true,"way":"${way}"} 1.1 1`,
      ],
    });
    expect(said(run)).toEqual({ reuses: 2, certificates: 1 });
    expect(seen.map((each) => each.protocol)).toEqual([version, version, version]);
    expect(seen.map((each) => each.way)).toEqual([null, way, way]);
    expect(errors).toEqual([]);
  });

  it.each(VERSIONS)('comes back to an http2 server over %s', async (version) => {
    const { port, seen, errors } = await place.start({ http2: true });
    // A second connection beside the first: to curl, those of another interface are others.
    const run = await ask(place, port, version, [['--http2'], ['--http2', '--interface', '127.0.0.1']]);
    const way = WAYS[version];
    expect(answers(run)).toEqual({
      code: 0,
      answers: ['{"resumed":false,"way":null} 2 1', `{"resumed":true,"way":"${way}"} 2 1`],
    });
    expect(said(run)).toEqual({ reuses: 1, certificates: 1 });
    expect(seen.map((each) => each.way)).toEqual([null, way]);
    expect(errors).toEqual([]);
  });
});
