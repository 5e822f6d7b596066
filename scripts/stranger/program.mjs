// What a stranger writes first: a server whose client comes back. Prints one line when it does.
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:https';
import { ServerResumption } from 'tls-resumption';

const key = readFileSync('key.pem');
const cert = readFileSync('cert.pem');

const resumption = new ServerResumption();
const server = createServer(resumption.secure({ key, cert }), (incoming, response) => {
  response.end(String(resumption.connection(incoming.socket)?.way));
});
const attachment = resumption.attach(server);
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

/** One request on a connection of its own; returns the body and the last session the client was given. */
function visit(session) {
  return new Promise((resolve, reject) => {
    const options = {
      port: server.address().port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: cert,
      session,
      agent: false,
    };
    const outgoing = request(options, async (response) => {
      let body = '';
      for await (const chunk of response) body += chunk;
      resolve({ body, session: latest, reused });
    });
    let latest;
    let reused;
    outgoing.on('socket', (socket) => {
      socket.on('session', (given) => (latest = given));
      socket.on('secureConnect', () => (reused = socket.isSessionReused()));
    });
    outgoing.on('error', reject).end();
  });
}

const first = await visit();
const second = await visit(first.session);
if (first.body !== 'null' || first.reused) throw new Error(`the first visit should not resume: ${first.body}`);
if (second.body !== 'stateful-ticket' || !second.reused) throw new Error(`the second should: ${second.body}`);
attachment[Symbol.dispose]();
server.close();
console.log('TLS 1.3: resumed');
