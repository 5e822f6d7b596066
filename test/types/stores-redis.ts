/** What users may write against `tls-resumption/stores/redis`. Compiled by scripts/typecheck-dist, never run. */

import { type SessionStore, TicketCodec, TicketKeyRing } from 'tls-resumption';
import {
  type IoredisClient,
  type NodeRedisClient,
  type RedisClient,
  type RedisSharedState,
  type RedisSharedStateOptions,
  type RedisStoreOptions,
  redisSharedState,
  redisStore,
} from 'tls-resumption/stores/redis';

const seal = new TicketCodec(TicketKeyRing.generate());
declare const ioredis: IoredisClient;
declare const nodeRedis: NodeRedisClient;
const either: RedisClient = Math.random() < 0.5 ? ioredis : nodeRedis;

const options: RedisStoreOptions = { seal, prefix: undefined };
const stores: SessionStore[] = [redisStore(ioredis, options), redisStore(nodeRedis, { seal: false, prefix: 'shop:' })];
// @ts-expect-error: sealed or not is never left out
redisStore(either, {});
// @ts-expect-error: nor are the options
redisStore(either);
// @ts-expect-error: a client, not an address
redisStore('redis://127.0.0.1', options);
// @ts-expect-error: a Map is no client
redisStore(new Map(), options);

const stateOptions: RedisSharedStateOptions = { prefix: 'shop:', interval: 0.5, maxFacts: 1000 };
const state: RedisSharedState = redisSharedState(either, stateOptions);
const fact: Promise<Uint8Array | undefined> = state.get('epoch/a.test');
const stands: Promise<Uint8Array> = state.setIfAbsent('epoch/a.test', new Uint8Array(32), 60);
const watching: Disposable = state.watch('epoch/', (name, value) => void `${name} ${value?.length}`);

export { fact, stands, stores, watching };
