/**
 * How clients come back to a server, version by version.
 *
 * @module
 */

import { outOfRange, requireInteger, requireObject, wrongType } from '../arguments.js';
import type { ResumptionWay } from '../server/connection.js';
import { ClientSessions } from './client-session.js';
import { type Visit, visit } from './visit.js';
import { requireVersion, TLS_VERSIONS, type TlsVersion, type VisitOptions } from './visit-options.js';
import type { VisitTarget } from './visit-target.js';

/** Options of {@link measureResumption}: those of a visit, and these. */
export type MeasureResumptionOptions = Omit<VisitOptions, 'version'> & {
  /** The versions to come back in, each as a client of its own. Default: both. */
  readonly versions?: readonly TlsVersion[] | undefined;
  /** Visits in each version, the first one included; 1 to 1000. Default: 3. */
  readonly visits?: number | undefined;
};

/** How a client of one version came back. */
export interface VersionResumption {
  /** What the client spoke. */
  readonly version: TlsVersion;
  /** Every visit, in order. Empty when the server does not speak this version. */
  readonly visits: readonly Visit[];
  /** How many of the visits resumed. */
  readonly resumed: number;
  /** The way of the last visit that resumed; `null` when none did. */
  readonly way: ResumptionWay | null;
  /** Tickets that the first visit was given. */
  readonly tickets: number;
  /** Seconds that the first ticket is good for; `undefined` when there was none, or it did not say. */
  readonly ticketLifetime: number | undefined;
}

/** Alerts and errors of a handshake that found no version in common. */
const NO_COMMON_VERSION =
  /PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_PROTOCOLS_AVAILABLE|WRONG_VERSION|WRONG_SSL_VERSION/;

/**
 * Visits a server several times in each version. A client keeps the sessions it was given and shows one at each later
 * visit: in TLS 1.3 each at most once, the newest first; in TLS 1.2 the last one.
 *
 * @param target a server of this process, a port of 127.0.0.1, or an address
 * @returns an entry a version, in the order asked for; rejects when a visit fails, except for want of the version
 * @throws {TypeError} when an argument is of the wrong type
 * @throws {RangeError} when one is out of range, or the server does not listen
 *
 * @example
 * ```ts
 * for (const { version, way, resumed, visits } of await measureResumption(server)) {
 *   console.log(`${version}: ${resumed} of ${visits.length - 1} came back by ${way}`);
 * }
 * ```
 */
export async function measureResumption(
  target: VisitTarget,
  options: MeasureResumptionOptions = {},
): Promise<VersionResumption[]> {
  requireObject('options', options);
  const { versions = TLS_VERSIONS, visits = 3, session, ...rest } = options;
  if (!Array.isArray(versions)) throw wrongType('versions', 'an array', versions);
  if (versions.length === 0) throw outOfRange('versions', 'one or more', versions);
  for (const version of versions) requireVersion('versions', version);
  requireInteger('visits', visits, 1, 1000);
  const measured: VersionResumption[] = [];
  for (const version of versions as readonly TlsVersion[]) {
    const sessions = new ClientSessions();
    const seen: Visit[] = [];
    if (session !== undefined) sessions.add([session]);
    try {
      while (seen.length < visits) {
        const next = await visit(target, { ...rest, version, session: sessions.next() });
        sessions.add(next.sessions);
        seen.push(next);
      }
    } catch (error) {
      if (seen.length > 0 || !NO_COMMON_VERSION.test(String((error as { code?: unknown }).code))) throw error;
    }
    measured.push(summary(version, seen));
  }
  return measured;
}

function summary(version: TlsVersion, visits: readonly Visit[]): VersionResumption {
  const back = visits.filter(({ resumed }) => resumed);
  const tickets = visits[0]?.tickets ?? [];
  return {
    version,
    visits,
    resumed: back.length,
    way: back.at(-1)?.way ?? null,
    tickets: tickets.length,
    ticketLifetime: tickets[0]?.lifetime || undefined,
  };
}
