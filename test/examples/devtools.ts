/** Headless Chromium, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/). */

import { join } from 'node:path';
import { type MessageEvent, WebSocket } from 'undici';
import { vi } from 'vitest';
import { chromium } from '../peers/browser.js';
import type { Running } from '../support/peers.js';

type Parameters = Record<string, unknown>;
interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Parameters;
  readonly result?: Parameters;
  readonly error?: { readonly message: string };
}

/** Milliseconds that a page may take for what it is waited for: the machine may be busy. */
const PATIENCE = 30_000;

/** A browser with one page, and what that page did. */
export class Page {
  /** What the console said of errors, and uncaught exceptions. */
  readonly faults: string[] = [];
  /** The addresses of all requests. */
  readonly requests: string[] = [];
  readonly #browser: Running;
  readonly #socket: WebSocket;
  readonly #calls = new Map<number, { resolve: (result: Parameters) => void; reject: (error: Error) => void }>();
  #session: string | undefined;
  #id = 0;

  private constructor(browser: Running, socket: WebSocket) {
    this.#browser = browser;
    this.#socket = socket;
    socket.addEventListener('message', ({ data }: MessageEvent) => this.#receive(JSON.parse(String(data)) as Message));
    socket.addEventListener('error', () => this.#fail());
    socket.addEventListener('close', () => this.#fail());
  }

  /**
   * @param folder for a profile of its own
   * @param warned as where a person has accepted the certificate in spite of the warning, and not as if it were good:
   *   each connection then fails first, and is made again
   */
  static async start(folder: string, warned = false): Promise<Page> {
    const profile = join(folder, `profile-${Math.random().toString(36).slice(2)}`);
    const browser = chromium.start(
      [
        ...[
          '--headless',
          '--no-sandbox',
          '--disable-gpu',
          '--disable-dev-shm-usage',
          '--disable-quic',
          '--no-first-run',
        ],
        ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server'],
        ...(warned ? [] : ['--ignore-certificate-errors']),
        ...['--hide-scrollbars', `--user-data-dir=${profile}`],
        ...['--remote-debugging-port=0', 'about:blank'],
      ],
      { ...process.env, HOME: folder, TMPDIR: folder, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
    );
    const address = await vi.waitFor(
      () => {
        const found = /DevTools listening on (ws:\S+)/.exec(browser.said.stderr)?.[1];
        if (found === undefined) throw new Error(`the browser did not start: ${browser.said.output}`);
        return found;
      },
      { timeout: PATIENCE },
    );
    const socket = new WebSocket(address);
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('error', reject);
    });
    const page = new Page(browser, socket);
    const { targetInfos } = await page.call('Target.getTargets');
    const target = (targetInfos as { targetId: string; type: string }[]).find(({ type }) => type === 'page');
    const { sessionId } = await page.call('Target.attachToTarget', { targetId: target?.targetId, flatten: true });
    page.#session = sessionId as string;
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await page.call(`${domain}.enable`);
    if (warned) await page.accept(true);
    return page;
  }

  /** A command of the protocol. */
  call(method: string, params: Parameters = {}): Promise<Parameters> {
    const id = ++this.#id;
    this.#socket.send(JSON.stringify({ id, method, params, ...(this.#session && { sessionId: this.#session }) }));
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
  }

  /** The value of an expression in the page. */
  async get<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  /** Whether to go on in spite of warnings. */
  async accept(ignore: boolean): Promise<void> {
    await this.call('Security.setIgnoreCertificateErrors', { ignore });
  }

  text(selector: string): Promise<string> {
    return this.get(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ''`);
  }

  /** Waits until an element says it. */
  async says(selector: string, what: RegExp): Promise<string> {
    return vi.waitFor(
      async () => {
        const text = await this.text(selector);
        if (!what.test(text)) throw new Error(`${selector} says ${JSON.stringify(text)}, not ${what}`);
        return text;
      },
      { timeout: PATIENCE, interval: 50 },
    );
  }

  /** As a person does: with the pointer, in the middle of what is there to be seen. */
  async click(selector: string): Promise<void> {
    const { x, y } = await this.get<{ x: number; y: number }>(`(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      element.scrollIntoView({ block: 'center' });
      const { x, y, width, height } = element.getBoundingClientRect();
      return { x: x + width / 2, y: y + height / 2 };
    })()`);
    const event = { x, y, button: 'left', clickCount: 1 };
    await this.call('Input.dispatchMouseEvent', { type: 'mousePressed', ...event });
    await this.call('Input.dispatchMouseEvent', { type: 'mouseReleased', ...event });
  }

  /** Waits until an expression in the page is true. */
  async until(expression: string): Promise<void> {
    await vi.waitFor(
      async () => {
        if ((await this.get(expression)) !== true) throw new Error(`never true: ${expression}`);
      },
      { timeout: PATIENCE, interval: 50 },
    );
  }

  /** Loads a page, from which on faults and requests are noted. */
  async visit(address: string): Promise<void> {
    // The page before may still look for its server, which has gone: not before it is left are its faults all there.
    await this.#load('about:blank');
    this.faults.length = 0;
    this.requests.length = 0;
    await this.#load(address);
  }

  async close(): Promise<void> {
    this.#socket.close();
    this.#browser.end();
    await this.#browser.ended;
  }

  async #load(address: string): Promise<void> {
    await this.call('Page.navigate', { url: address });
    await this.until(`document.readyState + location.href === ${JSON.stringify(`complete${address}`)}`);
  }

  #receive({ id, method, params = {}, result, error }: Message): void {
    if (id !== undefined) {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) call?.resolve(result ?? {});
      else call?.reject(new Error(error.message));
    } else if (method === 'Network.requestWillBeSent') {
      this.requests.push((params['request'] as { url: string }).url);
    } else if (method === 'Log.entryAdded') {
      const { level, text } = params['entry'] as { level: string; text: string };
      if (level === 'error' || level === 'warning') this.faults.push(text);
    } else if (method === 'Runtime.exceptionThrown' || method === 'Runtime.consoleAPICalled') {
      this.faults.push(JSON.stringify(params));
    }
  }

  #fail(): void {
    for (const { reject } of this.#calls.values()) reject(new Error('the browser is gone'));
    this.#calls.clear();
  }
}
