/** The matrix as a document. */

import { columnsOf, type Outcome } from './cells.js';
import type { Expected, Group, Row } from './rows.js';
import type { Engine } from './worlds.js';

const VERSIONS = [20, 22, 24, 26];
/** Plain Node finds no stateful session of TLS 1.3. */
const SHOWN: Readonly<Record<Engine, readonly number[]>> = { plain: [0, 1, 3], library: [0, 1, 2, 3] };

const WORDS: Readonly<Record<Outcome, string>> = {
  resumed: 'resumed',
  'resumed as authorized': '**resumed, authorized**',
  full: 'full',
  rejected: 'rejected',
  broken: '**broken**',
  none: 'not set up',
};

function wordsOf(expected: Expected | undefined): string {
  if (expected === undefined) return '–';
  if (typeof expected === 'string') return WORDS[expected];
  const { until, was, is } = expected;
  const before = VERSIONS.filter((version) => version < until);
  const since = VERSIONS.filter((version) => version >= until);
  return `${WORDS[was]} (Node ${before.join(', ')}), ${WORDS[is]} (${since.join(', ')})`;
}

function lineOf(row: Row): string {
  const cells = (['plain', 'library'] as const).flatMap((engine) => SHOWN[engine].map((i) => wordsOf(row[engine][i])));
  return `| ${[row.title, ...cells].join(' | ')} |`;
}

function tableOf(group: Group): string {
  const titles = (['plain', 'library'] as const).flatMap((engine) =>
    SHOWN[engine].map((i) => `${engine === 'plain' ? 'Node' : 'library'}: ${columnsOf(engine)[i]?.title}`),
  );
  return [
    `## ${group.title}`,
    '',
    `| what changes | ${titles.join(' | ')} |`,
    `|${' --- |'.repeat(titles.length + 1)}`,
    ...group.rows.map(lineOf),
  ].join('\n');
}

const INTRODUCTION = `# Who resumes where: plain Node and the library

A client makes a session as \`a.test\`, something changes, and it comes back with that session. Every cell is a real
handshake: \`test/matrix\` makes them all, in each place that sessions are kept in (memory, an external cache that answers
at once, one that answers later, ticket keys in one ring or in two of equal keys), and fails when this page says anything
else than what it measured.

- *resumed*: an abbreviated handshake, which checks no certificate.
- ***resumed, authorized***: and \`socket.authorized\` is \`true\`, though the same client without its session would be
  rejected, or served as unauthorized.
- *full*: a full handshake with all its checks. It agrees on the same, and finds the same of the client, as that of a
  client that comes without a session.
- *rejected*: the server's policy rejects the client, with a session and without.
- ***broken***: the connection fails, and would not have without the session.
- *not set up*: the library refuses the combination with an error that names the ways out (\`ERR_TICKETS_UNSAFE\`, or a
  \`RangeError\` for \`singleUse\` beside \`tickets\`).
- –: there is no such case.

Plain Node is a \`tls\` server with a \`resumeSession\` listener over a map, or with equal \`ticketKeys\` at all servers,
which is what keeps sessions over a restart. It never resumes a TLS 1.3 session whose state the server keeps: that column
would say *full* throughout. Where versions of Node differ, the cell says so.
`;

export function documentOf(groups: readonly Group[]): string {
  return `${[INTRODUCTION, ...groups.map(tableOf)].join('\n').replaceAll('\n## ', '\n\n## ')}\n`;
}
