/** Draws the charts of the page, as inline SVG, from what the server counts. */

const $ = (id) => document.getElementById(id);
const svgNamespace = $('share').namespaceURI;

const size = (bytes) => (bytes < 1e4 ? `${bytes} bytes` : `${(bytes / 1e3).toFixed(bytes < 1e5 ? 1 : 0)} kB`);

function duration(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return [h && `${h} h`, m && `${m} min`, h === 0 && (s || m === 0) && `${s} s`].filter(Boolean).join(' ');
}

/** An element with a class, and with text or children. */
function element(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

function shape(name, attributes, text = '') {
  const made = document.createElementNS(svgNamespace, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** Draws in pixels, so that text and lines stay as they are at every width. */
function drawIn(svg, label, shapesFor) {
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('aria-label', label);
  svg.replaceChildren(...shapesFor(width, height));
}

/** The columns of the charts up to now: what did not change goes on. */
function shownColumns(settings, columns, now) {
  const last = Math.floor(now / 1000 / settings.step);
  const known = new Map(columns.map((column) => [column.at, column]));
  const first = last - settings.columns + 1;
  let before = columns.findLast(({ at }) => at < first);
  return Array.from({ length: settings.columns }, (_, i) => {
    const column = known.get(first + i) ?? { share: null, sessions: 0, bytes: 0, ...before, full: 0, resumed: 0 };
    before = column;
    return column;
  });
}

const ROOM = 42;
const level = (y, width, text) => [
  shape('line', { class: 'grid', x1: 0, x2: width - ROOM, y1: y, y2: y }),
  shape('text', { x: width, y: y + 4, 'text-anchor': 'end' }, text),
];

/** A line with steps, over its area, of values from 0 to `top`; `null` is a gap. */
function steps(shown, pick, top, width, height) {
  const values = shown.map(pick);
  const [w, base] = [(width - ROOM) / values.length, height - 6];
  const y = (value) => base - (value / top) * (base - 8);
  const from = values.findIndex((value) => value !== null);
  const shapes = [];
  if (from >= 0) {
    const path = values
      .slice(from)
      .map((value, i) => `${(from + i) * w},${y(value)} ${(from + i + 1) * w},${y(value)}`);
    const edge = `${values.length * w},${base} ${from * w},${base}`;
    shapes.push(shape('polygon', { class: 'area', points: `${path.join(' ')} ${edge}` }));
    shapes.push(shape('polyline', { class: 'line', points: path.join(' ') }));
  }
  return { y, shapes };
}

function drawShare(shown) {
  const now = shown.at(-1).share;
  const text = now === null ? '–' : `${Math.round(now * 100)} %`;
  $('share-now').textContent = text;
  drawIn($('share'), `Share of the last 20 handshakes that resumed: now ${text}`, (width, height) => {
    const { y, shapes } = steps(shown, ({ share }) => share, 1, width, height);
    return [0, 0.5, 1].flatMap((share) => level(y(share), width, `${share * 100} %`)).concat(shapes);
  });
}

function drawCount(shown) {
  const top = Math.max(4, ...shown.map(({ full, resumed }) => full + resumed));
  const total = (what) => shown.reduce((sum, column) => sum + column[what], 0);
  const label = `Handshakes of the last minutes: ${total('resumed')} resumed, ${total('full')} full`;
  drawIn($('count'), label, (width, height) => {
    const [w, base] = [(width - ROOM) / shown.length, height - 6];
    const bar = (kind, i, from, n) => {
      const tall = (n / top) * (base - 8);
      return shape('rect', { class: kind, x: i * w, width: Math.max(1, w - 1), y: base - from - tall, height: tall });
    };
    const bars = shown.flatMap(({ resumed, full }, i) => [
      ...(resumed ? [bar('resumed', i, 0, resumed)] : []),
      ...(full ? [bar('full', i, (resumed / top) * (base - 8), full)] : []),
    ]);
    return [...level(8, width, String(top)), ...level(base, width, '0'), ...bars];
  });
}

function drawCache(shown) {
  const { sessions, bytes } = shown.at(-1);
  const top = Math.max(4, ...shown.map((column) => column.sessions));
  $('cache-now').textContent = sessions.toLocaleString('en');
  $('cache-note').textContent = `${sessions === 1 ? 'session' : 'sessions'}, ${size(bytes)}`;
  drawIn($('cache'), `Sessions in the cache: now ${sessions}`, (width, height) => {
    const { y, shapes } = steps(shown, (column) => column.sessions, top, width, height);
    return [...level(y(top), width, String(top)), ...level(y(0), width, '0'), ...shapes];
  });
}

function drawKeys(keys, now) {
  $('keys').replaceChildren(
    ...keys.map(({ name, use, since, until }) => {
      const left = until === null ? null : duration(until - now);
      const share = until === null ? 1 : Math.min(1, Math.max(0, (until - now) / (until - since)));
      const bar = shape('svg', { viewBox: '0 0 100 4', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
      bar.append(shape('rect', { width: 100, height: 4, rx: 1 }));
      bar.append(shape('rect', { class: 'left', width: share * 100, height: 4, rx: 1 }));
      const says = `${use}${left === null ? '' : ` for ${left}`}`;
      return element('li', use, element('div', '', element('code', '', name), element('span', '', says)), bar);
    }),
  );
}

/** @param now milliseconds since 1970, by the server's clock */
globalThis.drawCharts = (settings, columns, keys, now) => {
  const shown = shownColumns(settings, columns, now);
  drawShare(shown);
  drawCount(shown);
  drawCache(shown);
  drawKeys(keys, now);
};
