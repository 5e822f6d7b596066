/** What `probe` found, as data. */

import type { ResumptionWay } from '../server/connection.js';
import type { TlsVersion } from '../testing/visit-options.js';
import { MAX_TICKET_LIFETIME } from '../wire/ticket-lifetime.js';

/** A client of one kind. One without tickets is left with session IDs. */
export interface Lane {
  readonly version: TlsVersion;
  readonly tickets: boolean;
}

/** What became of a session that was shown elsewhere than where it was made. */
export type Elsewhere =
  | 'resumed'
  | 'refused'
  /** The server wanted no connection under that name, or at that address. */
  | 'not-accepted'
  /** There is no way to that address, or nothing listens there. */
  | 'unreachable';

/** How one kind of client fared at one server. */
export interface LaneReport extends Lane {
  /** Why there was no connection; `undefined` when there was. */
  readonly fault: string | undefined;
  /** What the server gave to come back with; `null`: nothing. */
  readonly given: ResumptionWay | null;
  /** How often a client came back with it, and how often that resumed. */
  readonly returns: number;
  readonly resumed: number;
  /** Why a client that came back got no connection; `undefined` when each did. */
  readonly broken: string | undefined;
  /** Tickets of a full handshake; their length in bytes, and the seconds that the server says they are good for. */
  readonly ticketCount: number;
  readonly ticketBytes: number | undefined;
  readonly ticketLifetime: number | undefined;
  /** Tickets that a resumed connection was given. */
  readonly renewed: number | undefined;
  /** Whether the same session resumed twice. */
  readonly twice: boolean | undefined;
  /** Whether a session resumed under another name. */
  readonly otherName: Elsewhere | undefined;
  /** What a full handshake under that name gives, where a session resumed. */
  readonly otherSite: 'same-certificate' | 'other-certificate' | 'not-accepted' | undefined;
  /** What other addresses made of a session of the first, by address. */
  readonly addresses: Readonly<Record<string, Elsewhere>>;
  /** The first 16 bytes of tickets that hold the session, in hexadecimal, as far as several tickets have them. */
  readonly keyNames: readonly string[];
}

export interface Finding {
  /** A `note` is no fault by itself. */
  readonly severity: 'warning' | 'note';
  readonly code:
    | 'OTHER_NAME_RESUMES'
    | 'ADDRESSES_DIFFER'
    | 'RETURNS_DIFFER'
    | 'RETURN_FAILS'
    | 'NEVER_RESUMES'
    | 'LIFETIME_TOO_LONG'
    | 'ADDRESS_UNREACHABLE';
  readonly message: string;
}

/** What `--watch` saw of a lane's tickets. */
export interface Watched {
  readonly version: TlsVersion;
  /** Key names in order of their first ticket, and the seconds since the beginning when that came. */
  readonly keyNames: readonly { readonly name: string; readonly after: number }[];
  /** Whether a ticket of the beginning still resumed at the end; `null` when there was no answer. */
  readonly firstStillOpens: boolean | null;
}

export interface ProbeReport {
  readonly host: string;
  readonly port: number;
  readonly servername: string | undefined;
  readonly otherName: string;
  /** Where the sessions were made. */
  readonly address: string;
  readonly otherAddresses: readonly string[];
  /** The ways in which clients came back, of each version that is spoken. */
  readonly ways: Readonly<Partial<Record<TlsVersion, readonly ResumptionWay[]>>>;
  readonly lanes: readonly LaneReport[];
  readonly watched: readonly Watched[] | undefined;
  readonly findings: readonly Finding[];
}

/** The ways that work, version by version. */
export function waysOf(lanes: readonly LaneReport[]): ProbeReport['ways'] {
  const ways: Partial<Record<TlsVersion, ResumptionWay[]>> = {};
  for (const { version, fault, given, resumed } of lanes) {
    if (fault !== undefined) continue;
    ways[version] ??= [];
    const found = ways[version];
    if (given !== null && resumed > 0 && !found.includes(given)) found.push(given);
  }
  return ways;
}

/** How a lane is called in what is said of it. */
export function laneName({ version, given }: Pick<LaneReport, 'version' | 'given'>): string {
  const names = { 'session-id': 'session ID', 'stateful-ticket': '32-byte ticket', ticket: 'ticket' } as const;
  return `${version.replace('TLSv', 'TLS ')} ${given === null ? '' : names[given]}`.trim();
}

/** A finding before it is known which ways it holds for. */
type Fault = Pick<Finding, 'severity' | 'code'> & { readonly text: string; readonly lane: LaneReport };

/** What should be looked at, the worst first; what holds for several ways is said once. */
export function findingsOf(lanes: readonly LaneReport[], otherName: string, otherNameGiven: boolean): Finding[] {
  const faults = lanes.flatMap((lane) => [
    ...nameFaults(lane, otherName, otherNameGiven),
    ...addressFaults(lane),
    ...returnFaults(lane),
  ]);
  const grouped = new Map<string, Fault & { readonly names: string[] }>();
  for (const fault of faults) {
    const key = `${fault.severity} ${fault.text}`;
    const group = grouped.get(key) ?? { ...fault, names: [] };
    group.names.push(laneName(fault.lane));
    grouped.set(key, group);
  }
  return [...grouped.values()]
    .map(({ severity, code, text, names }) => ({ severity, code, message: `${names.join(', ')}: ${text}` }))
    .sort((a, b) => Number(a.severity === 'note') - Number(b.severity === 'note'));
}

const OTHER_SITES = {
  'same-certificate': 'with the same certificate: no harm where there is one site, a hole where sites differ',
  'other-certificate': 'which has another certificate: what one site granted, the other takes over',
  'not-accepted': 'which the server accepts in no full handshake',
} as const;

function nameFaults(lane: LaneReport, otherName: string, otherNameGiven: boolean): Fault[] {
  if (lane.otherName !== 'resumed') return [];
  const grave = lane.otherSite !== 'same-certificate' || otherNameGiven;
  const text = `a session resumes under another name, ${otherName}, ${OTHER_SITES[lane.otherSite ?? 'same-certificate']} (RFC 6066 §3)`;
  return [{ severity: grave ? 'warning' : 'note', code: 'OTHER_NAME_RESUMES', text, lane }];
}

function addressFaults(lane: LaneReport): Fault[] {
  return Object.entries(lane.addresses).flatMap(([address, outcome]): Fault[] => {
    if (outcome === 'resumed') return [];
    if (outcome === 'unreachable') {
      return [{ severity: 'note', code: 'ADDRESS_UNREACHABLE', text: `${address} could not be reached`, lane }];
    }
    const text =
      outcome === 'refused'
        ? `${address} does not resume sessions of the first address: they share no keys or cache`
        : `${address} takes no such connection, and the first address does`;
    return [{ severity: 'warning', code: 'ADDRESSES_DIFFER', text, lane }];
  });
}

function returnFaults(lane: LaneReport): Fault[] {
  const { given, resumed, returns, broken, ticketLifetime = 0 } = lane;
  const faults: Fault[] = [];
  if (broken !== undefined) {
    const text = `who comes back may get no connection at all: ${broken}`;
    faults.push({ severity: 'warning', code: 'RETURN_FAILS', text, lane });
  } else if (given !== null && resumed === 0) {
    const text = 'the server gives a session, and never resumes it';
    faults.push({ severity: 'note', code: 'NEVER_RESUMES', text, lane });
  } else if (resumed < returns) {
    const text = `${resumed} of ${returns} returns resumed: several servers behind one address that share no keys or cache?`;
    faults.push({ severity: 'warning', code: 'RETURNS_DIFFER', text, lane });
  }
  if (ticketLifetime > MAX_TICKET_LIFETIME) {
    const text = `tickets are said to be good for ${ticketLifetime} s: 7 days are the most (RFC 8446 §4.6.1)`;
    faults.push({ severity: 'warning', code: 'LIFETIME_TOO_LONG', text, lane });
  }
  return faults;
}
