/** What the store over HTTP keeps: version 1 | milliseconds since 1970 when it is over 8 | value. */

/** What a store needs of `fetch`: the global one, or another one such as that of the package `undici`. */
export type FetchLike = (
  url: string,
  request: {
    method: string;
    headers: Record<string, string>;
    redirect: 'error';
    signal: AbortSignal;
    body?: ArrayBuffer;
  },
) => Promise<FetchedResponse>;

/** What a store needs of a `Response`. */
export interface FetchedResponse {
  /** Of HTTP: 200 and others. */
  readonly status: number;
  /** The stream of what the server sends. */
  readonly body: FetchedBody | null;
}

/** What a store needs of a `ReadableStream`. */
export interface FetchedBody {
  /** Reads it from now on. */
  getReader(): FetchedBodyReader;
}

/** A part of what the server sends. */
export interface FetchedChunk {
  /** Whether it is the end. */
  readonly done: boolean;
  /** Bytes. */
  readonly value?: unknown;
}

/** What a store needs of the reader of a `ReadableStream`. */
export interface FetchedBodyReader {
  /** The next bytes, or the end. */
  read(): Promise<FetchedChunk>;
  /** Reads no more. */
  cancel(): Promise<unknown>;
}

/** What was kept. */
export interface HttpObject {
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  readonly value: Uint8Array;
}

const VERSION = 1;
const HEADER_BYTES = 9;
/** Bytes of an object at most: no more are read. */
const MAX_OBJECT_BYTES = 65_536;

/** @throws Error if the object is too long to be read again */
export function writeObject(value: Uint8Array, expiresAt: number): ArrayBuffer {
  const object = new ArrayBuffer(HEADER_BYTES + value.length);
  if (object.byteLength > MAX_OBJECT_BYTES) throw new Error(`${value.length} bytes are too many`);
  const view = new DataView(object);
  view.setUint8(0, VERSION);
  view.setBigUint64(1, BigInt(Math.ceil(expiresAt)));
  new Uint8Array(object, HEADER_BYTES).set(value);
  return object;
}

/** @throws Error if the body is none of ours */
export async function readObject(response: FetchedResponse): Promise<HttpObject> {
  const object = await readBody(response);
  if (object === undefined) throw new Error(`the object is longer than ${MAX_OBJECT_BYTES} bytes`);
  if (object.length <= HEADER_BYTES || object[0] !== VERSION) throw new Error('the object is none of ours');
  return { expiresAt: Number(object.readBigUInt64BE(1)), value: object.subarray(HEADER_BYTES) };
}

/** Reads what nobody wants to know, so that the connection can be used again; or gives it up. */
export async function skipBody(response: FetchedResponse): Promise<void> {
  await readBody(response);
}

/** `undefined` when it is too long: then the rest is not read. */
async function readBody({ body }: FetchedResponse): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = body?.getReader();
  for (let read = await reader?.read(); read !== undefined && !read.done; read = await reader?.read()) {
    const { value } = read;
    if (!(value instanceof Uint8Array)) throw new Error('the body is not of bytes');
    length += value.length;
    if (length > MAX_OBJECT_BYTES) {
      reader?.cancel().catch(() => {});
      return undefined;
    }
    chunks.push(value);
  }
  return Buffer.concat(chunks);
}
