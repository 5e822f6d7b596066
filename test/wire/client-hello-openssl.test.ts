import { Duplex } from 'node:stream';
import tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { parseClientHello } from '../../src/wire/client-hello.js';
import { capturedHellos, mutate, seeded } from './captured.js';

/** The server name that Node's OpenSSL reads in these bytes; `undefined` when it answers without having come to one. */
function opensslServername(bytes: Buffer): Promise<string | undefined> {
  return new Promise((resolve) => {
    const finish = (servername?: string): void => {
      clearTimeout(timer);
      resolve(servername);
      socket.destroy();
    };
    const transport = new Duplex({ read() {}, write: () => finish() });
    const socket = new tls.TLSSocket(transport, {
      isServer: true,
      SNICallback: (servername) => finish(servername),
    });
    // A record that goes on after the hello is one that OpenSSL waits for.
    const timer = setTimeout(finish, 20);
    socket.on('error', () => finish());
    transport.on('error', () => finish());
    transport.push(bytes);
  });
}

/** Hellos of real clients with a few bytes changed, every other one in or near its server name. */
function* mutants(count: number): Generator<Buffer> {
  const random = seeded(6066);
  const named = capturedHellos.filter(({ bytes }) => bytes.includes('localhost'));
  for (let i = 0; i < count; i++) {
    const { bytes } = named[i % named.length]!;
    const nearby = Buffer.from(bytes);
    if (i % 2 === 0) nearby[bytes.indexOf('localhost') - 20 + random(32)] = random(4) === 0 ? 0 : random(256);
    if (i < named.length) yield bytes;
    else yield i % 4 === 0 ? nearby : mutate(nearby, named[random(named.length)]!.bytes, random);
  }
}

describe('the server name', () => {
  it('is the one that OpenSSL reads, for every hello that we parse at all', async () => {
    let names = 0;
    for (const bytes of mutants(5_000)) {
      const hello = parseClientHello(bytes);
      if (hello === undefined) continue;
      const servername = await opensslServername(bytes);
      if (servername === undefined) continue;
      names++;
      expect(hello.servername).toBe(servername);
    }
    expect(names).toBeGreaterThan(500);
  });
});
