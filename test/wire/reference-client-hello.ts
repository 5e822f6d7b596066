/**
 * A ClientHello parser to compare the real one with: no care for speed, every rule in one obvious place. It throws where
 * the real one answers `undefined`.
 */

class Cursor {
  #rest: number[];

  constructor(bytes: Iterable<number>) {
    this.#rest = [...bytes];
  }

  get empty(): boolean {
    return this.#rest.length === 0;
  }

  take(count: number): number[] {
    if (count > this.#rest.length) throw new Error('cut off');
    return this.#rest.splice(0, count);
  }

  uint(width: number): number {
    return this.take(width).reduce((value, byte) => value * 256 + byte, 0);
  }

  vector(width: number): Cursor {
    return new Cursor(this.take(this.uint(width)));
  }

  rest(): number[] {
    return this.take(this.#rest.length);
  }

  /** The only thing left must be this vector. */
  onlyVector(width: number): Cursor {
    const vector = this.vector(width);
    this.finish();
    return vector;
  }

  finish(): void {
    if (!this.empty) throw new Error('trailing bytes');
  }

  many<T>(one: () => T): T[] {
    const all: T[] = [];
    while (!this.empty) all.push(one());
    return all;
  }
}

function check(rule: boolean, message: string): void {
  if (!rule) throw new Error(message);
}

function notEmpty<T extends { length: number }>(list: T): T {
  check(list.length > 0, 'empty list');
  return list;
}

const latin1 = (bytes: number[]): string => Buffer.from(bytes).toString('latin1');

function message(bytes: Uint8Array): Cursor {
  let handshake: number[] = [];
  if (bytes[0] === 1) handshake = [...bytes];
  else {
    let at = 0;
    while (at < bytes.length) {
      check(bytes[at] === 0x16 && bytes[at + 1] === 3 && at + 5 <= bytes.length, 'no handshake record');
      const length = bytes[at + 3]! * 256 + bytes[at + 4]!;
      check(length >= 1 && length <= 16384, 'record length');
      handshake.push(...bytes.subarray(at + 5, at + 5 + length));
      at += 5 + length;
      const [type, a, b, c] = handshake;
      if (type !== 1 || (c !== undefined && handshake.length >= 4 + a! * 65536 + b! * 256 + c)) break;
    }
  }
  const cursor = new Cursor(handshake);
  check(cursor.uint(1) === 1, 'no ClientHello');
  return cursor.vector(3);
}

function readExtension(type: number, data: Cursor, hello: Record<string, unknown>): void {
  switch (type) {
    case 0: {
      const list = data.onlyVector(2);
      check(list.uint(1) === 0, 'name type');
      const name = list.onlyVector(2).rest();
      check(name.length >= 1 && name.length <= 255 && !name.includes(0), 'host name');
      hello['servername'] = latin1(name);
      break;
    }
    case 10: {
      const groups = data.onlyVector(2);
      hello['supportedGroups'] = notEmpty(groups.many(() => groups.uint(2)));
      break;
    }
    case 16: {
      const protocols = data.onlyVector(2);
      hello['alpnProtocols'] = notEmpty(protocols.many(() => latin1(notEmpty(protocols.vector(1).rest()))));
      break;
    }
    case 23:
      hello['extendedMasterSecret'] = true;
      data.finish();
      break;
    case 35:
      hello['sessionTicket'] = Buffer.from(data.rest());
      break;
    case 41: {
      const identities = data.vector(2);
      hello['pskIdentities'] = notEmpty(
        identities.many(() => ({
          identity: Buffer.from(notEmpty(identities.vector(2).rest())),
          obfuscatedTicketAge: identities.uint(4),
        })),
      );
      const binders = data.onlyVector(2);
      const lengths = binders.many(() => binders.vector(1).rest().length);
      check(
        lengths.every((length) => length >= 32),
        'binder',
      );
      check(lengths.length === (hello['pskIdentities'] as unknown[]).length, 'one binder an identity');
      break;
    }
    case 42:
      hello['earlyData'] = true;
      data.finish();
      break;
    case 43: {
      const versions = data.onlyVector(1);
      hello['supportedVersions'] = notEmpty(versions.many(() => versions.uint(2)));
      break;
    }
    case 45:
      hello['pskKeyExchangeModes'] = notEmpty(data.onlyVector(1).rest());
      break;
    case 51: {
      const shares = data.onlyVector(2);
      hello['keyShareGroups'] = shares.many(() => {
        const group = shares.uint(2);
        notEmpty(shares.vector(2).rest());
        return group;
      });
      break;
    }
  }
}

/** @throws {Error} for what is not a well-formed ClientHello. */
export function referenceParse(bytes: Uint8Array): Record<string, unknown> {
  const body = message(bytes);
  const hello: Record<string, unknown> = {
    legacyVersion: body.uint(2),
    random: Buffer.from(body.take(32)),
    sessionId: Buffer.from(body.vector(1).rest()),
    servername: undefined,
    alpnProtocols: [],
    sessionTicket: undefined,
    pskIdentities: [],
    pskKeyExchangeModes: [],
    supportedVersions: [],
    supportedGroups: [],
    keyShareGroups: [],
    extendedMasterSecret: false,
    earlyData: false,
  };
  check((hello['sessionId'] as Buffer).length <= 32, 'session ID');
  const suites = body.vector(2);
  hello['cipherSuites'] = notEmpty(suites.many(() => suites.uint(2)));
  notEmpty(body.vector(1).rest());
  if (body.empty) return hello;

  const extensions = body.onlyVector(2);
  const seen = new Set<number>();
  while (!extensions.empty) {
    const type = extensions.uint(2);
    check(!seen.has(type) && !seen.has(41), 'repeated, or after pre_shared_key');
    seen.add(type);
    readExtension(type, extensions.vector(2), hello);
  }
  return hello;
}
