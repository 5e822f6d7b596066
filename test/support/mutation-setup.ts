/** What a mutation run leaves out: each mutant is asked of every test that runs it, a thousand times and more. */

import fc from 'fast-check';
import { beforeEach } from 'vitest';

/** Milliseconds of a property: with fewer runs it still kills what its first ones do. */
fc.configureGlobal({ interruptAfterTimeLimit: 100 });

/** These start processes, wait for a watcher of files, or do a million things; others ask the same in small. */
const LEFT_OUT = [
  /\d 000 |\d000 /,
  /every order of staleness|most of a large shard goes|than evenly spread ones|cache of many shards|over shards, grows/,
  /open what the others sealed|gives the processes that start|are at most 1024|2\^20 seals/,
  /wherever it stands at a look|^goes on with the keys before|at most 1024 keys|does not keep the process alive/,
  /than they remember|^answers after any pause|^never throws, whatever the bytes|is not kept alive|does not grow while|ends with a (store|state) that never answers/,
];

beforeEach(({ task, skip }) => {
  if (LEFT_OUT.some((title) => title.test(task.name))) skip();
});
