/** The page for people: page.html with its styles and its script in it. It needs nothing from the network but this server. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const read = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

const STYLE = read('./page.css') + read('./charts.css');
const SCRIPT = read('./charts.js') + read('./page.js');
const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Nothing runs but this script, nothing is asked for but what this server has, and no text becomes markup. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `script-src ${hash(SCRIPT)}`,
  `style-src ${hash(STYLE)}`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const PAGE = read('./page.html')
  .replace(/(<style>).*(?=<\/style>)/s, (_, tag) => tag + STYLE)
  .replace(/(<script>).*(?=<\/script>)/s, (_, tag) => tag + SCRIPT);

/** @param handshake the number of the one that the page is sent over */
export function pageFor(handshake = 0): string {
  return PAGE.replace('data-handshake="0"', `data-handshake="${handshake}"`);
}
