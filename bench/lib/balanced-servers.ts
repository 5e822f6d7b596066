/** Two TLS 1.2 back ends that do not share sessions, in one process. To `n` and a newline they answer n mebibytes. */

import type { AddressInfo } from 'node:net';
import * as tls from 'node:tls';
import { makeCertificate } from '../../examples/support/certificates.js';

const { key, cert } = await makeCertificate({ names: ['localhost'] });
const mebibyte = Buffer.alloc(1024 * 1024, 'x');

const ports = await Promise.all(
  ['a', 'b'].map(async (name) => {
    const server = tls.createServer({ key, cert, maxVersion: 'TLSv1.2', noDelay: true }, (socket) => {
      socket.on('error', () => {});
      socket.write(`${name} ${socket.isSessionReused() ? 1 : 0}\n`);
      socket.once('data', (bytes) => {
        let left = Number(bytes.toString());
        const write = (): void => {
          while (left-- > 0) {
            if (!socket.write(mebibyte)) {
              socket.once('drain', write);
              return;
            }
          }
          socket.end();
        };
        write();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }),
);
process.on('disconnect', () => process.exit(0));
process.send?.(ports);
