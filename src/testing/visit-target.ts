/**
 * Where a visit goes.
 *
 * @module
 */

import type { Server } from 'node:net';
import { outOfRange, requireInteger, requireObject, requireString, wrongType } from '../arguments.js';

/** An address of TCP. */
export interface VisitAddress {
  /** Default: 127.0.0.1. */
  readonly host?: string | undefined;
  /** 1 to 65 535. */
  readonly port: number;
}

/**
 * A server of this process that listens (`tls`, `https` or `http2`), a port of 127.0.0.1, or an address. Of a server of
 * this process that `ServerResumption` is attached to, a visit tells the server's reasons too.
 */
export type VisitTarget = Server | number | VisitAddress;

/** What `tls.connect` is told: a TCP address, or the path of a Unix domain socket or pipe. */
export type ConnectTo = { readonly host: string; readonly port: number } | { readonly path: string };

const LOOPBACK = '127.0.0.1';
/** A client cannot connect to "any address". */
const ANY: Readonly<Record<string, string>> = { '0.0.0.0': LOOPBACK, '::': '::1' };

export function isServer(target: VisitTarget): target is Server {
  return typeof target === 'object' && typeof (target as { address?: unknown }).address === 'function';
}

/**
 * @throws {TypeError} when it is none
 * @throws {RangeError} for a port out of range, and a server that does not listen
 */
export function connectTo(target: VisitTarget): ConnectTo {
  if (typeof target === 'number') return { host: LOOPBACK, port: requirePort('port', target) };
  requireObject('target', target);
  if (!isServer(target)) {
    const { host = LOOPBACK, port } = target;
    return { host: requireString('host', host), port: requirePort('port', port) };
  }
  const address = target.address();
  if (address === null) throw outOfRange('target', 'a server that listens', target);
  if (typeof address === 'string') return { path: address };
  return { host: ANY[address.address] ?? address.address, port: address.port };
}

function requirePort(name: string, port: unknown): number {
  if (typeof port !== 'number') throw wrongType(name, 'a number', port);
  return requireInteger(name, port, 1, 65_535);
}
