/** Servers whose tickets would be opened where a session cannot be checked, before they are attached. */

import type { Server } from 'node:tls';
import { ResumptionError } from '../errors.js';
import { digestParameters } from '../guard/parameters-digest.js';
import type { ContextRegistry } from './context-registry.js';
import * as node from './node-tls-server.js';
import type { SecureSettings } from './secure-options.js';

/** Node's major version from which a TLS 1.3 session without a client certificate does not come back authorized. */
const CHECKS_RESUMED_CLIENTS = 24;

const WAYS_OUT =
  'use stateful sessions (a ServerResumption without "tickets"), or one server for each policy, behind a gate that chooses by name';

function unsafe(what: string): ResumptionError {
  return new ResumptionError('ERR_TICKETS_UNSAFE', `${what}: ${WAYS_OUT}`);
}

/** @throws ResumptionError ERR_TICKETS_UNSAFE */
export function requireSafeTickets(server: Server, { callback, byName }: { callback: boolean; byName: boolean }): void {
  const { requestCert, rejectUnauthorized } = node.endpointSettingsOf(server);
  if (requestCert && !rejectUnauthorized && Number.parseInt(process.versions.node, 10) < CHECKS_RESUMED_CLIENTS) {
    throw unsafe(
      'with requestCert and without rejectUnauthorized this version of Node takes clients that come back with a ticket for authorized',
    );
  }
  if (callback) return;
  if (requestCert) throw unsafe('without the ticket-key callback no ticket is checked for its client certificate');
  if (byName) {
    throw unsafe('without the ticket-key callback no ticket is bound to its virtual host');
  }
}

/**
 * OpenSSL opens a ticket before any context is chosen by name, so all must ask the same of client certificates.
 *
 * @param own settings of the server's own context
 * @param nativeContexts those that names choose
 * @throws ResumptionError ERR_TICKETS_UNSAFE
 */
export function requireSameCertificatePolicy(
  server: Server,
  own: SecureSettings,
  contexts: ContextRegistry,
  nativeContexts: readonly object[],
): void {
  if (nativeContexts.length === 0 || !node.endpointSettingsOf(server).requestCert) return;
  const expected = certificatePolicyOf(own);
  for (const each of nativeContexts) {
    const settings = contexts.settingsOf(each);
    if (settings === undefined || certificatePolicyOf(settings) !== expected) {
      throw unsafe('contexts that differ in who may issue client certificates cannot share tickets');
    }
  }
}

function certificatePolicyOf({ parameters: { ca, crl, allowPartialTrustChain } }: SecureSettings): string {
  return digestParameters({ ca, crl, allowPartialTrustChain }).toString('hex');
}
