/** A process of visitors: makes as many visits as it is told to, and tells how many resumed. */

import { type VisitorOptions, Visitors } from './visitors.js';

let visitors: Visitors | undefined;

process.on('message', async (message: VisitorOptions | { readonly visits: number }) => {
  if ('port' in message) {
    visitors = new Visitors(message);
    process.send?.('ready');
    return;
  }
  process.send?.((await visitors?.come(message.visits, { resume: true }))?.resumed);
});
process.on('disconnect', () => process.exit(0));
