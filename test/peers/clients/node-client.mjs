/**
 * Visits a server several times, each with the session of the visit before, and prints a line of JSON for each.
 *
 * node node-client.mjs PORT VERSION CA-FILE VISITS http/1.1|h2
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http2 from 'node:http2';
import * as tls from 'node:tls';

const [port, version, caFile, visits, protocol] = process.argv.slice(2);
const ca = readFileSync(caFile);
let session;

async function visit() {
  const socket = tls.connect({
    host: '127.0.0.1',
    port: Number(port),
    servername: 'a.test',
    ca,
    minVersion: version,
    maxVersion: version,
    ALPNProtocols: [protocol],
    session,
  });
  socket.on('session', (bytes) => {
    session = bytes;
  });
  await once(socket, 'secureConnect');
  const seen = { protocol: socket.getProtocol(), alpn: socket.alpnProtocol, reused: socket.isSessionReused() };
  const body = await (protocol === 'h2' ? askHttp2(socket) : askHttp1(socket));
  console.log(JSON.stringify({ ...seen, authorized: socket.authorized, told: JSON.parse(body) }));
}

async function askHttp1(socket) {
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer.slice(answer.indexOf('\r\n\r\n') + 4);
}

async function askHttp2(socket) {
  const connection = http2.connect('https://a.test', { createConnection: () => socket });
  const stream = connection.request({ ':path': '/' });
  let body = '';
  for await (const chunk of stream) body += chunk;
  connection.close();
  await once(connection, 'close');
  return body;
}

for (let i = 0; i < Number(visits); i++) await visit();
