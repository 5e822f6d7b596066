/** Listens to diagnostics channels, for the tests. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';

/** What is published on a channel from now on, until the cleanups of the test. */
export function hear<T>(channel: string, cleanups: (() => unknown)[]): T[] {
  const heard: T[] = [];
  const listener = (message: unknown) => heard.push(message as T);
  subscribe(channel, listener);
  cleanups.push(() => unsubscribe(channel, listener));
  return heard;
}
