/**
 * Millions of inputs for everything that reads bytes from outside: `npm run fuzz -- --inputs 10000000 --seed 1`. Captured
 * and made inputs are mutated; nothing may throw, read on for long, or open what was altered. A fault prints the input.
 */

import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import {
  decodeSslSession,
  parseClientHello,
  parseNewSessionTicket,
  parseServerHello,
  parseTicketKeys,
  ResumptionError,
  Rfc5077Codec,
  SealedStore,
  TicketCodec,
  TicketKeyRing,
  type TicketSealer,
} from 'tls-resumption';
import { capturedHellos, capturedSessions, mutate, seeded } from '../test/wire/captured.js';
import flights from '../test/wire/fixtures/server-flights.json' with { type: 'json' };

/** What takes longer than linear time is far beyond it. */
const SLOW_MILLISECONDS = 20;

interface Target {
  readonly name: string;
  readonly seeds: readonly Buffer[];
  /** Says whether the input was understood. @throws for a fault */
  readonly read: (input: Buffer) => boolean;
}

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string', default: '' },
  },
});

const context = Buffer.from('context');
const ring = TicketKeyRing.fromKeys([Buffer.from(Array.from({ length: 80 }, (_, i) => i + 1))]);
const sealers: Record<'TicketCodec' | 'Rfc5077Codec', TicketSealer> = {
  TicketCodec: new TicketCodec(ring),
  Rfc5077Codec: new Rfc5077Codec(ring),
};
const states = [...capturedSessions.map(({ der }) => der), Buffer.alloc(0), Buffer.alloc(1000, 7)];

function opening(name: keyof typeof sealers): Target {
  const sealer = sealers[name];
  // Tickets of RFC 5077 have no place for one.
  const bound = name === 'TicketCodec' ? context : undefined;
  const seeds = states.map((state) => sealer.seal(state, bound));
  return {
    name: `${name}.open`,
    seeds,
    read(input) {
      const opened = sealer.open(input, bound);
      if (opened !== undefined && !seeds.some((seed) => seed.equals(input))) throw new Error('opened what was altered');
      return opened !== undefined;
    },
  };
}

const keyFile = Buffer.from(Array.from({ length: 96 }, (_, i) => i + 1));

function keys(format: 'node' | 'nginx' | 'haproxy' | 'apache' | 'ats'): Target {
  const bytes = format === 'apache' || format === 'node' ? keyFile.subarray(0, 48) : keyFile;
  const text = [0, 1, 2].map((n) => `${keyFile.subarray(n, n + 48).toString('base64')}\n`).join('');
  return {
    name: `parseTicketKeys ${format}`,
    seeds: [format === 'haproxy' ? Buffer.from(text) : bytes],
    read(input) {
      try {
        return parseTicketKeys(input, format).length > 0;
      } catch (error) {
        // What cannot be read is told by an error that is ours.
        if (error instanceof ResumptionError || error instanceof RangeError) return false;
        throw error;
      }
    },
  };
}

const held = new Map<string, Buffer>();
const sealed = new SealedStore(
  { get: () => held.get(''), set: (_key, value) => void held.set('', Buffer.from(value)), delete: () => {} },
  sealers.TicketCodec,
);
const storeKey = createHash('sha256').update('key').digest();

function sealedValue(): Target {
  void sealed.set(storeKey, states[0] as Buffer, 300);
  const value = held.get('') as Buffer;
  return {
    name: 'SealedStore.get',
    seeds: [value],
    read(input) {
      held.set('', input);
      const found = sealed.get(storeKey);
      if (found !== undefined && !input.equals(value)) throw new Error('answered with what was altered');
      return found !== undefined;
    },
  };
}

const seedsOfFlights = flights.map(({ hex }) => Buffer.from(hex, 'hex'));
/** RFC 5077 §3.3: a record with a NewSessionTicket of 160 bytes, good for two hours. */
const newSessionTicket = Buffer.concat([Buffer.from('16030300aa040000a600001c2000a0', 'hex'), Buffer.alloc(160, 9)]);
const all: readonly Target[] = [
  {
    name: 'parseClientHello',
    seeds: capturedHellos.map(({ bytes }) => bytes),
    read: (input) => parseClientHello(input) !== undefined,
  },
  { name: 'parseServerHello', seeds: seedsOfFlights, read: (input) => parseServerHello(input) !== undefined },
  {
    name: 'parseNewSessionTicket',
    seeds: [newSessionTicket, ...seedsOfFlights],
    read: (input) => parseNewSessionTicket(input) !== undefined,
  },
  {
    name: 'decodeSslSession',
    seeds: capturedSessions.map(({ der }) => der),
    read: (input) => decodeSslSession(input, { masterSecret: true }) !== undefined,
  },
  opening('TicketCodec'),
  opening('Rfc5077Codec'),
  sealedValue(),
  keys('node'),
  keys('nginx'),
  keys('haproxy'),
  keys('apache'),
  keys('ats'),
];
const targets = all.filter(({ name }) => name.includes(values.target));

/** Milliseconds without what else the machine did meanwhile. @throws for an input that is slow each time */
function shortestOf(read: Target['read'], input: Buffer): number {
  let shortest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const started = performance.now();
    read(input);
    shortest = Math.min(shortest, performance.now() - started);
  }
  if (shortest > SLOW_MILLISECONDS) throw new Error(`took ${shortest.toFixed(0)} ms`);
  return shortest;
}

const share = Math.ceil(Number(values.inputs) / targets.length);
console.log('| read by | inputs | understood | longest | a second |\n| --- | --- | --- | --- | --- |');
for (const { name, seeds, read } of targets) {
  const random = seeded(Number(values.seed));
  let understood = 0;
  let longest = 0;
  const began = performance.now();
  for (let i = 0; i < share; i++) {
    const seed = seeds[random(seeds.length)] as Buffer;
    const input = mutate(seed, seeds[random(seeds.length)] as Buffer, random);
    try {
      const started = performance.now();
      if (read(input)) understood++;
      const milliseconds = performance.now() - started;
      longest = Math.max(longest, milliseconds > SLOW_MILLISECONDS ? shortestOf(read, input) : milliseconds);
    } catch (error) {
      console.error(`${name}, input ${i} of seed ${values.seed}: ${input.toString('hex')}`);
      throw error;
    }
  }
  const rate = share / ((performance.now() - began) / 1000);
  console.log(`| ${name} | ${share} | ${understood} | ${longest.toFixed(1)} ms | ${rate.toFixed(0)} |`);
}
