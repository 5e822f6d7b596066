/** The example that reloads, run as a user would run it. */

import { rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { makeCertificate } from '../../examples/support/certificates.js';
import { only, VERSIONS, visit } from '../support/visits.js';
import { runTypeScript } from './processes.js';

const folders: string[] = [];

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

test.each(VERSIONS)('reload-on-change takes new files, and not half of them (%s)', async (version) => {
  const program = runTypeScript('examples/reload-on-change.ts');
  const [, cert, key] = (await program.printed(/watching (\S+) and (\S+)/)) as unknown as [string, string, string];
  folders.push(dirname(cert));
  const port = await program.port();
  const options = { ...only(version), servername: 'localhost' };
  const { session } = await visit(port, options);
  const made = await makeCertificate({ names: ['localhost'] });

  await writeFile(`${cert}.new`, made.cert);
  await rename(`${cert}.new`, cert);
  await program.printed(/not reloaded: .*key values mismatch/);
  expect((await visit(port, { ...options, session })).resumed).toBe(true);

  await writeFile(key, made.key);
  await program.printed(/certificate replaced, key replaced: \d+ sessions forgotten, 0 handshakes ended/);
  const after = await visit(port, { ...options, session, ca: made.cert, rejectUnauthorized: true });
  expect(after).toMatchObject({ resumed: false, received: 'full handshake' });
  expect((await visit(port, { ...options, session: after.session })).resumed).toBe(true);
  expect(await program.stop()).toMatchObject({ code: 0, stderr: '' });
});
