/**
 * Some in the same order, but beginning with another of them each round: who is asked first is ahead.
 *
 * @param round from 0
 */
export function startingAt<T>(round: number, all: readonly T[]): T[] {
  const first = round % all.length;
  return [...all.slice(first), ...all.slice(0, first)];
}
