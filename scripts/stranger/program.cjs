// The same in CommonJS, over TLS 1.2.
const { readFileSync } = require('node:fs');
const { connect, createServer } = require('node:tls');
const { ResumptionError, ServerResumption, SessionCache } = require('tls-resumption');

const key = readFileSync('key.pem');
const cert = readFileSync('cert.pem');

const cache = new SessionCache({ maxSessions: 100 });
const resumption = new ServerResumption({ cache });

try {
  resumption.attach(createServer({ key, cert }));
  throw new Error('a server without secure() should be refused');
} catch (error) {
  if (!(error instanceof ResumptionError && error.code === 'ERR_NOT_SECURED')) throw error;
}

const server = createServer(resumption.secure({ key, cert, maxVersion: 'TLSv1.2' }), (socket) => {
  socket.on('error', () => {});
  socket.end(String(resumption.connection(socket).way));
});
resumption.attach(server);

function visit(session, then) {
  const options = { port: server.address().port, host: '127.0.0.1', servername: 'localhost', ca: cert, session };
  const socket = connect(options);
  let body = '';
  socket.on('data', (chunk) => (body += chunk));
  socket.on('end', () => then(body, socket.getSession()));
}

server.listen(0, '127.0.0.1', () => {
  visit(undefined, (first, session) => {
    visit(session, (second) => {
      if (first !== 'null' || second !== 'session-id') throw new Error(`ways: ${first}, ${second}`);
      if (cache.statistics.hits !== 1) throw new Error(`hits: ${cache.statistics.hits}`);
      server.close();
      console.log('TLS 1.2: resumed');
    });
  });
});
