/** What `probe` found, in words. */

import { type Io, type Paint, painter } from './io.js';
import { type LaneReport, laneName, type ProbeReport, type Watched } from './probe-report.js';

const INDENT = '  ';

export function describeReport(report: ProbeReport, io: Io): string {
  const paint = painter(io.colours);
  const { host, port, servername, address, otherAddresses, lanes, watched, findings } = report;
  const name = servername === undefined ? 'no server name' : `server name ${servername}`;
  const others = otherAddresses.length === 0 ? '' : `, ${otherAddresses.length} more`;
  const lines = [
    paint('bold', `${host}:${port}`) + paint('dim', `  (${address}${others}; ${name})`),
    '',
    ...lanes.flatMap((lane) => describeLane(lane, report, paint)),
    ...(watched ?? []).flatMap((each) => describeWatched(each, paint)),
    ...(watched?.length === 0 ? ['no ticket keys to watch: no ticket that names one', ''] : []),
    findings.length === 0 ? paint('green', 'nothing found to mend') : paint('bold', 'found'),
    ...findings.map(({ severity, message }) => {
      return `${INDENT}${severity === 'warning' ? paint('red', 'warning') : paint('yellow', 'note')}: ${message}`;
    }),
  ];
  return `${lines.join('\n')}\n`;
}

function describeLane(lane: LaneReport, report: ProbeReport, paint: Paint): string[] {
  const version = lane.version.replace('TLSv', 'TLS ');
  if (lane.fault !== undefined) return [paint('bold', version), `${INDENT}${paint('dim', `no: ${lane.fault}`)}`, ''];
  const others = report.lanes.some((other) => other !== lane && other.version === lane.version);
  const client = others && !lane.tickets ? `${version} without tickets` : version;
  if (lane.given === null) return [paint('bold', client), `${INDENT}nothing to come back with`, ''];
  const resumes = lane.resumed > 0;
  const verdict = `${resumes ? 'resumes' : 'does not resume'}, ${lane.resumed} of ${lane.returns} times`;
  return [
    `${paint('bold', laneName(lane))}: ${paint(resumes ? 'green' : 'red', verdict)}`,
    ...factsOf(lane, report).map(([label, value]) => `${INDENT}${`${label}:`.padEnd(22)}${value}`),
    '',
  ];
}

function factsOf(lane: LaneReport, { otherName }: ProbeReport): [label: string, value: string][] {
  const facts: [string, string][] = [];
  const { ticketCount, ticketBytes, ticketLifetime, renewed, twice, keyNames, given } = lane;
  if (ticketCount > 0) {
    const good = ticketLifetime === undefined ? 'lifetime not said' : `good for ${ticketLifetime} s`;
    facts.push([ticketCount === 1 ? 'ticket' : 'tickets', `${ticketCount} of ${ticketBytes} bytes, ${good}`]);
  }
  const kept = {
    'session-id': 'by the server, under the ID',
    'stateful-ticket': 'by the server (stateful)',
    ticket: 'in the ticket (stateless)',
  };
  if (given !== null && lane.resumed > 0) facts.push(['session kept', kept[given]]);
  if (renewed !== undefined && lane.version === 'TLSv1.3') {
    facts.push(['when coming back', renewed === 0 ? 'no new ticket' : `${renewed} new`]);
  }
  if (twice !== undefined) facts.push(['the same one twice', twice ? 'resumes' : 'refused']);
  if (lane.otherName !== undefined) {
    const words = {
      resumed: 'resumes',
      refused: 'refused',
      'not-accepted': 'the name is not accepted',
      unreachable: 'no answer',
    };
    facts.push(['under another name', `${words[lane.otherName]} (${otherName})`]);
  }
  for (const [address, outcome] of Object.entries(lane.addresses)) {
    facts.push([
      `at ${address}`,
      { resumed: 'resumes', refused: 'refused', 'not-accepted': 'no such connection', unreachable: 'not reached' }[
        outcome
      ],
    ]);
  }
  if (keyNames.length > 0) facts.push([keyNames.length === 1 ? 'key name' : 'key names', keyNames.join(', ')]);
  return facts;
}

function describeWatched({ version, keyNames, firstStillOpens }: Watched, paint: Paint): string[] {
  const changed = keyNames.length > 1 ? `${keyNames.length - 1} new` : 'the same all the time';
  const first = firstStillOpens === null ? 'no answer' : firstStillOpens ? 'still resumes' : 'does not resume any more';
  return [
    `${paint('bold', `${version.replace('TLSv', 'TLS ')} ticket keys`)}: ${changed}`,
    ...keyNames.map(({ name, after }) => `${INDENT}${`after ${after} s:`.padEnd(22)}${name}`),
    `${INDENT}${'the first ticket:'.padEnd(22)}${first}`,
    '',
  ];
}
