/** What users may write against `tls-resumption/stores/keyv`. Compiled by scripts/typecheck-dist, never run. */

import { type SessionStore, TicketCodec, TicketKeyRing } from 'tls-resumption';
import { type KeyvLike, type KeyvStoreOptions, keyvStore } from 'tls-resumption/stores/keyv';

declare const keyv: KeyvLike;
const options: KeyvStoreOptions = { seal: new TicketCodec(TicketKeyRing.generate()), prefix: undefined };
const store: SessionStore = keyvStore(keyv, options);
const clear: SessionStore = keyvStore(keyv, { seal: false, prefix: 'shop:' });
// @ts-expect-error: sealed or not is never left out
keyvStore(keyv, {});
// @ts-expect-error: a Map is no Keyv
keyvStore(new Map(), options);

export { clear, store };
