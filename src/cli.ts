#!/usr/bin/env node
/** `npx tls-resumption`: the program around src/cli. */

import { readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { main } from './cli/main.js';

const { stdout, stderr, stdin, env, argv } = process;

/** The manifest is beside the folder of this file, which npm starts by a link. */
function version(): string {
  const manifest = join(dirname(realpathSync(argv[1] as string)), '..', 'package.json');
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

// A reader that has seen enough, such as head, is no fault.
for (const stream of [stdout, stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

const progress = stderr.isTTY === true;
// The line that says what is going on is not left behind.
process.once('SIGINT', () => {
  if (progress) stderr.write('\r\x1b[K');
  process.kill(process.pid, 'SIGINT');
});

main(argv.slice(2), {
  out: (text) => void stdout.write(text),
  err: (text) => void stderr.write(text),
  stdin: () => stdin,
  now: Date.now,
  sleep: (milliseconds) => sleep(milliseconds),
  colours: stdout.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb',
  progress,
  version: version(),
}).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    // A fault of the program itself.
    stderr.write(`${(error as Error).stack}\n`);
    process.exitCode = 3;
  },
);
