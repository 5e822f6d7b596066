/** All benchmarks, one after the other; each proves its results before it times them. */

import { awaits } from './awaits.js';
import { handshakes } from './handshakes.js';

await awaits();
await handshakes();
await import('./cache.js');
await import('./codec.js');
