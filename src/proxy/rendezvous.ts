/**
 * Weighted rendezvous hashing: each key has an order of the back ends, in which nothing changes but the place of the one
 * that comes or goes (Thaler and Ravishankar, 1998; weights as in Schindelhauer and Schomaker, 2005).
 */

import { hash } from 'node:crypto';

interface Weighted {
  readonly name: string;
  readonly weight?: number | undefined;
}

/** The first of the candidates in the order of the key; `undefined` when there is none with a weight above 0. */
export function rendezvous<C extends Weighted>(key: string, candidates: Iterable<C>): C | undefined {
  let chosen: C | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const { name, weight = 1 } = candidate;
    const distance = -Math.log(uniform(`${name}\0${key}`)) / weight;
    if (distance < least) [chosen, least] = [candidate, distance];
  }
  return chosen;
}

/** A number between 0 and 1, both excluded. */
function uniform(text: string): number {
  const digest = hash('sha256', text, 'binary');
  let number = 0;
  for (let i = 0; i < 6; i++) number = number * 256 + digest.charCodeAt(i);
  return (number + 0.5) / 2 ** 48;
}
