/** What the page does, after charts.js. What came over the network is shown as text, and as nothing else. */

const WAYS = { 'session-id': 'session ID', 'stateful-ticket': 'stateful ticket', ticket: 'ticket' };
const VISITS = 12;
const ROWS = 24;

let settings = { step: 2, columns: 90, reasons: {} };
let handshakes = [];
let happenings = [];
/** What the charts show. */
let columns = [];
let keys = [];
/** Milliseconds that the server's clock is ahead. */
let ahead = 0;
/** Numbers of the handshakes of this page. */
let own = [Number(document.body.dataset.handshake)];

const explain = (reason) => (reason === null ? 'nothing resumes in this mode' : (settings.reasons[reason] ?? reason));
const describe = (h) => (h.resumed ? `resumed by ${WAYS[h.way] ?? h.way ?? 'ticket'}` : 'full handshake');
const version = ({ protocol }) => protocol.replace('TLSv', 'TLS ');
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function timeOf({ time }) {
  const made = element('time', '', new Date(time).toLocaleTimeString('en-GB'));
  made.dateTime = new Date(time).toISOString();
  return made;
}

function handshakeItem(h) {
  const way = element('span', h.resumed ? 'way resumed' : 'way', describe(h));
  if (own.includes(h.number)) way.append(element('em', '', 'this page'));
  if (!h.resumed) way.append(element('small', '', explain(h.reason)));
  const name = element('bdi', 'name', h.servername ?? 'no server name');
  return element('li', '', timeOf(h), element('span', 'version', version(h)), way, name);
}

/** Between the handshakes, as it is why the next ones are what they are. */
function happeningItem(h) {
  const text = h.times > 1 ? `${h.text} ${h.times} times.` : h.text;
  return element('li', 'happening', timeOf(h), element('span', '', text));
}

function showList() {
  const rows = [...handshakes, ...happenings].sort((one, other) => other.time - one.time).slice(0, ROWS);
  $('none').hidden = rows.length > 0;
  $('list').replaceChildren(...rows.map((row) => ('text' in row ? happeningItem(row) : handshakeItem(row))));
}

const draw = () => drawCharts(settings, columns, keys, Date.now() + ahead);

function showVerdict(h, what, more = '') {
  $('verdict').textContent = capital(describe(h));
  $('verdict').className = h.resumed ? 'verdict resumed' : 'verdict';
  const why = h.resumed ? '' : `${capital(explain(h.reason))}. `;
  $('details').textContent = `${why}${what}: ${version(h)}, ${h.cipher}${more}.`;
  const short = h.resumed ? 'resumed' : 'full';
  $('visits').append(element('li', short, short));
  if ($('visits').childElementCount > VISITS) $('visits').firstElementChild.remove();
}

/** Of the handshake of the latest visit, as the browser saw it. */
async function handshakeTime() {
  // The entry comes a moment after the answer.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const timing = performance.getEntriesByType('resource').findLast(({ name }) => name.endsWith('/visit'));
  const [from, to] = [timing?.secureConnectionStart ?? 0, timing?.connectEnd ?? 0];
  return from > 0 && to > from ? `, in ${(to - from).toFixed(1)}\u00a0ms` : '';
}

/** Each answer closes its connection; one that the browser opened before it was asked to is passed over. */
async function visit() {
  for (let tries = 0; ; tries++) {
    const begun = performance.now();
    performance.clearResourceTimings();
    const answer = await (await fetch('/visit', { cache: 'no-store' })).json();
    own = [...own.slice(-50), answer.number];
    if (tries === 6 || answer.age <= performance.now() - begun + 1) return answer;
  }
}

function alone(button, work) {
  button.addEventListener('click', async () => {
    if (button.ariaDisabled === 'true') return;
    button.ariaDisabled = 'true';
    await work();
    button.ariaDisabled = 'false';
  });
}

/** What to do when the browser refuses to connect: it has not been told to accept the certificate of now. */
function reloadLink() {
  const link = element('a', '', 'Reload this page');
  link.href = '/';
  return link;
}

alone($('again'), async () => {
  try {
    const first = await visit();
    showVerdict(first, 'This visit', await handshakeTime());
    // Of a certificate that it warned of, Chromium connects twice, and spends a TLS 1.3 ticket each time: none was left.
    if (first.reason === 'not-offered') showVerdict(await visit(), 'The visit after a full one', await handshakeTime());
    showList();
  } catch {
    $('verdict').textContent = 'No connection';
    $('verdict').className = 'verdict';
    $('details').replaceChildren('The playground has ended, or has a certificate to accept. ', reloadLink(), '.');
  }
});

for (const button of document.querySelectorAll('[data-action]')) {
  const { action } = button.dataset;
  alone(button, async () => {
    const answer = $('answer');
    try {
      const { done, text, number } = await (await fetch(`/actions/${action}`, { method: 'POST' })).json();
      own = [...own.slice(-50), number];
      answer.className = done ? 'answer' : 'answer failed';
      answer.replaceChildren(text);
      if (done && action === 'reload') answer.append(' Your browser has to accept it: ', reloadLink(), '.');
    } catch {
      answer.className = 'answer failed';
      answer.replaceChildren('No connection. ', reloadLink(), '.');
    }
  });
}

function begin(first) {
  settings = first;
  own.push(first.number);
  [handshakes, happenings, columns] = [[], [], []];
  $('settings').textContent = first.says;
  $('cache-card').hidden = !first.cache;
  for (const button of document.querySelectorAll('[data-action]')) {
    button.hidden = !first.actions.includes(button.dataset.action);
  }
  for (const from of document.querySelectorAll('.from'))
    from.textContent = `${duration(first.step * first.columns * 1000)} ago`;
}

function show(news) {
  ahead = news.now - Date.now();
  if (news.settings) begin(news.settings);
  keys = news.keys ?? [];
  $('keys-card').hidden = keys.length === 0;
  handshakes = [...news.handshakes, ...handshakes].slice(0, 50);
  happenings = news.happenings ?? happenings;
  columns = [...columns.filter(({ at }) => !news.columns.some((column) => column.at === at)), ...news.columns];
  columns = columns.slice(-settings.columns - 1);
  const { handshakes: all, resumed, reasons } = news.totals;
  $('count-now').textContent = all.toLocaleString('en');
  $('count-note').textContent = `so far, ${resumed.toLocaleString('en')} resumed`;
  const why = Object.entries(reasons).sort(([, one], [, other]) => other - one);
  $('reasons').replaceChildren(
    ...why.map(([reason, n]) => element('li', '', `${n.toLocaleString('en')} × ${explain(reason)}`)),
  );
  const facts = Object.entries(news.statistics).map(([name, value]) => [name, value.toLocaleString('en')]);
  $('statistics').replaceChildren(
    ...facts.map(([name, value]) => element('div', '', element('dt', '', name), element('dd', '', value))),
  );
  if (news.handshakes.length > 0 || news.happenings) showList();
  const page = news.settings && handshakes.find(({ number }) => number === own[0]);
  if (page && $('visits').childElementCount === 0) showVerdict(page, 'This page');
  draw();
}

function listen() {
  const events = new EventSource('/events');
  const say = (text) => {
    $('state').textContent = text;
    $('state').classList.toggle('live', text === 'live');
  };
  events.onopen = () => say('live');
  events.onmessage = ({ data }) => show(JSON.parse(data));
  events.onerror = () => {
    say('not connected');
    // The browser itself tries again after a lost connection, and not after a refusal.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

setInterval(() => document.hidden || draw(), 1000);
new ResizeObserver(draw).observe($('share'));
listen();
