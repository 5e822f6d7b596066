/**
 * The least that resumes: reads the ClientHello, answers from a Map. No bounds, no guard, no expiry, no checks.
 * What the library costs beyond it is the price of those.
 */

import { AsyncResource, triggerAsyncId } from 'node:async_hooks';
import { constants } from 'node:crypto';

/** The first PSK identity of a hello in one record, or else its legacy session ID. */
function sessionOf(record) {
  let at = 5 + 4 + 2 + 32;
  const legacy = record.subarray(at + 1, at + 1 + record[at]);
  at += 1 + legacy.length;
  at += 2 + record.readUInt16BE(at);
  at += 1 + record[at];
  const end = at + 2 + record.readUInt16BE(at);
  at += 2;
  while (at < end) {
    const type = record.readUInt16BE(at);
    if (type === 41) return record.subarray(at + 8, at + 8 + record.readUInt16BE(at + 6));
    at += 4 + record.readUInt16BE(at + 2);
  }
  return legacy;
}

export function bareOptions(options) {
  return { ...options, secureOptions: constants.SSL_OP_NO_TICKET, sessionIdContext: 'bare', sessionTimeout: 300 };
}

export function attachBareGate(server) {
  const sessions = new Map();
  const shown = new Map();
  const accept = server.listeners('connection')[0];
  server.removeAllListeners('connection');
  server.on('connection', (socket) => {
    socket.once('readable', () => {
      const bytes = socket.read();
      if (bytes === null) return void socket.destroy();
      socket.unshift(bytes);
      const resource = new AsyncResource('BARE', { requireManualDestroy: true });
      shown.set(resource.asyncId(), sessionOf(bytes).toString('latin1'));
      socket.once('close', () => shown.delete(resource.asyncId()));
      resource.runInAsyncScope(accept, server, socket);
    });
  });
  server.on('newSession', (id, session, done) => {
    sessions.set(id.toString('latin1'), session);
    done();
  });
  server.on('resumeSession', (_id, done) => {
    done(null, sessions.get(shown.get(triggerAsyncId())) ?? null);
  });
}
