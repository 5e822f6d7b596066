import hellos from './fixtures/client-hellos.json' with { type: 'json' };
import sessions from './fixtures/ssl-sessions.json' with { type: 'json' };

/** ClientHellos as real clients sent them to a loopback server: one record each. */
export const capturedHellos = hellos.map(({ client, hex }) => ({ client, bytes: Buffer.from(hex, 'hex') }));

/** Sessions that Node and OpenSSL made, and what `openssl sess_id -text` of OpenSSL 3.0 says of each. */
export const capturedSessions = sessions.map(({ hex, ...rest }) => ({ ...rest, der: Buffer.from(hex, 'hex') }));

/** The captured hello of this client. */
export function captured(client: string): Buffer {
  const found = capturedHellos.find((hello) => hello.client === client);
  if (found === undefined) throw new Error(`No captured hello of ${client}`);
  return found.bytes;
}

/** A small, fast, repeatable source of numbers for mutations (mulberry32). */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** One to three random changes: bits flipped, bytes set, cut off, put in, taken out, spliced from another input. */
export function mutate(bytes: Buffer, other: Buffer, random: (below: number) => number): Buffer {
  let out = Buffer.from(bytes);
  for (let changes = 1 + random(3); changes > 0 && out.length > 1; changes--) {
    const at = random(out.length);
    switch (random(7)) {
      case 0:
        out[at]! ^= 1 << random(8);
        break;
      case 1:
        out[at] = [0, 1, 2, 0x20, 0x7f, 0x80, 0xff, random(256)][random(8)]!;
        break;
      case 2:
        out = out.subarray(0, at);
        break;
      case 3:
        out = Buffer.concat([out.subarray(0, at), Buffer.alloc(1 + random(4), random(256)), out.subarray(at)]);
        break;
      case 4:
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + random(8))]);
        break;
      case 5:
        out = Buffer.concat([out.subarray(0, at), other.subarray(random(other.length))]);
        break;
      default:
        // One more or one less: what a length field minds most.
        out[at] = (out[at]! + (random(2) === 0 ? 1 : 255)) & 0xff;
    }
  }
  return out;
}
