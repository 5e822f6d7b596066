/** Holds handshakes in the middle: a relay that keeps what clients send after the server's first answer. */

import * as net from 'node:net';
import { listen } from './visits.js';

export interface PausingProxy {
  readonly port: number;
  /** Resolves when so many handshakes are held. */
  held(count: number): Promise<void>;
  /** Lets all of them go on, and those that come. */
  release(): void;
  close(): void;
}

export async function pausingProxy(port: number): Promise<PausingProxy> {
  const sockets = new Set<net.Socket>();
  const holding: (() => void)[] = [];
  let paused = true;
  let wake = (): void => {};
  const proxy = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1');
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => other.destroy());
    }
    client.on('data', (chunk) => server.write(chunk));
    server.once('data', () => {
      if (!paused) return;
      client.pause();
      holding.push(() => client.resume());
      wake();
    });
    server.on('data', (chunk) => client.write(chunk));
    server.on('end', () => client.end());
    client.on('end', () => server.end());
  });
  const bound = await listen(proxy);
  return {
    port: bound,
    held: async (count) => {
      while (holding.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    release: () => {
      paused = false;
      for (const go of holding.splice(0)) go();
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    },
  };
}
