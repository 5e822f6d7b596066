/** A client of one kind at one server: everything that is asked of it. */

import { wayOfSession } from '../testing/client-session.js';
import { type Visit, visit } from '../testing/visit.js';
import type { VisitOptions } from '../testing/visit-options.js';
import { decodeSslSession } from '../wire/ssl-session.js';
import { explain, isUnreachable, speaksNoTls } from './connect-errors.js';
import type { ProbeOptions } from './probe-options.js';
import type { Elsewhere, Lane, LaneReport } from './probe-report.js';

/** RFC 5077 §4: the name of the key begins the ticket. */
const KEY_NAME_BYTES = 16;

export class LaneProbe {
  readonly #lane: Lane;
  readonly #options: ProbeOptions;
  readonly #address: string;
  /** Sessions that were not shown yet. */
  readonly #unused: Buffer[] = [];
  readonly #keyNames = new Map<string, number>();
  #report: Partial<{ -readonly [K in keyof LaneReport]: LaneReport[K] }> = {};

  constructor(lane: Lane, address: string, options: ProbeOptions) {
    this.#lane = lane;
    this.#options = options;
    this.#address = address;
  }

  /**
   * @param others other addresses of the name
   * @throws what kept it from connecting at all, and faults of a server that took the first connection
   */
  async run(others: readonly string[], show: (step: string) => void): Promise<LaneReport> {
    show('a full handshake');
    const first = await this.#first();
    if (typeof first === 'string') return this.#done({ fault: first });
    const { tickets, session } = first;
    const given = session === undefined ? null : (wayOfSession(session) ?? null);
    this.#unused.push(...first.sessions);
    Object.assign(this.#report, {
      given,
      ticketCount: tickets.length,
      ticketBytes: tickets[0]?.bytes,
      ticketLifetime: tickets[0]?.lifetime || undefined,
    });
    if (given === null) return this.#done({});
    show('coming back');
    await this.#comeBack();
    if (this.#report.resumed === 0) return this.#done({});
    show('the same session twice');
    await this.#twice();
    show('another name');
    await this.#underOtherName(first.fingerprint);
    const addresses: Record<string, Elsewhere> = {};
    for (const address of others) {
      show(`another address, ${address}`);
      addresses[address] = await this.#elsewhere({}, address);
    }
    return this.#done({ addresses });
  }

  /** A new session; `undefined` when none came, and when the server did not answer: it may the next time. */
  async session(): Promise<Buffer | undefined> {
    return (await this.#visit({}).catch(() => undefined))?.session;
  }

  /** Whether it resumes; `null` when the server did not answer. */
  async resumes(session: Buffer): Promise<boolean | null> {
    return (await this.#visit({ session }).catch(() => undefined))?.resumed ?? null;
  }

  async #first(): Promise<Visit | string> {
    try {
      return await this.#visit({});
    } catch (error) {
      if (isUnreachable(error) || speaksNoTls(error)) throw error;
      return explain(error);
    }
  }

  async #visit(more: VisitOptions, address = this.#address): Promise<Visit> {
    const { port, servername, timeout, patience, alpn, cert, key } = this.#options;
    const { version, tickets } = this.#lane;
    const seen = await visit(
      { host: address, port },
      {
        version,
        tickets,
        timeout,
        patience,
        // Old servers are asked too: what they resume, not what they encrypt with.
        ciphers: 'DEFAULT:@SECLEVEL=0',
        ...(servername === undefined ? {} : { servername }),
        ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
        ...(cert === undefined || key === undefined ? {} : { cert, key }),
        ...more,
      },
    );
    for (const session of seen.sessions) {
      const name = keyNameOf(session);
      if (name !== undefined) this.#keyNames.set(name, (this.#keyNames.get(name) ?? 0) + 1);
    }
    return seen;
  }

  /** A session that was not shown yet, from a full handshake where there is none left. */
  async #fresh(): Promise<Buffer | undefined> {
    if (this.#unused.length === 0) this.#unused.push(...(await this.#visit({})).sessions);
    return this.#unused.pop();
  }

  async #comeBack(): Promise<void> {
    const { returns } = this.#options;
    let resumed = 0;
    for (let i = 0; i < returns; i++) {
      const back = await this.#back(await this.#fresh());
      if (!back?.resumed) continue;
      resumed++;
      this.#report.renewed ??= back.tickets.length;
      // A resumed TLS 1.2 connection has the session that was shown.
      if (back.tickets.length > 0) this.#unused.push(...back.sessions);
    }
    Object.assign(this.#report, { returns, resumed });
  }

  /** Comes back; `undefined` when the session shown kept it from connecting. */
  async #back(session: Buffer | undefined): Promise<Visit | undefined> {
    try {
      return await this.#visit({ session });
    } catch (error) {
      this.#report.broken ??= explain(error);
      return undefined;
    }
  }

  async #twice(): Promise<void> {
    const session = await this.#fresh();
    if (session === undefined || !(await this.#back(session))?.resumed) return;
    this.#report.twice = (await this.#back(session))?.resumed === true;
  }

  async #underOtherName(fingerprint: string | undefined): Promise<void> {
    const servername = this.#options.otherName;
    this.#report.otherName = await this.#elsewhere({ servername });
    if (this.#report.otherName !== 'resumed') return;
    try {
      const full = await this.#visit({ servername });
      this.#report.otherSite = full.fingerprint === fingerprint ? 'same-certificate' : 'other-certificate';
    } catch {
      this.#report.otherSite = 'not-accepted';
    }
  }

  async #elsewhere(options: VisitOptions, address?: string): Promise<Elsewhere> {
    const session = await this.#fresh();
    try {
      return (await this.#visit({ ...options, session }, address)).resumed ? 'resumed' : 'refused';
    } catch (error) {
      return isUnreachable(error) ? 'unreachable' : 'not-accepted';
    }
  }

  #done(more: Partial<LaneReport>): LaneReport {
    const names = [...this.#keyNames];
    return {
      ...this.#lane,
      fault: undefined,
      given: null,
      returns: 0,
      resumed: 0,
      broken: undefined,
      ticketCount: 0,
      ticketBytes: undefined,
      ticketLifetime: undefined,
      renewed: undefined,
      twice: undefined,
      otherName: undefined,
      otherSite: undefined,
      addresses: {},
      ...this.#report,
      ...more,
      // What begins one ticket only may be random: not every server names its keys.
      keyNames: names.filter(([, count]) => count > 1).map(([name]) => name),
    };
  }
}

/** What begins a ticket that holds the session; `undefined` for other sessions. */
export function keyNameOf(session: Buffer): string | undefined {
  if (wayOfSession(session) !== 'ticket') return undefined;
  return decodeSslSession(session)?.ticket?.toString('hex', 0, KEY_NAME_BYTES);
}
