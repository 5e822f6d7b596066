/** Requests to the programs that answer over HTTP, and their answers. */

import type { Visit } from '../support/visits.js';

export const get = (path: string): string =>
  [`GET ${path} HTTP/1.1`, 'Host: localhost', 'Connection: close', '', ''].join('\r\n');

export const bodyOf = ({ received }: Visit): string => received.slice(received.indexOf('\r\n\r\n') + 4);
export const jsonOf = (answer: Visit) => JSON.parse(bodyOf(answer));
export const statusOf = ({ received }: Visit): number => Number(received.match(/^HTTP\/1\.1 (\d{3}) /)?.[1]);
