/** Child processes: how they are started, a message for a message, and no wait for one that has ended. */

import type { ChildProcess } from 'node:child_process';

/**
 * A process that waits for its turn has a collection made that one with work to do has not, and with it goes the code that
 * was optimized for objects of which there are none at the moment.
 */
export const BUSY = ['--no-memory-reducer'];

/** The next message of a child. */
export function reply<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: T): void => {
      child.off('exit', onExit);
      resolve(message);
    };
    const onExit = (code: number | null): void => {
      child.off('message', onMessage);
      reject(new Error(`${child.spawnargs.at(-1)} has ended, with code ${code}`));
    };
    child.once('message', onMessage);
    child.once('exit', onExit);
  });
}

export function ask<T>(child: ChildProcess, message: string | object): Promise<T> {
  const answer = reply<T>(child);
  child.send(message, (error) => {
    // Its end is told by the answer that does not come.
    if (error) child.kill();
  });
  return answer;
}

/** Lets it end by itself, and waits until it has. */
export async function leave(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  if (child.connected) child.disconnect();
  await ended;
}
