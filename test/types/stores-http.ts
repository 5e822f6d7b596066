/** What users may write against `tls-resumption/stores/http`. Compiled by scripts/typecheck-dist, never run. */

import { type SessionStore, TicketCodec, TicketKeyRing } from 'tls-resumption';
import {
  type FetchedBodyReader,
  type FetchedResponse,
  type FetchLike,
  type HttpStoreOptions,
  httpStore,
} from 'tls-resumption/stores/http';

const seal = new TicketCodec(TicketKeyRing.generate());
const reader = (response: FetchedResponse): FetchedBodyReader | undefined => response.body?.getReader();
const counted: FetchLike = async (url, request) => {
  const response = await fetch(url, request);
  reader(response);
  return response;
};
const options: HttpStoreOptions = {
  seal,
  deadline: 100,
  headers: { authorization: 'Bearer token' },
  fetch: counted,
  clock: () => Date.now(),
};
const stores: SessionStore[] = [
  httpStore('https://cache.internal/sessions', options),
  httpStore(new URL('http://127.0.0.1/'), { seal: false, fetch }),
];
// @ts-expect-error: sealed or not is never left out
httpStore('https://cache.internal/sessions', {});

export { stores };
