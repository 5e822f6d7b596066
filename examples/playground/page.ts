/** The page for people. It needs nothing from the network but this server. */

import { createHash } from 'node:crypto';

const STYLE = `
:root { color-scheme: light dark; --line: #d5d9e0; --dim: #5b6472; --good: #0a7a4b; --card: #f6f7f9; --accent: #1f5fd0 }
@media (prefers-color-scheme: dark) {
  :root { --line: #363c47; --dim: #9aa4b2; --good: #4cc38a; --card: #1b1f26; --accent: #3a6fd8 }
  body { background: #12151a; color: #e8ebf0 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.25rem; max-width: 54rem; font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.35rem; margin: 0 0 .25rem }
h2 { font-size: 1.05rem; margin: 1.75rem 0 .5rem }
p { margin: .4rem 0; color: var(--dim) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem; margin-top: 1rem }
.way { font-size: 1.3rem; font-weight: 600 }
.resumed { color: var(--good) }
button { font: inherit; font-weight: 600; color: #fff; background: var(--accent); border: 0; border-radius: .45rem;
  padding: .55rem 1rem; margin-top: .6rem; min-height: 2.75rem; cursor: pointer }
button:disabled { opacity: .6 }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .5rem; margin: 0 }
dl div { border: 1px solid var(--line); border-radius: .45rem; padding: .35rem .6rem }
dt { color: var(--dim); font-size: .8rem }
dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600 }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums }
th { text-align: left; color: var(--dim); font-weight: 500; font-size: .8rem }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
@media (max-width: 34rem) { .wide { display: none } }
`;

const SCRIPT = `
const $ = (id) => document.getElementById(id);
const ways = { 'session-id': 'session ID', 'stateful-ticket': 'stateful ticket', ticket: 'ticket' };
const describe = (c) => c.resumed ? 'resumed by ' + (ways[c.way] ?? 'something else') : 'full handshake';

function cell(row, text, className) {
  const td = row.insertCell();
  td.textContent = text;
  if (className) td.className = className;
}

const clock = (time) => new Date(time).toLocaleTimeString('en-GB');

function boxes(facts) {
  return Object.entries(facts).map(([name, value]) => {
    const box = document.createElement('div');
    const dt = document.createElement('dt');
    const dd = document.createElement('dd');
    dt.textContent = name;
    dd.textContent = value.toLocaleString('en');
    box.append(dt, dd);
    return box;
  });
}

function showKeys(keys) {
  const short = (name) => name?.slice(0, 8) ?? '\\u2013';
  $('keys').hidden = false;
  $('ticket-keys').replaceChildren(...boxes({
    'seals': short(keys.current),
    'will seal': short(keys.next[0]),
    'open still': keys.previous.length,
    'rotations': keys.rotations,
    'last rotation': keys.rotatedAt === null ? '\\u2013' : clock(keys.rotatedAt),
  }));
}

function show({ statistics: { ticketKeys, ...statistics }, handshakes }) {
  $('statistics').replaceChildren(...boxes(statistics));
  if (ticketKeys) showKeys(ticketKeys);
  const body = $('handshakes');
  body.replaceChildren();
  for (const h of handshakes) {
    const row = body.insertRow();
    cell(row, h.number, 'wide');
    cell(row, clock(h.time));
    cell(row, h.protocol);
    cell(row, describe(h), h.resumed ? 'resumed' : '');
    cell(row, h.servername ?? '\\u2013', 'wide');
  }
}

async function comeBack() {
  $('again').disabled = true;
  try {
    performance.clearResourceTimings();
    const connection = await (await fetch('/connection?close', { cache: 'no-store' })).json();
    $('way').textContent = describe(connection);
    $('way').className = connection.resumed ? 'way resumed' : 'way';
    $('details').textContent = connection.protocol + ', ' + connection.cipher;
    await new Promise((resolve) => setTimeout(resolve, 50));
    const timing = performance.getEntriesByType('resource').findLast((t) => t.name.endsWith('/connection?close'));
    if (timing?.secureConnectionStart > 0 && timing.connectEnd > timing.secureConnectionStart) {
      const ms = timing.connectEnd - timing.secureConnectionStart;
      $('details').textContent += ', handshake ' + ms.toFixed(1) + ' ms';
    }
  } catch {
    $('way').textContent = 'no connection';
    $('details').textContent = 'Is the playground still running?';
  }
  $('again').disabled = false;
}

const events = new EventSource('/events');
events.onmessage = ({ data }) => { $('state').textContent = 'live'; show(JSON.parse(data)); };
events.onerror = () => { $('state').textContent = 'not connected'; };
$('again').onclick = comeBack;
comeBack();
`;

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `script-src ${hash(SCRIPT)}`,
  `style-src ${hash(STYLE)}`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TLS resumption playground</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
<h1>TLS resumption playground</h1>
<p>Does your browser come back without a full handshake?</p>
<section class="card" aria-live="polite">
  <div>This browser's last connection</div>
  <div id="way" class="way">…</div>
  <p id="details"></p>
  <button id="again" type="button">Connect again</button>
</section>
<h2>Last handshakes</h2>
<table>
  <thead><tr><th class="wide">#</th><th>time</th><th>protocol</th><th>way</th><th class="wide">server name</th></tr></thead>
  <tbody id="handshakes"></tbody>
</table>
<h2>Cache statistics</h2>
<dl id="statistics"></dl>
<section id="keys" hidden><h2>Ticket keys</h2><dl id="ticket-keys"></dl></section>
<p>Updates: <span id="state">connecting</span>. As JSON: <a href="/connection">/connection</a>, <a href="/statistics">/statistics</a>.</p>
<script>${SCRIPT}</script>
</html>
`;
