/** The playground's page in headless Chromium. */

import { once } from 'node:events';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { chromium } from '../peers/browser.js';
import { temporaryFolder } from '../support/peers.js';
import { comeBack, visit } from '../support/visits.js';
import { Page } from './devtools.js';
import { get, jsonOf } from './http.js';
import { playground } from './processes.js';

const HOSTILE = '<img src=x onerror="document.title=1">';
/** A client that speaks TLS 1.3 shows a random ID, in case (RFC 8446 D.4). */
const FIRST = {
  'TLSv1.2': /No session here has the ID shown: .*\. This page: TLS 1\.2, TLS_/,
  'TLSv1.3': /The client offered no session\. This page: TLS 1\.3, TLS_/,
};

/** A server, and the browser at its page. */
async function open(page: Page, ...args: string[]): Promise<number> {
  const port = await playground('--serve', ...args).port();
  await page.visit(`https://localhost:${port}/`);
  await page.says('#state', /^live$/);
  // The page's own handshake is in the first of the news.
  await page.until("document.querySelector('#count-now').textContent !== '0'");
  return port;
}

async function comesAgain(page: Page, verdict: RegExp, why = /./): Promise<void> {
  await page.get("document.querySelector('#verdict').textContent = ''");
  await page.click('#again');
  // The answer is there when the button can be pressed again.
  await page.says('#verdict', /./);
  await page.until("document.querySelector('#again').ariaDisabled === 'false'");
  expect(await page.text('#verdict')).toMatch(verdict);
  expect(await page.text('#details')).toMatch(why);
}

async function press(page: Page, action: string, answer: RegExp): Promise<string> {
  await page.get("document.querySelector('#answer').textContent = ''");
  await page.click(`[data-action=${action}]`);
  return page.says('#answer', answer);
}

async function certificateOf(port: number): Promise<string> {
  const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

/** Of all text in the page that shows, the least contrast with what is behind it (WCAG 2.2, 1.4.3). */
const LEAST_CONTRAST = `(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const colour = parse(getComputedStyle(element).backgroundColor);
    return colour[3] === 0 ? behind(element.parentElement) : colour;
  };
  const texts = [...document.body.querySelectorAll('*')].filter((element) => element.checkVisibility() &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return Math.min(...texts.map((element) => {
    const style = getComputedStyle(element);
    const fore = parse(element.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const [dark, light] = [luminance(fore), luminance(behind(element))].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  }));
})()`;

chromium.describe('the page in headless Chromium', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let page: Page;
  beforeAll(async () => {
    folder = await temporaryFolder();
    page = await Page.start(folder.path);
  });
  afterAll(async () => {
    await page?.close();
    await folder?.remove();
  });

  test.each([
    ['TLSv1.2', 'session ID', []],
    ['TLSv1.3', 'stateful ticket', []],
    ['TLSv1.2', 'ticket', ['--mode', 'tickets']],
    ['TLSv1.3', 'ticket', ['--mode', 'tickets']],
    ['TLSv1.2', 'session ID', ['--store', 'lmdb:sessions']],
    ['TLSv1.3', 'stateful ticket', ['--store', 'lmdb:sessions']],
  ] as const)('shows how it came over %s, and comes back by %s %j', async (version, way, args) => {
    const stored = args.map((arg) => arg.replace(/^lmdb:/, `lmdb:${join(folder.path, version)}-`));
    const port = await open(page, '--min', version, '--max', version, ...stored);
    await page.says('#verdict', /^Full handshake$/);
    expect(await page.text('#details')).toMatch(FIRST[version]);
    const resumes = (): Promise<void> =>
      comesAgain(page, new RegExp(`^Resumed by ${way}$`), new RegExp(`${version.replace('v', ' ')}, TLS_`));
    // A store that is late, on a busy machine, costs a full handshake.
    const withStore = args[0] === '--store';
    for (let times = 0; times < 3; times++) {
      if (withStore) await vi.waitFor(resumes, { timeout: 80_000, interval: 100 });
      else await resumes();
    }
    if (!withStore) expect(await page.text('#visits')).toMatch(/^full(\s+resumed){3}$/);
    await page.says('#list', new RegExp(`resumed by ${way}\\s*this page`));
    expect(jsonOf(await visit(port, { send: get('/statistics') })).hits).toBeGreaterThanOrEqual(3);
    expect(page.faults).toEqual([]);
    expect(new Set(page.requests.map((address) => new URL(address).origin))).toEqual(
      new Set([`https://localhost:${port}`]),
    );
  });

  test('with --mode none shows full handshakes, and one button', async () => {
    await open(page, '--mode', 'none');
    await comesAgain(page, /^Full handshake$/, /Nothing resumes in this mode/);
    expect(await page.text('.actions')).toBe('New certificate');
    await press(page, 'reload', /New certificate and key/);
    expect(page.faults).toEqual([]);
  });

  test('shows the handshakes of others as they come', async () => {
    const port = await open(page);
    const before = Number(await page.text('#count-now'));
    await comeBack(port, { servername: 'somebody.example', send: get('/connection') });
    // The browser may come once more meanwhile.
    await page.until(`Number(document.querySelector('#count-now').textContent) >= ${before + 2}`);
    const list = await page.says('#list', /resumed by stateful ticket\s+somebody\.example/);
    expect(list).toMatch(/full handshake\s+the client offered no session\s+somebody\.example/);
    expect(await page.get("document.querySelector('#share .line') !== null")).toBe(true);
    expect(await page.get("document.querySelectorAll('#count .resumed').length")).toBeGreaterThan(0);
    expect(await page.get("document.querySelector('#count').ariaLabel")).toMatch(/[1-9]\d* resumed, [1-9]\d* full/);
  });

  test('rotates the keys of tickets, which resume on; forgets; takes a new certificate', async () => {
    const port = await open(page, '--mode', 'tickets');
    const [sealed] = await page.says('#keys', /^[\da-f]{8}\s+seals for (1 h|59 min \d+ s)$/);
    expect(sealed).toBeDefined();
    const old = (await page.text('#keys code')).trim();
    const rotated = await press(page, 'rotate', /^Key [\da-f]{8} seals now/);
    const now = /[\da-f]{8}/.exec(rotated)?.[0];
    expect(now).not.toBe(old);
    await page.says('#keys', new RegExp(`^${now}\\s+seals for .*\\s+${old}\\s+opens for (5 min|4 min \\d+ s)$`));
    await comesAgain(page, /^Resumed by ticket$/);
    await press(page, 'forget', /^Forgotten/);
    await comesAgain(page, /^Full handshake$/, /ticket is forgotten/);
    await comesAgain(page, /^Resumed by ticket$/);
    const certificate = await certificateOf(port);
    await press(page, 'reload', /^New cert(ificate)? and key: tickets from before are refused.*Reload this page/);
    expect(await certificateOf(port)).not.toBe(certificate);
    await comesAgain(page, /^Full handshake$/, /ticket is forgotten/);
    await comesAgain(page, /^Resumed by ticket$/);
    expect(page.faults).toEqual([]);
  });

  test('flushes sessions that have expired, and forgets the others', async () => {
    await open(page, '--timeout', '1');
    const removed = async (): Promise<void> => {
      expect(await press(page, 'flush', /Still good: \d/)).toMatch(/^Expired sessions removed: [1-9]/);
    };
    await vi.waitFor(removed, { timeout: 60_000, interval: 100 });
    await page.says('#list', /sessions? left the cache \(expired\)/);
    const port = await open(page);
    await comesAgain(page, /^Resumed by stateful ticket$/);
    await page.says('#cache-now', /^[1-9]/);
    await press(page, 'forget', /^Forgotten/);
    await comesAgain(page, /^Full handshake$/, /no session here has the ID/i);
    const certificate = await certificateOf(port);
    await press(page, 'reload', /^New cert(ificate)? and key: \d+ sessions forgotten/);
    expect(await certificateOf(port)).not.toBe(certificate);
    await comesAgain(page, /^Full handshake$/, /no session here has the ID/i);
    await comesAgain(page, /^Resumed by stateful ticket$/);
    expect(page.faults).toEqual([]);
  });

  test('stays small however many come', async () => {
    const port = await open(page);
    for (let n = 0; n < 40; n++) await comeBack(port, { send: get('/connection') });
    for (let n = 0; n < 13; n++) await comesAgain(page, /^Resumed/);
    await page.says('#count-now', /^(9[3-9]|\d{3,})$/);
    const length = (selector: string) => page.get(`document.querySelectorAll('${selector}').length`);
    expect(await length('#list li')).toBe(24);
    expect(await length('#visits li')).toBe(12);
  });

  test('with a store it forgets, too', async () => {
    await open(page, '--store', `lmdb:${join(folder.path, 'forgets')}`);
    expect(await page.text('.actions')).toMatch(/^Forget everything\s+New certificate$/);
    for (const action of ['forget', 'reload']) {
      const resumes = (): Promise<void> => comesAgain(page, /^Resumed by stateful ticket$/);
      await vi.waitFor(resumes, { timeout: 60_000, interval: 100 });
      await press(page, action, /./);
      await comesAgain(page, /^Full handshake$/, /no session here has the ID|store did not answer/i);
    }
  });

  test('shows a hostile server name as text', async () => {
    const port = await open(page);
    await visit(port, { servername: HOSTILE, send: get('/connection') });
    expect(await page.says('#list', /onerror/)).toContain(HOSTILE);
    expect(await page.get('document.querySelectorAll("img").length')).toBe(0);
    expect(page.faults).toEqual([]);
  });

  test('lets no text become markup, and nothing in from elsewhere', async () => {
    await open(page);
    expect(await page.get("(() => { try { document.body.innerHTML = '<b>'; } catch (e) { return e.name; } })()")).toBe(
      'TypeError',
    );
    const elsewhere = 'new Promise((r) => document.addEventListener("securitypolicyviolation", r, { once: true }))';
    await page.get(`globalThis.violation = ${elsewhere}; new Image().src = 'https://127.0.0.1:1/'; 0`);
    expect(await page.get('violation.then((event) => event.effectiveDirective)')).toBe('img-src');
  });

  test('is worked by the keyboard, and says what came of it to who cannot see it', async () => {
    await open(page);
    const key = { key: 'Enter', code: 'Enter', text: '\r', windowsVirtualKeyCode: 13 };
    await page.get("document.querySelector('#verdict').textContent = ''");
    await page.call('Input.dispatchKeyEvent', { type: 'keyDown', key: 'Tab', code: 'Tab', windowsVirtualKeyCode: 9 });
    expect(await page.get('document.activeElement.id')).toBe('again');
    await page.call('Input.dispatchKeyEvent', { type: 'keyDown', ...key });
    await page.says('#verdict', /^Resumed/);
    expect(await page.get('document.activeElement.id')).toBe('again');
    expect(await page.get("document.querySelector('#verdict').role ?? ''")).toBe('status');
  });

  test.each(['stateful', 'tickets'])('fits a phone and reads in the dark, with --mode %s', async (mode) => {
    const media = (value: string) =>
      page.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
    const size = { width: 360, height: 740, deviceScaleFactor: 2, mobile: true };
    await page.call('Emulation.setDeviceMetricsOverride', size);
    const port = await open(page, '--mode', mode);
    await visit(port, { servername: 'x'.repeat(250), send: get('/connection') });
    await page.says('#list', /x{250}/);
    await comesAgain(page, /^Resumed/);
    await press(page, 'reload', /./);
    await page.get("document.querySelector('details').open = true");
    expect(await page.get('document.documentElement.scrollWidth')).toBe(360);
    const backgrounds: string[] = [];
    for (const scheme of ['light', 'dark']) {
      await media(scheme);
      backgrounds.push(await page.get('getComputedStyle(document.body).backgroundColor'));
      expect(await page.get(LEAST_CONTRAST)).toBeGreaterThanOrEqual(4.5);
    }
    expect(new Set(backgrounds).size).toBe(2);
    await page.call('Emulation.clearDeviceMetricsOverride');
  });
});

chromium.describe('the page in a Chromium whose user has accepted the certificate', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let page: Page;
  beforeAll(async () => {
    folder = await temporaryFolder();
    page = await Page.start(folder.path, true);
  });
  afterAll(async () => {
    await page?.close();
    await folder?.remove();
  });

  test.each([
    ['TLSv1.2', 'stateful', 'session ID'],
    ['TLSv1.3', 'stateful', 'stateful ticket'],
    ['TLSv1.2', 'tickets', 'ticket'],
    ['TLSv1.3', 'tickets', 'ticket'],
  ])('comes back over %s, with --mode %s by %s', async (version, mode, way) => {
    await open(page, '--mode', mode, '--min', version, '--max', version);
    for (let times = 0; times < 4; times++) await comesAgain(page, new RegExp(`^Resumed by ${way}$`));
  });

  test('says what to do about a new certificate', async () => {
    await open(page);
    await press(page, 'reload', /Your browser has to accept it: Reload this page\.$/);
    await page.accept(false);
    await comesAgain(page, /^No connection$/, /has a certificate to accept\. Reload this page\.$/);
    await page.accept(true);
    await comesAgain(page, /^Resumed/);
  });
});
