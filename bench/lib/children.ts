/** Child processes: how they are started, a message for a message, and no wait for one that has ended. */

import { type ChildProcess, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

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

const LAST = availableParallelism() - 1;

let together = true;

/** By taskset(1), and nothing happens without it. */
function place(pid: number | undefined, processors: string): void {
  if (LAST > 0) spawnSync('taskset', ['-a', '-p', '-c', processors, String(pid)], { stdio: 'ignore' });
}

/**
 * Gives a server the last processor, and leaves the others to this process and to what it starts from now on: what a
 * handshake costs depends on who else was on its processor.
 */
export function setApart(server: ChildProcess): void {
  if (together) place(process.pid, `0-${LAST - 1}`);
  together = false;
  place(server.pid, String(LAST));
}

/** Lets this process, and what it starts from now on, have all processors again. */
export function setTogether(): void {
  place(process.pid, `0-${LAST}`);
  together = true;
}
